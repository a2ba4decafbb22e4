/* What tests of our own records share: bytes from hexadecimal, and a peer that seals whatever a test wants to send. */
#ifndef AMBAR_TESTS_UNIT_TLS_RECORD_SUPPORT_H
#define AMBAR_TESTS_UNIT_TLS_RECORD_SUPPORT_H

#include "unit/tls/support.h"

#include "tls/native_layer.h"
#include "unit/tls/rfc8448.h"

static SUPPORT_UNUSED size_t from_hexadecimal(const char *digits, uint8_t *out, size_t capacity)
{
    size_t length = strlen(digits) / 2;
    assert_true(length <= capacity);
    for (size_t i = 0; i < length; i++) {
        unsigned value = 0;
        assert_int_equal(sscanf(digits + 2 * i, "%2x", &value), 1);
        out[i] = (uint8_t)value;
    }
    return length;
}

static SUPPORT_UNUSED void assert_hexadecimal(const uint8_t *data, size_t length, const char *digits)
{
    struct writer text = writer_growing();
    writer_add_hexadecimal(&text, bytes_of(data, length));
    assert_string_equal(writer_string(&text), digits);
    writer_free(&text);
}

/* A native layer on one end of a connection, and on the other a test that holds the peer's keys. */
struct scripted {
    struct record_layer *layer;
    struct buffer_pool *pool;
    int ends[2]; /* the layer's, the test's */
    struct record_protection *sealing;
    struct record_protection *opening;
    enum record_problem counted;
    int key_updates;
};

static SUPPORT_UNUSED void on_problem(void *context, enum record_problem problem)
{
    struct scripted *scripted = context;
    assert_int_equal(scripted->counted, RECORD_PROBLEM_NONE);
    scripted->counted = problem;
}

static SUPPORT_UNUSED void on_key_update(void *context)
{
    ((struct scripted *)context)->key_updates++;
}

static const struct record_observer support_observer = { on_problem, on_key_update };

static SUPPORT_UNUSED void scripted_start_with(
    struct scripted *scripted, const struct record_cipher *cipher, enum record_suite suite, bool is_server)
{
    uint8_t theirs[TRAFFIC_SECRET_MAXIMUM_BYTES], ours[TRAFFIC_SECRET_MAXIMUM_BYTES];
    memset(theirs, 0x71, sizeof theirs);
    memset(ours, 0x72, sizeof ours);
    memset(scripted, 0, sizeof *scripted);
    connected_pair(scripted->ends);
    scripted->pool = buffer_pool_new();
    const struct native_start start = { cipher, suite, is_server, RECORD_PLAINTEXT_MAXIMUM, ours, theirs };
    scripted->layer = &native_layer_new(&start, scripted->pool, scripted->ends[0])->base;
    scripted->sealing = record_protection_new(&record_cipher_evp, suite, theirs, 0);
    scripted->opening = record_protection_new(&record_cipher_evp, suite, ours, 0);
    record_observe(scripted->layer, &support_observer, scripted);
}

static SUPPORT_UNUSED void scripted_start(struct scripted *scripted)
{
    scripted_start_with(scripted, record_cipher_best(), RECORD_AES_256_GCM, false);
}

static SUPPORT_UNUSED void scripted_end(struct scripted *scripted)
{
    record_free(scripted->layer);
    assert_int_equal(buffer_pool_lent_bytes(scripted->pool), 0);
    buffer_pool_free(scripted->pool);
    record_protection_free(scripted->sealing);
    record_protection_free(scripted->opening);
    close(scripted->ends[0]);
    close(scripted->ends[1]);
}

static SUPPORT_UNUSED void send_all(int descriptor, const uint8_t *data, size_t length)
{
    while (length > 0) {
        ssize_t sent = send(descriptor, data, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            wait_for(descriptor, POLLOUT);
            continue;
        }
        assert_true(sent > 0);
        data += sent;
        length -= (size_t)sent;
    }
}

/* A record with this content, `padding` zeros behind its type. Returns its length. */
static SUPPORT_UNUSED size_t seal_record(struct scripted *scripted, enum record_type type, const void *content,
    size_t length, size_t padding, uint8_t *record)
{
    static uint8_t plaintext[RECORD_PLAINTEXT_MAXIMUM + 1024];
    if (length > 0) {
        memcpy(plaintext, content, length);
    }
    if (padding == 0) {
        return record_protection_seal(scripted->sealing, type, plaintext, length, record);
    }
    plaintext[length] = (uint8_t)type;
    memset(plaintext + length + 1, 0, padding);
    return record_protection_seal(scripted->sealing, (enum record_type)0, plaintext, length + padding, record);
}

static SUPPORT_UNUSED void send_record(
    struct scripted *scripted, enum record_type type, const void *content, size_t length)
{
    static uint8_t record[RECORD_PLAINTEXT_MAXIMUM + 2048];
    send_all(scripted->ends[1], record, seal_record(scripted, type, content, length, 0, record));
}

static SUPPORT_UNUSED void send_padded_record(
    struct scripted *scripted, enum record_type type, const void *content, size_t length, size_t padding)
{
    static uint8_t record[RECORD_PLAINTEXT_MAXIMUM + 2048];
    send_all(scripted->ends[1], record, seal_record(scripted, type, content, length, padding, record));
}

/* The next record the layer sent: its content without type and tag. */
static SUPPORT_UNUSED size_t read_record(struct scripted *scripted, enum record_type *type, uint8_t *content)
{
    static uint8_t record[RECORD_PLAINTEXT_MAXIMUM + 2048];
    size_t length = 0, wanted = RECORD_HEADER_BYTES, inner = 0;
    while (length < wanted) {
        wait_for(scripted->ends[1], POLLIN);
        ssize_t got = recv(scripted->ends[1], record + length, wanted - length, 0);
        assert_true(got > 0);
        length += (size_t)got;
        if (length >= RECORD_HEADER_BYTES) {
            wanted = RECORD_HEADER_BYTES + (size_t)record[3] * 256 + record[4];
        }
    }
    assert_true(record_protection_open(scripted->opening, record, length, &inner));
    assert_true(inner > 0);
    *type = (enum record_type)record[RECORD_HEADER_BYTES + inner - 1];
    memcpy(content, record + RECORD_HEADER_BYTES, inner - 1);
    return inner - 1;
}

#endif
