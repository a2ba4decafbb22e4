/* The metrics port (15020): `/metrics` and `/stats/prometheus` (ztunnel-management §8). Control thread.
 *
 * A scrape first has every worker set its gauges, so that they are of this moment, and then streams the text in pieces:
 * neither the control thread nor a worker waits for it, whatever its size. */
#ifndef AMBAR_ZTUNNEL_METRICS_SERVER_H
#define AMBAR_ZTUNNEL_METRICS_SERVER_H

#include "base/result.h"
#include "ztunnel/metrics_sample.h"

struct loop;
struct metrics_server;

/* `source` is borrowed for the server's life; what it points to may be filled in later. */
struct metrics_server *metrics_server_new(struct loop *control, const struct metrics_source *source);
struct result metrics_server_listen(struct metrics_server *server);
/* After the workers have stopped. NULL is allowed. */
void metrics_server_free(struct metrics_server *server);

/* Whether an Accept header has application/openmetrics-text among its items; parameters do not matter. NULL: no header. */
bool metrics_accepts_openmetrics(const char *accept);

#endif
