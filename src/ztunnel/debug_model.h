/* /debug/workloads, /debug/policies, /debug/certificates and /debug/pods: the parts of the state that a person asks for, in their
 * terms, with `namespace=` and `limit=`. Ours. Control thread. */
#ifndef AMBAR_ZTUNNEL_DEBUG_MODEL_H
#define AMBAR_ZTUNNEL_DEBUG_MODEL_H

#include "ztunnel/config_dump.h"

/* Streamed: there may be 100,000. */
void debug_answer_workloads(struct http1_exchange *exchange, const struct config_dump_source *source);
void debug_answer_policies(struct http1_exchange *exchange, const struct config_dump_source *source);

/* At once: a node has few of either. */
void debug_answer_certificates(struct http1_exchange *exchange, const struct config_dump_source *source);
void debug_answer_pods(struct http1_exchange *exchange, const struct config_dump_source *source);

#endif
