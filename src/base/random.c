#include "base/random.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

void random_bytes(void *out, size_t size)
{
    unsigned char *at = out;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            fputs("the kernel gives no random numbers\n", stderr);
            abort();
        }
        at += got;
        size -= (size_t)got;
    }
}

/* SplitMix64 over a per-thread counter: one multiply chain, every seed a full period of 2^64. */
uint64_t random_u64(void)
{
    static _Thread_local uint64_t state;
    static _Thread_local bool is_seeded;
    if (!is_seeded) {
        random_bytes(&state, sizeof state);
        is_seeded = true;
    }
    state += 0x9E3779B97F4A7C15;
    uint64_t mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
    return mixed ^ (mixed >> 31);
}

uint64_t random_below(uint64_t bound)
{
    if (bound == 0) {
        return 0;
    }
    /* Numbers under 2^64 mod bound would make small results likelier; they are drawn again. */
    uint64_t rejected = -bound % bound;
    uint64_t number;
    do {
        number = random_u64();
    } while (number < rejected);
    return number % bound;
}

uint64_t random_jitter(uint64_t value, unsigned percent)
{
    uint64_t spread = value / 100 * percent + value % 100 * percent / 100;
    if (spread == 0 || spread > (UINT64_MAX - 1) / 2) {
        return value;
    }
    uint64_t lowest = value > spread ? value - spread : 0;
    uint64_t varied = lowest + random_below(value - lowest + spread + 1);
    return varied < lowest ? UINT64_MAX : varied;
}

void random_uuid(char out[static 37])
{
    uint8_t bytes[16];
    random_bytes(bytes, sizeof bytes);
    /* RFC 9562 §5.4: version and variant. */
    bytes[6] = (uint8_t)((bytes[6] & 0x0F) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3F) | 0x80);
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0], bytes[1],
        bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8], bytes[9], bytes[10], bytes[11], bytes[12],
        bytes[13], bytes[14], bytes[15]);
}
