/* The log: lines with a level, a target, a message and fields, in the two formats of ztunnel-management §9.
 *
 * Plain:  2026-08-20T10:11:12.123456Z⇥info⇥xds::client:xds{id=1}⇥Stream established⇥k=v k="text"
 * JSON:   {"level":"info","time":"…","scope":"ztunnel::xds::client","message":"…","k":"v","xds":{"id":1}}
 * Lines are formatted by the calling thread into its own queue and written by one writer thread, so no caller ever waits
 * for the terminal; a full queue drops the line and counts it, and the count is reported when there is room again.
 * Before log_start lines go straight to standard error (tests, early failures). Any thread may log. */
#ifndef AMBAR_BASE_LOG_H
#define AMBAR_BASE_LOG_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_OFF = 0, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

/* A filter as text, its NUL included. */
#define LOG_FILTER_TEXT_BYTES 4096

enum log_field_kind { LOG_FIELD_STRING, LOG_FIELD_DISPLAY, LOG_FIELD_SIGNED, LOG_FIELD_UNSIGNED, LOG_FIELD_BOOL };

struct log_field {
    const char *name; /* NULL: the field is left out */
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

/* What a line belongs to, outermost first: `proxy{wl=ns/name}:inbound{id=… peer=…}`. Nobody keeps spans: they are made for the
 * line, after its level was found to be wanted, so a line that is off costs nothing. */
#define LOG_SPANS_MAXIMUM 3
#define LOG_SPAN_FIELDS_MAXIMUM 2
struct log_span {
    const char *name;
    struct log_field fields[LOG_SPAN_FIELDS_MAXIMUM]; /* those with a NULL name or text are left out */
};
struct log_spans {
    size_t count;
    struct log_span spans[LOG_SPANS_MAXIMUM];
};

struct log_settings {
    bool is_json;
    const char
        *filter; /* RUST_LOG grammar: comma list of `level` or `target=level`, longest prefix wins; NULL is "info" */
    int output;  /* file descriptor, usually 1 */
    const char *always; /* a filter in front of every one that is set; a constant; NULL: none */
};

/* Starts the writer thread. Fails on an invalid filter, naming the part at fault. */
struct result log_start(const struct log_settings *settings);
/* Writes out what is queued and ends the writer thread. */
void log_stop(void);

/* Replaces the filter at run time. RESULT_LIMIT when it is too long, has too many targets, or is one more than the
 * LOG_FILTERS_MAXIMUM different ones that a process can have had; to go back to one of those works always. */
#define LOG_FILTERS_MAXIMUM 256
struct result log_set_filter(const char *filter);
/* The current filter, most specific first, as `/logging` prints it ("access=debug,info"). */
void log_describe_filter(char *out, size_t capacity);

bool log_is_enabled(enum log_level level, const char *target);

/* Writes one line; `target` is a constant such as "ztunnel::xds::client", printed without the leading "ztunnel::" in plain
 * form. Use the macros below, which evaluate their fields only when the level is enabled. */
void log_write(
    enum log_level level, const char *target, const char *message, const struct log_field *fields, size_t field_count);

/* The same within spans; NULL: none. */
void log_write_in(const struct log_spans *spans, enum log_level level, const char *target, const char *message,
    const struct log_field *fields, size_t field_count);

#define LOG_EVENT(level_, target_, message_, ...) LOG_EVENT_IN(NULL, level_, target_, message_, __VA_ARGS__)

/* `spans_` is an expression for a const struct log_spans *, evaluated like the fields only when the level is enabled. */
#define LOG_EVENT_IN(spans_, level_, target_, message_, ...)                                                           \
    do {                                                                                                               \
        if (log_is_enabled((level_), (target_))) {                                                                     \
            const struct log_field log_fields_[] = { __VA_ARGS__ };                                                    \
            log_write_in((spans_), (level_), (target_), (message_), log_fields_,                                       \
                sizeof log_fields_ / sizeof(struct log_field));                                                        \
        }                                                                                                              \
    } while (0)

/* A line with a formatted message and no fields. Control characters in it are escaped, for parts of it may come from peers;
 * log_write takes its message, a constant or a text of our own, as it is. */
void log_print(enum log_level level, const char *target, const char *format, ...) __attribute__((format(printf, 3, 4)));

void log_print_in(const struct log_spans *spans, enum log_level level, const char *target, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

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

/* log_print_in with a field `dropped`, unless that is 0. */
void log_print_dropped(const struct log_spans *spans, enum log_level level, const char *target, uint64_t dropped,
    const char *format, ...) __attribute__((format(printf, 5, 6)));

/* log_print_in for such a place: at most `burst_` lines a second, and the next one after some were left out says how many. */
#define LOG_PRINT_LIMITED(burst_, spans_, level_, target_, ...)                                                        \
    do {                                                                                                               \
        static struct log_limit log_limit_;                                                                            \
        uint64_t log_dropped_;                                                                                         \
        if (log_is_enabled((level_), (target_)) && log_limit_allows(&log_limit_, (burst_), &log_dropped_)) {           \
            log_print_dropped((spans_), (level_), (target_), log_dropped_, __VA_ARGS__);                               \
        }                                                                                                              \
    } while (0)

/* LOG_EVENT_IN for such a place: at most `burst_` lines a second, with a field `dropped` on the next one after some were left out. */
#define LOG_EVENT_LIMITED(burst_, spans_, level_, target_, message_, ...)                                              \
    do {                                                                                                               \
        static struct log_limit log_limit_;                                                                            \
        uint64_t log_dropped_;                                                                                         \
        if (log_is_enabled((level_), (target_)) && log_limit_allows(&log_limit_, (burst_), &log_dropped_)) {           \
            const struct log_field log_fields_[] = { __VA_ARGS__ __VA_OPT__(, )                                        \
                    LOG_NUMBER(log_dropped_ > 0 ? "dropped" : NULL, log_dropped_) };                                   \
            log_write_in((spans_), (level_), (target_), (message_), log_fields_,                                       \
                sizeof log_fields_ / sizeof(struct log_field));                                                        \
        }                                                                                                              \
    } while (0)

#endif
