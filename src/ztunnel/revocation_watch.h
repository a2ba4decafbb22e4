/* CRL_PATH: loads the certificate revocation lists, notices when the file changes, and has live tunnels checked against the new
 * lists (ztunnel-dataplane §16, ztunnel-management §5.5). On the control thread; tunnels are cut on their workers' threads.
 *
 * The file is looked at once a second, through whatever links lead to it, so that an exchanged ConfigMap is seen as well
 * as an edited file; it is read when it has not changed for two seconds. What cannot be read or parsed leaves the old lists in force. */
#ifndef AMBAR_ZTUNNEL_REVOCATION_WATCH_H
#define AMBAR_ZTUNNEL_REVOCATION_WATCH_H

#include "net/loop.h"
#include "telemetry/metric.h"

struct pod;
struct revocation_watch;
struct worker;

/* NULL when `path` is empty, or when the lists that are there at the start are malformed: then the feature is off. */
struct revocation_watch *revocation_watch_new(struct loop *control, struct metric_shard *metrics, const char *path);
/* The workers whose tunnels are checked; before the first they may be none. */
void revocation_watch_set_workers(struct revocation_watch *watch, struct worker *workers, size_t count);
void revocation_watch_free(struct revocation_watch *watch); /* NULL is allowed */

#endif
