/* The log: lines with a level, a target, a message and fields, in the two formats of ztunnel-management §9.
 *
 * Plain:  2026-08-20T10:11:12.123456Z⇥info⇥xds::client⇥Stream established⇥k=v k="text"
 * JSON:   {"level":"info","time":"…","scope":"ztunnel::xds::client","message":"…","k":"v"}
 * Lines are formatted by the calling thread into its own queue and written by one writer thread, so no caller ever waits
 * for the terminal; a full queue drops the line and counts it, and the count is reported when there is room again.
 * Before log_start lines go straight to standard error (tests, early failures). Any thread may log. */
#ifndef AMBAR_BASE_LOG_H
#define AMBAR_BASE_LOG_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_OFF = 0, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

enum log_field_kind { LOG_FIELD_STRING, LOG_FIELD_DISPLAY, LOG_FIELD_SIGNED, LOG_FIELD_UNSIGNED, LOG_FIELD_BOOL };

struct log_field {
    const char *name;
    enum log_field_kind kind;
    union {
        const char *text; /* NULL: the field is left out */
        int64_t signed_;
        uint64_t unsigned_;
    } value;
};

/* A quoted and escaped string; a bare value (an address, an identifier); numbers. */
#define LOG_STRING(name_, text_) ((struct log_field){ (name_), LOG_FIELD_STRING, { .text = (text_) } })
#define LOG_DISPLAY(name_, text_) ((struct log_field){ (name_), LOG_FIELD_DISPLAY, { .text = (text_) } })
#define LOG_SIGNED(name_, number_) ((struct log_field){ (name_), LOG_FIELD_SIGNED, { .signed_ = (number_) } })
#define LOG_NUMBER(name_, number_) ((struct log_field){ (name_), LOG_FIELD_UNSIGNED, { .unsigned_ = (number_) } })
#define LOG_BOOL(name_, value_) ((struct log_field){ (name_), LOG_FIELD_BOOL, { .unsigned_ = (value_) ? 1 : 0 } })

struct log_settings {
    bool is_json;
    const char
        *filter; /* RUST_LOG grammar: comma list of `level` or `target=level`, longest prefix wins; NULL is "info" */
    int output;  /* file descriptor, usually 1 */
};

/* Starts the writer thread. Fails on an invalid filter, naming the part at fault. */
struct result log_start(const struct log_settings *settings);
/* Writes out what is queued and ends the writer thread. */
void log_stop(void);

/* Replaces the filter at run time. */
struct result log_set_filter(const char *filter);
/* The current filter, most specific first, as `/logging` prints it ("access=debug,info"). */
void log_describe_filter(char *out, size_t capacity);

bool log_is_enabled(enum log_level level, const char *target);

/* Writes one line; `target` is a constant such as "ztunnel::xds::client", printed without the leading "ztunnel::" in plain
 * form. Use the macros below, which evaluate their fields only when the level is enabled. */
void log_write(
    enum log_level level, const char *target, const char *message, const struct log_field *fields, size_t field_count);

#define LOG_EVENT(level_, target_, message_, ...)                                                                      \
    do {                                                                                                               \
        if (log_is_enabled((level_), (target_))) {                                                                     \
            const struct log_field log_fields_[] = { __VA_ARGS__ };                                                    \
            log_write((level_), (target_), (message_), log_fields_, sizeof log_fields_ / sizeof(struct log_field));    \
        }                                                                                                              \
    } while (0)

/* A line with a formatted message and no fields. Control characters in it are escaped, for parts of it may come from peers;
 * log_write takes its message, a constant or a text of our own, as it is. */
void log_print(enum log_level level, const char *target, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* What never reached the output, and what waits for it. Any thread. */
struct log_statistics {
    uint64_t dropped_full; /* lines that found the queue full */
    uint64_t dropped_rate; /* lines that a struct log_limit left out */
    uint64_t queued_bytes;
};
struct log_statistics log_statistics(void);

/* A limit for one place that peers can make noisy: at most `burst` lines a second. Zero-initialise (static) per call site.
 * Returns false when the line should be left out; `*dropped` says how many were left out since the last one printed. */
struct log_limit {
    _Atomic uint64_t window_s;
    _Atomic uint32_t in_window;
    _Atomic uint64_t dropped;
};
bool log_limit_allows(struct log_limit *limit, uint32_t burst, uint64_t *dropped);

#endif
