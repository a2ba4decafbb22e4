/* The process's certificates, one per identity: fetched by priority, renewed at half-life, retried with backoff, kept while
 * they live (ztunnel-dataplane §17, ztunnel-management §§5.3, 5.4). It lives on the control thread.
 *
 * Workers ask through a certificate_cache of their own: a warm identity is answered from the worker's memory; only a missing or
 * renewed one makes a trip to the control thread, and a renewed one is served from the old certificate meanwhile. */
#ifndef AMBAR_XDS_CERTIFICATE_STORE_H
#define AMBAR_XDS_CERTIFICATE_STORE_H

#include "base/list.h"
#include "base/result.h"
#include "net/loop.h"
#include "xds/certificate_source.h"

struct certificate_cache;
struct certificate_entry;
struct certificate_slot;
struct certificate_store;

enum certificate_priority { CERTIFICATE_BACKGROUND, CERTIFICATE_WARMUP, CERTIFICATE_REAL_TIME };
enum certificate_state { CERTIFICATE_INITIALIZING, CERTIFICATE_AVAILABLE, CERTIFICATE_UNAVAILABLE };

#define CERTIFICATE_FETCHES_MAXIMUM 8
#define CERTIFICATE_IDENTITIES_MAXIMUM 100000

/* Takes over the source. */
struct certificate_store *certificate_store_new(struct loop *control, struct certificate_source *source);
/* All caches must be gone. Waiters get RESULT_UNAVAILABLE. */
void certificate_store_free(struct certificate_store *store);

/* Told the end of every fetch: NULL, or why it failed. For metrics; control thread. */
void certificate_store_observe(
    struct certificate_store *store, void (*on_end)(void *context, const struct result *failure), void *context);

/* Fetches ahead of use. Control thread. */
void certificate_store_prefetch(struct certificate_store *store, const char *identity);
/* Drops the identity; waiters get "the identity is no longer needed". Control thread. */
void certificate_store_forget(struct certificate_store *store, const char *identity);

/* One who waits. Embed it. */
struct certificate_waiter {
    struct list link; /* the store's */
    /* Once. On success the callee takes over a reference; else `certificate` is NULL and `failure` says why. */
    void (*on_answer)(
        struct certificate_waiter *waiter, struct tls_identity *certificate, const struct result *failure);
};
/* Control thread. Answered at once, from inside, when the state is Available or Unavailable. */
void certificate_store_get(struct certificate_store *store, const char *identity, enum certificate_priority priority,
    struct certificate_waiter *waiter);
void certificate_waiter_cancel(struct certificate_waiter *waiter); /* idempotent */

/* For dumps; control thread. `certificate` is borrowed; NULL unless Available. Visits in order of identity. */
struct certificate_view {
    const char *identity;
    enum certificate_state state;
    const struct tls_identity *certificate;
    const char *failure; /* Unavailable: the sentence */
};
void certificate_store_visit(
    struct certificate_store *store, void (*visit)(const struct certificate_view *view, void *context), void *context);
size_t certificate_store_count(const struct certificate_store *store);

/* A worker's view. Everything below is called on the worker's thread; the store must outlive it. */
struct certificate_cache *certificate_cache_new(struct certificate_store *store, struct loop *worker);
/* Requests that wait are dropped without an answer. Both loops must still turn, or both be stopped. */
void certificate_cache_free(struct certificate_cache *cache);

/* The current certificate if this worker has it: borrowed until the next turn (reference it to keep it). NULL: request it. */
struct tls_identity *certificate_cache_get(struct certificate_cache *cache, const char *identity);

/* One request. Embed it, list_initialise link once. */
struct certificate_request {
    struct list link; /* the cache's */
    /* Once. `certificate` is borrowed; NULL with `failure`. */
    void (*on_answer)(
        struct certificate_request *request, struct tls_identity *certificate, const struct result *failure);
};
/* Answered in a later turn, in real-time priority. */
void certificate_cache_request(
    struct certificate_cache *cache, const char *identity, struct certificate_request *request);
void certificate_request_cancel(struct certificate_request *request); /* idempotent */

#endif
