/* compozy plugins in C. Part of the generated project: `compozy plugin build` compiles it with your files;
 * do not edit.
 *
 * A tool is a table `cz_plugin` of functions that take and return JSON values. Every call gets a fresh instance and
 * ends with it, so nothing here has to be freed. Uses of the host are refused until the project grants them under
 * `permissions:`. A host call that fails answers NULL or false, and the step ends with its error when your function
 * returns, unless `cz_forgive()` comes first. */
#ifndef COMPOZY_H
#define COMPOZY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

typedef enum { CZ_NULL, CZ_BOOL, CZ_NUMBER, CZ_STRING, CZ_ARRAY, CZ_OBJECT } cz_kind;

typedef struct cz_value cz_value;

/* Reading. All of them take NULL, which reads as null; text is UTF-8 and ends with a zero byte. */
cz_kind cz_kind_of(const cz_value *value);
cz_value *cz_get(const cz_value *object, const char *key); /* NULL when there is none */
cz_value *cz_at(const cz_value *array, size_t index);      /* NULL past the end */
size_t cz_length(const cz_value *value);                   /* of an array or object; bytes of a string */
const char *cz_string(const cz_value *value);              /* "" for whatever is no string */
double cz_number(const cz_value *value);                   /* 0 for whatever is no number */
bool cz_bool(const cz_value *value);                       /* false for whatever is not true */

/* Making. Text is copied. */
cz_value *cz_null(void);
cz_value *cz_from_bool(bool value);
cz_value *cz_from_number(double value);
cz_value *cz_from_string(const char *text);
cz_value *cz_array(void);
cz_value *cz_object(void);
void cz_push(cz_value *array, cz_value *item);
void cz_set(cz_value *object, const char *key, cz_value *value);

/* From and to text. `cz_parse` answers NULL when the text is no JSON. */
cz_value *cz_parse(const char *text);
char *cz_print(const cz_value *value);

/* Text. The whole C library is there too; what prints to files or streams brings WASI's interfaces into the component. */
char *cz_concat(const char *first, ...); /* ends with NULL */
char *cz_trim(const char *text);         /* without white space at both ends */

/* ---- The tool -------------------------------------------------------------------------------------------------- */

typedef struct {
  const char *name;        /* as YAML's `function:` names it; NULL ends the table */
  const char *description; /* a sentence that a model can choose it by */
  const char *input;       /* JSON Schema of the input, or NULL */
  const char *output;      /* JSON Schema of the output, or NULL */
  bool read_only;          /* it changes nothing anywhere */
  bool destructive;        /* it may remove or overwrite something */
  bool idempotent;         /* twice with the same idempotency key is once */
  cz_value *(*run)(const cz_value *input);
} cz_function;

typedef struct {
  const char *summary;
  const char *version;
  const cz_function *functions;
} cz_tool;

/* Defined by you. */
extern const cz_tool cz_plugin;

/* Ends the call with an error: `return cz_fail("empty", "text is empty");`. A retryable one lets the step be tried again. */
cz_value *cz_fail(const char *code, const char *message);
cz_value *cz_fail_retryable(const char *code, const char *message, uint64_t retry_after_ms);

/* The code of the latest error of the host or of `cz_fail`, NULL when there is none; and how to go on without it. */
const char *cz_error_code(void);
void cz_forgive(void);

/* ---- The host -------------------------------------------------------------------------------------------------- */

typedef enum { CZ_TRACE, CZ_DEBUG, CZ_INFO, CZ_WARN, CZ_ERROR } cz_level;

void cz_log(cz_level level, const char *message);
cz_value *cz_config(void);                /* the `config:` of the project's entry */
const char *cz_env(const char *name);     /* NULL when unset; needs `permissions.env` */
const char *cz_secret(const char *name);  /* its placeholder; needs `permissions.secrets` */
const char *cz_idempotency_key(void);     /* equal on every attempt of a step; "" outside a run */

/* The plugin's own durable key-value space; needs `permissions.kv`. Values are text here; NULL is absent. */
const char *cz_kv_get(const char *key);
bool cz_kv_set(const char *key, const char *value, uint64_t ttl_ms); /* ttl_ms 0: for good */
bool cz_kv_delete(const char *key);

#endif
