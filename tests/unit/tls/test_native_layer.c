/* Our records against a peer that holds the keys and does everything wrong: each ends the connection with the alert RFC 8446 names
 * and a counted reason, and what came before it is delivered. */
#include "unit/tls/record_support.h"

#include "tls/alert.h"

static const uint8_t update[5] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0 };
static const uint8_t update_requested[5] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 1 };
static const uint8_t ticket[4 + 20] = { HANDSHAKE_NEW_SESSION_TICKET, 0, 0, 20 };

static struct native_layer *native_of(struct scripted *scripted)
{
    return CONTAINER_OF(scripted->layer, struct native_layer, base);
}

static void expect_text(struct scripted *scripted, const char *text)
{
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(scripted->layer, &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, text));
}

static void send_data(struct scripted *scripted, const char *text)
{
    send_record(scripted, RECORD_APPLICATION_DATA, text, strlen(text));
}

/* The connection is dead for this reason, its peer was told, and it was counted once. */
static void expect_problem(struct scripted *scripted, enum record_problem problem)
{
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(scripted->layer, &run_of_bytes), RECORD_FAILED);
    assert_int_equal(receive_something(scripted->layer, &run_of_bytes), RECORD_FAILED);
    assert_int_equal(record_flush(scripted->layer), RECORD_FAILED);
    assert_int_equal(scripted->counted, problem);
    assert_int_equal(scripted->layer->problem, problem);
    char *told AUTO_FREE = string_format(
        "(sent alert %s (%d))", tls_alert_name(record_problem_alert(problem)), record_problem_alert(problem));
    assert_contains(record_failure(scripted->layer), told);
    struct iovec slot;
    assert_int_equal(record_reserve(scripted->layer, &slot, 1), 0);
    enum record_type type;
    uint8_t content[RECORD_PLAINTEXT_MAXIMUM];
    assert_int_equal(read_record(scripted, &type, content), 2);
    assert_int_equal(type, RECORD_ALERT);
    assert_int_equal(content[0], 2);
    assert_int_equal(content[1], record_problem_alert(problem));
}

/* Sends something bad behind something good. */
static void check_refusal(void (*send_bad)(struct scripted *scripted), enum record_problem problem)
{
    for (int is_server = 0; is_server < 2; is_server++) {
        struct scripted scripted;
        scripted_start_with(
            &scripted, is_server ? &record_cipher_evp : record_cipher_best(), RECORD_AES_128_GCM, is_server == 1);
        send_data(&scripted, "good");
        expect_text(&scripted, "good");
        send_bad(&scripted);
        expect_problem(&scripted, problem);
        scripted_end(&scripted);
    }
}

static void send_forged(struct scripted *scripted)
{
    uint8_t record[64] = { RECORD_APPLICATION_DATA, 3, 3, 0, 59 };
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_without_tag(struct scripted *scripted)
{
    const uint8_t record[] = { RECORD_APPLICATION_DATA, 3, 3, 0, 3, 1, 2, 3 };
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_empty(struct scripted *scripted)
{
    const uint8_t record[] = { RECORD_APPLICATION_DATA, 3, 3, 0, 0 };
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_twice(struct scripted *scripted)
{
    uint8_t record[64];
    size_t length = seal_record(scripted, RECORD_APPLICATION_DATA, "x", 1, 0, record);
    send_all(scripted->ends[1], record, length);
    struct bytes run_of_bytes;
    assert_int_equal(receive_something(scripted->layer, &run_of_bytes), RECORD_OK);
    send_all(scripted->ends[1], record, length);
}

static void send_out_of_order(struct scripted *scripted)
{
    uint8_t first[64], second[64];
    (void)seal_record(scripted, RECORD_APPLICATION_DATA, "1", 1, 0, first);
    size_t length = seal_record(scripted, RECORD_APPLICATION_DATA, "2", 1, 0, second);
    send_all(scripted->ends[1], second, length);
    send_all(scripted->ends[1], first, length);
}

/* The version is part of what the tag protects. */
static void send_other_minor_version(struct scripted *scripted)
{
    uint8_t record[64];
    size_t length = seal_record(scripted, RECORD_APPLICATION_DATA, "x", 1, 0, record);
    record[2] = 1;
    send_all(scripted->ends[1], record, length);
}

static void test_what_was_not_sealed_so_and_there_is_a_bad_record(void **state)
{
    (void)state;
    check_refusal(send_forged, RECORD_PROBLEM_BAD_MAC);
    check_refusal(send_without_tag, RECORD_PROBLEM_BAD_MAC);
    check_refusal(send_empty, RECORD_PROBLEM_BAD_MAC);
    check_refusal(send_twice, RECORD_PROBLEM_BAD_MAC);
    check_refusal(send_out_of_order, RECORD_PROBLEM_BAD_MAC);
    check_refusal(send_other_minor_version, RECORD_PROBLEM_BAD_MAC);
}

static void send_oversized_header(struct scripted *scripted)
{
    const uint16_t length = RECORD_PLAINTEXT_MAXIMUM + 257;
    const uint8_t header[] = { RECORD_APPLICATION_DATA, 3, 3, (uint8_t)(length >> 8), (uint8_t)length };
    send_all(scripted->ends[1], header, sizeof header);
}

static void send_oversized_plaintext(struct scripted *scripted)
{
    static const uint8_t zeros[RECORD_PLAINTEXT_MAXIMUM + 1];
    send_record(scripted, RECORD_APPLICATION_DATA, zeros, sizeof zeros);
}

static void send_oversized_padding(struct scripted *scripted)
{
    send_padded_record(scripted, RECORD_APPLICATION_DATA, "x", 1, RECORD_PLAINTEXT_MAXIMUM);
}

static void test_records_longer_than_allowed_overflow(void **state)
{
    (void)state;
    check_refusal(send_oversized_header, RECORD_PROBLEM_OVERFLOW);
    check_refusal(send_oversized_plaintext, RECORD_PROBLEM_OVERFLOW);
    check_refusal(send_oversized_padding, RECORD_PROBLEM_OVERFLOW);
}

static void send_only_padding(struct scripted *scripted)
{
    send_padded_record(scripted, (enum record_type)0, NULL, 0, 100);
}

static void send_nothing_sealed(struct scripted *scripted)
{
    /* A tag over no byte at all: not even a type. */
    uint8_t record[RECORD_HEADER_BYTES + RECORD_TAG_BYTES] = { RECORD_APPLICATION_DATA, 3, 3, 0, RECORD_TAG_BYTES };
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES];
    struct traffic_keys keys;
    memset(secret, 0x71, sizeof secret);
    key_schedule_traffic_keys(RECORD_AES_128_GCM, secret, &keys);
    keys.iv[TRAFFIC_IV_BYTES - 1] ^= 1; /* number 1 */
    void *expanded[EXPANDED_KEY_BYTES / sizeof(void *)] = { NULL };
    record_cipher_evp.set_key(expanded, RECORD_AES_128_GCM, keys.key);
    const struct record_cipher_text text = { keys.iv, record, record, record, 0 };
    record_cipher_evp.seal(expanded, RECORD_AES_128_GCM, &text, record + RECORD_HEADER_BYTES);
    record_cipher_evp.clear_key(expanded);
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_plain_alert(struct scripted *scripted)
{
    const uint8_t record[] = { RECORD_ALERT, 3, 3, 0, 2, 1, 0 };
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_plain_change_cipher_spec(struct scripted *scripted)
{
    const uint8_t record[] = { RECORD_CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1 };
    send_all(scripted->ends[1], record, sizeof record);
}

static void send_sealed_change_cipher_spec(struct scripted *scripted)
{
    send_record(scripted, RECORD_CHANGE_CIPHER_SPEC, "\1", 1);
}

static void send_unknown_type(struct scripted *scripted)
{
    send_record(scripted, (enum record_type)24, "heartbeat", 9);
}

static void send_empty_alert(struct scripted *scripted)
{
    send_record(scripted, RECORD_ALERT, NULL, 0);
}

static void send_empty_handshake(struct scripted *scripted)
{
    send_record(scripted, RECORD_HANDSHAKE, NULL, 0);
}

static void send_data_inside_a_message(struct scripted *scripted)
{
    send_record(scripted, RECORD_HANDSHAKE, update, 2);
    send_data(scripted, "in between");
}

static void send_close_inside_a_message(struct scripted *scripted)
{
    send_record(scripted, RECORD_HANDSHAKE, update, 4);
    send_record(scripted, RECORD_ALERT, "\1\0", 2);
}

static void test_types_that_may_not_be_there_are_unexpected(void **state)
{
    (void)state;
    check_refusal(send_only_padding, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_nothing_sealed, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_plain_alert, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_plain_change_cipher_spec, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_sealed_change_cipher_spec, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_unknown_type, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_empty_alert, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_empty_handshake, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_data_inside_a_message, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    check_refusal(send_close_inside_a_message, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
}

static void send_short_alert(struct scripted *scripted)
{
    send_record(scripted, RECORD_ALERT, "\2", 1);
}

static void send_two_alerts(struct scripted *scripted)
{
    send_record(scripted, RECORD_ALERT, "\1\0\1\0", 4);
}

static void send_long_update(struct scripted *scripted)
{
    send_record(scripted, RECORD_HANDSHAKE, "\x18\0\0\2\0\0", 6);
}

static void send_strange_update(struct scripted *scripted)
{
    send_record(scripted, RECORD_HANDSHAKE, "\x18\0\0\1\7", 5);
}

static void send_http(struct scripted *scripted)
{
    const uint8_t text[] = { RECORD_APPLICATION_DATA, 'H', 'T', 'T', 'P' };
    send_all(scripted->ends[1], text, sizeof text);
}

static void test_malformed_content_has_its_own_alerts(void **state)
{
    (void)state;
    check_refusal(send_short_alert, RECORD_PROBLEM_DECODE);
    check_refusal(send_two_alerts, RECORD_PROBLEM_DECODE);
    check_refusal(send_long_update, RECORD_PROBLEM_DECODE);
    check_refusal(send_strange_update, RECORD_PROBLEM_ILLEGAL_PARAMETER);
    check_refusal(send_http, RECORD_PROBLEM_VERSION);
}

static void send_many_empty(struct scripted *scripted)
{
    for (int i = 0; i < 33; i++) {
        send_record(scripted, RECORD_APPLICATION_DATA, NULL, 0);
    }
}

static void send_many_updates(struct scripted *scripted)
{
    for (int i = 0; i < 33; i++) {
        send_record(scripted, RECORD_HANDSHAKE, update, sizeof update);
        record_protection_advance(scripted->sealing);
    }
}

static void send_many_warnings(struct scripted *scripted)
{
    for (int i = 0; i < 33; i++) {
        send_record(scripted, RECORD_ALERT, "\1\x5a", 2);
    }
}

static void test_floods_of_records_without_data_end(void **state)
{
    (void)state;
    check_refusal(send_many_empty, RECORD_PROBLEM_FLOOD);
    check_refusal(send_many_updates, RECORD_PROBLEM_FLOOD);
    check_refusal(send_many_warnings, RECORD_PROBLEM_FLOOD);
}

static void test_empty_records_between_data_are_no_flood(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    for (int i = 0; i < 20; i++) {
        for (int j = 0; j < 31; j++) {
            send_record(&scripted, RECORD_APPLICATION_DATA, NULL, 0);
        }
        send_data(&scripted, "data");
        expect_text(&scripted, "data");
    }
    scripted_end(&scripted);
}

static void test_padding_is_taken_off(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    static const size_t paddings[] = { 1, 15, 255, 4000, RECORD_PLAINTEXT_MAXIMUM - 6 };
    for (size_t i = 0; i < ARRAY_LENGTH(paddings); i++) {
        send_padded_record(&scripted, RECORD_APPLICATION_DATA, "padded", 6, paddings[i]);
        expect_text(&scripted, "padded");
    }
    send_padded_record(&scripted, RECORD_APPLICATION_DATA, NULL, 0, 77);
    send_data(&scripted, "on");
    expect_text(&scripted, "on");
    scripted_end(&scripted);
}

static void test_zeros_at_the_end_of_data_are_data(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct bytes run_of_bytes;
    static const uint8_t zeros[100];
    send_record(&scripted, RECORD_APPLICATION_DATA, zeros, sizeof zeros);
    assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal(run_of_bytes, bytes_of(zeros, sizeof zeros)));
    scripted_end(&scripted);
}

static void test_what_came_before_a_bad_record_is_delivered_first(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    uint8_t together[256];
    size_t length = seal_record(&scripted, RECORD_APPLICATION_DATA, "one,", 4, 0, together);
    length += seal_record(&scripted, RECORD_APPLICATION_DATA, "two", 3, 0, together + length);
    together[length++] = 99;
    send_all(scripted.ends[1], together, length);
    expect_text(&scripted, "one,two");
    assert_true(record_has_buffered_input(scripted.layer));
    expect_problem(&scripted, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
    scripted_end(&scripted);
}

static void test_tickets_and_user_canceled_pass_unnoticed(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    send_record(&scripted, RECORD_HANDSHAKE, ticket, sizeof ticket);
    send_record(&scripted, RECORD_HANDSHAKE, ticket, 10);
    send_record(&scripted, RECORD_HANDSHAKE, ticket + 10, sizeof ticket - 10);
    send_record(&scripted, RECORD_ALERT, "\1\x5a", 2);
    send_data(&scripted, "after");
    expect_text(&scripted, "after");
    scripted_end(&scripted);
}

static void test_a_fatal_alert_ends_both_directions_whatever_its_level(void **state)
{
    (void)state;
    for (uint8_t level = 0; level < 3; level++) {
        struct scripted scripted;
        scripted_start(&scripted);
        const uint8_t alert[] = { level, TLS_ALERT_UNKNOWN_CA };
        struct bytes run_of_bytes;
        send_record(&scripted, RECORD_ALERT, alert, sizeof alert);
        assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_FAILED);
        assert_string_equal(record_failure(scripted.layer), "received fatal alert: unknown_ca (48)");
        assert_int_equal(scripted.counted, RECORD_PROBLEM_ALERT_RECEIVED);
        assert_int_equal(record_flush(scripted.layer), RECORD_FAILED);
        uint8_t byte;
        assert_int_equal(recv(scripted.ends[1], &byte, 1, MSG_DONTWAIT), -1); /* no alert in answer */
        scripted_end(&scripted);
    }
}

static void test_what_follows_close_notify_is_ignored(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct bytes run_of_bytes;
    send_record(&scripted, RECORD_ALERT, "\1\0", 2);
    send_data(&scripted, "too late");
    send_forged(&scripted);
    assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_CLOSED);
    send_text(scripted.layer, "we go on");
    enum record_type type;
    uint8_t content[RECORD_PLAINTEXT_MAXIMUM];
    assert_int_equal(read_record(&scripted, &type, content), 8);
    assert_int_equal(type, RECORD_APPLICATION_DATA);
    assert_int_equal(scripted.counted, RECORD_PROBLEM_NONE);
    scripted_end(&scripted);
}

static void test_an_end_inside_a_record_is_a_truncation(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < 20; cut += 3) {
        struct scripted scripted;
        scripted_start(&scripted);
        struct bytes run_of_bytes;
        uint8_t record[64];
        (void)seal_record(&scripted, RECORD_APPLICATION_DATA, "cut", 3, 0, record);
        send_all(scripted.ends[1], record, cut);
        (void)shutdown(scripted.ends[1], SHUT_WR);
        assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_TRUNCATED);
        assert_int_equal(scripted.counted, RECORD_PROBLEM_TRUNCATED);
        scripted_end(&scripted);
    }
}

static void test_no_alert_follows_our_close_notify(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct bytes run_of_bytes;
    enum record_type type;
    uint8_t content[RECORD_PLAINTEXT_MAXIMUM];
    record_close(scripted.layer);
    record_close(scripted.layer);
    assert_int_equal(record_flush(scripted.layer), RECORD_OK);
    send_forged(&scripted);
    assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_FAILED);
    assert_int_equal(read_record(&scripted, &type, content), 2);
    assert_int_equal(type, RECORD_ALERT);
    assert_int_equal(content[1], TLS_ALERT_CLOSE_NOTIFY);
    uint8_t byte;
    assert_int_equal(recv(scripted.ends[1], &byte, 1, MSG_DONTWAIT), -1);
    scripted_end(&scripted);
}

static void test_a_requested_key_update_is_answered_before_the_next_data(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct bytes run_of_bytes;
    enum record_type type;
    uint8_t content[RECORD_PLAINTEXT_MAXIMUM];
    int count = 0;
    send_record(&scripted, RECORD_HANDSHAKE, update_requested, sizeof update_requested);
    record_protection_advance(scripted.sealing);
    send_data(&scripted, "under new keys");
    assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_OK);
    assert_true(bytes_equal_string(run_of_bytes, "under new keys"));
    assert_true(record_unsent_bytes(scripted.layer) > 0);
    send_text(scripted.layer, "answer");
    assert_int_equal(read_record(&scripted, &type, content), sizeof update);
    assert_int_equal(type, RECORD_HANDSHAKE);
    assert_memory_equal(content, update, sizeof update);
    record_protection_advance(scripted.opening);
    assert_int_equal(read_record(&scripted, &type, content), 6);
    assert_int_equal(scripted.key_updates, 2);
    assert_int_equal(record_receive(scripted.layer, BUFFER_SHARED_BYTES, &run_of_bytes, 1, &count), RECORD_AGAIN);
    scripted_end(&scripted);
}

static void test_a_peer_that_asks_for_updates_and_does_not_read_gets_no_heap_of_answers(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    for (int i = 0; i < 2000; i++) {
        send_record(&scripted, RECORD_HANDSHAKE, update_requested, sizeof update_requested);
        record_protection_advance(scripted.sealing);
        send_data(&scripted, "x");
        struct bytes run_of_bytes;
        assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_OK);
        assert_true(record_unsent_bytes(scripted.layer) < 100); /* never flushed here */
    }
    scripted_end(&scripted);
}

static void test_used_up_numbers_end_the_connection(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES];
    memset(secret, 0x71, sizeof secret);
    record_protection_free(native_of(&scripted)->opening);
    record_protection_free(scripted.sealing);
    native_of(&scripted)->opening =
        record_protection_new(&record_cipher_evp, RECORD_AES_256_GCM, secret, UINT64_MAX - 1);
    scripted.sealing = record_protection_new(&record_cipher_evp, RECORD_AES_256_GCM, secret, UINT64_MAX - 1);
    send_data(&scripted, "last");
    expect_text(&scripted, "last");
    send_forged(&scripted);
    expect_problem(&scripted, RECORD_PROBLEM_EXHAUSTED);
    scripted_end(&scripted);
}

/* As many runs as records of full size, no more than there is room for, and nothing lost. */
static void test_runs_are_few_and_complete_whatever_the_records_sizes(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    static uint8_t content[RECORD_PLAINTEXT_MAXIMUM];
    unsigned random = 3;
    for (int round = 0; round < 60; round++) {
        size_t sent = 0, received = 0;
        uint8_t next = (uint8_t)round, expected = (uint8_t)round;
        for (int i = 0; i < 12; i++) {
            size_t length = 1 + (size_t)rand_r(&random) % (i % 3 == 0 ? 16384 : 300);
            for (size_t j = 0; j < length; j++) {
                content[j] = next++;
            }
            send_record(&scripted, RECORD_APPLICATION_DATA, content, length);
            sent += length;
        }
        while (received < sent) {
            struct bytes runs[4];
            int count = 0;
            enum record_status status =
                record_receive(scripted.layer, BUFFER_SHARED_BYTES, runs, 1 + round % 4, &count);
            assert_true(status == RECORD_OK || status == RECORD_AGAIN);
            assert_true(count <= 1 + round % 4);
            for (int i = 0; i < count; i++) {
                for (size_t j = 0; j < runs[i].length; j++) {
                    assert_int_equal(runs[i].data[j], expected++);
                }
                received += runs[i].length;
            }
        }
    }
    scripted_end(&scripted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_not_sealed_so_and_there_is_a_bad_record),
        cmocka_unit_test(test_records_longer_than_allowed_overflow),
        cmocka_unit_test(test_types_that_may_not_be_there_are_unexpected),
        cmocka_unit_test(test_malformed_content_has_its_own_alerts),
        cmocka_unit_test(test_floods_of_records_without_data_end),
        cmocka_unit_test(test_empty_records_between_data_are_no_flood),
        cmocka_unit_test(test_padding_is_taken_off),
        cmocka_unit_test(test_zeros_at_the_end_of_data_are_data),
        cmocka_unit_test(test_what_came_before_a_bad_record_is_delivered_first),
        cmocka_unit_test(test_tickets_and_user_canceled_pass_unnoticed),
        cmocka_unit_test(test_a_fatal_alert_ends_both_directions_whatever_its_level),
        cmocka_unit_test(test_what_follows_close_notify_is_ignored),
        cmocka_unit_test(test_an_end_inside_a_record_is_a_truncation),
        cmocka_unit_test(test_no_alert_follows_our_close_notify),
        cmocka_unit_test(test_a_requested_key_update_is_answered_before_the_next_data),
        cmocka_unit_test(test_a_peer_that_asks_for_updates_and_does_not_read_gets_no_heap_of_answers),
        cmocka_unit_test(test_used_up_numbers_end_the_connection),
        cmocka_unit_test(test_runs_are_few_and_complete_whatever_the_records_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
