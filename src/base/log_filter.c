#include "base/log_filter.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

#include <stdlib.h>
#include <strings.h>

#define RULES_MAXIMUM 64

static const char *const level_names[] = { "off", "error", "warn", "info", "debug", "trace" };

const char *log_level_name(enum log_level level)
{
    return (unsigned)level < ARRAY_LENGTH(level_names) ? level_names[level] : "off";
}

static bool parse_level(struct bytes text, enum log_level *level)
{
    for (size_t i = 0; i < ARRAY_LENGTH(level_names); i++) {
        if (strlen(level_names[i]) == text.length &&
            strncasecmp(level_names[i], (const char *)text.data, text.length) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

static struct log_rule *find_rule(struct log_filter *filter, struct bytes target)
{
    for (size_t i = 0; i < filter->rule_count; i++) {
        if (bytes_equal_string(target, filter->rules[i].target)) {
            return &filter->rules[i];
        }
    }
    return NULL;
}

static struct result set_rule(struct log_filter *filter, struct bytes target, enum log_level level)
{
    struct log_rule *rule = find_rule(filter, target);
    if (rule != NULL) {
        rule->level = level;
        return result_ok();
    }
    if (filter->rule_count == RULES_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "a log filter has at most %d targets", RULES_MAXIMUM);
    }
    filter->rules = memory_resize(filter->rules, filter->rule_count + 1, sizeof *filter->rules);
    filter->rules[filter->rule_count++] = (struct log_rule){
        .target = string_duplicate_n((const char *)target.data, target.length),
        .target_length = target.length,
        .level = level,
    };
    return result_ok();
}

static struct result parse_part(struct log_filter *filter, struct bytes part)
{
    struct bytes level_text = part, target;
    enum log_level level;
    bool has_target = memchr(part.data, '=', part.length) != NULL;
    if (has_target) {
        (void)bytes_split(&level_text, '=', &target);
        target = bytes_trim(target);
        level_text = bytes_trim(level_text);
    }
    if ((has_target && target.length == 0) || !parse_level(level_text, &level)) {
        return result_fail(RESULT_INVALID,
            "%.*s: not a log filter; valid are off, error, warn, info, debug, trace or target=LEVEL",
            (int)(part.length < 100 ? part.length : 100), (const char *)part.data);
    }
    if (has_target) {
        return set_rule(filter, target, level);
    }
    filter->otherwise = level;
    filter->has_otherwise = true;
    return result_ok();
}

static int compare_rules(const void *left, const void *right)
{
    const struct log_rule *left_rule = left, *right_rule = right;
    if (left_rule->target_length != right_rule->target_length) {
        return left_rule->target_length > right_rule->target_length ? -1 : 1;
    }
    return strcmp(left_rule->target, right_rule->target);
}

static void finish(struct log_filter *filter)
{
    if (filter->rule_count > 0) {
        qsort(filter->rules, filter->rule_count, sizeof *filter->rules, compare_rules);
    }
    filter->highest = filter->otherwise;
    for (size_t i = 0; i < filter->rule_count; i++) {
        if (filter->rules[i].level > filter->highest) {
            filter->highest = filter->rules[i].level;
        }
    }
}

static struct result parse_list(struct log_filter *filter, const char *text, size_t *part_count)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes part;
    while (bytes_split(&rest, ',', &part)) {
        part = bytes_trim(part);
        if (part.length > 0) {
            RESULT_TRY(parse_part(filter, part));
            (*part_count)++;
        }
    }
    return result_ok();
}

/* What is described can be read back whole, and a filter that is kept takes little memory. */
static struct result check_length(const struct log_filter *filter)
{
    size_t bytes = sizeof "error";
    for (size_t i = 0; i < filter->rule_count; i++) {
        bytes += filter->rules[i].target_length + strlen("=error,");
    }
    return bytes <= LOG_FILTER_TEXT_BYTES
               ? result_ok()
               : result_fail(RESULT_LIMIT, "a log filter is at most %d bytes long", LOG_FILTER_TEXT_BYTES);
}

struct result log_filter_parse(const char *always, const char *text, struct log_filter **filter)
{
    struct log_filter *parsed = NEW(struct log_filter);
    size_t part_count = 0;
    struct result result = parse_list(parsed, always != NULL ? always : "", &part_count);
    if (result_is_ok(&result)) {
        part_count = 0;
        result = parse_list(parsed, text, &part_count);
    }
    if (result_is_ok(&result)) {
        result = check_length(parsed);
    }
    if (!result_is_ok(&result)) {
        log_filter_free(parsed);
        return result;
    }
    if (part_count == 0) {
        parsed->otherwise = LOG_INFO;
        parsed->has_otherwise = true;
    }
    finish(parsed);
    *filter = parsed;
    return result_ok();
}

void log_filter_free(struct log_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    for (size_t i = 0; i < filter->rule_count; i++) {
        memory_free(filter->rules[i].target);
    }
    memory_free(filter->rules);
    memory_free(filter);
}

bool log_filter_allows(const struct log_filter *filter, enum log_level level, const char *target)
{
    if (level > filter->highest) {
        return false;
    }
    for (size_t i = 0; i < filter->rule_count; i++) {
        if (strncmp(target, filter->rules[i].target, filter->rules[i].target_length) == 0) {
            return level <= filter->rules[i].level;
        }
    }
    return level <= filter->otherwise;
}

bool log_filter_equal(const struct log_filter *left, const struct log_filter *right)
{
    if (left->otherwise != right->otherwise || left->has_otherwise != right->has_otherwise ||
        left->rule_count != right->rule_count) {
        return false;
    }
    for (size_t i = 0; i < left->rule_count; i++) {
        if (left->rules[i].level != right->rules[i].level ||
            !text_equal(left->rules[i].target, right->rules[i].target)) {
            return false;
        }
    }
    return true;
}

void log_filter_describe(const struct log_filter *filter, char *out, size_t capacity)
{
    struct writer writer = writer_fixed(out, capacity);
    for (size_t i = 0; i < filter->rule_count; i++) {
        writer_print(
            &writer, "%s%s=%s", i > 0 ? "," : "", filter->rules[i].target, log_level_name(filter->rules[i].level));
    }
    if (filter->has_otherwise) {
        writer_print(&writer, "%s%s", filter->rule_count > 0 ? "," : "", log_level_name(filter->otherwise));
    }
    (void)writer_string(&writer);
}
