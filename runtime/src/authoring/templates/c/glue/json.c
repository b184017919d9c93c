/* JSON values as a tree. Part of the generated project; do not edit. */
#include "compozy.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 128

struct cz_value {
  cz_kind kind;
  bool truth;
  double number;
  char *text;       /* of a string; of a number that was read, as it was written */
  size_t length;    /* bytes of text; items of an array or object */
  size_t capacity;  /* room for items */
  char **keys;      /* of an object */
  cz_value **items; /* of an array or object */
};

static void *take(size_t size) {
  void *memory = calloc(1, size ? size : 1);
  if (!memory) abort();
  return memory;
}

static char *copy(const char *text, size_t length) {
  char *made = take(length + 1);
  memcpy(made, text, length);
  return made;
}

static cz_value *make(cz_kind kind) {
  cz_value *value = take(sizeof *value);
  value->kind = kind;
  return value;
}

/* ---- Reading --------------------------------------------------------------------------------------------------- */

cz_kind cz_kind_of(const cz_value *value) { return value ? value->kind : CZ_NULL; }

cz_value *cz_get(const cz_value *object, const char *key) {
  if (cz_kind_of(object) != CZ_OBJECT) return NULL;
  for (size_t i = object->length; i-- > 0;)
    if (strcmp(object->keys[i], key) == 0) return object->items[i];
  return NULL;
}

cz_value *cz_at(const cz_value *array, size_t index) {
  return cz_kind_of(array) == CZ_ARRAY && index < array->length ? array->items[index] : NULL;
}

size_t cz_length(const cz_value *value) {
  cz_kind kind = cz_kind_of(value);
  return kind == CZ_STRING || kind == CZ_ARRAY || kind == CZ_OBJECT ? value->length : 0;
}

const char *cz_string(const cz_value *value) { return cz_kind_of(value) == CZ_STRING ? value->text : ""; }
double cz_number(const cz_value *value) { return cz_kind_of(value) == CZ_NUMBER ? value->number : 0; }
bool cz_bool(const cz_value *value) { return cz_kind_of(value) == CZ_BOOL && value->truth; }

/* ---- Making ---------------------------------------------------------------------------------------------------- */

cz_value *cz_null(void) { return make(CZ_NULL); }
cz_value *cz_array(void) { return make(CZ_ARRAY); }
cz_value *cz_object(void) { return make(CZ_OBJECT); }

cz_value *cz_from_bool(bool truth) {
  cz_value *value = make(CZ_BOOL);
  value->truth = truth;
  return value;
}

cz_value *cz_from_number(double number) {
  cz_value *value = make(CZ_NUMBER);
  value->number = number;
  return value;
}

static cz_value *from_text(char *text, size_t length) {
  cz_value *value = make(CZ_STRING);
  value->text = text;
  value->length = length;
  return value;
}

cz_value *cz_from_string(const char *text) {
  size_t length = text ? strlen(text) : 0;
  return from_text(copy(text ? text : "", length), length);
}

static void append(cz_value *value, char *key, cz_value *item) {
  if (value->length == value->capacity) {
    value->capacity = value->capacity ? value->capacity * 2 : 8;
    value->items = realloc(value->items, value->capacity * sizeof *value->items);
    value->keys = realloc(value->keys, value->capacity * sizeof *value->keys);
    if (!value->items || !value->keys) abort();
  }
  value->keys[value->length] = key;
  value->items[value->length++] = item ? item : cz_null();
}

void cz_push(cz_value *array, cz_value *item) {
  if (cz_kind_of(array) == CZ_ARRAY) append(array, NULL, item);
}

void cz_set(cz_value *object, const char *key, cz_value *item) {
  if (cz_kind_of(object) != CZ_OBJECT) return;
  for (size_t i = 0; i < object->length; i++) {
    if (strcmp(object->keys[i], key) == 0) {
      object->items[i] = item ? item : cz_null();
      return;
    }
  }
  append(object, copy(key, strlen(key)), item);
}

/* ---- From text ------------------------------------------------------------------------------------------------- */

typedef struct {
  const char *at;
  int depth;
} reader;

static cz_value *read_value(reader *in);

static void skip_space(reader *in) {
  while (*in->at == ' ' || *in->at == '\t' || *in->at == '\n' || *in->at == '\r') in->at++;
}

static bool eat(reader *in, char wanted) {
  skip_space(in);
  if (*in->at != wanted) return false;
  in->at++;
  return true;
}

static bool eat_word(reader *in, const char *word) {
  size_t length = strlen(word);
  if (strncmp(in->at, word, length) != 0) return false;
  in->at += length;
  return true;
}

static int read_hex(reader *in) {
  int code = 0;
  for (int i = 0; i < 4; i++) {
    char c = *in->at;
    int digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
    if (digit < 0) return -1;
    code = code * 16 + digit;
    in->at++;
  }
  return code;
}

static char *put_utf8(char *out, int code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out++ = (char)(0xE0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  } else {
    *out++ = (char)(0xF0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 0x3F));
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  }
  return out;
}

static char *read_escape(reader *in, char *out) {
  char c = *in->at++;
  if (c != 'u') {
    const char *plain = "\"\\/bfnrt", *meant = "\"\\/\b\f\n\r\t", *found = c ? strchr(plain, c) : NULL;
    if (!found) return NULL;
    *out++ = meant[found - plain];
    return out;
  }
  int code = read_hex(in);
  if (code >= 0xD800 && code < 0xDC00 && in->at[0] == '\\' && in->at[1] == 'u') {
    in->at += 2;
    int low = read_hex(in);
    if (low < 0xDC00 || low > 0xDFFF) return NULL;
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  if (code < 0 || (code >= 0xD800 && code < 0xE000)) return NULL;
  return put_utf8(out, code);
}

static char *read_text(reader *in, size_t *length) {
  /* What is read is never longer than how it is written. */
  const char *end = in->at;
  while (*end && *end != '"') end += *end == '\\' && end[1] ? 2 : 1;
  char *made = take((size_t)(end - in->at) + 1), *out = made;
  while (*in->at != '"') {
    if ((unsigned char)*in->at < 0x20) return NULL;
    if (*in->at != '\\') {
      *out++ = *in->at++;
      continue;
    }
    in->at++;
    if (!(out = read_escape(in, out))) return NULL;
  }
  in->at++;
  *length = (size_t)(out - made);
  return made;
}

static bool digits(reader *in) {
  const char *begin = in->at;
  while (*in->at >= '0' && *in->at <= '9') in->at++;
  return in->at > begin;
}

static cz_value *read_number(reader *in) {
  const char *begin = in->at;
  if (*in->at == '-') in->at++;
  if (*in->at == '0') in->at++;
  else if (!digits(in)) return NULL;
  if (*in->at == '.' && (in->at++, !digits(in))) return NULL;
  if (*in->at == 'e' || *in->at == 'E') {
    in->at++;
    if (*in->at == '+' || *in->at == '-') in->at++;
    if (!digits(in)) return NULL;
  }
  cz_value *value = make(CZ_NUMBER);
  value->text = copy(begin, (size_t)(in->at - begin));
  value->number = strtod(value->text, NULL);
  return value;
}

static cz_value *read_array(reader *in) {
  cz_value *array = cz_array();
  if (eat(in, ']')) return array;
  do {
    cz_value *item = read_value(in);
    if (!item) return NULL;
    cz_push(array, item);
  } while (eat(in, ','));
  return eat(in, ']') ? array : NULL;
}

static cz_value *read_object(reader *in) {
  cz_value *object = cz_object();
  if (eat(in, '}')) return object;
  do {
    size_t length;
    char *key = eat(in, '"') ? read_text(in, &length) : NULL;
    cz_value *item = key && eat(in, ':') ? read_value(in) : NULL;
    if (!item) return NULL;
    append(object, key, item);
  } while (eat(in, ','));
  return eat(in, '}') ? object : NULL;
}

static cz_value *read_value(reader *in) {
  cz_value *value = NULL;
  if (++in->depth > MAX_DEPTH) return NULL;
  skip_space(in);
  switch (*in->at) {
    case 'n': value = eat_word(in, "null") ? cz_null() : NULL; break;
    case 't': value = eat_word(in, "true") ? cz_from_bool(true) : NULL; break;
    case 'f': value = eat_word(in, "false") ? cz_from_bool(false) : NULL; break;
    case '[': in->at++; value = read_array(in); break;
    case '{': in->at++; value = read_object(in); break;
    case '"': {
      size_t length;
      in->at++;
      char *text = read_text(in, &length);
      value = text ? from_text(text, length) : NULL;
      break;
    }
    default: value = read_number(in);
  }
  in->depth--;
  return value;
}

cz_value *cz_parse(const char *text) {
  reader in = {text, 0};
  cz_value *value = read_value(&in);
  skip_space(&in);
  return *in.at == '\0' ? value : NULL;
}

/* ---- To text --------------------------------------------------------------------------------------------------- */

typedef struct {
  char *text;
  size_t length, capacity;
} writer;

static void put(writer *out, const char *text, size_t length) {
  if (out->length + length + 1 > out->capacity) {
    out->capacity = (out->length + length + 1) * 2;
    out->text = realloc(out->text, out->capacity);
    if (!out->text) abort();
  }
  memcpy(out->text + out->length, text, length);
  out->length += length;
  out->text[out->length] = '\0';
}

static void write_text(writer *out, const char *text, size_t length) {
  static const char hex[] = "0123456789abcdef";
  put(out, "\"", 1);
  for (size_t i = 0; i < length; i++) {
    unsigned char c = (unsigned char)text[i];
    if (c == '"' || c == '\\') put(out, (char[]){'\\', (char)c}, 2);
    else if (c < 0x20) put(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    else put(out, text + i, 1);
  }
  put(out, "\"", 1);
}

/* Writes an integer's digits and answers how many bytes that are. Not snprintf: it would import files from WASI. */
static size_t print_integer(char *to, long long integer) {
  char reversed[24];
  size_t count = 0, length = 0;
  unsigned long long rest = integer < 0 ? 0 - (unsigned long long)integer : (unsigned long long)integer;
  do reversed[count++] = (char)('0' + rest % 10);
  while (rest /= 10);
  if (integer < 0) to[length++] = '-';
  while (count > 0) to[length++] = reversed[--count];
  return length;
}

/* The fewest of at most 17 digits that read as the same number again. */
static size_t print_fraction(char *to, double number) {
  int exponent = 0;
  long double scaled = number < 0 ? -(long double)number : number;
  for (; scaled >= 10; exponent++) scaled /= 10;
  for (; scaled < 1; exponent--) scaled *= 10;
  size_t length = 0;
  for (int more = 0; more < 17; more++, scaled *= 10) {
    long long digits = (long long)(scaled + 0.5L);
    length = print_integer(to, number < 0 ? -digits : digits);
    to[length++] = 'e';
    length += print_integer(to + length, exponent - more);
    to[length] = '\0';
    if (strtod(to, NULL) == number) break;
  }
  return length;
}

static void write_number(writer *out, const cz_value *value) {
  char text[48];
  double number = value->number;
  if (value->text) put(out, value->text, strlen(value->text));
  else if (number != number || number - number != 0) put(out, "null", 4); /* JSON has neither NaN nor infinity. */
  else if (number > -9007199254740992.0 && number < 9007199254740992.0 && number == (double)(long long)number)
    put(out, text, print_integer(text, (long long)number));
  else put(out, text, print_fraction(text, number));
}

static void write_value(writer *out, const cz_value *value) {
  switch (cz_kind_of(value)) {
    case CZ_NULL: put(out, "null", 4); break;
    case CZ_BOOL: value->truth ? put(out, "true", 4) : put(out, "false", 5); break;
    case CZ_NUMBER: write_number(out, value); break;
    case CZ_STRING: write_text(out, value->text, value->length); break;
    case CZ_ARRAY:
    case CZ_OBJECT: {
      bool object = value->kind == CZ_OBJECT;
      put(out, object ? "{" : "[", 1);
      for (size_t i = 0; i < value->length; i++) {
        if (i > 0) put(out, ",", 1);
        if (object) {
          write_text(out, value->keys[i], strlen(value->keys[i]));
          put(out, ":", 1);
        }
        write_value(out, value->items[i]);
      }
      put(out, object ? "}" : "]", 1);
    }
  }
}

char *cz_print(const cz_value *value) {
  writer out = {0};
  write_value(&out, value);
  return out.text;
}

/* ---- Text ------------------------------------------------------------------------------------------------------ */

char *cz_concat(const char *first, ...) {
  writer out = {0};
  va_list rest;
  put(&out, "", 0);
  va_start(rest, first);
  for (const char *piece = first; piece; piece = va_arg(rest, const char *)) put(&out, piece, strlen(piece));
  va_end(rest);
  return out.text;
}

char *cz_trim(const char *text) {
  static const char space[] = " \t\n\v\f\r";
  text += strspn(text, space);
  size_t length = strlen(text);
  while (length > 0 && strchr(space, text[length - 1])) length--;
  return copy(text, length);
}
