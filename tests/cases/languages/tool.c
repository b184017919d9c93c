/* Everything that is lent, and errors. */
#include "glue/compozy.h"

#include <string.h>

static cz_value *lent(const cz_value *input) {
  cz_log(CZ_INFO, "lent");
  cz_kv_set("k", cz_string(cz_get(input, "text")), 60000);
  cz_value *output = cz_object(), *removed = cz_array();
  cz_set(output, "stored", cz_from_string(cz_kv_get("k")));
  cz_set(output, "absent", cz_kv_get("none") ? cz_from_bool(true) : NULL);
  cz_set(output, "config", cz_config());
  cz_set(output, "key", cz_from_string(cz_idempotency_key()));
  cz_set(output, "region", cz_from_string(cz_env("REGION")));
  cz_set(output, "hidden", cz_from_bool(strcmp(cz_secret("TOKEN"), "s3cr3t") != 0));
  cz_push(removed, cz_from_bool(cz_kv_delete("k")));
  cz_push(removed, cz_from_bool(cz_kv_delete("k")));
  cz_set(output, "removed", removed);
  cz_set(output, "input", (cz_value *)input);
  return output;
}

static cz_value *fail(const cz_value *input) {
  const char *how = cz_string(cz_get(input, "how"));
  if (strcmp(how, "later") == 0) return cz_fail_retryable("later", "not yet", 1500);
  if (strcmp(how, "bug") == 0) return cz_fail("exception", "C has none (at tool.)");
  cz_kv_set("", "x", 0);
  if (strcmp(how, "noticed") != 0) return NULL;
  const char *code = cz_error_code();
  cz_forgive();
  return cz_from_string(code);
}

static const cz_function functions[] = {
    {.name = "lent", .description = "", .run = lent},
    {.name = "fail", .description = "", .run = fail},
    {0},
};

const cz_tool cz_plugin = {.summary = "", .version = "0.1.0", .functions = functions};
