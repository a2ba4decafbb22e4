#include "http/http2_connection.h"

#include "base/clock.h"
#include "base/memory.h"
#include "tls/record_layer.h"

#include <sys/epoll.h>
#include <unistd.h>

#define READ_BUDGET_BYTES (256 * 1024)
#define READ_RUNS 16
#define READ_ROUNDS 4 /* a turn; a peer that floods does not keep the loop */

static void finish(struct http2_connection *connection)
{
    if (!connection->is_over) {
        connection->is_over = true;
        loop_watch_for(&connection->watch, 0);
        timer_disarm(&connection->ping);
        loop_defer(connection->loop, &connection->over);
    }
}

void http2_connection_fail(struct http2_connection *connection, struct result failure)
{
    if (connection->session != NULL && !connection->is_over) {
        connection->failure = failure;
        finish(connection);
    }
}

static void tell_owner(struct deferred *deferred)
{
    struct http2_connection *connection = CONTAINER_OF(deferred, struct http2_connection, over);
    struct result failure = connection->failure;
    connection->owner->on_over(connection, result_is_ok(&failure) ? NULL : &failure);
}

static bool feed(struct http2_connection *connection, const struct bytes *runs, int count)
{
    for (int i = 0; i < count && !connection->is_over; i++) {
        ssize_t taken = nghttp2_session_mem_recv(connection->session, runs[i].data, runs[i].length);
        if (taken < 0) {
            http2_connection_fail(
                connection, result_fail(RESULT_INVALID, "http2 error: %s", nghttp2_strerror((int)taken)));
            return false;
        }
    }
    return !connection->is_over;
}

/* One receive. False when there is nothing more to read now. */
static bool read_once(struct http2_connection *connection)
{
    struct bytes runs[READ_RUNS];
    int count = 0;
    enum record_status status = record_receive(connection->layer, READ_BUDGET_BYTES, runs, READ_RUNS, &count);
    if (count > 0) {
        connection->last_read_ns = clock_monotonic_ns();
        if (!feed(connection, runs, count)) {
            return false;
        }
    }
    switch (status) {
    case RECORD_OK:
        return true;
    case RECORD_AGAIN:
        return false;
    case RECORD_CLOSED:
        connection->has_read_end = true;
        finish(connection);
        return false;
    default:
        http2_connection_fail(
            connection, result_fail(RESULT_UNAVAILABLE, "connection error: %s", record_failure(connection->layer)));
        return false;
    }
}

static void read_input(struct http2_connection *connection)
{
    int rounds = 1;
    connection->is_inside = true;
    while (read_once(connection) && record_has_buffered_input(connection->layer)) {
        if (++rounds > READ_ROUNDS) {
            /* The rest waits for the next turn; the socket itself may have nothing to say any more. */
            timer_arm_at(connection->loop, &connection->resume, 0);
            break;
        }
    }
    connection->is_inside = false;
    http2_connection_wake(connection);
}

static void on_resume(struct timer *timer)
{
    struct http2_connection *connection = CONTAINER_OF(timer, struct http2_connection, resume);
    if (!connection->is_over) {
        read_input(connection);
    }
}

/* Fills one slot with what nghttp2 has to send; the number of bytes, or -1. */
static ssize_t fill_slot(struct http2_connection *connection, struct iovec *slot)
{
    size_t used = 0;
    while (used < slot->iov_len) {
        if (connection->pending.length == 0) {
            const uint8_t *data;
            ssize_t length = nghttp2_session_mem_send(connection->session, &data);
            if (length < 0) {
                return -1;
            }
            if (length == 0) {
                break;
            }
            connection->pending = bytes_of(data, (size_t)length);
        }
        size_t room = slot->iov_len - used;
        size_t length = connection->pending.length < room ? connection->pending.length : room;
        memcpy((uint8_t *)slot->iov_base + used, connection->pending.data, length);
        used += length;
        connection->pending = bytes_of(connection->pending.data + length, connection->pending.length - length);
    }
    return (ssize_t)used;
}

/* Seals everything there is to send, as far as the layer lends slots. False on failure. */
static bool seal_output(struct http2_connection *connection)
{
    while (connection->pending.length > 0 || nghttp2_session_want_write(connection->session)) {
        struct iovec slot;
        if (record_reserve(connection->layer, &slot, 1) < 1) {
            if (record_flush(connection->layer) != RECORD_OK || record_reserve(connection->layer, &slot, 1) < 1) {
                return true;
            }
        }
        ssize_t used = fill_slot(connection, &slot);
        record_commit(connection->layer, 0, used > 0 ? (size_t)used : 0);
        if (used < 0) {
            http2_connection_fail(connection, result_fail(RESULT_INVALID, "http2 error: cannot send"));
            return false;
        }
        if (used == 0) {
            return true;
        }
    }
    return true;
}

static void flush_session(struct http2_connection *connection)
{
    if (!seal_output(connection)) {
        return;
    }
    bool is_done = !nghttp2_session_want_read(connection->session) &&
                   !nghttp2_session_want_write(connection->session) && connection->pending.length == 0;
    if (is_done && !connection->has_queued_close) {
        connection->has_queued_close = true;
        record_close(connection->layer);
    }
    enum record_status status = record_flush(connection->layer);
    if (status != RECORD_OK && status != RECORD_AGAIN) {
        http2_connection_fail(
            connection, result_fail(RESULT_UNAVAILABLE, "connection error: %s", record_failure(connection->layer)));
        return;
    }
    bool is_blocked = status == RECORD_AGAIN || record_unsent_bytes(connection->layer) > 0;
    loop_watch_for(&connection->watch, EPOLLIN | (is_blocked ? EPOLLOUT : 0u));
    if (is_done && !is_blocked) {
        finish(connection);
        return;
    }
    if (connection->owner->on_flushed != NULL) {
        connection->owner->on_flushed(connection);
    }
}

static void flush_output(struct deferred *deferred)
{
    struct http2_connection *connection = CONTAINER_OF(deferred, struct http2_connection, flush);
    if (!connection->is_over) {
        connection->is_inside = true;
        flush_session(connection);
        connection->is_inside = false;
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct http2_connection *connection = CONTAINER_OF(watch, struct http2_connection, watch);
    if (connection->is_over) {
        loop_watch_for(watch, 0);
        return;
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
        read_input(connection);
    } else {
        http2_connection_wake(connection);
    }
}

void http2_connection_wake(struct http2_connection *connection)
{
    if (connection->session != NULL && !connection->is_over) {
        loop_defer(connection->loop, &connection->flush);
    }
}

/* Any byte of the peer counts as life; a PING is sent only into silence. */
static void on_ping_due(struct timer *timer)
{
    struct http2_connection *connection = CONTAINER_OF(timer, struct http2_connection, ping);
    uint64_t now = clock_monotonic_ns();
    uint64_t interval = HTTP2_PING_INTERVAL_MS * NANOSECONDS_PER_MILLISECOND;
    if (connection->ping_sent_ns != 0 && connection->last_read_ns < connection->ping_sent_ns) {
        http2_connection_fail(connection, result_fail(RESULT_TIMEOUT, "http2 error: keep-alive timed out"));
        return;
    }
    connection->ping_sent_ns = 0;
    if (now - connection->last_read_ns < interval) {
        timer_arm_at(connection->loop, timer, connection->last_read_ns + interval);
        return;
    }
    if (!connection->owner->wants_ping(connection)) {
        timer_arm_after_ms(connection->loop, timer, HTTP2_PING_INTERVAL_MS);
        return;
    }
    (void)nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
    connection->ping_sent_ns = now;
    timer_arm_after_ms(connection->loop, timer, HTTP2_PING_TIMEOUT_MS);
    http2_connection_wake(connection);
}

struct result http2_connection_start(struct http2_connection *connection, struct loop *loop, int descriptor,
    struct record_layer *layer, nghttp2_session *session, const struct http2_owner *owner)
{
    memset(connection, 0, sizeof *connection);
    connection->owner = owner;
    connection->loop = loop;
    connection->layer = layer;
    connection->session = session;
    connection->watch.on_ready = on_ready;
    connection->watch.descriptor = descriptor;
    connection->flush.run = flush_output;
    connection->over.run = tell_owner;
    list_initialise(&connection->flush.link);
    list_initialise(&connection->over.link);
    connection->ping.on_expire = on_ping_due;
    connection->resume.on_expire = on_resume;
    connection->last_read_ns = clock_monotonic_ns();
    struct result watched = loop_watch(loop, &connection->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        http2_connection_close(connection);
        return watched;
    }
    timer_arm_after_ms(loop, &connection->ping, HTTP2_PING_INTERVAL_MS);
    /* What came with the end of the handshake may already be inside the layer. */
    if (record_has_buffered_input(layer)) {
        timer_arm_at(loop, &connection->resume, 0);
    }
    http2_connection_wake(connection);
    return result_ok();
}

void http2_connection_close(struct http2_connection *connection)
{
    if (connection->session == NULL) {
        return;
    }
    deferred_cancel(&connection->flush);
    deferred_cancel(&connection->over);
    timer_disarm(&connection->ping);
    timer_disarm(&connection->resume);
    loop_unwatch(&connection->watch);
    connection->is_over = true;
    nghttp2_session *session = connection->session;
    connection->session = NULL;
    nghttp2_session_del(session);
    record_free(connection->layer);
    connection->layer = NULL;
    close(connection->watch.descriptor);
}
