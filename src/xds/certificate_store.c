#include "xds/certificate_store.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "tls/identity.h"
#include "xds/certificate_slot.h"

#include <stdlib.h>

#define LOG_TARGET "ztunnel::identity::manager"
#define BACKOFF_FIRST_MS 1000
#define BACKOFF_MOST_MS 150000
#define BACKOFF_JITTER_PERCENT 20
#define FAILING_FOR_LONG_MS (15 * 60 * 1000)
#define RENEWAL_LEAST_S 60
#define NO_LONGER_NEEDED "the identity is no longer needed"
#define FAR_FUTURE_S (100LL * 365 * 86400) /* a certificate without an end lives longer than nanoseconds can say */
#define ALARM_MOST_MS (60 * 60 * 1000)     /* wall-clock jumps are noticed at the latest after this */

/* One identity. It is in `queue` while a fetch is due and has no place yet, by priority and due time. */
struct certificate_entry {
    struct certificate_store *store;
    char *identity;
    struct certificate_slot *slot; /* shared with the workers' caches; holds the current certificate */
    enum certificate_state state;
    struct result failure; /* why it is Unavailable */
    struct list waiters;

    enum certificate_priority priority;
    uint64_t due_ns;  /* monotonic; of the next fetch */
    struct list link; /* in scheduled or running */
    struct certificate_fetch fetch;
    bool is_running;
    uint64_t backoff_ms;       /* 0: the last fetch succeeded */
    uint64_t failing_since_ns; /* 0: not failing */
};

struct certificate_store {
    struct loop *loop;
    struct certificate_source *source;
    struct hash_map *entries;
    struct list scheduled; /* entries that wait for their time or for a place */
    struct list running;
    size_t running_count;
    struct timer alarm;
    struct deferred dispatch;
    void (*on_observed)(void *context, const struct result *failure); /* NULL: nobody counts */
    void *observer;
};

static void dispatch_soon(struct certificate_store *store)
{
    loop_defer(store->loop, &store->dispatch);
}

static void schedule(struct certificate_entry *entry, enum certificate_priority priority, uint64_t due_ns)
{
    entry->priority = priority;
    entry->due_ns = due_ns;
    list_remove(&entry->link);
    list_append(&entry->store->scheduled, &entry->link);
    dispatch_soon(entry->store);
}

static void answer_waiters(struct certificate_entry *entry)
{
    struct list answered;
    struct list *link;
    list_initialise(&answered);
    /* A waiter may come back from inside its answer: those are for the next time. */
    while ((link = list_take_first(&entry->waiters)) != NULL) {
        list_append(&answered, link);
    }
    struct tls_identity *certificate = certificate_slot_current(entry->slot);
    struct result failure = entry->failure;
    bool is_available = entry->state == CERTIFICATE_AVAILABLE;
    struct tls_identity *held = is_available ? tls_identity_reference(certificate) : NULL;
    while ((link = list_take_first(&answered)) != NULL) {
        struct certificate_waiter *waiter = LIST_ENTRY(link, struct certificate_waiter, link);
        waiter->on_answer(waiter, held != NULL ? tls_identity_reference(held) : NULL, held != NULL ? NULL : &failure);
    }
    tls_identity_release(held);
}

/* The wall clock decides about a certificate, the steady clock about timers. */
static uint64_t steady_time_of(int64_t wall_s)
{
    int64_t left_s = wall_s - clock_wall_s();
    left_s = left_s < 0 ? 0 : left_s > FAR_FUTURE_S ? FAR_FUTURE_S : left_s;
    return clock_monotonic_ns() + (uint64_t)left_s * NANOSECONDS_PER_SECOND;
}

/* Half of its life. One that comes older than that (a clock, a file nobody renews) is not asked for again at once. */
static uint64_t renewal_time(const struct certificate_bundle *bundle)
{
    int64_t now_s = clock_wall_s();
    int64_t half_life_s = bundle->not_before_s + (bundle->not_after_s - bundle->not_before_s) / 2;
    int64_t least_s = (bundle->not_after_s - now_s) / 2;
    least_s = least_s > RENEWAL_LEAST_S ? RENEWAL_LEAST_S : least_s < 1 ? 1 : least_s;
    return steady_time_of(half_life_s > now_s ? half_life_s : now_s + least_s);
}

static void fetch_succeeded(struct certificate_entry *entry, struct tls_identity *certificate)
{
    certificate_slot_set(entry->slot, certificate);
    entry->state = CERTIFICATE_AVAILABLE;
    entry->backoff_ms = 0;
    entry->failing_since_ns = 0;
    schedule(entry, CERTIFICATE_BACKGROUND, renewal_time(certificate->bundle));
    answer_waiters(entry);
}

static uint64_t next_wait_ms(struct certificate_entry *entry)
{
    uint64_t now = clock_monotonic_ns();
    if (entry->failing_since_ns == 0) {
        entry->failing_since_ns = now;
    }
    uint64_t doubled = entry->backoff_ms == 0 ? BACKOFF_FIRST_MS : entry->backoff_ms * 2;
    entry->backoff_ms = doubled < BACKOFF_MOST_MS ? doubled : BACKOFF_MOST_MS;
    if (now - entry->failing_since_ns > FAILING_FOR_LONG_MS * NANOSECONDS_PER_MILLISECOND) {
        return BACKOFF_MOST_MS;
    }
    uint64_t wait_ms = random_jitter(entry->backoff_ms, BACKOFF_JITTER_PERCENT);
    return wait_ms < BACKOFF_MOST_MS ? wait_ms : BACKOFF_MOST_MS;
}

static void fetch_failed(struct certificate_entry *entry, const struct result *failure)
{
    uint64_t wait_ms = next_wait_ms(entry);
    uint64_t due_ns = clock_monotonic_ns() + wait_ms * NANOSECONDS_PER_MILLISECOND;
    struct tls_identity *current = certificate_slot_current(entry->slot);
    int64_t left_s = current != NULL ? current->bundle->not_after_s - clock_wall_s() : 0;
    if (left_s > 0) {
        char until[40];
        clock_format_rfc3339_s(current->bundle->not_after_s, until);
        log_print(LOG_INFO, LOG_TARGET,
            "%s: certificate renewal failed (%s) retaining existing valid certificate until %s", entry->identity,
            failure->message, until);
        uint64_t expiry_ns = steady_time_of(current->bundle->not_after_s);
        schedule(entry, CERTIFICATE_BACKGROUND, due_ns < expiry_ns ? due_ns : expiry_ns);
    } else {
        log_print(LOG_WARN, LOG_TARGET,
            "%s: certificate fetch failed (%s) and no valid existing certificate; will retry in %llu.%03llus",
            entry->identity, failure->message, (unsigned long long)(wait_ms / 1000),
            (unsigned long long)(wait_ms % 1000));
        entry->state = CERTIFICATE_UNAVAILABLE;
        entry->failure = *failure;
        certificate_slot_set(entry->slot, NULL);
        schedule(entry, CERTIFICATE_BACKGROUND, due_ns);
    }
    answer_waiters(entry);
}

static void on_fetched(struct certificate_fetch *fetch, struct tls_identity *certificate, const struct result *failure)
{
    struct certificate_entry *entry = CONTAINER_OF(fetch, struct certificate_entry, fetch);
    struct certificate_store *store = entry->store;
    entry->is_running = false;
    store->running_count--;
    if (store->on_observed != NULL) {
        store->on_observed(store->observer, failure);
    }
    if (certificate != NULL) {
        fetch_succeeded(entry, certificate);
    } else {
        fetch_failed(entry, failure);
    }
}

/* Whether `left` goes before `right`, both being due. */
static bool goes_before(const struct certificate_entry *left, const struct certificate_entry *right)
{
    if (left->priority != right->priority) {
        return left->priority > right->priority;
    }
    return left->due_ns < right->due_ns;
}

/* The due entry that comes first; NULL when none is due. `next_ns` is then when the next one will be (0: never). */
static struct certificate_entry *first_due(struct certificate_store *store, uint64_t now, uint64_t *next_ns)
{
    struct certificate_entry *first = NULL;
    *next_ns = 0;
    LIST_FOR_EACH(link, &store->scheduled) {
        struct certificate_entry *entry = LIST_ENTRY(link, struct certificate_entry, link);
        if (entry->due_ns > now) {
            *next_ns = *next_ns == 0 || entry->due_ns < *next_ns ? entry->due_ns : *next_ns;
        } else if (first == NULL || goes_before(entry, first)) {
            first = entry;
        }
    }
    return first;
}

static void start_fetch(struct certificate_entry *entry)
{
    struct certificate_store *store = entry->store;
    list_remove(&entry->link);
    list_append(&store->running, &entry->link);
    entry->is_running = true;
    store->running_count++;
    entry->fetch = (struct certificate_fetch){ .identity = entry->identity, .on_done = on_fetched };
    store->source->fetch(store->source, &entry->fetch);
}

static void dispatch(struct deferred *deferred)
{
    struct certificate_store *store = CONTAINER_OF(deferred, struct certificate_store, dispatch);
    uint64_t now = clock_monotonic_ns();
    uint64_t next_ns = 0;
    while (store->running_count < CERTIFICATE_FETCHES_MAXIMUM) {
        struct certificate_entry *entry = first_due(store, now, &next_ns);
        if (entry == NULL) {
            break;
        }
        start_fetch(entry);
    }
    /* With every place taken the end of a fetch comes back here. */
    if (store->running_count < CERTIFICATE_FETCHES_MAXIMUM && next_ns != 0) {
        uint64_t latest = now + ALARM_MOST_MS * NANOSECONDS_PER_MILLISECOND;
        timer_arm_at(store->loop, &store->alarm, next_ns < latest ? next_ns : latest);
    }
}

static void on_alarm(struct timer *timer)
{
    dispatch_soon(CONTAINER_OF(timer, struct certificate_store, alarm));
}

struct certificate_store *certificate_store_new(struct loop *control, struct certificate_source *source)
{
    struct certificate_store *store = NEW(struct certificate_store);
    store->loop = control;
    store->source = source;
    store->entries = hash_map_new();
    store->alarm.on_expire = on_alarm;
    store->dispatch.run = dispatch;
    list_initialise(&store->scheduled);
    list_initialise(&store->running);
    list_initialise(&store->dispatch.link);
    return store;
}

void certificate_store_observe(
    struct certificate_store *store, void (*on_end)(void *context, const struct result *failure), void *context)
{
    store->on_observed = on_end;
    store->observer = context;
}

static void free_entry(struct certificate_entry *entry)
{
    if (entry->is_running) {
        entry->store->source->cancel(entry->store->source, &entry->fetch);
        entry->store->running_count--;
        dispatch_soon(entry->store);
    }
    list_remove(&entry->link);
    certificate_slot_retire(entry->slot);
    memory_free(entry->identity);
    memory_free(entry);
}

/* Whoever still waits gets the failure; then the entry is gone. */
static void dismiss(struct certificate_entry *entry, struct result failure)
{
    entry->state = CERTIFICATE_UNAVAILABLE;
    entry->failure = failure;
    answer_waiters(entry);
    free_entry(entry);
}

void certificate_store_free(struct certificate_store *store)
{
    if (store == NULL) {
        return;
    }
    size_t position = 0;
    struct bytes identity;
    void *value;
    while (hash_map_next(store->entries, &position, &identity, &value)) {
        hash_map_remove(store->entries, identity);
        dismiss(value, result_fail(RESULT_UNAVAILABLE, "the certificate store is closed"));
    }
    hash_map_free(store->entries, NULL);
    timer_disarm(&store->alarm);
    deferred_cancel(&store->dispatch);
    certificate_source_free(store->source);
    memory_free(store);
}

static struct certificate_entry *find(struct certificate_store *store, const char *identity)
{
    return hash_map_get(store->entries, bytes_of_string(identity));
}

static struct certificate_entry *add(
    struct certificate_store *store, const char *identity, enum certificate_priority priority)
{
    if (hash_map_count(store->entries) >= CERTIFICATE_IDENTITIES_MAXIMUM) {
        return NULL;
    }
    struct certificate_entry *entry = NEW(struct certificate_entry);
    entry->store = store;
    entry->identity = string_duplicate(identity);
    entry->slot = certificate_slot_new();
    entry->state = CERTIFICATE_INITIALIZING;
    list_initialise(&entry->waiters);
    list_initialise(&entry->link);
    hash_map_put(store->entries, bytes_of_string(identity), entry);
    schedule(entry, priority, clock_monotonic_ns());
    return entry;
}

void certificate_store_prefetch(struct certificate_store *store, const char *identity)
{
    if (find(store, identity) == NULL && add(store, identity, CERTIFICATE_WARMUP) == NULL) {
        log_print(LOG_WARN, LOG_TARGET, "couldn't prefetch: %s, %d identities are known", identity,
            CERTIFICATE_IDENTITIES_MAXIMUM);
    }
}

void certificate_store_forget(struct certificate_store *store, const char *identity)
{
    struct certificate_entry *entry = hash_map_remove(store->entries, bytes_of_string(identity));
    if (entry != NULL) {
        dismiss(entry, result_fail(RESULT_UNAVAILABLE, NO_LONGER_NEEDED));
    }
}

void certificate_store_get(struct certificate_store *store, const char *identity, enum certificate_priority priority,
    struct certificate_waiter *waiter)
{
    list_initialise(&waiter->link);
    struct certificate_entry *entry = find(store, identity);
    if (entry == NULL && (entry = add(store, identity, priority)) == NULL) {
        struct result full =
            result_fail(RESULT_LIMIT, "%d identities are known, the most allowed", CERTIFICATE_IDENTITIES_MAXIMUM);
        waiter->on_answer(waiter, NULL, &full);
        return;
    }
    list_append(&entry->waiters, &waiter->link);
    if (entry->state != CERTIFICATE_INITIALIZING) {
        answer_waiters(entry);
        return;
    }
    if (!entry->is_running && entry->priority < priority) {
        entry->priority = priority;
        dispatch_soon(store);
    }
}

void certificate_waiter_cancel(struct certificate_waiter *waiter)
{
    list_remove(&waiter->link);
}

struct certificate_slot *certificate_store_slot(struct certificate_store *store, const char *identity)
{
    struct certificate_entry *entry = find(store, identity);
    return entry != NULL ? certificate_slot_reference(entry->slot) : NULL;
}

struct loop *certificate_store_loop(struct certificate_store *store)
{
    return store->loop;
}

size_t certificate_store_count(const struct certificate_store *store)
{
    return hash_map_count(store->entries);
}

static int compare_entries(const void *left, const void *right)
{
    const struct certificate_entry *const *first = left;
    const struct certificate_entry *const *second = right;
    return strcmp((*first)->identity, (*second)->identity);
}

void certificate_store_visit(
    struct certificate_store *store, void (*visit)(const struct certificate_view *view, void *context), void *context)
{
    size_t count = 0, position = 0;
    struct bytes identity;
    void *value;
    struct certificate_entry **entries = memory_allocate((hash_map_count(store->entries) + 1) * sizeof(void *));
    while (hash_map_next(store->entries, &position, &identity, &value)) {
        entries[count++] = value;
    }
    qsort(entries, count, sizeof(void *), compare_entries);
    for (size_t i = 0; i < count; i++) {
        const struct certificate_view view = {
            .identity = entries[i]->identity,
            .state = entries[i]->state,
            .certificate = certificate_slot_current(entries[i]->slot),
            .failure = entries[i]->state == CERTIFICATE_UNAVAILABLE ? entries[i]->failure.message : NULL,
        };
        visit(&view, context);
    }
    memory_free(entries);
}
