/* Every engine of the record layer, and every pair of ours with libssl, through the same cases: random splits, bulk both ways, ends
 * of all kinds, bad records. */
#include "unit/tls/support.h"

#include "tls/native_layer.h"
#include "tls/openssl_layer.h"
#include "tls/plain_engine.h"

#include <openssl/ssl.h>

#define BULK_BYTES (16u * 1024 * 1024)

static struct certificate_authority *authority;
enum side { LIBSSL, NATIVE, NATIVE_EVP, SIDES };
static struct tls_identity *identities[SIDES];
static struct buffer_pool *pools[2]; /* one a side, as two workers */

/* Two ends joined by one TCP connection. */
struct layers {
    int ends[2];
    struct record_layer *sides[2];
};

struct engine_case {
    const char *name;
    bool is_encrypted;
    struct layers (*make)(const struct engine_case *engine);
    enum side client, server;
    const char *suite;
};

#define AES_256 "TLS_AES_256_GCM_SHA384"
#define AES_128 "TLS_AES_128_GCM_SHA256"

static struct layers make_plain(const struct engine_case *engine)
{
    (void)engine;
    struct layers layers;
    connected_pair(layers.ends);
    for (int i = 0; i < 2; i++) {
        layers.sides[i] = plain_record_layer_new(pools[i], layers.ends[i]);
    }
    return layers;
}

static struct layers shake_hands(struct tls_identity *of_client, struct tls_identity *of_server)
{
    struct layers layers;
    const char *expected = WEB;
    connected_pair(layers.ends);
    struct tls_handshake *client = tls_handshake_new_mesh_client(of_client, pools[0], layers.ends[0], &expected, 1);
    struct tls_handshake *server = tls_handshake_new_mesh_server(of_server, pools[1], layers.ends[1]);
    shake_both(client, server);
    layers.sides[0] = tls_handshake_finish(client, NULL);
    layers.sides[1] = tls_handshake_finish(server, NULL);
    tls_handshake_free(client);
    tls_handshake_free(server);
    return layers;
}

static struct layers make_tls13(const struct engine_case *engine)
{
    assert_int_equal(SSL_CTX_set_ciphersuites(identities[engine->client]->context, engine->suite), 1);
    struct layers layers = shake_hands(identities[engine->client], identities[engine->server]);
    assert_int_equal(SSL_CTX_set_ciphersuites(identities[engine->client]->context, AES_256 ":" AES_128), 1);
    assert_string_equal(layers.sides[0]->engine->name, engine->client == LIBSSL ? "openssl" : "native");
    assert_string_equal(layers.sides[1]->engine->name, engine->server == LIBSSL ? "openssl" : "native");
    return layers;
}

/* Whatever the policy, these records are libssl's. */
static struct layers make_tls12(const struct engine_case *engine)
{
    (void)engine;
    struct tls_identity *old = NULL;
    assert_ok(tls_start(&(struct tls_policy){ .allows_tls12 = true, .engine = TLS_ENGINE_NATIVE }));
    assert_ok(tls_identity_new(identities[LIBSSL]->bundle, &old));
    assert_ok(tls_start(&(struct tls_policy){ 0 }));
    SSL_CTX_set_max_proto_version(old->context, TLS1_2_VERSION);
    struct layers layers = shake_hands(old, old);
    tls_identity_release(old);
    assert_string_equal(layers.sides[0]->engine->name, "openssl");
    return layers;
}

static const struct engine_case engine_cases[] = {
    { "plain", false, make_plain, LIBSSL, LIBSSL, NULL },
    { "openssl", true, make_tls13, LIBSSL, LIBSSL, AES_256 },
    { "openssl with TLS 1.2", true, make_tls12, LIBSSL, LIBSSL, NULL },
    { "native", true, make_tls13, NATIVE, NATIVE, AES_256 },
    { "native, AES-128", true, make_tls13, NATIVE, NATIVE, AES_128 },
    { "native with EVP, AES-128", true, make_tls13, NATIVE_EVP, NATIVE_EVP, AES_128 },
    { "native to openssl", true, make_tls13, NATIVE, LIBSSL, AES_256 },
    { "native to openssl, AES-128", true, make_tls13, NATIVE, LIBSSL, AES_128 },
    { "openssl to native", true, make_tls13, LIBSSL, NATIVE, AES_256 },
    { "openssl to native, AES-128", true, make_tls13, LIBSSL, NATIVE, AES_128 },
    { "native with EVP to native", true, make_tls13, NATIVE_EVP, NATIVE, AES_256 },
    { "openssl to native with EVP", true, make_tls13, LIBSSL, NATIVE_EVP, AES_256 },
};
#define CASE_OPENSSL (&engine_cases[1])
#define CASE_NATIVE (&engine_cases[3])

static void layers_free(struct layers *layers)
{
    for (int i = 0; i < 2; i++) {
        record_free(layers->sides[i]);
        close(layers->ends[i]);
        assert_int_equal(buffer_pool_lent_bytes(pools[i]), 0);
    }
}

/* Runs a case over every engine. */
static void over_all_engines(void (*run_case)(struct layers *layers, const struct engine_case *engine))
{
    for (size_t i = 0; i < ARRAY_LENGTH(engine_cases); i++) {
        struct layers layers = engine_cases[i].make(&engine_cases[i]);
        run_case(&layers, &engine_cases[i]);
        layers_free(&layers);
    }
}

static int set_up(void **state)
{
    (void)state;
    int64_t now_s = clock_wall_s();
    authority = certificate_authority_new("cluster.local", now_s);
    static const struct tls_policy policies[SIDES] = {
        [NATIVE] = { .engine = TLS_ENGINE_NATIVE },
        [NATIVE_EVP] = { .engine = TLS_ENGINE_NATIVE, .is_evp_only = true },
    };
    for (int i = 0; i < SIDES; i++) {
        assert_ok(tls_start(&policies[i]));
        identities[i] = identity_at(authority, WEB, now_s);
    }
    assert_ok(tls_start(&policies[LIBSSL]));
    pools[0] = buffer_pool_new();
    pools[1] = buffer_pool_new();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_pool_free(pools[0]);
    buffer_pool_free(pools[1]);
    for (int i = 0; i < SIDES; i++) {
        tls_identity_release(identities[i]);
    }
    certificate_authority_free(authority);
    return 0;
}

/* A stream that both sides can make by themselves: byte `position` of a stream with this seed. */
struct stream {
    uint64_t sent_state;
    uint64_t received_state;
    size_t sent;
    size_t received;
    bool is_wrong;
};

static uint8_t next_byte(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint8_t)(*state >> 56);
}

static struct stream stream_of(uint64_t seed)
{
    return (struct stream){ .sent_state = seed, .received_state = seed };
}

static void send_some(struct record_layer *layer, struct stream *stream, unsigned *random, size_t total)
{
    struct iovec slots[4];
    int count = record_reserve(layer, slots, 1 + (int)(rand_r(random) % 4));
    for (int i = 0; i < count && stream->sent < total; i++) {
        size_t limit = (rand_r(random) % 8 == 0) ? 40 : slots[i].iov_len;
        size_t length = (size_t)rand_r(random) % (limit + 1);
        length = length < total - stream->sent ? length : total - stream->sent;
        for (size_t j = 0; j < length; j++) {
            ((uint8_t *)slots[i].iov_base)[j] = next_byte(&stream->sent_state);
        }
        if (rand_r(random) % 16 == 0 && length == 0) {
            continue; /* left out altogether */
        }
        record_commit(layer, i, length);
        stream->sent += length;
    }
    enum record_status status = record_flush(layer);
    assert_true(status == RECORD_OK || status == RECORD_AGAIN);
}

static void receive_some(struct record_layer *layer, struct stream *stream, size_t budget)
{
    do {
        struct bytes runs[2];
        int count = 0;
        enum record_status status = record_receive(layer, budget, runs, 2, &count);
        assert_true(status == RECORD_OK || status == RECORD_AGAIN);
        assert_true((status == RECORD_OK) == (count > 0));
        for (int i = 0; i < count; i++) {
            for (size_t j = 0; j < runs[i].length; j++) {
                stream->is_wrong |= runs[i].data[j] != next_byte(&stream->received_state);
            }
            stream->received += runs[i].length;
        }
    } while (record_has_buffered_input(layer));
}

static void move_both_ways(struct layers *layers, size_t total, bool has_random_budget)
{
    struct stream streams[2] = { stream_of(11), stream_of(12) };
    unsigned random = 7;
    uint64_t deadline_ns = clock_monotonic_ns() + 6 * SUPPORT_DEADLINE_NS;
    while (streams[0].received < total || streams[1].received < total) {
        assert_true(clock_monotonic_ns() < deadline_ns);
        for (int i = 0; i < 2; i++) {
            size_t budget = has_random_budget ? 1 + (size_t)rand_r(&random) % 20000 : BUFFER_SHARED_BYTES;
            send_some(layers->sides[i], &streams[i], &random, total);
            receive_some(layers->sides[1 - i], &streams[i], budget);
        }
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(streams[i].received, total);
        assert_false(streams[i].is_wrong);
        assert_int_equal(record_unsent_bytes(layers->sides[i]), 0);
        assert_int_equal(buffer_pool_lent_bytes(pools[i]), 0);
    }
}

static void bulk(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    move_both_ways(layers, BULK_BYTES, false);
}

static void test_16_mib_each_way_arrive_unchanged_and_leave_no_block_behind(void **state)
{
    (void)state;
    over_all_engines(bulk);
}

static void random_splits(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    move_both_ways(layers, 1024 * 1024, true);
}

static void test_reads_that_cut_records_anywhere_change_nothing(void **state)
{
    (void)state;
    over_all_engines(random_splits);
}

static void bounded(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    int tiny = 4096;
    setsockopt(layers->ends[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    struct record_layer *layer = layers->sides[0];
    size_t committed = 0;
    for (int i = 0; i < 100000; i++) {
        struct iovec slot;
        if (record_reserve(layer, &slot, 1) == 0) {
            break;
        }
        memset(slot.iov_base, 'x', slot.iov_len);
        record_commit(layer, 0, slot.iov_len);
        committed += slot.iov_len;
        (void)record_flush(layer);
    }
    struct iovec slot;
    assert_int_equal(record_reserve(layer, &slot, 1), 0);
    assert_true(record_unsent_bytes(layer) > 14 * RECORD_PLAINTEXT_MAXIMUM);
    assert_true(buffer_pool_lent_bytes(pools[0]) <= 34 * BUFFER_BLOCK_BYTES);
    size_t received = 0;
    uint64_t deadline_ns = clock_monotonic_ns() + SUPPORT_DEADLINE_NS;
    while (received < committed && clock_monotonic_ns() < deadline_ns) {
        struct bytes run_of_bytes;
        int count = 0;
        (void)record_flush(layer);
        (void)record_receive(layers->sides[1], BUFFER_SHARED_BYTES, &run_of_bytes, 1, &count);
        received += count == 1 ? run_of_bytes.length : 0;
    }
    assert_int_equal(received, committed);
    assert_int_equal(record_flush(layer), RECORD_OK);
}

static void test_a_peer_that_does_not_read_stops_the_lending_of_slots_and_loses_nothing(void **state)
{
    (void)state;
    over_all_engines(bounded);
}

static void small_pieces(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    struct iovec slots[8];
    size_t sent = 0;
    for (int round = 0; round < 20; round++) {
        int count = record_reserve(layers->sides[0], slots, 8);
        assert_int_equal(count, 8);
        for (int i = 0; i < count; i++) {
            memset(slots[i].iov_base, 'y', 10);
            record_commit(layers->sides[0], i, 10);
            sent += 10;
        }
    }
    assert_int_equal(buffer_pool_lent_bytes(pools[0]), BUFFER_BLOCK_BYTES);
    assert_int_equal(record_flush(layers->sides[0]), RECORD_OK);
    size_t received = 0;
    while (received < sent) {
        struct bytes run_of_bytes;
        assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_OK);
        received += run_of_bytes.length;
    }
    assert_int_equal(received, sent);
}

static void test_many_small_records_share_one_block(void **state)
{
    (void)state;
    over_all_engines(small_pieces);
}

static void clean_end(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    struct bytes run_of_bytes;
    struct iovec slot;
    send_text(layers->sides[0], "last words");
    record_close(layers->sides[0]);
    assert_int_equal(record_reserve(layers->sides[0], &slot, 1), 0);
    assert_int_equal(record_flush(layers->sides[0]), RECORD_OK);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, "last words"));
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_CLOSED);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_CLOSED);
    assert_false(record_has_buffered_input(layers->sides[1]));
    /* The other direction goes on. */
    send_text(layers->sides[1], "an answer");
    assert_int_equal(receive_something(layers->sides[0], &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, "an answer"));
}

static void test_an_orderly_end_comes_after_the_data_and_leaves_the_other_direction_open(void **state)
{
    (void)state;
    over_all_engines(clean_end);
}

static void bare_end(struct layers *layers, const struct engine_case *engine)
{
    struct bytes run_of_bytes;
    send_text(layers->sides[0], "cut off");
    shutdown(layers->ends[0], SHUT_WR);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_OK);
    enum record_status end = receive_something(layers->sides[1], &run_of_bytes);
    if (!engine->is_encrypted) {
        assert_int_equal(end, RECORD_CLOSED);
        return;
    }
    assert_int_equal(end, RECORD_TRUNCATED);
    assert_contains(record_failure(layers->sides[1]), "without sending TLS close_notify");
}

static void test_an_end_of_file_without_close_notify_is_a_truncation(void **state)
{
    (void)state;
    over_all_engines(bare_end);
}

static void reset(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    struct bytes run_of_bytes;
    struct linger at_once = { 1, 0 };
    setsockopt(layers->ends[0], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(layers->ends[0]);
    layers->ends[0] = dup(layers->ends[1]); /* something to close */
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_TRUNCATED);
    assert_contains(record_failure(layers->sides[1]), "Connection reset by peer (os error 104)");
}

static void test_a_reset_is_a_truncation_with_its_reason(void **state)
{
    (void)state;
    over_all_engines(reset);
}

static void dead_peer(struct layers *layers, const struct engine_case *engine)
{
    (void)engine;
    close(layers->ends[1]);
    layers->ends[1] = dup(layers->ends[0]);
    enum record_status status = RECORD_OK;
    for (int i = 0; i < 1000 && status == RECORD_OK; i++) {
        struct iovec slot;
        if (record_reserve(layers->sides[0], &slot, 1) == 1) {
            memset(slot.iov_base, 'z', 100);
            record_commit(layers->sides[0], 0, 100);
        }
        status = record_flush(layers->sides[0]);
        usleep(1000);
    }
    assert_int_equal(status, RECORD_TRUNCATED);
    assert_contains(record_failure(layers->sides[0]), "connection lost: ");
}

static void test_sending_to_a_peer_that_is_gone_ends_without_a_signal(void **state)
{
    (void)state;
    over_all_engines(dead_peer);
}

static void garbage(struct layers *layers, const struct engine_case *engine)
{
    if (!engine->is_encrypted) {
        return;
    }
    struct bytes run_of_bytes;
    uint8_t record[5 + 40] = { 23, 3, 3, 0, 40 };
    send_text(layers->sides[0], "good");
    assert_int_equal(write(layers->ends[0], record, sizeof record), sizeof record);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, "good"));
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_FAILED);
    assert_contains(record_failure(layers->sides[1]), "(sent alert bad_record_mac (20))");
    assert_int_equal(record_flush(layers->sides[1]), RECORD_FAILED);
    assert_int_equal(receive_something(layers->sides[0], &run_of_bytes), RECORD_FAILED);
    assert_string_equal(record_failure(layers->sides[0]), "received fatal alert: bad_record_mac (20)");
}

static void test_a_forged_record_fails_after_the_good_ones_and_the_peer_learns_why(void **state)
{
    (void)state;
    over_all_engines(garbage);
}

static void no_tls(struct layers *layers, const struct engine_case *engine)
{
    if (!engine->is_encrypted) {
        return;
    }
    struct bytes run_of_bytes;
    assert_int_equal(write(layers->ends[0], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_FAILED);
    assert_string_not_equal(record_failure(layers->sides[1]), "no failure");
}

static void test_bytes_that_are_no_record_fail_at_once(void **state)
{
    (void)state;
    over_all_engines(no_tls);
}

static void oversized(struct layers *layers, const struct engine_case *engine)
{
    if (!engine->is_encrypted) {
        return;
    }
    struct bytes run_of_bytes;
    uint8_t header[5] = { 23, 3, 3, 0xff, 0xff };
    assert_int_equal(write(layers->ends[0], header, sizeof header), sizeof header);
    assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_FAILED);
    assert_contains(record_failure(layers->sides[1]), "(sent alert record_overflow (22))");
}

static void test_a_record_longer_than_allowed_fails_before_its_body_comes(void **state)
{
    (void)state;
    over_all_engines(oversized);
}

static void updates(struct layers *layers, const struct engine_case *engine)
{
    struct bytes run_of_bytes;
    struct result updated = record_key_update(layers->sides[0], true);
    if (!result_is_ok(&updated)) {
        assert_string_equal(engine->name, "openssl with TLS 1.2");
        assert_int_equal(updated.code, RESULT_UNSUPPORTED);
        return;
    }
    for (int i = 0; i < 4; i++) {
        send_text(layers->sides[0], "forth");
        assert_int_equal(receive_something(layers->sides[1], &run_of_bytes), RECORD_OK);
        assert_true(bytes_equal_string(run_of_bytes, "forth"));
        send_text(layers->sides[1], "back");
        assert_int_equal(receive_something(layers->sides[0], &run_of_bytes), RECORD_OK);
        assert_true(bytes_equal_string(run_of_bytes, "back"));
        assert_ok(record_key_update(layers->sides[i % 2], i < 2));
    }
}

static void test_key_updates_of_either_side_in_any_order_lose_nothing(void **state)
{
    (void)state;
    over_all_engines(updates);
}

static void test_keys_are_updated_by_themselves_before_the_bound_of_records(void **state)
{
    (void)state;
    struct layers layers = make_tls13(CASE_OPENSSL);
    for (int i = 0; i < 2; i++) {
        struct openssl_layer *layer = CONTAINER_OF(layers.sides[i], struct openssl_layer, base);
        assert_int_equal(layer->records_before_key_update, 1u << 23);
        layer->records_before_key_update = 50;
    }
    move_both_ways(&layers, 4 * 1024 * 1024, true);
    for (int i = 0; i < 2; i++) {
        assert_true(CONTAINER_OF(layers.sides[i], struct openssl_layer, base)->records_sealed <= 50);
    }
    layers_free(&layers);
}

static void test_ours_updates_its_keys_before_the_bound_of_records(void **state)
{
    (void)state;
    struct layers layers = make_tls13(CASE_NATIVE);
    for (int i = 0; i < 2; i++) {
        struct native_layer *layer = CONTAINER_OF(layers.sides[i], struct native_layer, base);
        assert_int_equal(layer->records_before_key_update, 1u << 23);
        layer->records_before_key_update = 50;
    }
    move_both_ways(&layers, 4 * 1024 * 1024, true);
    for (int i = 0; i < 2; i++) {
        struct native_layer *layer = CONTAINER_OF(layers.sides[i], struct native_layer, base);
        assert_true(record_protection_sequence(layer->sealing) <= 50);
        assert_true(record_protection_sequence(layer->opening) <= 51);
    }
    layers_free(&layers);
}

static void test_libssl_cannot_hand_its_connections_over_and_says_so(void **state)
{
    (void)state;
    struct layers layers = make_tls13(CASE_OPENSSL);
    struct writer exported = writer_growing();
    assert_int_equal(record_export_state(layers.sides[0], &exported).code, RESULT_UNSUPPORTED);
    assert_int_equal(exported.length, 0);
    layers_free(&layers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_16_mib_each_way_arrive_unchanged_and_leave_no_block_behind),
        cmocka_unit_test(test_reads_that_cut_records_anywhere_change_nothing),
        cmocka_unit_test(test_a_peer_that_does_not_read_stops_the_lending_of_slots_and_loses_nothing),
        cmocka_unit_test(test_many_small_records_share_one_block),
        cmocka_unit_test(test_an_orderly_end_comes_after_the_data_and_leaves_the_other_direction_open),
        cmocka_unit_test(test_an_end_of_file_without_close_notify_is_a_truncation),
        cmocka_unit_test(test_a_reset_is_a_truncation_with_its_reason),
        cmocka_unit_test(test_sending_to_a_peer_that_is_gone_ends_without_a_signal),
        cmocka_unit_test(test_a_forged_record_fails_after_the_good_ones_and_the_peer_learns_why),
        cmocka_unit_test(test_bytes_that_are_no_record_fail_at_once),
        cmocka_unit_test(test_a_record_longer_than_allowed_fails_before_its_body_comes),
        cmocka_unit_test(test_key_updates_of_either_side_in_any_order_lose_nothing),
        cmocka_unit_test(test_keys_are_updated_by_themselves_before_the_bound_of_records),
        cmocka_unit_test(test_ours_updates_its_keys_before_the_bound_of_records),
        cmocka_unit_test(test_libssl_cannot_hand_its_connections_over_and_says_so),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
