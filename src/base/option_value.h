/* One value of a settings table: text to the caller's struct, and what people are told about it. Used by option.c only. */
#ifndef AMBAR_BASE_OPTION_VALUE_H
#define AMBAR_BASE_OPTION_VALUE_H

#include "base/option.h"

/* Parses and stores, replacing what was there; false leaves it as it was. */
bool option_value_set(const struct option *option, void *settings, const char *text);
/* OPTION_STRING_LIST: one more item, taken whole. */
void option_value_append(const struct option *option, void *settings, const char *text);
/* Releases and empties strings and lists; leaves all other kinds alone. */
void option_value_clear(const struct option *option, void *settings);

/* "must be true or false": what would be valid. */
void option_value_describe_valid(const struct option *option, char *out, size_t capacity);
/* "DURATION": what stands for a value in help. */
const char *option_value_placeholder(const struct option *option);

#endif
