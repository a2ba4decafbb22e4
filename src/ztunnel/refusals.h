/* The last connections that ended badly on one worker, with the reason: what a person asks for first. Bounded; made when the
 * first one comes. Worker's thread. */
#ifndef AMBAR_ZTUNNEL_REFUSALS_H
#define AMBAR_ZTUNNEL_REFUSALS_H

#include "base/address.h"

struct connection;
struct worker;

#define REFUSALS_KEPT 64
#define REFUSAL_TEXT_BYTES 256

struct refusal {
    int64_t at_ns; /* wall clock */
    uint64_t duration_ns;
    bool is_outbound;
    uint8_t flag; /* enum response_flag */
    struct socket_address source, destination;
    char source_identity[128], destination_identity[128]; /* "": not known; cut at the end */
    char pod[128];                                        /* namespace/name */
    char reason[REFUSAL_TEXT_BYTES];
    char events[REFUSAL_TEXT_BYTES];
};

struct refusals {
    struct refusal ring[REFUSALS_KEPT];
    uint64_t count;
};

/* A connection with an error is about to finish. */
void refusals_add(struct worker *worker, const struct connection *connection);
/* One that was refused before it became one. */
void refusals_add_early(struct worker *worker, const char *pod_namespace, const char *pod_name, bool is_outbound,
    const struct socket_address *source, const struct socket_address *destination, const char *reason);
void refusals_free(struct refusals *refusals); /* NULL is allowed */

struct json_writer;
/* The newest first, each an object. A live_rows.of_worker. */
void refusals_dump(struct worker *worker, struct json_writer *json);

#endif
