#include "base/clock.h"

#include "base/text.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

uint64_t clock_read_ns(clockid_t clock)
{
    struct timespec now = { 0 };
    (void)clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void)
{
    uint64_t now = clock_read_ns(CLOCK_MONOTONIC);
    return now == 0 ? 1 : now;
}

int64_t clock_wall_ns(void)
{
    return (int64_t)clock_read_ns(CLOCK_REALTIME);
}

int64_t clock_wall_s(void)
{
    return clock_wall_ns() / (int64_t)NANOSECONDS_PER_SECOND;
}

static size_t format_date(time_t seconds, char out[static 40])
{
    struct tm broken_down = { 0 };
    (void)gmtime_r(&seconds, &broken_down);
    return strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &broken_down);
}

void clock_format_rfc3339_s(int64_t wall_s, char out[static 40])
{
    size_t length = format_date(wall_s, out);
    snprintf(out + length, 40 - length, "Z");
}

void clock_format_rfc3339(int64_t wall_ns, int fraction_digits, char out[static 40])
{
    const int64_t second = (int64_t)NANOSECONDS_PER_SECOND;
    time_t seconds = wall_ns / second;
    int64_t fraction = wall_ns % second;
    if (fraction < 0) {
        fraction += second;
        seconds--;
    }
    size_t length = format_date(seconds, out);
    if (fraction_digits > 0) {
        char digits[16];
        snprintf(digits, sizeof digits, "%09lld", (long long)fraction);
        length +=
            (size_t)snprintf(out + length, 40 - length, ".%.*s", fraction_digits > 9 ? 9 : fraction_digits, digits);
    }
    snprintf(out + length, 40 - length, "Z");
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar, counted in years that begin in March. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t march_year = month <= 2 ? year - 1 : year;
    int64_t march_month = (month + 9) % 12;
    int64_t day_of_year = (153 * march_month + 2) / 5 + day - 1;
    return 365 * march_year + march_year / 4 - march_year / 100 + march_year / 400 + day_of_year - 719468;
}

static int days_in_month(uint64_t year, uint64_t month)
{
    static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool is_leap_year = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && is_leap_year ? 1 : 0);
}

/* Exactly `count` digits at `*at`, within the limits. */
static bool take_number(const char **at, size_t count, uint64_t minimum, uint64_t maximum, uint64_t *number)
{
    if (strnlen(*at, count) < count || !bytes_to_u64(bytes_of(*at, count), maximum, number)) {
        return false;
    }
    *at += count;
    return *number >= minimum;
}

static bool take_character(const char **at, const char *choices)
{
    if (**at == '\0' || strchr(choices, **at) == NULL) {
        return false;
    }
    (*at)++;
    return true;
}

static bool take_date(const char **at, int64_t *days)
{
    uint64_t year, month, day;
    if (!take_number(at, 4, 1, 9999, &year) || !take_character(at, "-") || !take_number(at, 2, 1, 12, &month) ||
        !take_character(at, "-") || !take_number(at, 2, 1, (uint64_t)days_in_month(year, month), &day)) {
        return false;
    }
    *days = days_from_date((int64_t)year, (int64_t)month, (int64_t)day);
    return true;
}

/* Digits beyond the ninth are read and dropped. */
static bool take_fraction(const char **at, int64_t *nanoseconds)
{
    *nanoseconds = 0;
    if (!take_character(at, ".")) {
        return true;
    }
    int64_t unit = (int64_t)NANOSECONDS_PER_SECOND / 10;
    const char *first = *at;
    while (**at >= '0' && **at <= '9') {
        *nanoseconds += (*(*at)++ - '0') * unit;
        unit /= 10;
    }
    return *at != first;
}

static bool take_offset(const char **at, int64_t *seconds)
{
    *seconds = 0;
    if (take_character(at, "Zz")) {
        return true;
    }
    bool is_west = **at == '-';
    uint64_t hours, minutes;
    if (!take_character(at, "+-") || !take_number(at, 2, 0, 23, &hours) || !take_character(at, ":") ||
        !take_number(at, 2, 0, 59, &minutes)) {
        return false;
    }
    *seconds = (int64_t)(hours * 3600 + minutes * 60) * (is_west ? -1 : 1);
    return true;
}

struct result clock_parse_rfc3339(const char *text, int64_t *wall_ns)
{
    const char *at = text;
    int64_t days, fraction, offset, total;
    uint64_t hour, minute, second;
    /* 60 is a leap second (RFC 3339 §5.6); it counts as the first second of the next minute. */
    if (!take_date(&at, &days) || !take_character(&at, "Tt") || !take_number(&at, 2, 0, 23, &hour) ||
        !take_character(&at, ":") || !take_number(&at, 2, 0, 59, &minute) || !take_character(&at, ":") ||
        !take_number(&at, 2, 0, 60, &second) || !take_fraction(&at, &fraction) || !take_offset(&at, &offset) ||
        *at != '\0') {
        return result_fail(RESULT_INVALID, "%.64s: not a time such as 2026-08-20T10:11:12Z", text);
    }
    int64_t seconds = days * 86400 + (int64_t)(hour * 3600 + minute * 60 + second) - offset;
    if (__builtin_mul_overflow(seconds, (int64_t)NANOSECONDS_PER_SECOND, &total) ||
        __builtin_add_overflow(total, fraction, &total)) {
        return result_fail(RESULT_INVALID, "%.64s: a time outside the years 1678 to 2262", text);
    }
    *wall_ns = total;
    return result_ok();
}

#define SECOND NANOSECONDS_PER_SECOND
#define DAY (86400 * SECOND)

struct duration_unit {
    const char *names; /* blank-separated */
    uint64_t nanoseconds;
};

static const struct duration_unit duration_units[] = {
    { "y year years", 365 * DAY },
    { "mon month months", 30 * DAY },
    { "w week weeks", 7 * DAY },
    { "d day days", DAY },
    { "h hr hrs hour hours", 3600 * SECOND },
    { "m min mins minute minutes", 60 * SECOND },
    { "s sec secs second seconds", SECOND },
    { "ms msec msecs millisecond milliseconds", NANOSECONDS_PER_MILLISECOND },
    /* Both characters that look like µ: U+00B5 and U+03BC. */
    { "us usec usecs microsecond microseconds \xC2\xB5s \xC2\xB5sec \xC2\xB5secs \xCE\xBCs", 1000 },
    { "ns nsec nsecs nanosecond nanoseconds", 1 },
};

static bool unit_has_name(const struct duration_unit *unit, struct bytes name)
{
    struct bytes names = bytes_of_string(unit->names);
    struct bytes candidate;
    while (bytes_split(&names, ' ', &candidate)) {
        if (candidate.length == name.length &&
            strncasecmp((const char *)candidate.data, (const char *)name.data, name.length) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_unit_character(char character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (unsigned char)character >= 0x80;
}

/* <integer>[<unit>] at `*at`. */
static bool take_span(const char **at, uint64_t *span_ns)
{
    const char *digits = *at;
    while (**at >= '0' && **at <= '9') {
        (*at)++;
    }
    uint64_t number;
    if (!bytes_to_u64(bytes_of(digits, (size_t)(*at - digits)), UINT64_MAX, &number)) {
        return false;
    }
    const char *name = *at;
    while (is_unit_character(**at)) {
        (*at)++;
    }
    struct bytes unit_name = bytes_of(name, (size_t)(*at - name));
    if (unit_name.length == 0) {
        return !__builtin_mul_overflow(number, SECOND, span_ns);
    }
    for (size_t i = 0; i < sizeof duration_units / sizeof duration_units[0]; i++) {
        if (unit_has_name(&duration_units[i], unit_name)) {
            return !__builtin_mul_overflow(number, duration_units[i].nanoseconds, span_ns);
        }
    }
    return false;
}

/* The joint before the next span: '*' multiplies by that span taken in seconds ("1m*10" is ten minutes), all else adds. */
static char take_joint(const char **at)
{
    char joint = '+';
    while (**at == ' ' || **at == '+' || **at == '*') {
        if (**at != ' ') {
            joint = **at;
            (*at)++;
            break;
        }
        (*at)++;
    }
    while (**at == ' ') {
        (*at)++;
    }
    return joint;
}

static bool multiply(uint64_t *product_ns, uint64_t span_ns)
{
    unsigned __int128 product = (unsigned __int128)*product_ns * span_ns / SECOND;
    *product_ns = (uint64_t)product;
    return product <= UINT64_MAX;
}

/* A sum of products. */
static bool take_duration(const char *at, uint64_t *duration_ns)
{
    uint64_t sum_ns = 0, product_ns;
    if (!take_span(&at, &product_ns)) {
        return false;
    }
    while (*at != '\0') {
        char joint = take_joint(&at);
        uint64_t span_ns;
        if (!take_span(&at, &span_ns)) {
            return false;
        }
        if (joint == '*') {
            if (!multiply(&product_ns, span_ns)) {
                return false;
            }
            continue;
        }
        if (__builtin_add_overflow(sum_ns, product_ns, &sum_ns)) {
            return false;
        }
        product_ns = span_ns;
    }
    return !__builtin_add_overflow(sum_ns, product_ns, duration_ns);
}

struct result duration_parse(const char *text, uint64_t *duration_ns)
{
    if (!take_duration(text, duration_ns)) {
        return result_fail(RESULT_INVALID, "%.64s: not a duration such as 5m, 1h30m or 90 (seconds)", text);
    }
    return result_ok();
}

void duration_format_ms(uint64_t duration_ns, char out[static 32])
{
    snprintf(out, 32, "%llums", (unsigned long long)(duration_ns / NANOSECONDS_PER_MILLISECOND));
}
