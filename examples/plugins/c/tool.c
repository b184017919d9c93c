/* Makes slugs: what a text is called in a URL. */
#include "glue/compozy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static cz_value *slugify(const cz_value *input) {
  const char *text = cz_string(cz_get(input, "text"));
  char *slug = calloc(1, strlen(text) * 2 + 1), *end = slug;
  int words = 0;
  bool inside = false;
  for (; slug && *text; text++) {
    unsigned char byte = (unsigned char)*text;
    bool letter = byte >= 0x80 || isalnum(byte);
    if (letter && !inside && words++ > 0) *end++ = '-';
    if (letter) *end++ = (char)tolower(byte);
    inside = letter;
  }
  if (words == 0) return cz_fail("empty", "the text has no words");
  cz_value *output = cz_object();
  cz_set(output, "slug", cz_from_string(slug));
  cz_set(output, "words", cz_from_number(words));
  return output;
}

static bool is_taken(const cz_value *taken, const char *slug) {
  for (size_t i = 0; i < cz_length(taken); i++)
    if (strcmp(cz_string(cz_at(taken, i)), slug) == 0) return true;
  return false;
}

static cz_value *unique(const cz_value *input) {
  const cz_value *taken = cz_get(input, "taken");
  const char *slug = cz_string(cz_get(input, "slug")), *free_slug = slug;
  for (int number = 2; is_taken(taken, free_slug); number++)
    free_slug = cz_concat(slug, "-", cz_print(cz_from_number(number)), NULL);
  cz_value *output = cz_object();
  cz_set(output, "slug", cz_from_string(free_slug));
  return output;
}

static const cz_function functions[] = {
    {
        .name = "slugify",
        .description = "The slug of a text, and how many words it has",
        .input = "{\"type\": \"object\", \"required\": [\"text\"], \"properties\": {\"text\": {\"type\": \"string\"}}}",
        .read_only = true,
        .idempotent = true,
        .run = slugify,
    },
    {
        .name = "unique",
        .description = "The slug, with a number behind it if it is taken",
        .input = "{\"type\": \"object\", \"required\": [\"slug\", \"taken\"], \"properties\": {\"slug\": {\"type\": \"string\"},"
                 " \"taken\": {\"type\": \"array\", \"items\": {\"type\": \"string\"}}}}",
        .read_only = true,
        .idempotent = true,
        .run = unique,
    },
    {0},
};

const cz_tool cz_plugin = {.summary = "Makes slugs", .version = "0.1.0", .functions = functions};
