/* Time: a steady clock for deadlines, the wall clock for certificates and logs, durations as people write them. */
#ifndef AMBAR_BASE_CLOCK_H
#define AMBAR_BASE_CLOCK_H

#include "base/result.h"

#include <stdint.h>
#include <time.h>

#define NANOSECONDS_PER_SECOND 1000000000ULL
#define NANOSECONDS_PER_MILLISECOND 1000000ULL

/* Of any clock, those of processor time too; 0 when it cannot be read. */
uint64_t clock_read_ns(clockid_t clock);

/* CLOCK_MONOTONIC. Never 0. */
uint64_t clock_monotonic_ns(void);

/* Nanoseconds since 1970-01-01T00:00:00Z. */
int64_t clock_wall_ns(void);
int64_t clock_wall_s(void);

/* "2026-08-20T10:11:12.123456Z" for `fraction_digits` 6, "2026-08-20T10:11:12Z" for 0. `out` holds 40 bytes. */
void clock_format_rfc3339(int64_t wall_ns, int fraction_digits, char out[static 40]);
/* Of whole seconds, which reach the year 9999 of certificates; nanoseconds end in 2262. */
void clock_format_rfc3339_s(int64_t wall_s, char out[static 40]);

/* RFC 3339 with `Z` or an offset, to nanoseconds since the epoch. */
struct result clock_parse_rfc3339(const char *text, int64_t *wall_ns);

/* The duration grammar of the ztunnel environment: one or more <integer><unit>, units y mon w d h m s ms us µs ns and their
 * long forms, case-insensitive, a missing unit is seconds, pieces joined by nothing, blank, `+` or `*`. Overflow fails. */
struct result duration_parse(const char *text, uint64_t *duration_ns);

/* The span of an access-log line: "3ms", "0ms", "1500ms". `out` holds 32 bytes. */
void duration_format_ms(uint64_t duration_ns, char out[static 32]);

#endif
