/* Which log lines are wanted: a small table of target prefixes and levels (ztunnel-management §9, §7.1).
 *
 * A table never changes once made, so any thread may read one. Among the rules whose target is a prefix of a line's target
 * the longest decides; a rule without target is for all others, and where there is none they are off. */
#ifndef AMBAR_BASE_LOG_FILTER_H
#define AMBAR_BASE_LOG_FILTER_H

#include "base/log.h"

struct log_rule {
    char *target;
    size_t target_length;
    enum log_level level;
};

struct log_filter {
    enum log_level highest; /* of all rules: what is above it needs no look at them */
    enum log_level otherwise;
    bool has_otherwise;
    size_t rule_count;
    struct log_rule *rules; /* longest target first */
};

/* Parses a comma list of `level` or `target=level`; a later part replaces an earlier one for the same target. Without any part it
 * is "info". `always` is parsed before it, and says nothing about that; NULL: nothing. */
struct result log_filter_parse(const char *always, const char *text, struct log_filter **filter);
void log_filter_free(struct log_filter *filter);

bool log_filter_allows(const struct log_filter *filter, enum log_level level, const char *target);
bool log_filter_equal(const struct log_filter *left, const struct log_filter *right);
/* As log_filter_parse reads it, most specific first; cut where `out` ends. */
void log_filter_describe(const struct log_filter *filter, char *out, size_t capacity);

const char *log_level_name(enum log_level level);

#endif
