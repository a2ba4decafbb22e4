#include "ztunnel/start_log.h"

#include "base/log.h"
#include "ztunnel/version.h"

#include <sys/resource.h>

#define LOG_TARGET "ztunnel"

void start_log_write(const struct configuration *configuration, uint64_t soft_limit)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    struct writer version = writer_growing();
    version_write(configuration->istio_version, &version);
    log_print(LOG_INFO, LOG_TARGET, "version: %s", writer_string(&version));
    writer_free(&version);
    log_print(LOG_INFO, LOG_TARGET, "set file descriptor limits from %llu to %llu", (unsigned long long)soft_limit,
        (unsigned long long)limit.rlim_cur);
    /* Of several lines, as it is in the reference: log_write leaves a text of our own alone. */
    struct writer running = writer_growing();
    writer_add_string(&running, "running with config: \n");
    configuration_write_yaml(configuration, &running);
    log_write(LOG_INFO, LOG_TARGET, writer_string(&running), NULL, 0);
    writer_free(&running);
}
