/* The workload API: delta ADS over what the index has in force (control-plane §§6.1-6.4, wire-protocols §10). One loop's thread.
 *
 * Each stream keeps, per type, whether it wants everything or named things, and the set of names that changed since its last
 * response. A slow client only grows that set, never a queue of responses: what is sent is always the present state. */
#ifndef AMBAR_AMBARD_DISCOVERY_H
#define AMBAR_AMBARD_DISCOVERY_H

#include "ambard/caller.h"
#include "ambard/index.h"
#include "http/grpc_server.h"
#include "telemetry/metric.h"

struct discovery;

extern const char DISCOVERY_DELTA_PATH[];

struct discovery_settings {
    const struct ambient_index *index;
    const struct caller_check *callers; /* who may watch on encrypted connections */
    struct metric_shard *metrics;
};

struct discovery *discovery_new(const struct discovery_settings *settings);
/* After the gRPC servers are gone. */
void discovery_free(struct discovery *discovery);

/* The entries for grpc_method; the server's context must be a struct ambard_services (services.h). */
void discovery_on_start(struct grpc_server_call *call, struct discovery *discovery);
void discovery_on_message(struct grpc_server_call *call, struct bytes message);
void discovery_on_end_of_messages(struct grpc_server_call *call);
void discovery_on_writable(struct grpc_server_call *call);
void discovery_on_closed(struct grpc_server_call *call);

/* The index was updated: every stream gets what concerns it. */
void discovery_push(struct discovery *discovery, const struct ambient_changes *changes);

struct json_writer;
/* /debug/syncz and /debug/connections. */
void discovery_dump_sync(const struct discovery *discovery, struct json_writer *json);
void discovery_dump_connections(const struct discovery *discovery, struct json_writer *json);

#endif
