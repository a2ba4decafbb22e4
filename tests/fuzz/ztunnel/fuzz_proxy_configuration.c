/* PROXY_CONFIG: any text is read or refused with a sentence. */
#include "base/memory.h"
#include "ztunnel/proxy_configuration.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *AUTO_FREE text = string_duplicate_n((const char *)data, size);
    struct proxy_configuration configuration;
    setenv("PROXY_CONFIG", text, 1);
    struct result outcome = proxy_configuration_read("/nonexistent", &configuration);
    if (!result_is_ok(&outcome) && outcome.message[0] == '\0') {
        abort();
    }
    proxy_configuration_free(&configuration);
    return 0;
}
