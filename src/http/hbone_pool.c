#include "http/hbone_pool.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "http/hbone_pool_key.h"
#include "net/loop.h"
#include "tls/record_layer.h"

#include <unistd.h>

/* So many tunnels of one key are tried before a stalled one is used after all. */
#define SIBLINGS_MAXIMUM 4

/* All tunnels of one key, and who waits for one. Freed by collect() when it has nothing left. */
struct hbone_pool_group {
    struct hbone_pool *pool;
    struct hbone_pool_key key; /* its texts are owned */
    struct writer hash_key;
    struct list tunnels; /* struct tunnel.group_link */
    size_t tunnel_count;
    struct list waiters;
    size_t waiter_count;
    struct hbone_opening *opening;
    bool has_departed;        /* its destination has left the mesh */
    struct list collect_link; /* in pool->to_collect while it may be empty */
};

struct tunnel {
    struct hbone_pool_group *group;
    struct hbone_session *session;
    struct list group_link;
    struct list use_link; /* in pool->by_use: the one used longest ago first */
    struct timer unused;
};

struct hbone_opening {
    struct hbone_pool_group *group;
    void *handle; /* the opener's */
    struct deferred answer;
    bool is_answered;
    struct record_layer *layer; /* the answer; NULL: failure */
    int descriptor;
    struct result failure;
};

struct hbone_pool {
    struct loop *loop;
    struct hbone_pool_settings settings;
    const struct hbone_pool_opener *opener;
    void *opener_context;
    struct hash_map *groups;
    struct list by_use;
    struct list to_collect;
    size_t tunnel_count;
    size_t departed_count; /* groups that are so */
    uint64_t opened_total, failed_total;
    int depth; /* of calls that raise events */
    bool is_freed;
};

struct hbone_pool_settings hbone_pool_settings_default(void)
{
    return (struct hbone_pool_settings){
        .session = hbone_settings_default(HBONE_CLIENT),
        .streams_per_tunnel = 100,
        .unused_release_ms = 5 * 60 * 1000,
        .tunnels_maximum = 500,
        .waiters_maximum = 10000,
    };
}

/* Takes the hash key over. */
static struct hbone_pool_group *make_group(
    struct hbone_pool *pool, const struct hbone_pool_key *key, struct writer hash_key)
{
    struct hbone_pool_group *group = NEW(struct hbone_pool_group);
    group->pool = pool;
    group->key = hbone_pool_key_copy(key);
    group->hash_key = hash_key;
    list_initialise(&group->tunnels);
    list_initialise(&group->waiters);
    list_initialise(&group->collect_link);
    (void)hash_map_put(pool->groups, writer_bytes(&hash_key), group);
    return group;
}

static struct hbone_pool_group *group_of(struct hbone_pool *pool, const struct hbone_pool_key *key)
{
    struct writer hash_key = hbone_pool_key_write(key);
    struct hbone_pool_group *group = hash_map_get(pool->groups, writer_bytes(&hash_key));
    if (group == NULL) {
        return make_group(pool, key, hash_key);
    }
    writer_free(&hash_key);
    return group;
}

static void set_departed(struct hbone_pool_group *group, bool has_departed)
{
    group->pool->departed_count += (size_t)has_departed - (size_t)group->has_departed;
    group->has_departed = has_departed;
}

static void free_group(struct hbone_pool_group *group)
{
    set_departed(group, false);
    (void)hash_map_remove(group->pool->groups, writer_bytes(&group->hash_key));
    list_remove(&group->collect_link);
    writer_free(&group->hash_key);
    hbone_pool_key_free(&group->key);
    memory_free(group);
}

static void mark_for_collection(struct hbone_pool_group *group)
{
    if (list_is_empty(&group->collect_link)) {
        list_append(&group->pool->to_collect, &group->collect_link);
    }
}

static void collect(struct hbone_pool *pool)
{
    struct list *link;
    while ((link = list_take_first(&pool->to_collect)) != NULL) {
        struct hbone_pool_group *group = LIST_ENTRY(link, struct hbone_pool_group, collect_link);
        if (group->tunnel_count == 0 && group->waiter_count == 0 && group->opening == NULL) {
            free_group(group);
        }
    }
}

static void free_pool(struct hbone_pool *pool)
{
    hash_map_free(pool->groups, NULL);
    memory_free(pool);
}

/* Groups, and the pool, stay where they are as long as events are being raised. */
static void enter(struct hbone_pool *pool)
{
    pool->depth++;
}

static void leave(struct hbone_pool *pool)
{
    if (--pool->depth > 0) {
        return;
    }
    collect(pool);
    if (pool->is_freed) {
        free_pool(pool);
    }
}

struct hbone_pool *hbone_pool_new(struct loop *loop, const struct hbone_pool_settings *settings,
    const struct hbone_pool_opener *opener, void *opener_context)
{
    struct hbone_pool *pool = NEW(struct hbone_pool);
    pool->loop = loop;
    pool->settings = *settings;
    pool->settings.session.concurrent_streams_maximum = settings->streams_per_tunnel;
    pool->opener = opener;
    pool->opener_context = opener_context;
    pool->groups = hash_map_new();
    list_initialise(&pool->by_use);
    list_initialise(&pool->to_collect);
    return pool;
}

static void mark_used(struct tunnel *tunnel)
{
    timer_disarm(&tunnel->unused);
    list_remove(&tunnel->use_link);
    list_append(&tunnel->group->pool->by_use, &tunnel->use_link);
}

static struct tunnel *find_tunnel(const struct hbone_pool_group *group)
{
    struct tunnel *stalled = NULL;
    LIST_FOR_EACH(link, &group->tunnels) {
        struct tunnel *tunnel = LIST_ENTRY(link, struct tunnel, group_link);
        if (hbone_session_capacity(tunnel->session) == 0) {
            continue;
        }
        if (!hbone_session_is_stalled(tunnel->session)) {
            return tunnel;
        }
        stalled = tunnel;
    }
    return group->tunnel_count >= SIBLINGS_MAXIMUM ? stalled : NULL;
}

static void drop_layer(struct hbone_opening *opening)
{
    if (opening->layer != NULL) {
        record_free(opening->layer);
        (void)close(opening->descriptor);
        opening->layer = NULL;
    }
}

static void free_opening(struct hbone_opening *opening)
{
    deferred_cancel(&opening->answer);
    drop_layer(opening);
    opening->group->opening = NULL;
    mark_for_collection(opening->group);
    memory_free(opening);
}

static void stop_opener(struct hbone_opening *opening)
{
    struct hbone_pool *pool = opening->group->pool;
    if (!opening->is_answered) {
        pool->opener->cancel(pool->opener_context, opening->handle);
    }
    opening->is_answered = true;
}

static void cancel_opening(struct hbone_pool_group *group)
{
    if (group->opening != NULL) {
        stop_opener(group->opening);
        free_opening(group->opening);
    }
}

static void take_waiter_off(struct hbone_pool_waiter *waiter)
{
    list_remove(&waiter->link);
    waiter->group->waiter_count--;
    waiter->group = NULL;
}

static void fail_waiters(struct hbone_pool_group *group, const struct result *failure)
{
    /* Only those who wait now: a callback may ask again, and waits for the next opening. */
    for (size_t count = group->waiter_count; count > 0 && !list_is_empty(&group->waiters); count--) {
        struct hbone_pool_waiter *waiter = LIST_ENTRY(group->waiters.next, struct hbone_pool_waiter, link);
        take_waiter_off(waiter);
        waiter->on_failure(waiter, failure);
    }
}

static void run_answer(struct deferred *deferred);

static void start_opening(struct hbone_pool_group *group)
{
    struct hbone_pool *pool = group->pool;
    struct hbone_opening *opening = NEW(struct hbone_opening);
    opening->group = group;
    opening->descriptor = -1;
    opening->answer.run = run_answer;
    list_initialise(&opening->answer.link);
    group->opening = opening;
    opening->handle = pool->opener->open(pool->opener_context, &group->key, opening);
}

/* Gives tunnels to those who wait as long as there is room, and opens a further one for the rest. */
static void serve_waiters(struct hbone_pool_group *group)
{
    while (!list_is_empty(&group->waiters) && !group->pool->is_freed) {
        struct tunnel *tunnel = find_tunnel(group);
        if (tunnel == NULL) {
            if (group->opening == NULL) {
                start_opening(group);
            }
            return;
        }
        struct hbone_pool_waiter *waiter = LIST_ENTRY(group->waiters.next, struct hbone_pool_waiter, link);
        take_waiter_off(waiter);
        mark_used(tunnel);
        waiter->on_tunnel(waiter, tunnel->session);
    }
}

static void note_if_unused(struct tunnel *tunnel)
{
    struct hbone_pool *pool = tunnel->group->pool;
    bool is_unused = hbone_session_stream_count(tunnel->session) == 0 && !hbone_session_is_draining(tunnel->session);
    if (is_unused && !timer_is_armed(&tunnel->unused)) {
        timer_arm_after_ms(pool->loop, &tunnel->unused, pool->settings.unused_release_ms);
    }
}

static void on_unused(struct timer *timer)
{
    struct tunnel *tunnel = CONTAINER_OF(timer, struct tunnel, unused);
    if (hbone_session_stream_count(tunnel->session) == 0) {
        hbone_session_close(tunnel->session, "unused");
    }
}

static void forget_tunnel(struct tunnel *tunnel)
{
    struct hbone_pool_group *group = tunnel->group;
    timer_disarm(&tunnel->unused);
    list_remove(&tunnel->group_link);
    list_remove(&tunnel->use_link);
    group->tunnel_count--;
    group->pool->tunnel_count--;
    if (group->pool->opener->ended != NULL) {
        group->pool->opener->ended(group->pool->opener_context);
    }
    mark_for_collection(group);
    memory_free(tunnel);
}

static void on_capacity(struct hbone_session *session)
{
    struct tunnel *tunnel = hbone_session_context(session);
    struct hbone_pool *pool = tunnel->group->pool;
    enter(pool);
    note_if_unused(tunnel);
    serve_waiters(tunnel->group);
    leave(pool);
}

static void on_ended(struct hbone_session *session, const char *reason, bool was_clean)
{
    (void)reason;
    (void)was_clean;
    struct tunnel *tunnel = hbone_session_context(session);
    struct hbone_pool_group *group = tunnel->group;
    struct hbone_pool *pool = group->pool;
    enter(pool);
    forget_tunnel(tunnel);
    hbone_session_free(session);
    serve_waiters(group);
    leave(pool);
}

static const struct hbone_session_events tunnel_events = { .on_capacity = on_capacity, .on_ended = on_ended };

size_t hbone_pool_close_idle(struct hbone_pool *pool, size_t maximum)
{
    size_t closed = 0;
    for (struct list *link = pool->by_use.next; link != &pool->by_use && closed < maximum; link = link->next) {
        struct tunnel *tunnel = LIST_ENTRY(link, struct tunnel, use_link);
        if (hbone_session_stream_count(tunnel->session) == 0 && !hbone_session_is_draining(tunnel->session)) {
            hbone_session_close(tunnel->session, "too many tunnels");
            closed++;
        }
    }
    return closed;
}

/* Over the bound, the idle tunnel that was used longest ago goes; tunnels in use stay. */
static void enforce_bound(struct hbone_pool *pool)
{
    if (pool->tunnel_count > pool->settings.tunnels_maximum) {
        (void)hbone_pool_close_idle(pool, 1);
    }
}

static void add_tunnel(struct hbone_pool_group *group, struct record_layer *layer, int descriptor)
{
    struct hbone_pool *pool = group->pool;
    struct tunnel *tunnel = NEW(struct tunnel);
    tunnel->group = group;
    tunnel->unused.on_expire = on_unused;
    tunnel->session =
        hbone_session_new(pool->loop, layer, descriptor, HBONE_CLIENT, &pool->settings.session, &tunnel_events, tunnel);
    list_append(&group->tunnels, &tunnel->group_link);
    group->tunnel_count++;
    pool->tunnel_count++;
    pool->opened_total++;
    enforce_bound(pool);
    list_initialise(&tunnel->use_link);
    mark_used(tunnel);
    note_if_unused(tunnel);
}

/* At the end of the turn in which the opener has answered. */
static void run_answer(struct deferred *deferred)
{
    struct hbone_opening *opening = CONTAINER_OF(deferred, struct hbone_opening, answer);
    struct hbone_pool_group *group = opening->group;
    struct hbone_pool *pool = group->pool;
    struct record_layer *layer = opening->layer;
    struct result failure = opening->failure;
    int descriptor = opening->descriptor;
    opening->layer = NULL;
    enter(pool);
    free_opening(opening);
    if (layer != NULL) {
        add_tunnel(group, layer, descriptor);
    } else {
        pool->failed_total++;
        fail_waiters(group, &failure);
    }
    serve_waiters(group);
    leave(pool);
}

static void answer(struct hbone_opening *opening, struct record_layer *layer, int descriptor, struct result failure)
{
    opening->layer = layer;
    opening->descriptor = descriptor;
    opening->failure = failure;
    opening->is_answered = true;
    loop_defer(opening->group->pool->loop, &opening->answer);
}

void hbone_pool_opened(struct hbone_opening *opening, struct record_layer *layer, int descriptor)
{
    answer(opening, layer, descriptor, result_ok());
}

void hbone_pool_open_failed(struct hbone_opening *opening, struct result failure)
{
    answer(opening, NULL, -1, failure);
}

struct hbone_session *hbone_pool_checkout(
    struct hbone_pool *pool, const struct hbone_pool_key *key, struct hbone_pool_waiter *waiter, struct result *failure)
{
    *failure = result_ok();
    if (pool->is_freed) {
        *failure = result_fail(RESULT_UNAVAILABLE, "pool draining");
        return NULL;
    }
    struct hbone_pool_group *group = group_of(pool, key);
    struct tunnel *tunnel = find_tunnel(group);
    if (tunnel != NULL) {
        mark_used(tunnel);
        return tunnel->session;
    }
    if (group->waiter_count >= pool->settings.waiters_maximum) {
        *failure = result_fail(RESULT_LIMIT, "%zu connections already wait for this tunnel", group->waiter_count);
        return NULL;
    }
    waiter->group = group;
    list_append(&group->waiters, &waiter->link);
    group->waiter_count++;
    if (group->opening == NULL) {
        start_opening(group);
    }
    return NULL;
}

void hbone_pool_cancel(struct hbone_pool *pool, struct hbone_pool_waiter *waiter)
{
    struct hbone_pool_group *group = waiter->group;
    if (group == NULL) {
        return;
    }
    enter(pool);
    take_waiter_off(waiter);
    if (group->waiter_count == 0) {
        cancel_opening(group);
    }
    mark_for_collection(group);
    leave(pool);
}

/* A tunnel that is being opened to it is not wanted either; those who wait hear so at the end of the turn. */
static void retire_opening(struct hbone_pool_group *group)
{
    struct hbone_opening *opening = group->opening;
    if (opening != NULL) {
        stop_opener(opening);
        drop_layer(opening);
        answer(opening, NULL, -1, result_fail(RESULT_NOT_FOUND, "the workload is gone"));
    }
}

static void note_departure(struct hbone_pool_group *group)
{
    if (group->has_departed) {
        return;
    }
    set_departed(group, true);
    retire_opening(group);
    LIST_FOR_EACH(link, &group->tunnels) {
        struct hbone_session *session = LIST_ENTRY(link, struct tunnel, group_link)->session;
        hbone_session_drain(session, "the workload is gone");
        hbone_session_probe(session);
    }
}

static void cut_off(struct hbone_pool_group *group)
{
    set_departed(group, true);
    retire_opening(group);
    LIST_FOR_EACH(link, &group->tunnels) {
        hbone_session_close(
            LIST_ENTRY(link, struct tunnel, group_link)->session, "the address belongs to another workload now");
    }
}

void hbone_pool_review(struct hbone_pool *pool,
    enum mesh_destination (*judge)(void *context, const struct hbone_pool_key *key), void *context)
{
    size_t position = 0;
    struct bytes hash_key;
    void *value;
    while (hash_map_next(pool->groups, &position, &hash_key, &value)) {
        struct hbone_pool_group *group = value;
        switch (judge(context, &group->key)) {
        case MESH_DESTINATION_PRESENT:
            set_departed(group, false);
            break;
        case MESH_DESTINATION_GONE:
            note_departure(group);
            break;
        case MESH_DESTINATION_TAKEN:
            cut_off(group);
            break;
        }
    }
}

bool hbone_pool_has_departed(const struct hbone_pool *pool)
{
    return pool->departed_count > 0;
}

static void drop_group(struct hbone_pool_group *group)
{
    struct result failure = result_fail(RESULT_UNAVAILABLE, "pool draining");
    cancel_opening(group);
    fail_waiters(group, &failure);
    while (!list_is_empty(&group->tunnels)) {
        struct tunnel *tunnel = LIST_ENTRY(group->tunnels.next, struct tunnel, group_link);
        struct hbone_session *session = tunnel->session;
        forget_tunnel(tunnel);
        hbone_session_abort(session, "pool draining");
    }
    mark_for_collection(group);
}

void hbone_pool_free(struct hbone_pool *pool)
{
    if (pool == NULL || pool->is_freed) {
        return;
    }
    enter(pool);
    pool->is_freed = true;
    size_t position = 0;
    struct bytes hash_key;
    void *value;
    while (hash_map_next(pool->groups, &position, &hash_key, &value)) {
        drop_group(value);
    }
    leave(pool);
}

struct hbone_pool_statistics hbone_pool_statistics(const struct hbone_pool *pool)
{
    struct hbone_pool_statistics statistics = {
        .tunnels = pool->tunnel_count,
        .opened_total = pool->opened_total,
        .failed_total = pool->failed_total,
    };
    size_t position = 0;
    struct bytes hash_key;
    void *value;
    while (hash_map_next(pool->groups, &position, &hash_key, &value)) {
        const struct hbone_pool_group *group = value;
        statistics.openings += group->opening != NULL;
        statistics.waiters += group->waiter_count;
        LIST_FOR_EACH(link, &group->tunnels) {
            statistics.streams += hbone_session_stream_count(LIST_ENTRY(link, struct tunnel, group_link)->session);
        }
    }
    return statistics;
}

void hbone_pool_for_each(struct hbone_pool *pool,
    void (*visit)(void *context, const struct hbone_pool_key *key, struct hbone_session *session), void *context)
{
    LIST_FOR_EACH(link, &pool->by_use) {
        struct tunnel *tunnel = LIST_ENTRY(link, struct tunnel, use_link);
        visit(context, &tunnel->group->key, tunnel->session);
    }
}
