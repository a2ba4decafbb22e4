/* A live connection moves to another process: descriptor over SCM_RIGHTS, keys and everything in flight as bytes; and bytes that are no
 * such state are refused. */
#include "unit/tls/record_support.h"

#include "tls/secret_memory.h"

#include <sys/uio.h>

#define STREAM_BYTES (3u * 1024 * 1024)

static uint8_t byte_at(size_t position)
{
    return (uint8_t)(position * 2654435761u >> 13);
}

/* Sends the stream's bytes from `position` on, as many as there are slots for. */
static size_t send_stream(struct record_layer *layer, size_t position, size_t end)
{
    struct iovec slot;
    while (position < end && record_reserve(layer, &slot, 1) == 1) {
        size_t length = slot.iov_len < end - position ? slot.iov_len : end - position;
        for (size_t i = 0; i < length; i++) {
            ((uint8_t *)slot.iov_base)[i] = byte_at(position + i);
        }
        record_commit(layer, 0, length);
        position += length;
        if (record_flush(layer) != RECORD_OK) {
            break;
        }
    }
    return position;
}

static void send_state(int channel, int descriptor, struct bytes state, size_t position)
{
    char control[CMSG_SPACE(sizeof descriptor)] = { 0 };
    struct iovec pieces[] = { { &position, sizeof position }, { (void *)(uintptr_t)state.data, state.length } };
    struct msghdr message = {
        .msg_iov = pieces, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    assert_int_equal(sendmsg(channel, &message, MSG_NOSIGNAL), sizeof position + state.length);
}

static size_t receive_state(int channel, int *descriptor, uint8_t *state, size_t capacity, size_t *position)
{
    char control[CMSG_SPACE(sizeof *descriptor)];
    struct iovec pieces[] = { { position, sizeof *position }, { state, capacity } };
    struct msghdr message = {
        .msg_iov = pieces, .msg_iovlen = 2, .msg_control = control, .msg_controllen = sizeof control
    };
    ssize_t got = recvmsg(channel, &message, 0);
    const struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    if (got < (ssize_t)sizeof *position || rights == NULL) {
        _exit(2);
    }
    memcpy(descriptor, CMSG_DATA(rights), sizeof *descriptor);
    return (size_t)got - sizeof *position;
}

/* Reads what is there; -1 at the end of the stream. */
static ssize_t receive_stream(struct record_layer *layer, size_t position)
{
    struct bytes runs[4];
    int count = 0;
    enum record_status status = record_receive(layer, 30000, runs, 4, &count);
    if (status == RECORD_CLOSED) {
        return -1;
    }
    if (status != RECORD_OK && status != RECORD_AGAIN) {
        fail_msg("%s", record_failure(layer));
    }
    size_t received = 0;
    for (int i = 0; i < count; i++) {
        for (size_t j = 0; j < runs[i].length; j++) {
            assert_int_equal(runs[i].data[j], byte_at(position + received++));
        }
    }
    return (ssize_t)received;
}

/* The successor: it has no key but those it is given. Sends the rest of the stream and receives the peer's rest, of which `position`
 * bytes came before; then both directions end in order. */
static void go_on(int channel)
{
    static uint8_t state[1024 * 1024];
    int descriptor = -1;
    size_t positions = 0;
    size_t length = receive_state(channel, &descriptor, state, sizeof state, &positions);
    size_t sent = positions >> 32, received = positions & 0xffffffff;
    struct buffer_pool *pool = buffer_pool_new();
    struct record_layer *layer = NULL;
    struct result imported =
        native_layer_import(bytes_of(state, length), record_cipher_best(), pool, descriptor, &layer);
    if (!result_is_ok(&imported)) {
        fprintf(stderr, "%s\n", imported.message);
        _exit(3);
    }
    bool is_closed = false, is_over = false;
    while (!is_closed || !is_over) {
        sent = send_stream(layer, sent, STREAM_BYTES);
        if (sent == STREAM_BYTES && !is_closed) {
            record_close(layer);
            is_closed = true;
        }
        (void)record_flush(layer);
        ssize_t got = is_over ? 0 : receive_stream(layer, received);
        is_over |= got < 0;
        received += got > 0 ? (size_t)got : 0;
    }
    while (record_flush(layer) == RECORD_AGAIN) {
        wait_for(descriptor, POLLOUT);
    }
    record_free(layer);
    close(descriptor);
    buffer_pool_free(pool);
    _exit(received == STREAM_BYTES ? 0 : 4);
}

struct lasting {
    struct certificate_authority *authority;
    struct tls_identity *ours, *theirs;
    struct buffer_pool *pools[2];
    int ends[2];
    struct record_layer *native, *libssl;
};

static void connect_lasting(struct lasting *lasting)
{
    const char *expected = WEB;
    int64_t now_s = clock_wall_s();
    lasting->authority = certificate_authority_new("cluster.local", now_s);
    lasting->theirs = identity_at(lasting->authority, WEB, now_s);
    assert_ok(tls_start(&(struct tls_policy){ .engine = TLS_ENGINE_NATIVE }));
    lasting->ours = identity_at(lasting->authority, WEB, now_s);
    assert_ok(tls_start(&(struct tls_policy){ 0 }));
    lasting->pools[0] = buffer_pool_new();
    lasting->pools[1] = buffer_pool_new();
    connected_pair(lasting->ends);
    struct tls_handshake *client =
        tls_handshake_new_mesh_client(lasting->ours, lasting->pools[0], lasting->ends[0], &expected, 1);
    struct tls_handshake *server = tls_handshake_new_mesh_server(lasting->theirs, lasting->pools[1], lasting->ends[1]);
    shake_both(client, server);
    lasting->native = tls_handshake_finish(client, NULL);
    lasting->libssl = tls_handshake_finish(server, NULL);
    tls_handshake_free(client);
    tls_handshake_free(server);
    assert_string_equal(lasting->native->engine->name, "native");
    assert_string_equal(lasting->libssl->engine->name, "openssl");
}

static void free_lasting(struct lasting *lasting)
{
    record_free(lasting->libssl);
    buffer_pool_free(lasting->pools[0]);
    buffer_pool_free(lasting->pools[1]);
    close(lasting->ends[1]);
    tls_identity_release(lasting->ours);
    tls_identity_release(lasting->theirs);
    certificate_authority_free(lasting->authority);
}

static void test_a_live_connection_goes_on_in_another_process(void **state)
{
    (void)state;
    int channel[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel), 0);
    int large = 2 * 1024 * 1024;
    setsockopt(channel[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
    pid_t successor = fork(); /* before any key exists */
    assert_true(successor >= 0);
    if (successor == 0) {
        go_on(channel[1]);
    }
    struct lasting lasting;
    connect_lasting(&lasting);
    size_t keys = secret_memory_lent_bytes();
    assert_true(keys >= 2 * (size_t)SECRET_SLOT_BYTES);
    int small = 16384;
    setsockopt(lasting.ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);

    /* Both directions in full flow; stop with records waiting and one half received. */
    size_t sent = 0, received = 0, echoed = 0, got_back = 0;
    assert_ok(record_key_update(lasting.native, true));
    while (echoed < STREAM_BYTES / 3 || record_unsent_bytes(lasting.native) == 0 ||
           CONTAINER_OF(lasting.native, struct native_layer, base)->input.kept_length == 0) {
        sent = send_stream(lasting.native, sent, STREAM_BYTES - 1);
        ssize_t got = receive_stream(lasting.libssl, received);
        received += (size_t)got;
        echoed = send_stream(lasting.libssl, echoed, received);
        got_back += (size_t)receive_stream(lasting.native, got_back);
        assert_true(sent < STREAM_BYTES - 1);
    }
    struct writer exported = writer_growing();
    assert_ok(record_export_state(lasting.native, &exported));
    assert_int_equal(secret_memory_lent_bytes(), keys - 2 * (size_t)SECRET_SLOT_BYTES);
    assert_int_equal(record_flush(lasting.native), RECORD_FAILED);
    assert_contains(record_failure(lasting.native), "handed over");
    send_state(channel[0], lasting.ends[0], writer_bytes(&exported), sent << 32 | got_back);
    secret_writer_free(&exported);
    record_free(lasting.native);
    close(lasting.ends[0]);

    /* The peer notices nothing. */
    uint64_t deadline_ns = clock_monotonic_ns() + SUPPORT_DEADLINE_NS;
    bool is_over = false;
    while (!is_over || echoed < STREAM_BYTES) {
        assert_true(clock_monotonic_ns() < deadline_ns);
        ssize_t got = is_over ? 0 : receive_stream(lasting.libssl, received);
        is_over |= got < 0;
        received += got > 0 ? (size_t)got : 0;
        echoed = send_stream(lasting.libssl, echoed, received);
        (void)record_flush(lasting.libssl);
    }
    assert_int_equal(received, STREAM_BYTES);
    record_close(lasting.libssl);
    while (record_flush(lasting.libssl) == RECORD_AGAIN) {
        wait_for(lasting.ends[1], POLLOUT);
    }
    int status = -1;
    assert_int_equal(waitpid(successor, &status, 0), successor);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    free_lasting(&lasting);
    close(channel[0]);
    close(channel[1]);
}

static struct writer export_one(struct scripted *scripted)
{
    struct writer exported = writer_growing();
    uint8_t record[64];
    size_t length = seal_record(scripted, RECORD_APPLICATION_DATA, "half", 4, 0, record);
    struct bytes run_of_bytes;
    int count = 0;
    send_all(scripted->ends[1], record, length / 2);
    wait_for(scripted->ends[0], POLLIN);
    assert_int_equal(record_receive(scripted->layer, 1000, &run_of_bytes, 1, &count), RECORD_AGAIN);
    assert_ok(record_key_update(scripted->layer, false)); /* something unsent */
    assert_ok(record_export_state(scripted->layer, &exported));
    return exported;
}

static struct result import_of(struct bytes state, struct buffer_pool *pool)
{
    struct record_layer *layer = NULL;
    struct result imported = native_layer_import(state, &record_cipher_evp, pool, -1, &layer);
    assert_int_equal(result_is_ok(&imported), layer != NULL);
    record_free(layer);
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    return imported;
}

static void test_a_state_cut_short_or_with_more_behind_is_refused(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct writer exported = export_one(&scripted);
    size_t keys = secret_memory_lent_bytes();
    assert_ok(import_of(writer_bytes(&exported), scripted.pool));
    for (size_t length = 0; length < exported.length; length++) {
        struct result imported = import_of(bytes_of(exported.data, length), scripted.pool);
        assert_false(result_is_ok(&imported));
    }
    writer_add_u8(&exported, 0);
    assert_refused(import_of(writer_bytes(&exported), scripted.pool), RESULT_INVALID, "do not fit together");
    assert_int_equal(secret_memory_lent_bytes(), keys);
    secret_writer_free(&exported);
    scripted_end(&scripted);
}

static void test_a_state_with_more_unsent_than_can_wait_is_refused_by_name(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct writer exported = export_one(&scripted);
    /* Before it lie 24 bytes of fixed length and, for both directions, a secret and a number. */
    size_t secret_bytes = record_suite_secret_bytes((enum record_suite)(exported.data[6] << 8 | exported.data[7]));
    uint8_t *unsent_bytes = exported.data + 24 + 2 * (secret_bytes + sizeof(uint64_t));
    assert_int_equal(unsent_bytes[0], 0);
    unsent_bytes[1] = 0x10;
    assert_refused(import_of(writer_bytes(&exported), scripted.pool), RESULT_INVALID, "bytes unsent, at most 591872");
    secret_writer_free(&exported);
    scripted_end(&scripted);
}

static void test_a_state_of_another_version_or_suite_is_refused(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct writer exported = export_one(&scripted);
    exported.data[4]++;
    assert_refused(import_of(writer_bytes(&exported), scripted.pool), RESULT_UNSUPPORTED, "version 2");
    exported.data[4]--;
    exported.data[7]++;
    assert_refused(import_of(writer_bytes(&exported), scripted.pool), RESULT_UNSUPPORTED, "suite 0x1303");
    secret_writer_free(&exported);
    scripted_end(&scripted);
}

static void test_a_connection_that_failed_is_not_handed_over(void **state)
{
    (void)state;
    struct scripted scripted;
    scripted_start(&scripted);
    struct bytes run_of_bytes;
    struct writer exported = writer_growing();
    send_record(&scripted, RECORD_ALERT, "\2\50", 2);
    assert_int_equal(receive_something(scripted.layer, &run_of_bytes), RECORD_FAILED);
    assert_int_equal(record_export_state(scripted.layer, &exported).code, RESULT_UNAVAILABLE);
    assert_int_equal(exported.length, 0);
    writer_free(&exported);
    scripted_end(&scripted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_live_connection_goes_on_in_another_process),
        cmocka_unit_test(test_a_state_cut_short_or_with_more_behind_is_refused),
        cmocka_unit_test(test_a_state_with_more_unsent_than_can_wait_is_refused_by_name),
        cmocka_unit_test(test_a_state_of_another_version_or_suite_is_refused),
        cmocka_unit_test(test_a_connection_that_failed_is_not_handed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
