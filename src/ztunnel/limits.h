/* How much of everything one tunnel, one pod, one source and the process may use: one table, shown by `ambar_limit`. At a limit idle
 * pooled tunnels go first, then new work is refused with a sentence and counted in `ambar_limit_refusals_total`; what is
 * established is never cut. */
#ifndef AMBAR_ZTUNNEL_LIMITS_H
#define AMBAR_ZTUNNEL_LIMITS_H

#include "ztunnel/configuration.h"

struct pod;
struct socket_address;
struct worker;

enum limit {
    LIMIT_PROCESS_DESCRIPTORS,
    LIMIT_PROCESS_BYTES,
    LIMIT_POD_BYTES,
    LIMIT_POD_CONNECTIONS,
    LIMIT_POD_STREAMS,
    LIMIT_POD_HANDSHAKES,
    LIMIT_POD_TUNNELS,
    LIMIT_SOURCE_HANDSHAKES,
    LIMIT_SOURCE_RESETS,
    LIMIT_TUNNEL_STREAMS,
    LIMIT_TUNNEL_WAITERS,
    LIMIT_SOCKET_WAITERS,
    LIMIT_CERTIFICATES,
    LIMIT_METRIC_LABEL_SETS,
    LIMIT_COUNT,
};

struct limits {
    uint64_t values[LIMIT_COUNT];
};

/* From the configuration and the process's limit of descriptors. Any thread. */
struct limits limits_resolve(const struct configuration *configuration);
const char *limit_name(enum limit limit);
/* For the documents: per what, and what happens at it. */
const char *limit_scope(enum limit limit);
const char *limit_effect(enum limit limit);

/* Counts the refusal and gives its sentence, which lives until the next call on this thread. Worker's thread. */
const char *limits_refuse(struct worker *worker, enum limit limit);

/* NULL, or why a connection that was just accepted for `pod` must be closed again. Worker's thread. */
const char *limits_refuse_connection(struct pod *pod, int descriptor);
/* Whether a descriptor that has just been made is one too many. Closes idle tunnels before it comes to that. */
bool limits_are_descriptors_used_up(struct worker *worker, int descriptor);
/* NULL, or why to refuse another inbound tunnel. */
const char *limits_refuse_handshake(struct pod *pod);
/* NULL, or why to refuse a CONNECT of an inbound tunnel. */
const char *limits_refuse_stream(struct pod *pod);

#endif
