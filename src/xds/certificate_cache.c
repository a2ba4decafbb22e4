/* A worker's view of the certificate store: its own references, checked against the slot's generation at each use, and trips to
 * the control thread for what is missing or was renewed. */
#include "base/hash_map.h"
#include "base/memory.h"
#include "tls/identity.h"
#include "xds/certificate_slot.h"
#include "xds/certificate_store.h"

#include <stdatomic.h>

#define SWEEP_EVERY_TRIPS 64

struct certificate_cache {
    struct certificate_store *store;
    struct loop *worker;
    struct loop *control;
    struct hash_map *entries;
    struct list trips; /* under way */
    unsigned trips_since_sweep;
};

/* One identity as this worker knows it. */
struct cached_certificate {
    struct certificate_slot *slot; /* NULL before the first answer, and after a failure */
    struct tls_identity *certificate;
    uint64_t generation;
    struct list requests;
    bool is_asking; /* a trip is under way */
};

/* Who may free a trip: the control thread's answer and the worker's closing meet here. */
enum trip_state { TRIP_OUT, TRIP_RETURNING, TRIP_ABANDONED };

/* To the control thread and back. Only one thread at a time has it, except for `state`. */
struct trip {
    struct list link;                /* the worker's */
    struct certificate_cache *cache; /* the worker's; NULL: closed */
    struct certificate_store *store;
    struct loop *worker;
    struct posted posted;
    struct certificate_waiter waiter;
    char *identity;
    struct certificate_slot *slot;
    struct tls_identity *certificate;
    uint64_t generation;
    struct result failure;
    _Atomic int state;
};

static void free_trip(struct trip *trip)
{
    certificate_slot_release(trip->slot);
    tls_identity_release(trip->certificate);
    memory_free(trip->identity);
    memory_free(trip);
}

static struct cached_certificate *find(const struct certificate_cache *cache, const char *identity)
{
    return hash_map_get(cache->entries, bytes_of_string(identity));
}

static void forget_certificate(struct cached_certificate *cached)
{
    certificate_slot_release(cached->slot);
    cached->slot = NULL;
    tls_identity_release(cached->certificate);
    cached->certificate = NULL;
}

static void free_cached(void *value)
{
    struct cached_certificate *cached = value;
    while (list_take_first(&cached->requests) != NULL) {
        continue; /* dropped without an answer; their links are whole again */
    }
    forget_certificate(cached);
    memory_free(cached);
}

static void drop(struct certificate_cache *cache, struct bytes identity)
{
    struct cached_certificate *cached = hash_map_remove(cache->entries, identity);
    if (cached != NULL) {
        free_cached(cached);
    }
}

/* Entries whose identity the store has forgotten, or that never got a certificate. */
static void sweep(struct certificate_cache *cache)
{
    size_t position = 0;
    struct bytes identity;
    void *value;
    while (hash_map_next(cache->entries, &position, &identity, &value)) {
        const struct cached_certificate *cached = value;
        bool is_retired = cached->slot == NULL || certificate_slot_generation(cached->slot) == CERTIFICATE_SLOT_RETIRED;
        if (is_retired && !cached->is_asking) {
            drop(cache, identity);
        }
    }
}

static void answer_requests(struct cached_certificate *cached, const struct trip *trip)
{
    struct list answered;
    struct list *link;
    list_initialise(&answered);
    while ((link = list_take_first(&cached->requests)) != NULL) {
        list_append(&answered, link);
    }
    /* A callback may use the cache and drop this entry: what it is given is the trip's. */
    while ((link = list_take_first(&answered)) != NULL) {
        struct certificate_request *request = LIST_ENTRY(link, struct certificate_request, link);
        request->on_answer(request, trip->certificate, trip->certificate != NULL ? NULL : &trip->failure);
    }
}

static void come_back(struct posted *posted)
{
    struct trip *trip = CONTAINER_OF(posted, struct trip, posted);
    struct certificate_cache *cache = trip->cache;
    list_remove(&trip->link);
    struct cached_certificate *cached = cache != NULL ? find(cache, trip->identity) : NULL;
    if (cached == NULL) {
        free_trip(trip);
        return;
    }
    cached->is_asking = false;
    forget_certificate(cached);
    if (trip->certificate != NULL) {
        cached->certificate = tls_identity_reference(trip->certificate);
        cached->slot = certificate_slot_reference(trip->slot);
        cached->generation = trip->generation;
    }
    if (++cache->trips_since_sweep >= SWEEP_EVERY_TRIPS) {
        cache->trips_since_sweep = 0;
        cached->is_asking = true; /* not this one */
        sweep(cache);
        cached->is_asking = false;
    }
    answer_requests(cached, trip);
    free_trip(trip);
}

/* Control thread. */
static void on_answer(struct certificate_waiter *waiter, struct tls_identity *certificate, const struct result *failure)
{
    struct trip *trip = CONTAINER_OF(waiter, struct trip, waiter);
    trip->certificate = certificate;
    trip->failure = failure != NULL ? *failure : result_ok();
    trip->slot = certificate_store_slot(trip->store, trip->identity);
    if (trip->slot == NULL && certificate != NULL) {
        /* Cannot be: an available identity is known. Without its slot the certificate would never be renewed. */
        tls_identity_release(trip->certificate);
        trip->certificate = NULL;
        trip->failure = result_fail(RESULT_UNAVAILABLE, "the identity is no longer needed");
    }
    trip->generation = trip->slot != NULL ? certificate_slot_generation(trip->slot) : 0;
    int expected = TRIP_OUT;
    if (!atomic_compare_exchange_strong(&trip->state, &expected, TRIP_RETURNING)) {
        free_trip(trip);
        return;
    }
    trip->posted.run = come_back;
    loop_post(trip->worker, &trip->posted);
}

/* Control thread. */
static void arrive(struct posted *posted)
{
    struct trip *trip = CONTAINER_OF(posted, struct trip, posted);
    if (atomic_load(&trip->state) == TRIP_ABANDONED) {
        free_trip(trip);
        return;
    }
    trip->waiter.on_answer = on_answer;
    certificate_store_get(trip->store, trip->identity, CERTIFICATE_REAL_TIME, &trip->waiter);
}

static void ask(struct certificate_cache *cache, const char *identity, struct cached_certificate *cached)
{
    if (cached->is_asking) {
        return;
    }
    cached->is_asking = true;
    struct trip *trip = NEW(struct trip);
    trip->cache = cache;
    trip->store = cache->store;
    trip->worker = cache->worker;
    trip->identity = string_duplicate(identity);
    trip->posted.run = arrive;
    atomic_init(&trip->state, TRIP_OUT);
    list_append(&cache->trips, &trip->link);
    loop_post(cache->control, &trip->posted);
}

struct certificate_cache *certificate_cache_new(struct certificate_store *store, struct loop *worker)
{
    struct certificate_cache *cache = NEW(struct certificate_cache);
    cache->store = store;
    cache->worker = worker;
    cache->control = certificate_store_loop(store);
    cache->entries = hash_map_new();
    list_initialise(&cache->trips);
    return cache;
}

void certificate_cache_free(struct certificate_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    struct list *link;
    while ((link = list_take_first(&cache->trips)) != NULL) {
        struct trip *trip = LIST_ENTRY(link, struct trip, link);
        trip->cache = NULL;
        /* From here on it may be gone: the control thread frees what was abandoned before it answered. */
        int expected = TRIP_OUT;
        (void)atomic_compare_exchange_strong(&trip->state, &expected, TRIP_ABANDONED);
    }
    hash_map_free(cache->entries, free_cached);
    memory_free(cache);
}

struct tls_identity *certificate_cache_get(struct certificate_cache *cache, const char *identity)
{
    struct cached_certificate *cached = find(cache, identity);
    if (cached == NULL || cached->certificate == NULL) {
        return NULL;
    }
    uint64_t generation = certificate_slot_generation(cached->slot);
    if (generation == CERTIFICATE_SLOT_RETIRED) {
        if (!cached->is_asking) {
            drop(cache, bytes_of_string(identity));
        }
        return NULL;
    }
    if (generation != cached->generation) {
        ask(cache, identity, cached);
    }
    return cached->certificate;
}

void certificate_cache_request(
    struct certificate_cache *cache, const char *identity, struct certificate_request *request)
{
    struct cached_certificate *cached = find(cache, identity);
    if (cached == NULL) {
        cached = NEW(struct cached_certificate);
        list_initialise(&cached->requests);
        hash_map_put(cache->entries, bytes_of_string(identity), cached);
    }
    list_append(&cached->requests, &request->link);
    ask(cache, identity, cached);
}

void certificate_request_cancel(struct certificate_request *request)
{
    list_remove(&request->link);
}
