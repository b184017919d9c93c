/* From the component model's calls to `cz_plugin` and back: records, options and results are laid out as the canonical
 * ABI does (github.com/WebAssembly/component-model, CanonicalABI.md), which for these types is how C does it on wasm32.
 * Part of the generated project; do not edit. */
#include "compozy.h"

#include <stdlib.h>
#include <string.h>

#define EXPORT(name) __attribute__((export_name(name), used))
#define IMPORT(interface, name) __attribute__((import_module("compozy:host/" interface "@0.1.0"), import_name(name)))

typedef struct { const char *at; size_t length; } text;
typedef struct { bool some; text value; } maybe_text;
typedef struct { bool some; uint64_t value; } maybe_u64;
typedef struct { text code, message; bool retryable; maybe_u64 retry_after_ms; } error;

typedef struct { bool failed; union { text ok; error failure; }; } text_result;
typedef struct { bool failed; union { maybe_text ok; error failure; }; } maybe_text_result;
typedef struct { bool failed; union { bool ok; error failure; }; } bool_result;

typedef struct {
  text name, description;
  maybe_text input_schema, output_schema;
  bool read_only, destructive, idempotent;
} function;

typedef struct { text summary, version; bool stateless; struct { function *at; size_t length; } functions; } description;

typedef struct {
  bool some;
  struct { text exec_id, workflow_id, step_path; uint32_t attempt; text idempotency_key; maybe_u64 deadline; } value;
} maybe_context;

IMPORT("log", "log") void host_log(int32_t, const char *, size_t, const void *, size_t);
IMPORT("config", "get") void host_config(text *);
IMPORT("config", "env") void host_env(const char *, size_t, maybe_text_result *);
IMPORT("secrets", "get") void host_secret(const char *, size_t, text_result *);
IMPORT("run", "current") void host_run(maybe_context *);
IMPORT("kv", "get") void host_kv_get(const char *, size_t, maybe_text_result *);
IMPORT("kv", "set") void host_kv_set(const char *, size_t, const char *, size_t, int32_t, uint64_t, bool_result *);
IMPORT("kv", "delete") void host_kv_delete(const char *, size_t, bool_result *);

EXPORT("cabi_realloc") void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  (void)old_size;
  if (size == 0) return (void *)align;
  void *memory = realloc(old, size);
  if (!memory) abort();
  return memory;
}

/* ---- Errors ---------------------------------------------------------------------------------------------------- */

static struct { bool set; error error; } latest;

static text text_of(const char *from) { return (text){from ? from : "", from ? strlen(from) : 0}; }

static maybe_text maybe_text_of(const char *from) { return (maybe_text){from != NULL, text_of(from)}; }

/* As C has it, with a zero byte at its end. */
static char *owned(text from) {
  char *made = malloc(from.length + 1);
  if (!made) abort();
  memcpy(made, from.at, from.length);
  made[from.length] = '\0';
  return made;
}

static void note(error failure) {
  latest.set = true;
  latest.error = failure;
}

cz_value *cz_fail(const char *code, const char *message) {
  note((error){.code = text_of(code), .message = text_of(message)});
  return NULL;
}

cz_value *cz_fail_retryable(const char *code, const char *message, uint64_t retry_after_ms) {
  note((error){text_of(code), text_of(message), true, {retry_after_ms > 0, retry_after_ms}});
  return NULL;
}

const char *cz_error_code(void) { return latest.set ? owned(latest.error.code) : NULL; }

void cz_forgive(void) { latest.set = false; }

/* ---- What the host calls --------------------------------------------------------------------------------------- */

EXPORT("compozy:plugin/tool@0.1.0#describe") description *describe(void) {
  static description made;
  size_t count = 0;
  while (cz_plugin.functions[count].name) count++;
  function *functions = calloc(count ? count : 1, sizeof *functions);
  if (!functions) abort();
  for (size_t i = 0; i < count; i++) {
    const cz_function *from = &cz_plugin.functions[i];
    functions[i] = (function){
        text_of(from->name),           text_of(from->description), maybe_text_of(from->input),
        maybe_text_of(from->output),   from->read_only,            from->destructive,
        from->idempotent,
    };
  }
  made = (description){text_of(cz_plugin.summary), text_of(cz_plugin.version), false, {functions, count}};
  return &made;
}

static cz_value *call(const char *name, const char *input) {
  for (const cz_function *function = cz_plugin.functions; function->name; function++) {
    if (strcmp(function->name, name) != 0) continue;
    cz_value *value = cz_parse(input);
    return value ? function->run(value) : cz_fail("invalid_input", "the input is no JSON value");
  }
  return cz_fail("unknown_function", "the plugin has no such function");
}

EXPORT("compozy:plugin/tool@0.1.0#run")
text_result *run(const char *name, size_t name_length, const char *input, size_t input_length) {
  static text_result answer;
  latest.set = false;
  cz_value *value = call(owned((text){name, name_length}), owned((text){input, input_length}));
  answer.failed = latest.set;
  if (latest.set) answer.failure = latest.error;
  else answer.ok = text_of(cz_print(value));
  return &answer;
}

/* ---- The host -------------------------------------------------------------------------------------------------- */

void cz_log(cz_level level, const char *message) {
  text line = text_of(message);
  host_log(level, line.at, line.length, NULL, 0);
}

cz_value *cz_config(void) {
  text json;
  host_config(&json);
  return cz_parse(owned(json));
}

static const char *maybe(maybe_text_result *result) {
  if (result->failed) note(result->failure);
  return !result->failed && result->ok.some ? owned(result->ok.value) : NULL;
}

const char *cz_env(const char *name) {
  maybe_text_result result;
  host_env(name, strlen(name), &result);
  return maybe(&result);
}

const char *cz_secret(const char *name) {
  text_result result;
  host_secret(name, strlen(name), &result);
  if (result.failed) note(result.failure);
  return result.failed ? NULL : owned(result.ok);
}

const char *cz_idempotency_key(void) {
  maybe_context context;
  host_run(&context);
  return context.some ? owned(context.value.idempotency_key) : "";
}

const char *cz_kv_get(const char *key) {
  maybe_text_result result;
  host_kv_get(key, strlen(key), &result);
  return maybe(&result);
}

bool cz_kv_set(const char *key, const char *value, uint64_t ttl_ms) {
  bool_result result;
  host_kv_set(key, strlen(key), value, strlen(value), ttl_ms > 0, ttl_ms, &result);
  if (result.failed) note(result.failure);
  return !result.failed;
}

bool cz_kv_delete(const char *key) {
  bool_result result;
  host_kv_delete(key, strlen(key), &result);
  if (result.failed) note(result.failure);
  return !result.failed && result.ok;
}
