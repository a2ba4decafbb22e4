/* The requests of the delta client as bytes (wire-protocols §§6, 10.4), and its failures as the log words them
 * (ztunnel-management §3.6). No sockets. */
#ifndef AMBAR_XDS_DELTA_REQUEST_H
#define AMBAR_XDS_DELTA_REQUEST_H

#include "base/writer.h"
#include "http/grpc_client.h"

struct version_table;

/* Versions sent on a reconnect: the control plane takes messages of 4 MiB. What does not fit is left out. */
#define DELTA_VERSIONS_MAXIMUM_BYTES (3584u * 1024)

/* The first request for a type on a stream. What is held goes along, as far as it fits; the entries left out are marked in
 * the table (and only those), so that they can be swept after the first response. `pending`: names asked for on demand and not yet
 * answered. Returns whether something was left out. */
struct delta_first_request {
    struct bytes node;
    const char *type_url;
    bool is_on_demand;
    struct version_table *held;
    const struct bytes *pending;
    size_t pending_count;
};
bool delta_first_request_write(const struct delta_first_request *request, struct writer *out);

/* The answer to a response: an ACK, or a NACK where `error` is not empty. */
void delta_acknowledgement_write(struct bytes type_url, struct bytes nonce, struct bytes error, struct writer *out);

/* One name more or less. */
void delta_subscription_write(const char *type_url, struct bytes name, bool is_subscribed, struct writer *out);

/* `status: Unauthenticated, message: "..." (hint: ...), source: ...`. */
void delta_status_write(const struct grpc_end *end, struct writer *out);
/* "20ms", "1.28s", "15s". */
void delta_delay_write(uint64_t delay_ms, struct writer *out);

#endif
