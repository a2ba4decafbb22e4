/* The client's tunnels of one pod on one worker, kept warm and shared by its connections (ztunnel-dataplane §8, design §4.2).
 *
 * Tunnels are found by their key. At most one tunnel of a key is being opened at a time; whoever needs it waits, in a bounded queue, and
 * all are woken by success or failure. How a tunnel is opened (socket, certificate, TLS) is the opener's business.
 * The pool owns its sessions. Thread: the loop's. Events come from the loop or from the opener's calls, never from hbone_pool_checkout. */
#ifndef AMBAR_HTTP_HBONE_POOL_H
#define AMBAR_HTTP_HBONE_POOL_H

#include "base/address.h"
#include "base/list.h"
#include "http/hbone_session.h"
#include "mesh/destination.h"

struct hbone_pool;
struct hbone_opening;

/* Everything that makes two tunnels different. All texts are copied by the pool. */
struct hbone_pool_key {
    const char *source_identity; /* SPIFFE URI */
    const char *destination_uid; /* workload; "" when it has none */
    struct socket_address destination;
    const char *const *sans; /* the identities one of which the peer must show; the order counts */
    size_t san_count;
    struct ip_address source; /* the application's address; IP_NONE when it does not matter */
};

struct hbone_pool_opener {
    /* Starts to open a tunnel. Ends in hbone_pool_opened or hbone_pool_open_failed (from within is allowed) unless cancelled.
     * Returns the opener's own handle for `cancel`. `key` lives as long as the opening. */
    void *(*open)(void *context, const struct hbone_pool_key *key, struct hbone_opening *opening);
    /* Nobody wants it any more; `opening` is gone when this returns. */
    void (*cancel)(void *context, void *handle);
    /* A tunnel has ended; for counting only. May be NULL. */
    void (*ended)(void *context);
};

struct hbone_pool_settings {
    struct hbone_settings session;
    uint32_t streams_per_tunnel; /* POOL_MAX_STREAMS_PER_CONNECTION */
    uint64_t unused_release_ms;  /* POOL_UNUSED_RELEASE_TIMEOUT */
    size_t tunnels_maximum;      /* beyond it the idle tunnel used longest ago goes */
    size_t waiters_maximum;      /* per key; more are refused at once */
};

struct hbone_pool_settings hbone_pool_settings_default(void);

struct hbone_pool *hbone_pool_new(struct loop *loop, const struct hbone_pool_settings *settings,
    const struct hbone_pool_opener *opener, void *opener_context);
/* Cancels what is being opened and drops every tunnel and its streams (they get on_reset); waiters get RESULT_UNAVAILABLE. */
void hbone_pool_free(struct hbone_pool *pool);

/* Embedded in whoever waits; zero it; set the callbacks. */
struct hbone_pool_waiter {
    /* A tunnel with room for one stream: call hbone_session_connect before returning; unused it would not be released. */
    void (*on_tunnel)(struct hbone_pool_waiter *waiter, struct hbone_session *session);
    /* The opening this waiter waited for has failed. */
    void (*on_failure)(struct hbone_pool_waiter *waiter, const struct result *failure);
    /* the pool's own */
    struct list link;
    struct hbone_pool_group *group; /* NULL: not waiting */
};

/* A tunnel with room, for hbone_session_connect before anything else happens; or NULL: with `*failure` not ok there is none and
 * will be none, else `waiter` is queued and exactly one of its callbacks comes. Also for the one retry after
 * hbone_reset.is_retryable: the tunnel that failed is never offered again. */
struct hbone_session *hbone_pool_checkout(struct hbone_pool *pool, const struct hbone_pool_key *key,
    struct hbone_pool_waiter *waiter, struct result *failure);
/* Closes up to `maximum` tunnels without streams, the one used longest ago first; says how many. Raises no event itself. */
size_t hbone_pool_close_idle(struct hbone_pool *pool, size_t maximum);
/* Takes a queued waiter back; idempotent. The opening goes on for the others, and is cancelled when there are none. */
void hbone_pool_cancel(struct hbone_pool *pool, struct hbone_pool_waiter *waiter);

/* The opener's answers. The pool takes over the record layer and the descriptor, or keeps the failure's sentence as it is. */
void hbone_pool_opened(struct hbone_opening *opening, struct record_layer *layer, int descriptor);
void hbone_pool_open_failed(struct hbone_opening *opening, struct result failure);

/* The mesh has changed: asks about every key. To what is gone no stream is opened any more; its tunnels are sent a PING at once and
 * close when that is not answered, or with their last stream. Tunnels to an address that is taken close at once. Whoever waits for
 * one hears RESULT_NOT_FOUND. Raises no event itself. */
void hbone_pool_review(struct hbone_pool *pool,
    enum mesh_destination (*judge)(void *context, const struct hbone_pool_key *key), void *context);
/* Some destination is gone and still has tunnels: whoever comes into the mesh may have its address. */
bool hbone_pool_has_departed(const struct hbone_pool *pool);
struct hbone_pool_statistics {
    size_t tunnels, openings, waiters, streams;
    uint64_t opened_total, failed_total;
};
struct hbone_pool_statistics hbone_pool_statistics(const struct hbone_pool *pool);
/* Each tunnel with its key, for dumps and metrics. */
void hbone_pool_for_each(struct hbone_pool *pool,
    void (*visit)(void *context, const struct hbone_pool_key *key, struct hbone_session *session), void *context);

#endif
