#include "base/option.h"

#include "base/memory.h"
#include "base/option_value.h"
#include "base/text.h"

#include <stdlib.h>

#define VALUE_SHOWN_BYTES 96 /* of a refused value, which may be a whole file */

/* How a value reached us, for the sentence that refuses it. */
enum origin { ORIGIN_DEFAULT, ORIGIN_ENVIRONMENT, ORIGIN_FLAG };

static struct result refuse(const struct option *option, enum origin origin, const char *value)
{
    char reason[160];
    option_value_describe_valid(option, reason, sizeof reason);
    int shown = (int)strnlen(value, VALUE_SHOWN_BYTES);
    if (origin == ORIGIN_FLAG) {
        return result_fail(RESULT_INVALID, "invalid flag --%s %.*s (%s)", option->flag, shown, value, reason);
    }
    const char *name = option->environment != NULL ? option->environment : option->flag;
    return result_fail(RESULT_INVALID, "invalid env var %s=%.*s (%s)", name, shown, value, reason);
}

static struct result set(const struct option *option, void *settings, enum origin origin, const char *value)
{
    return option_value_set(option, settings, value) ? result_ok() : refuse(option, origin, value);
}

struct result options_from_environment(const struct option *options, size_t count, void *settings)
{
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        if (option->default_text != NULL && option->kind != OPTION_DOCUMENTED) {
            RESULT_TRY(set(option, settings, ORIGIN_DEFAULT, option->default_text));
        }
        if (option_is_set_in_environment(option)) {
            RESULT_TRY(set(option, settings, ORIGIN_ENVIRONMENT, getenv(option->environment)));
        }
    }
    return result_ok();
}

bool option_is_set_in_environment(const struct option *option)
{
    return option->environment != NULL && getenv(option->environment) != NULL;
}

/* The Levenshtein distance, with one row of the table at a time. */
static size_t edit_distance(struct bytes left, const char *right)
{
    size_t row[64];
    size_t columns = strlen(right);
    if (columns >= ARRAY_LENGTH(row)) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= columns; j++) {
        row[j] = j;
    }
    for (size_t i = 0; i < left.length; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < columns; j++) {
            size_t substituted = diagonal + (left.data[i] == (uint8_t)right[j] ? 0 : 1);
            diagonal = row[j + 1];
            size_t shifted = (row[j] < diagonal ? row[j] : diagonal) + 1;
            row[j + 1] = substituted < shifted ? substituted : shifted;
        }
    }
    return row[columns];
}

static struct result refuse_unknown(const struct option *options, size_t count, struct bytes name)
{
    const char *closest = NULL;
    size_t closest_distance = 4; /* further than that it is no misspelling */
    for (size_t i = 0; i < count && name.length < 64; i++) {
        size_t distance = options[i].flag == NULL ? SIZE_MAX : edit_distance(name, options[i].flag);
        if (distance < closest_distance) {
            closest = options[i].flag;
            closest_distance = distance;
        }
    }
    int shown = (int)(name.length < VALUE_SHOWN_BYTES ? name.length : VALUE_SHOWN_BYTES);
    if (closest == NULL) {
        return result_fail(RESULT_INVALID, "unknown flag --%.*s (see --help)", shown, (const char *)name.data);
    }
    return result_fail(
        RESULT_INVALID, "unknown flag --%.*s (did you mean --%s?)", shown, (const char *)name.data, closest);
}

static const struct option *find_flag(const struct option *options, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++) {
        if (options[i].flag != NULL && bytes_equal_string(name, options[i].flag)) {
            return &options[i];
        }
    }
    return NULL;
}

struct command_line {
    char **arguments;
    int count;
    int position;
};

/* The flag's value: behind `=`, else the next argument; a lone boolean is true. NULL when it is missing. */
static const char *take_value(struct command_line *line, const struct option *option, struct bytes after_equals)
{
    if (after_equals.data != NULL) {
        return (const char *)after_equals.data;
    }
    if (option->kind == OPTION_BOOL) {
        return "true";
    }
    return line->position < line->count ? line->arguments[line->position++] : NULL;
}

static struct result apply_flag(
    const struct option *options, size_t count, void *settings, struct command_line *line, bool *was_given)
{
    struct bytes rest = bytes_of_string(line->arguments[line->position++] + strlen("--"));
    struct bytes name;
    (void)bytes_split(&rest, '=', &name);
    const struct option *option = find_flag(options, count, name);
    if (option == NULL) {
        return refuse_unknown(options, count, name);
    }
    const char *value = take_value(line, option, rest);
    if (value == NULL) {
        return result_fail(RESULT_INVALID, "flag --%s needs a value", option->flag);
    }
    if (option->kind == OPTION_STRING_LIST) {
        size_t index = (size_t)(option - options);
        if (!was_given[index]) {
            option_value_clear(option, settings);
        }
        was_given[index] = true;
        option_value_append(option, settings, value);
        return result_ok();
    }
    return set(option, settings, ORIGIN_FLAG, value);
}

struct result options_from_arguments(
    const struct option *options, size_t count, void *settings, int argument_count, char **arguments, int *rest)
{
    struct command_line line = { arguments, argument_count, 0 };
    bool *AUTO_FREE was_given = memory_allocate_zeroed(count, sizeof *was_given);
    while (line.position < line.count) {
        const char *argument = line.arguments[line.position];
        if (text_equal(argument, "--")) {
            line.position++;
            break;
        }
        if (argument[0] != '-' || argument[1] == '\0') {
            break;
        }
        if (argument[1] != '-') {
            return result_fail(
                RESULT_INVALID, "unknown flag %.96s (flags begin with two dashes; see --help)", argument);
        }
        RESULT_TRY(apply_flag(options, count, settings, &line, was_given));
    }
    *rest = line.position;
    return result_ok();
}

void options_free(const struct option *options, size_t count, void *settings)
{
    for (size_t i = 0; i < count; i++) {
        option_value_clear(&options[i], settings);
    }
}
