/* One log line as text, in the two formats of ztunnel-management §9. No state. */
#ifndef AMBAR_BASE_LOG_LINE_H
#define AMBAR_BASE_LOG_LINE_H

#include "base/log.h"
#include "base/writer.h"

struct log_line {
    int64_t wall_ns;
    enum log_level level;
    const char *target;
    const char *message; /* NULL: a line of fields only */
    const struct log_field *fields;
    size_t field_count;
    const struct log_spans *spans; /* NULL: none */
};

/* Appends the line and its newline. */
void log_line_write_plain(const struct log_line *line, struct writer *out);
void log_line_write_json(const struct log_line *line, struct writer *out);

/* Appends text without control characters, which become escapes (\n, \u{1b}), so that it cannot pretend to be a line. */
void log_line_add_harmless(struct writer *out, const char *text);

#endif
