/* Handshake messages behind the handshake, in records of any split (RFC 8446 §4.6, §5.1). */
#include "unit/tls/support.h"

#include "tls/post_handshake.h"

static const uint8_t ticket[4 + 20] = { HANDSHAKE_NEW_SESSION_TICKET, 0, 0, 20 };
static const uint8_t update[5] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0 };
static const uint8_t update_requested[5] = { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 1 };

static enum post_handshake_event take(
    struct post_handshake *messages, const void *data, size_t length, enum record_problem *problem)
{
    *problem = RECORD_PROBLEM_NONE;
    return post_handshake_take(messages, bytes_of(data, length), problem);
}

static void test_tickets_are_dropped_however_they_are_split(void **state)
{
    (void)state;
    for (size_t size = 1; size <= sizeof ticket; size++) {
        struct post_handshake client = { 0 };
        enum record_problem problem;
        for (int round = 0; round < 3; round++) {
            for (size_t at = 0; at < sizeof ticket; at += size) {
                size_t length = sizeof ticket - at < size ? sizeof ticket - at : size;
                assert_int_equal(take(&client, ticket + at, length, &problem), POST_HANDSHAKE_NOTHING);
                assert_int_equal(post_handshake_is_inside(&client), at + length < sizeof ticket);
            }
        }
    }
}

static void test_several_messages_share_a_record_and_the_update_comes_last(void **state)
{
    (void)state;
    struct post_handshake client = { 0 };
    enum record_problem problem;
    uint8_t both[sizeof ticket + sizeof update];
    memcpy(both, ticket, sizeof ticket);
    memcpy(both + sizeof ticket, update, sizeof update);
    assert_int_equal(take(&client, both, sizeof both, &problem), POST_HANDSHAKE_KEY_UPDATE);
    assert_false(post_handshake_is_inside(&client));
    memcpy(both, update, sizeof update);
    memcpy(both + sizeof update, ticket, sizeof ticket);
    assert_int_equal(take(&client, both, sizeof both, &problem), POST_HANDSHAKE_REFUSED);
    assert_int_equal(problem, RECORD_PROBLEM_UNEXPECTED_MESSAGE);
}

static void test_key_updates_say_whether_ours_is_wanted(void **state)
{
    (void)state;
    for (size_t split = 0; split < sizeof update; split++) {
        struct post_handshake server = { .is_server = true };
        enum record_problem problem;
        if (split > 0) {
            assert_int_equal(take(&server, update, split, &problem), POST_HANDSHAKE_NOTHING);
        }
        assert_int_equal(take(&server, update + split, sizeof update - split, &problem), POST_HANDSHAKE_KEY_UPDATE);
        assert_int_equal(
            take(&server, update_requested, sizeof update_requested, &problem), POST_HANDSHAKE_KEY_UPDATE_REQUESTED);
    }
}

struct refusal {
    bool is_server;
    uint8_t message[8];
    size_t length;
    enum record_problem problem;
};

static void test_everything_else_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        { false, { 0 }, 0, RECORD_PROBLEM_UNEXPECTED_MESSAGE },
        { true, { HANDSHAKE_NEW_SESSION_TICKET, 0, 0, 20 }, 4, RECORD_PROBLEM_UNEXPECTED_MESSAGE },
        { false, { HANDSHAKE_NEW_SESSION_TICKET, 0, 0, 13 }, 4, RECORD_PROBLEM_DECODE },
        { false, { HANDSHAKE_NEW_SESSION_TICKET, 0xff, 0, 0 }, 4, RECORD_PROBLEM_DECODE },
        { false, { HANDSHAKE_KEY_UPDATE, 0, 0, 0 }, 4, RECORD_PROBLEM_DECODE },
        { false, { HANDSHAKE_KEY_UPDATE, 0, 0, 2, 0, 0 }, 6, RECORD_PROBLEM_DECODE },
        { false, { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 2 }, 5, RECORD_PROBLEM_ILLEGAL_PARAMETER },
        { false, { HANDSHAKE_KEY_UPDATE, 0, 0, 1, 0, 0 }, 6, RECORD_PROBLEM_UNEXPECTED_MESSAGE },
        { false, { 0, 0, 0, 0 }, 4, RECORD_PROBLEM_UNEXPECTED_MESSAGE },     /* HelloRequest */
        { true, { 1, 0, 0, 1, 0 }, 5, RECORD_PROBLEM_UNEXPECTED_MESSAGE },   /* ClientHello: no renegotiation */
        { false, { 13, 0, 0, 1, 0 }, 5, RECORD_PROBLEM_UNEXPECTED_MESSAGE }, /* CertificateRequest: not offered */
        { true, { 20, 0, 0, 1, 0 }, 5, RECORD_PROBLEM_UNEXPECTED_MESSAGE },  /* Finished, again */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(refusals); i++) {
        struct post_handshake messages = { .is_server = refusals[i].is_server };
        enum record_problem problem;
        assert_int_equal(take(&messages, refusals[i].message, refusals[i].length, &problem), POST_HANDSHAKE_REFUSED);
        assert_int_equal(problem, refusals[i].problem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tickets_are_dropped_however_they_are_split),
        cmocka_unit_test(test_several_messages_share_a_record_and_the_update_comes_last),
        cmocka_unit_test(test_key_updates_say_whether_ours_is_wanted),
        cmocka_unit_test(test_everything_else_is_refused_with_its_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
