/* /debug/connections, /debug/tunnels and /debug/refusals: what lives on the workers, as streamed JSON. `limit=` bounds the
 * connections. Ours; the reference has none of these. Control thread. */
#ifndef AMBAR_ZTUNNEL_DEBUG_LIVE_H
#define AMBAR_ZTUNNEL_DEBUG_LIVE_H

#include "http/http1_server.h"
#include "ztunnel/live_walk.h"

#define DEBUG_LIMIT_DEFAULT 10000
#define DEBUG_LIMIT_MAXIMUM 1000000

void debug_answer_connections(struct http1_exchange *exchange, struct live_view *live);
void debug_answer_tunnels(struct http1_exchange *exchange, struct live_view *live);
void debug_answer_refusals(struct http1_exchange *exchange, struct live_view *live);

/* The `limit` of a query. False: answered with 400. */
bool debug_read_limit(struct http1_exchange *exchange, size_t *limit);

#endif
