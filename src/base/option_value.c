#include "base/option_value.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

/* Offsets come from offsetof of a field of the very type that the kind says. */
static void *field_of(const struct option *option, void *settings)
{
    return (char *)settings + option->offset;
}

static bool set_unsigned(const struct option *option, void *field, const char *text)
{
    static const uint64_t maxima[] = {
        [OPTION_U16] = UINT16_MAX, [OPTION_U32] = UINT32_MAX, [OPTION_U64] = UINT64_MAX
    };
    uint64_t value;
    if (!text_to_u64(text, maxima[option->kind], &value)) {
        return false;
    }
    if (option->kind == OPTION_U16) {
        *(uint16_t *)field = (uint16_t)value;
    } else if (option->kind == OPTION_U32) {
        *(uint32_t *)field = (uint32_t)value;
    } else {
        *(uint64_t *)field = value;
    }
    return true;
}

static bool set_choice(const struct option *option, int *field, const char *text)
{
    for (int i = 0; option->choices[i] != NULL; i++) {
        if (text_equal(option->choices[i], text)) {
            *field = i;
            return true;
        }
    }
    return false;
}

/* Comma-separated; blanks around an item and empty items are nothing. */
static void set_list(const struct option *option, void *settings, const char *text)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes item;
    option_value_clear(option, settings);
    while (bytes_split(&rest, ',', &item)) {
        item = bytes_trim(item);
        if (item.length > 0) {
            char *AUTO_FREE copy = string_duplicate_n((const char *)item.data, item.length);
            option_value_append(option, settings, copy);
        }
    }
}

bool option_value_set(const struct option *option, void *settings, const char *text)
{
    void *field = field_of(option, settings);
    switch (option->kind) {
    case OPTION_STRING:
        option_value_clear(option, settings);
        *(char **)field = string_duplicate(text);
        return true;
    case OPTION_STRING_LIST:
        set_list(option, settings, text);
        return true;
    case OPTION_BOOL:
        return text_to_bool(text, field);
    case OPTION_U16:
    case OPTION_U32:
    case OPTION_U64:
        return set_unsigned(option, field, text);
    case OPTION_DURATION: {
        struct result result = duration_parse(text, field);
        return result_is_ok(&result);
    }
    case OPTION_CHOICE:
        return set_choice(option, field, text);
    case OPTION_WORD:
        *(int *)field = 0;
        (void)set_choice(option, field, text);
        return true;
    case OPTION_SWITCH:
        *(bool *)field = text_equal(text, "true");
        return true;
    case OPTION_DOCUMENTED:
        return true;
    }
    return false;
}

void option_value_append(const struct option *option, void *settings, const char *text)
{
    struct option_list *list = field_of(option, settings);
    list->items = memory_resize(list->items, list->count + 1, sizeof *list->items);
    list->items[list->count++] = string_duplicate(text);
}

void option_value_clear(const struct option *option, void *settings)
{
    void *field = field_of(option, settings);
    if (option->kind == OPTION_STRING) {
        memory_free(*(char **)field);
        *(char **)field = NULL;
    } else if (option->kind == OPTION_STRING_LIST) {
        struct option_list *list = field;
        for (size_t i = 0; i < list->count; i++) {
            memory_free(list->items[i]);
        }
        memory_free(list->items);
        *list = (struct option_list){ 0 };
    }
}

void option_value_describe_valid(const struct option *option, char *out, size_t capacity)
{
    struct writer writer = writer_fixed(out, capacity);
    switch (option->kind) {
    case OPTION_STRING:
    case OPTION_STRING_LIST:
    case OPTION_DOCUMENTED:
        writer_add_string(&writer, "must be text");
        break;
    case OPTION_BOOL:
    case OPTION_SWITCH:
        writer_add_string(&writer, "must be true or false");
        break;
    case OPTION_U16:
        writer_add_string(&writer, "must be a whole number from 0 to 65535");
        break;
    case OPTION_U32:
        writer_add_string(&writer, "must be a whole number from 0 to 4294967295");
        break;
    case OPTION_U64:
        writer_add_string(&writer, "must be a whole number from 0 to 18446744073709551615");
        break;
    case OPTION_DURATION:
        writer_add_string(&writer, "must be a duration such as 5m, 1h30m or 90 (seconds)");
        break;
    case OPTION_CHOICE:
    case OPTION_WORD:
        writer_print(&writer, "%s must be one of ", option->environment != NULL ? option->environment : option->flag);
        for (size_t i = 0; option->choices[i] != NULL; i++) {
            writer_print(&writer, "%s%s", i > 0 ? ", " : "", option->choices[i]);
        }
        break;
    }
    (void)writer_string(&writer);
}

const char *option_value_placeholder(const struct option *option)
{
    switch (option->kind) {
    case OPTION_STRING:
    case OPTION_DOCUMENTED:
        return option->unit != NULL ? option->unit : "text";
    case OPTION_STRING_LIST:
        return option->unit != NULL ? option->unit : "text, ...";
    case OPTION_BOOL:
    case OPTION_SWITCH:
        return "true|false";
    case OPTION_U16:
    case OPTION_U32:
    case OPTION_U64:
        return option->unit != NULL ? option->unit : "number";
    case OPTION_DURATION:
        return "duration";
    case OPTION_CHOICE:
    case OPTION_WORD:
        return "choice";
    }
    return "value";
}
