/* How many worker threads to start (ztunnel-management §1.4). */
#include "base/text.h"
#include "ztunnel/configuration.h"

#include <math.h>
#include <stdlib.h>

/* A Kubernetes quantity of processors, "2", "1.5" or "500m", rounded up. */
static struct result processors_from_quantity(const char *name, const char *text, uint32_t *processors)
{
    char *end;
    double value = strtod(text, &end);
    bool is_milli = strcmp(end, "m") == 0;
    if (end == text || (*end != '\0' && !is_milli) || !(value >= 0) || value > 1e6) {
        return result_fail(
            RESULT_INVALID, "invalid env var %s=%s (expected processors such as 2, 1.5 or 500m)", name, text);
    }
    *processors = (uint32_t)ceil(is_milli ? value / 1000 : value);
    return result_ok();
}

static struct result workers_from_text(const char *text, uint32_t processors, uint32_t *workers)
{
    uint64_t number;
    size_t length = strlen(text);
    if (length > 1 && text[length - 1] == '%') {
        if (bytes_to_u64(bytes_of(text, length - 1), 100, &number) && number > 0) {
            *workers = (uint32_t)((processors * number + 99) / 100);
            return result_ok();
        }
    } else if (text_to_u64(text, 1024, &number)) {
        *workers = number == 0 ? processors : (uint32_t)number;
        return result_ok();
    }
    return result_fail(RESULT_INVALID,
        "invalid env var ZTUNNEL_WORKER_THREADS=%s (expected threads, 0 for all, or 1%% to 100%%)", text);
}

struct result configuration_worker_count(
    const struct configuration *configuration, uint32_t processors, uint32_t *workers)
{
    uint32_t limit = 0;
    uint32_t request = 0;
    if (configuration->cpu_resource_limit_text != NULL) {
        RESULT_TRY(
            processors_from_quantity("ZTUNNEL_RESOURCE_CPU_LIMIT", configuration->cpu_resource_limit_text, &limit));
    } else if (configuration->cpu_limit_text != NULL) {
        RESULT_TRY(processors_from_quantity("ZTUNNEL_CPU_LIMIT", configuration->cpu_limit_text, &limit));
    }
    if (configuration->cpu_resource_request_text != NULL) {
        RESULT_TRY(processors_from_quantity(
            "ZTUNNEL_RESOURCE_CPU_REQUEST", configuration->cpu_resource_request_text, &request));
    }
    uint32_t available = limit > 0 ? limit : processors;
    if (configuration->worker_threads_text != NULL) {
        RESULT_TRY(workers_from_text(configuration->worker_threads_text, available, workers));
    } else if (configuration->proxy.has_concurrency) {
        *workers = configuration->proxy.concurrency > 0 ? configuration->proxy.concurrency : available;
    } else if (limit > 0) {
        *workers = limit > request ? limit : request;
    } else {
        uint32_t quarter = (available + 3) / 4;
        *workers = quarter > request ? quarter : request;
        *workers = *workers > 2 ? *workers : 2;
    }
    *workers = *workers > 0 ? *workers : 1;
    return result_ok();
}
