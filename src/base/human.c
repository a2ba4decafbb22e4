#include "base/human.h"

#include "base/memory.h"

#include <stdio.h>

const char *human_bytes(uint64_t bytes, char out[static 32])
{
    static const char *const UNITS[] = { "B", "KiB", "MiB", "GiB", "TiB" };
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1024 && unit + 1 < ARRAY_LENGTH(UNITS)) {
        value /= 1024;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, UNITS[unit]);
    return out;
}

const char *human_duration(uint64_t duration_ns, char out[static 32])
{
    unsigned long long seconds = duration_ns / 1000000000;
    if (duration_ns < 1000000) {
        snprintf(out, 32, "%llu us", (unsigned long long)duration_ns / 1000);
    } else if (seconds == 0) {
        snprintf(out, 32, "%.1f ms", (double)duration_ns / 1000000);
    } else if (seconds < 60) {
        snprintf(out, 32, "%.1f s", (double)duration_ns / 1000000000);
    } else if (seconds < 3600) {
        snprintf(out, 32, "%llu min %llu s", seconds / 60, seconds % 60);
    } else if (seconds < 86400) {
        snprintf(out, 32, "%llu h %llu min", seconds / 3600, seconds / 60 % 60);
    } else {
        snprintf(out, 32, "%llu d %llu h", seconds / 86400, seconds / 3600 % 24);
    }
    return out;
}
