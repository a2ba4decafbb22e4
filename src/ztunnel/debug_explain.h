/* /debug/explain?source=&destination=HOST:PORT: explanation.h on the current version. Control thread. */
#ifndef AMBAR_ZTUNNEL_DEBUG_EXPLAIN_H
#define AMBAR_ZTUNNEL_DEBUG_EXPLAIN_H

#include "ztunnel/config_dump.h"

void debug_answer_explain(struct http1_exchange *exchange, const struct config_dump_source *source);

#endif
