/* Durations and times: no overflow, and a time that is read is printed as one that reads the same. */
#include "base/clock.h"
#include "base/memory.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *AUTO_FREE text = string_duplicate_n((const char *)data, size);
    uint64_t duration_ns;
    (void)duration_parse(text, &duration_ns);

    int64_t wall_ns, again_ns;
    struct result result = clock_parse_rfc3339(text, &wall_ns);
    if (result_is_ok(&result)) {
        char out[40];
        clock_format_rfc3339(wall_ns, 9, out);
        result = clock_parse_rfc3339(out, &again_ns);
        if (!result_is_ok(&result) || again_ns != wall_ns) {
            abort();
        }
    }
    return 0;
}
