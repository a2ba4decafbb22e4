/* Numbers as a person reads them. */
#ifndef AMBAR_BASE_HUMAN_H
#define AMBAR_BASE_HUMAN_H

#include <stdint.h>

/* "512 B", "1.5 KiB". */
const char *human_bytes(uint64_t bytes, char out[static 32]);
/* "12 us", "3.4 ms", "2 min 5 s", "3 d 4 h". */
const char *human_duration(uint64_t duration_ns, char out[static 32]);

#endif
