/* Sealing and opening single records: RFC 8448's records, both ciphers against each other, everything that is tampered with. */
#include "unit/tls/record_support.h"

#define RECORD_CAPACITY (RECORD_PLAINTEXT_MAXIMUM + 1024)

/* Every cipher there is on this machine. */
static const struct record_cipher *ciphers[2];
static size_t cipher_count;

static int find_ciphers(void **state)
{
    (void)state;
    ciphers[cipher_count++] = &record_cipher_evp;
    if (record_cipher_ipsec_mb() != NULL) {
        ciphers[cipher_count++] = record_cipher_ipsec_mb();
    }
    return 0;
}

static struct record_protection *protection_of(
    const struct record_cipher *cipher, const char *secret_digits, uint64_t sequence)
{
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES] = { 0 };
    from_hexadecimal(secret_digits, secret, sizeof secret);
    return record_protection_new(cipher, RECORD_AES_128_GCM, secret, sequence);
}

static void check_opens(const struct record_cipher *cipher, const char *secret, uint64_t sequence, const char *digits,
    enum record_type type, size_t content_length)
{
    uint8_t record[512];
    size_t inner = 0;
    size_t length = from_hexadecimal(digits, record, sizeof record);
    struct record_protection *protection = protection_of(cipher, secret, sequence);
    assert_true(record_protection_open(protection, record, length, &inner));
    assert_int_equal(inner, content_length + 1);
    assert_int_equal(record[RECORD_HEADER_BYTES + content_length], type);
    for (size_t i = 0; type == RECORD_APPLICATION_DATA && i < content_length; i++) {
        assert_int_equal(record[RECORD_HEADER_BYTES + i], i);
    }
    record_protection_free(protection);
}

static void test_records_of_rfc_8448_open(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        const char *client = RFC8448_CLIENT_SECRET, *server = RFC8448_SERVER_SECRET;
        check_opens(ciphers[i], server, 0, RFC8448_TICKET_RECORD, RECORD_HANDSHAKE, 205);
        check_opens(ciphers[i], server, 1, RFC8448_SERVER_DATA_RECORD, RECORD_APPLICATION_DATA, 50);
        check_opens(ciphers[i], server, 2, RFC8448_SERVER_CLOSE_RECORD, RECORD_ALERT, 2);
        check_opens(ciphers[i], client, 0, RFC8448_CLIENT_DATA_RECORD, RECORD_APPLICATION_DATA, 50);
        check_opens(ciphers[i], client, 1, RFC8448_CLIENT_CLOSE_RECORD, RECORD_ALERT, 2);
    }
}

static void test_records_of_rfc_8448_are_what_we_seal(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        struct record_protection *client = protection_of(ciphers[i], RFC8448_CLIENT_SECRET, 0);
        uint8_t record[128];
        for (uint8_t j = 0; j < 50; j++) {
            record[RECORD_HEADER_BYTES + j] = j;
        }
        size_t length =
            record_protection_seal(client, RECORD_APPLICATION_DATA, record + RECORD_HEADER_BYTES, 50, record);
        assert_hexadecimal(record, length, RFC8448_CLIENT_DATA_RECORD);
        uint8_t close_notify[3] = { 1, 0 };
        length = record_protection_seal(client, RECORD_ALERT, close_notify, 2, record);
        assert_hexadecimal(record, length, RFC8448_CLIENT_CLOSE_RECORD);
        record_protection_free(client);
    }
}

static struct record_protection *any_protection(const struct record_cipher *cipher, enum record_suite suite)
{
    uint8_t secret[TRAFFIC_SECRET_MAXIMUM_BYTES];
    memset(secret, 0x33, sizeof secret);
    return record_protection_new(cipher, suite, secret, 0);
}

static void fill(uint8_t *memory, size_t length, unsigned seed)
{
    for (size_t i = 0; i < length; i++) {
        memory[i] = (uint8_t)rand_r(&seed);
    }
}

/* Every pair of ciphers, in place and from elsewhere, lengths of all sizes, with key updates in between. */
static void check_pair(const struct record_cipher *left, const struct record_cipher *right, enum record_suite suite)
{
    static uint8_t plaintext[RECORD_CAPACITY], first[RECORD_CAPACITY], second[RECORD_CAPACITY];
    struct record_protection *ours = any_protection(left, suite), *theirs = any_protection(right, suite),
                             *opening = any_protection(right, suite);
    unsigned random = 5;
    for (unsigned round = 0; round < 200; round++) {
        size_t length =
            round < 70 ? round : (size_t)rand_r(&random) % (round % 4 == 0 ? RECORD_PLAINTEXT_MAXIMUM + 1 : 600);
        size_t inner = 0;
        fill(plaintext, length, round);
        memcpy(second + RECORD_HEADER_BYTES, plaintext, length);
        size_t sealed = record_protection_seal(ours, RECORD_APPLICATION_DATA, plaintext, length, first);
        assert_int_equal(sealed, length + RECORD_OVERHEAD_BYTES);
        assert_int_equal(
            record_protection_seal(theirs, RECORD_APPLICATION_DATA, second + RECORD_HEADER_BYTES, length, second),
            sealed);
        assert_memory_equal(first, second, sealed);
        assert_true(record_protection_open(opening, first, sealed, &inner));
        assert_int_equal(inner, length + 1);
        assert_memory_equal(first + RECORD_HEADER_BYTES, plaintext, length);
        if (round % 50 == 49) {
            record_protection_advance(ours);
            record_protection_advance(theirs);
            record_protection_advance(opening);
            assert_int_equal(record_protection_sequence(ours), 0);
        }
    }
    record_protection_free(ours);
    record_protection_free(theirs);
    record_protection_free(opening);
}

static void test_all_ciphers_give_the_same_bytes_and_open_each_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        for (size_t j = 0; j < cipher_count; j++) {
            check_pair(ciphers[i], ciphers[j], RECORD_AES_128_GCM);
            check_pair(ciphers[i], ciphers[j], RECORD_AES_256_GCM);
        }
    }
}

static void test_a_bit_turned_anywhere_is_refused_and_leaves_no_plaintext(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        for (size_t bit = 0; bit < 8 * (RECORD_OVERHEAD_BYTES + 40); bit += 3) {
            struct record_protection *sealing = any_protection(ciphers[i], RECORD_AES_256_GCM);
            struct record_protection *opening = any_protection(ciphers[i], RECORD_AES_256_GCM);
            uint8_t plaintext[64], record[128], zeros[64] = { 0 };
            size_t inner = 1;
            memset(plaintext, 0xaa, sizeof plaintext);
            size_t length = record_protection_seal(sealing, RECORD_APPLICATION_DATA, plaintext, 40, record);
            record[bit / 8] ^= (uint8_t)(1u << (bit % 8));
            assert_false(record_protection_open(opening, record, length, &inner));
            assert_int_equal(inner, 0);
            assert_memory_equal(record + RECORD_HEADER_BYTES, zeros, 41);
            record_protection_free(sealing);
            record_protection_free(opening);
        }
    }
}

static void test_a_replayed_or_reordered_record_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        struct record_protection *sealing = any_protection(ciphers[i], RECORD_AES_128_GCM);
        struct record_protection *opening = any_protection(ciphers[i], RECORD_AES_128_GCM);
        uint8_t plaintext[8] = "record", first[64], second[64], copy[64];
        size_t inner = 0;
        size_t length = record_protection_seal(sealing, RECORD_APPLICATION_DATA, plaintext, 6, first);
        (void)record_protection_seal(sealing, RECORD_APPLICATION_DATA, plaintext, 6, second);
        memcpy(copy, second, sizeof copy);
        assert_false(record_protection_open(opening, copy, length, &inner)); /* too early */
        memcpy(copy, first, sizeof copy);
        assert_false(record_protection_open(opening, copy, length, &inner)); /* too late */
        record_protection_free(opening);
        opening = any_protection(ciphers[i], RECORD_AES_128_GCM);
        memcpy(copy, first, sizeof copy);
        assert_true(record_protection_open(opening, copy, length, &inner));
        memcpy(copy, first, sizeof copy);
        assert_false(record_protection_open(opening, copy, length, &inner)); /* again */
        record_protection_free(sealing);
        record_protection_free(opening);
    }
}

static void test_records_too_short_for_a_tag_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < cipher_count; i++) {
        struct record_protection *opening = any_protection(ciphers[i], RECORD_AES_256_GCM);
        uint8_t record[RECORD_HEADER_BYTES + RECORD_TAG_BYTES] = { 23, 3, 3 };
        for (size_t length = 0; length <= sizeof record; length++) {
            size_t inner = 1;
            assert_false(record_protection_open(opening, record, length, &inner));
            assert_int_equal(inner, 0);
        }
        record_protection_free(opening);
    }
}

static void test_numbers_never_wrap(void **state)
{
    (void)state;
    struct record_protection *sealing = protection_of(record_cipher_best(), RFC8448_CLIENT_SECRET, UINT64_MAX - 1);
    struct record_protection *opening = protection_of(record_cipher_best(), RFC8448_CLIENT_SECRET, UINT64_MAX - 1);
    uint8_t plaintext[8] = "last", record[64], again[64];
    size_t inner = 0;
    size_t length = record_protection_seal(sealing, RECORD_APPLICATION_DATA, plaintext, 4, record);
    assert_int_equal(length, 4 + RECORD_OVERHEAD_BYTES);
    memcpy(again, record, sizeof again);
    assert_true(record_protection_open(opening, record, length, &inner));
    assert_true(record_protection_is_exhausted(opening));
    assert_false(record_protection_open(opening, again, length, &inner));
    assert_int_equal(record_protection_seal(sealing, RECORD_APPLICATION_DATA, plaintext, 4, record), 0);
    record_protection_advance(sealing);
    assert_int_equal(record_protection_sequence(sealing), 0);
    record_protection_free(sealing);
    record_protection_free(opening);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_records_of_rfc_8448_open),
        cmocka_unit_test(test_records_of_rfc_8448_are_what_we_seal),
        cmocka_unit_test(test_all_ciphers_give_the_same_bytes_and_open_each_others),
        cmocka_unit_test(test_a_bit_turned_anywhere_is_refused_and_leaves_no_plaintext),
        cmocka_unit_test(test_a_replayed_or_reordered_record_is_refused),
        cmocka_unit_test(test_records_too_short_for_a_tag_are_refused),
        cmocka_unit_test(test_numbers_never_wrap),
    };
    return cmocka_run_group_tests(tests, find_ciphers, NULL);
}
