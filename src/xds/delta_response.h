/* One DeltaDiscoveryResponse, walked as its bytes arrive: resources are handed on one at a time, the rest is small and kept
 * until the end (wire-protocols §6). No sockets, no model. */
#ifndef AMBAR_XDS_DELTA_RESPONSE_H
#define AMBAR_XDS_DELTA_RESPONSE_H

#include "base/result.h"
#include "xds/protobuf_stream.h"

#define DELTA_REMOVED_MAXIMUM_BYTES (32u * 1024 * 1024) /* names of removed resources in one response */

/* One Resource; borrowed for the call. */
struct delta_wire_resource {
    struct bytes name;
    struct bytes version;
    struct bytes type_url;
    struct bytes value;
    bool has_payload;
    bool is_too_large;    /* only the name is known */
    struct bytes message; /* the whole Resource */
};

struct delta_response {
    void (*on_resource)(void *context, const struct delta_wire_resource *resource);
    void *context;
    struct protobuf_stream fields;
    struct protobuf_stream large; /* inside a resource over the bound: only its name matters */
    struct writer large_name;
    bool is_in_large;
    struct writer type_url;
    struct writer nonce;
    struct writer removed; /* each name behind its length as a varint */
};

struct delta_response delta_response_of(
    void (*on_resource)(void *context, const struct delta_wire_resource *resource), void *context);
void delta_response_clear(struct delta_response *response);

/* The next piece. Fails on what is no DeltaDiscoveryResponse; the stream has to end then. */
struct result delta_response_feed(struct delta_response *response, struct bytes piece);
/* After the last piece: fails when the message ends inside a field. */
struct result delta_response_end(const struct delta_response *response);

/* The other names of a resource, which istiod gives for what was asked for by address: start with a cursor over `message`. */
bool delta_wire_resource_next_alias(struct cursor *cursor, struct bytes *alias);

/* The removed names one after the other: start with a cursor over `removed`. */
bool delta_response_next_removed(struct cursor *cursor, struct bytes *name);

#endif
