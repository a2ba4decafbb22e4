/* The pool of client tunnels (ztunnel-dataplane §8, design §4.2). */
#include "unit/http/hbone_peer.h"

#include "base/address.h"
#include "base/clock.h"
#include "http/hbone_pool.h"

#define OPENINGS 64

/* Openings wait in order until the test answers them. */
struct rig {
    struct loop *loop;
    struct hbone_pool *pool;
    struct hbone_pool_settings settings;
    struct hbone_opening *openings[OPENINGS];
    int peers[OPENINGS];
    int opened, cancelled;
    bool answers_at_once;
};

struct caller {
    struct hbone_pool_waiter waiter;
    struct rig *rig;
    struct hbone_session *session;
    struct consumer consumer;
    int tunnels, failures;
    bool asks_again;
    bool frees_pool;
    struct result failure;
};

static const char *const sans[] = { "spiffe://td/ns/a/sa/b" };

static struct hbone_pool_key key_of(const char *uid, const char *address)
{
    struct hbone_pool_key key = {
        .source_identity = "spiffe://td/ns/x/sa/y", .destination_uid = uid, .sans = sans, .san_count = 1
    };
    assert_true(socket_address_parse(address, &key.destination));
    return key;
}

static void answer(struct rig *rig, int index)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    rig->peers[index] = pair[1];
    hbone_pool_opened(rig->openings[index], piece_layer_new(pair[0], 65536, 0), pair[0]);
}

static void *open_tunnel(void *context, const struct hbone_pool_key *key, struct hbone_opening *opening)
{
    struct rig *rig = context;
    assert_non_null(key->destination_uid);
    int index = rig->opened++;
    rig->openings[index] = opening;
    if (rig->answers_at_once) {
        answer(rig, index);
    }
    return &rig->openings[index];
}

static void cancel_tunnel(void *context, void *handle)
{
    struct rig *rig = context;
    struct hbone_opening **opening = handle;
    assert_non_null(*opening);
    *opening = NULL;
    rig->cancelled++;
}

static const struct hbone_pool_opener opener = { open_tunnel, cancel_tunnel, NULL };

static struct rig *rig_new_with(struct hbone_pool_settings settings)
{
    struct rig *rig = NEW(struct rig);
    rig->loop = loop_new();
    rig->settings = settings;
    rig->pool = hbone_pool_new(rig->loop, &rig->settings, &opener, rig);
    return rig;
}

static struct rig *rig_new(void)
{
    return rig_new_with(hbone_pool_settings_default());
}

static void turn(struct rig *rig)
{
    for (int i = 0; i < 8; i++) {
        loop_run_once(rig->loop, 0);
    }
}

static void rig_free(struct rig *rig)
{
    hbone_pool_free(rig->pool);
    turn(rig);
    loop_free(rig->loop);
    for (int i = 0; i < OPENINGS; i++) {
        if (rig->peers[i] > 0) {
            close(rig->peers[i]);
        }
    }
    memory_free(rig);
}

static void connect_on(struct caller *caller, struct hbone_session *session)
{
    caller->session = session;
    caller->consumer.stream =
        hbone_session_connect(session, bytes_of_string("a:1"), NULL, 0, &consumer_events, &caller->consumer);
    assert_non_null(caller->consumer.stream);
}

static void ask(struct caller *caller, const struct hbone_pool_key *key);

static void on_tunnel(struct hbone_pool_waiter *waiter, struct hbone_session *session)
{
    struct caller *caller = CONTAINER_OF(waiter, struct caller, waiter);
    caller->tunnels++;
    connect_on(caller, session);
}

static void on_failure(struct hbone_pool_waiter *waiter, const struct result *failure)
{
    struct caller *caller = CONTAINER_OF(waiter, struct caller, waiter);
    caller->failures++;
    caller->failure = *failure;
    if (caller->asks_again) {
        caller->asks_again = false;
        struct hbone_pool_key key = key_of("w", "10.0.0.1:15008");
        ask(caller, &key);
    }
    if (caller->frees_pool) {
        hbone_pool_free(caller->rig->pool);
        caller->rig->pool = NULL;
    }
}

static void ask(struct caller *caller, const struct hbone_pool_key *key)
{
    caller->waiter.on_tunnel = on_tunnel;
    caller->waiter.on_failure = on_failure;
    struct hbone_session *session = hbone_pool_checkout(caller->rig->pool, key, &caller->waiter, &caller->failure);
    if (session != NULL) {
        connect_on(caller, session);
    }
}

static struct caller *caller_new(struct rig *rig, const char *uid, const char *address)
{
    struct caller *caller = NEW(struct caller);
    caller->rig = rig;
    struct hbone_pool_key key = key_of(uid, address);
    ask(caller, &key);
    return caller;
}

static void caller_free(struct caller *caller)
{
    if (caller->consumer.stream != NULL) {
        hbone_stream_release(caller->consumer.stream);
    }
    memory_free(caller);
}

static void waiters_share_one_opening_and_one_tunnel(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *callers[3];
    for (int i = 0; i < 3; i++) {
        callers[i] = caller_new(rig, "w", "10.0.0.1:15008");
    }
    assert_int_equal(rig->opened, 1);
    assert_int_equal(hbone_pool_statistics(rig->pool).waiters, 3);
    answer(rig, 0);
    assert_int_equal(callers[0]->tunnels, 0); /* never from within the opener's call */
    turn(rig);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(callers[i]->tunnels, 1);
        assert_ptr_equal(callers[i]->session, callers[0]->session);
    }
    struct caller *later = caller_new(rig, "w", "10.0.0.1:15008");
    assert_ptr_equal(later->session, callers[0]->session);
    assert_int_equal(rig->opened, 1);
    for (int i = 0; i < 3; i++) {
        caller_free(callers[i]);
    }
    caller_free(later);
    rig_free(rig);
}

static void different_keys_have_different_tunnels(void **state)
{
    (void)state;
    static const char *const two_sans[] = { "a", "b" };
    static const char *const swapped_sans[] = { "b", "a" };
    static const char *const joined_sans[] = { "ab" };
    struct rig *rig = rig_new();
    rig->answers_at_once = true;
    struct hbone_pool_key keys[9];
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        keys[i] = key_of("w", "10.0.0.1:15008");
    }
    keys[1].destination_uid = "v";
    keys[2].source_identity = "spiffe://td/ns/x/sa/z";
    assert_true(ip_parse("10.1.1.1", &keys[3].source));
    keys[4].destination.port = 15009;
    keys[5].sans = two_sans;
    keys[5].san_count = 2;
    keys[6].sans = swapped_sans;
    keys[6].san_count = 2;
    keys[7].sans = joined_sans;
    keys[8].san_count = 0;
    struct caller callers[ARRAY_LENGTH(keys)];
    memset(callers, 0, sizeof callers);
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        callers[i].rig = rig;
        ask(&callers[i], &keys[i]);
        turn(rig);
        for (size_t j = 0; j < i; j++) {
            assert_ptr_not_equal(callers[i].session, callers[j].session);
        }
    }
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, ARRAY_LENGTH(keys));
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++) {
        hbone_stream_release(callers[i].consumer.stream);
    }
    rig_free(rig);
}

static void failure_wakes_every_waiter(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008");
    first->asks_again = true;
    hbone_pool_open_failed(rig->openings[0], result_fail(RESULT_UNAVAILABLE, "connection refused"));
    turn(rig);
    assert_int_equal(first->failures, 1);
    assert_int_equal(second->failures, 1);
    assert_string_equal(second->failure.message, "connection refused");
    assert_int_equal(rig->opened, 2); /* the one who asked again waits for a new opening */
    answer(rig, 1);
    turn(rig);
    assert_int_equal(first->tunnels, 1);
    assert_int_equal(hbone_pool_statistics(rig->pool).failed_total, 1);
    caller_free(first);
    caller_free(second);
    rig_free(rig);
}

static void full_tunnels_get_siblings(void **state)
{
    (void)state;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.streams_per_tunnel = 2;
    struct rig *rig = rig_new_with(settings);
    rig->answers_at_once = true;
    struct caller *callers[7];
    for (int i = 0; i < 7; i++) {
        callers[i] = caller_new(rig, "w", "10.0.0.1:15008");
    }
    turn(rig);
    for (int i = 0; i < 7; i++) {
        assert_non_null(callers[i]->session);
        assert_true(hbone_session_stream_count(callers[i]->session) <= 2);
    }
    assert_int_equal(rig->opened, 4);
    assert_int_equal(hbone_pool_statistics(rig->pool).streams, 7);
    for (int i = 0; i < 7; i++) {
        caller_free(callers[i]);
    }
    rig_free(rig);
}

static void waiter_gets_the_place_that_a_finished_stream_leaves(void **state)
{
    (void)state;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.streams_per_tunnel = 1;
    struct rig *rig = rig_new_with(settings);
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    turn(rig);
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008"); /* its opening is not answered */
    turn(rig);
    assert_null(second->session);
    struct hbone_session *session = first->session;
    caller_free(first);
    turn(rig);
    assert_ptr_equal(second->session, session);
    hbone_pool_open_failed(rig->openings[1], result_fail(RESULT_TIMEOUT, "too late"));
    turn(rig);
    assert_int_equal(second->failures, 0);
    caller_free(second);
    rig_free(rig);
}

static void cancelled_waiter_hears_nothing_and_the_last_cancels_the_opening(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008");
    hbone_pool_cancel(rig->pool, &first->waiter);
    hbone_pool_cancel(rig->pool, &first->waiter);
    assert_int_equal(rig->cancelled, 0);
    hbone_pool_cancel(rig->pool, &second->waiter);
    assert_int_equal(rig->cancelled, 1);
    assert_int_equal(hbone_pool_statistics(rig->pool).openings, 0);
    turn(rig);
    assert_int_equal(first->failures + second->failures + first->tunnels + second->tunnels, 0);
    caller_free(first);
    caller_free(second);
    rig_free(rig);
}

static void answered_opening_may_still_be_cancelled(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *caller = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    hbone_pool_cancel(rig->pool, &caller->waiter);
    turn(rig);
    assert_int_equal(rig->cancelled, 0);
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, 0);
    char byte;
    assert_int_equal(recv(rig->peers[0], &byte, 1, 0), 0); /* the socket was closed */
    caller_free(caller);
    rig_free(rig);
}

static void too_many_waiters_are_refused_at_once(void **state)
{
    (void)state;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.waiters_maximum = 2;
    struct rig *rig = rig_new_with(settings);
    struct caller *callers[3];
    for (int i = 0; i < 3; i++) {
        callers[i] = caller_new(rig, "w", "10.0.0.1:15008");
    }
    assert_int_equal(callers[1]->failure.code, RESULT_OK);
    assert_int_equal(callers[2]->failure.code, RESULT_LIMIT);
    hbone_pool_free(rig->pool);
    rig->pool = NULL;
    assert_int_equal(callers[0]->failures, 1);
    assert_int_equal(callers[2]->failures, 0);
    for (int i = 0; i < 3; i++) {
        caller_free(callers[i]);
    }
    rig_free(rig);
}

static void lost_tunnel_is_not_offered_again(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    turn(rig);
    close(rig->peers[0]);
    rig->peers[0] = 0;
    turn(rig);
    assert_true(first->consumer.reset.is_retryable);
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, 0);
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008");
    assert_int_equal(rig->opened, 2);
    answer(rig, 1);
    turn(rig);
    assert_non_null(second->session);
    caller_free(first);
    caller_free(second);
    rig_free(rig);
}

static void tunnel_that_got_goaway_takes_no_new_stream(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    turn(rig);
    struct writer frames = writer_growing();
    hbone_frame_write_settings(&frames, NULL, 0);
    hbone_frame_write_goaway(&frames, 0x7fffffff, 0, "");
    assert_int_equal(send(rig->peers[0], frames.data, frames.length, 0), (ssize_t)frames.length);
    turn(rig);
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008");
    assert_int_equal(rig->opened, 2);
    assert_int_equal(first->consumer.resets, 0);
    writer_free(&frames);
    caller_free(first);
    hbone_pool_cancel(rig->pool, &second->waiter);
    caller_free(second);
    rig_free(rig);
}

static void unused_tunnel_is_released_with_goaway(void **state)
{
    (void)state;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.unused_release_ms = 30;
    struct rig *rig = rig_new_with(settings);
    struct caller *caller = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    uint64_t start_ns = clock_monotonic_ns();
    while (clock_monotonic_ns() - start_ns < 60 * NANOSECONDS_PER_MILLISECOND) {
        loop_run_once(rig->loop, 5);
    }
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, 1); /* in use */
    caller_free(caller);
    shutdown(rig->peers[0], SHUT_WR);
    while (clock_monotonic_ns() - start_ns < 120 * NANOSECONDS_PER_MILLISECOND) {
        loop_run_once(rig->loop, 5);
    }
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, 0);
    uint8_t bytes[1024];
    ssize_t length = recv(rig->peers[0], bytes, sizeof bytes, 0);
    assert_true(length > 17);
    assert_memory_equal(bytes + length - 17, "\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0", 17);
    rig_free(rig);
}

static void oldest_unused_tunnel_goes_beyond_the_bound(void **state)
{
    (void)state;
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    settings.tunnels_maximum = 2;
    struct rig *rig = rig_new_with(settings);
    rig->answers_at_once = true;
    for (int i = 0; i < 3; i++) {
        char address[32];
        (void)snprintf(address, sizeof address, "10.0.0.%d:15008", i + 1);
        struct caller *caller = caller_new(rig, "w", address);
        turn(rig);
        if (i == 1) { /* the first was used last */
            struct caller *again = caller_new(rig, "w", "10.0.0.1:15008");
            caller_free(again);
        }
        caller_free(caller);
        turn(rig);
    }
    char bytes[2048];
    shutdown(rig->peers[1], SHUT_WR);
    while (recv(rig->peers[1], bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
    }
    turn(rig);
    assert_int_equal(hbone_pool_statistics(rig->pool).tunnels, 2);
    rig_free(rig);
}

/* The judge's answer for destination "w"; everybody else is present. */
static enum mesh_destination judge(void *context, const struct hbone_pool_key *key)
{
    enum mesh_destination *answer = context;
    return strcmp(key->destination_uid, "w") == 0 ? *answer : MESH_DESTINATION_PRESENT;
}

static void review(struct rig *rig, enum mesh_destination outcome)
{
    hbone_pool_review(rig->pool, judge, &outcome);
    turn(rig);
}

static size_t pings_at(int peer)
{
    uint8_t bytes[4096];
    ssize_t length = read(peer, bytes, sizeof bytes);
    size_t pings = 0;
    /* The preface, then frames (RFC 9113 §4.1). */
    for (ssize_t at = 24; at + 9 <= length; at += 9 + (bytes[at] << 16 | bytes[at + 1] << 8 | bytes[at + 2])) {
        pings += bytes[at + 3] == 6;
    }
    return pings;
}

static void gone_workload_takes_no_new_stream_is_pinged_and_keeps_the_present(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *kept = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    turn(rig);
    review(rig, MESH_DESTINATION_PRESENT);
    assert_false(hbone_session_is_draining(kept->session));
    assert_false(hbone_pool_has_departed(rig->pool));
    review(rig, MESH_DESTINATION_GONE);
    assert_true(hbone_session_is_draining(kept->session));
    assert_true(hbone_pool_has_departed(rig->pool));
    assert_int_equal(kept->consumer.resets, 0);
    assert_int_equal(pings_at(rig->peers[0]), 1);
    caller_free(kept);
    turn(rig);
    close(rig->peers[0]); /* its answer to our goodbye */
    rig->peers[0] = 0;
    turn(rig);
    assert_false(hbone_pool_has_departed(rig->pool));
    rig_free(rig);
}

static void tunnel_to_an_address_that_another_has_taken_closes_at_once(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *lost = caller_new(rig, "w", "10.0.0.1:15008");
    struct caller *other = caller_new(rig, "v", "10.0.0.2:15008");
    answer(rig, 0);
    answer(rig, 1);
    turn(rig);
    review(rig, MESH_DESTINATION_GONE);
    assert_int_equal(lost->consumer.resets, 0);
    review(rig, MESH_DESTINATION_TAKEN);
    assert_int_equal(lost->consumer.resets, 1);
    assert_int_equal(other->consumer.resets, 0);
    caller_free(lost);
    caller_free(other);
    rig_free(rig);
}

static void opening_to_a_gone_workload_fails(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *caller = caller_new(rig, "w", "10.0.0.1:15008");
    review(rig, MESH_DESTINATION_GONE);
    assert_int_equal(rig->cancelled, 1);
    assert_int_equal(caller->failures, 1);
    assert_int_equal(caller->failure.code, RESULT_NOT_FOUND);
    assert_string_equal(caller->failure.message, "the workload is gone");
    caller_free(caller);
    rig_free(rig);
}

static void dropped_pool_resets_streams_and_cancels_openings(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *running = caller_new(rig, "w", "10.0.0.1:15008");
    answer(rig, 0);
    turn(rig);
    struct caller *waiting = caller_new(rig, "v", "10.0.0.2:15008");
    hbone_pool_free(rig->pool);
    rig->pool = NULL;
    assert_int_equal(running->consumer.reset.cause, HBONE_RESET_TUNNEL_CLOSED);
    assert_int_equal(waiting->failures, 1);
    assert_int_equal(rig->cancelled, 1);
    caller_free(running);
    caller_free(waiting);
    rig_free(rig);
}

static void pool_may_be_freed_by_a_waiter(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    struct caller *first = caller_new(rig, "w", "10.0.0.1:15008");
    struct caller *second = caller_new(rig, "w", "10.0.0.1:15008");
    first->frees_pool = true;
    hbone_pool_open_failed(rig->openings[0], result_fail(RESULT_UNAVAILABLE, "no"));
    turn(rig);
    assert_int_equal(first->failures, 1);
    assert_int_equal(second->failures, 1);
    caller_free(first);
    caller_free(second);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiters_share_one_opening_and_one_tunnel),
        cmocka_unit_test(different_keys_have_different_tunnels),
        cmocka_unit_test(failure_wakes_every_waiter),
        cmocka_unit_test(full_tunnels_get_siblings),
        cmocka_unit_test(waiter_gets_the_place_that_a_finished_stream_leaves),
        cmocka_unit_test(cancelled_waiter_hears_nothing_and_the_last_cancels_the_opening),
        cmocka_unit_test(answered_opening_may_still_be_cancelled),
        cmocka_unit_test(too_many_waiters_are_refused_at_once),
        cmocka_unit_test(lost_tunnel_is_not_offered_again),
        cmocka_unit_test(tunnel_that_got_goaway_takes_no_new_stream),
        cmocka_unit_test(unused_tunnel_is_released_with_goaway),
        cmocka_unit_test(oldest_unused_tunnel_goes_beyond_the_bound),
        cmocka_unit_test(gone_workload_takes_no_new_stream_is_pinged_and_keeps_the_present),
        cmocka_unit_test(tunnel_to_an_address_that_another_has_taken_closes_at_once),
        cmocka_unit_test(opening_to_a_gone_workload_fails),
        cmocka_unit_test(dropped_pool_resets_streams_and_cancels_openings),
        cmocka_unit_test(pool_may_be_freed_by_a_waiter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
