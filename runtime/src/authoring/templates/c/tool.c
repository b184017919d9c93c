/* A tool plugin: functions from a JSON value to a JSON value, and a table of them. */
#include "glue/compozy.h"

#include <stddef.h>

static cz_value *greet(const cz_value *input) {
  const char *name = cz_trim(cz_string(cz_get(input, "name")));
  if (*name == '\0') return cz_fail("no_name", "name must not be empty");
  cz_value *output = cz_object();
  cz_set(output, "greeting", cz_from_string(cz_concat("Hello, ", name, "!", NULL)));
  return output;
}

static cz_value *average(const cz_value *input) {
  const cz_value *numbers = cz_get(input, "numbers");
  size_t count = cz_length(numbers);
  double sum = 0;
  if (count == 0) return cz_fail("no_numbers", "numbers must hold at least one number");
  for (size_t i = 0; i < count; i++) sum += cz_number(cz_at(numbers, i));
  cz_value *output = cz_object();
  cz_set(output, "count", cz_from_number((double)count));
  cz_set(output, "average", cz_from_number(sum / (double)count));
  return output;
}

static const cz_function functions[] = {
    {
        .name = "greet",
        .description = "Greets someone by name",
        .input = "{\"type\": \"object\", \"required\": [\"name\"], \"properties\": {\"name\": {\"type\": \"string\"}}}",
        .read_only = true,
        .idempotent = true,
        .run = greet,
    },
    {
        .name = "average",
        .description = "The average of some numbers",
        .input = "{\"type\": \"object\", \"required\": [\"numbers\"],"
                 " \"properties\": {\"numbers\": {\"type\": \"array\", \"items\": {\"type\": \"number\"}}}}",
        .read_only = true,
        .idempotent = true,
        .run = average,
    },
    {0},
};

const cz_tool cz_plugin = {
    .summary = "Greets people and averages numbers",
    .version = "0.1.0",
    .functions = functions,
};
