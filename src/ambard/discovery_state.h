/* What the discovery service knows of its streams; shared by serving and by the debug pages. Inside ambard only. */
#ifndef AMBAR_AMBARD_DISCOVERY_STATE_H
#define AMBAR_AMBARD_DISCOVERY_STATE_H

#include "ambard/discovery.h"
#include "base/list.h"
#include "base/writer.h"

struct hash_map;

enum watched_type { WATCH_ADDRESS, WATCH_WORKLOAD, WATCH_AUTHORIZATION, WATCH_COUNT };

struct watched_type_names {
    const char *url;
    const char *short_name; /* in logs */
};
extern const struct watched_type_names DISCOVERY_TYPES[WATCH_COUNT];

/* One type of one stream. The maps are sets of names: their values mean nothing. */
struct watch {
    bool is_watched;
    bool is_wildcard;
    char *nonce;          /* of the newest response; NULL: none */
    bool is_acknowledged; /* the newest response was answered, not refused */
    int64_t sent_at_s;
    struct hash_map *names;   /* on demand: what was asked for, and what was sent */
    struct hash_map *pending; /* changed since the last response */
    struct writer unsent;     /* a response that found the queue full; the next one has to wait for it */
};

struct discovery_stream {
    struct list link;
    struct discovery *discovery;
    struct grpc_server_call *call;
    struct watch watches[WATCH_COUNT];
    bool has_node;
    char *node_id, *node_name, *istio_version, *cluster_id;
    unsigned foreign_types;
    int64_t connected_at_s;
    struct token_claims claims;
};

struct discovery {
    struct discovery_settings settings;
    struct list streams;
    size_t stream_count;
    uint64_t counter; /* of responses, part of their versions */
};

#endif
