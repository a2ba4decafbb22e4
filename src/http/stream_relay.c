#include "http/stream_relay.h"

#include "base/memory.h"
#include "net/socket.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A read above this makes a flow bulk: it then asks for many holes at once and takes its turns behind interactive ones (design §5). */
#define BULK_READ_BYTES (32 * 1024)
/* A hole smaller than this lies behind other streams' frames: filling it says nothing about the flow. */
#define WHOLE_HOLE_BYTES (8 * 1024)

/* After this the relay may be gone: whoever calls it (or a step that may) returns at once. Steps return false when it ended. */
static void end_relay(struct stream_relay *relay, enum relay_end end, const char *reason)
{
    loop_unwatch_closing(&relay->watch);
    deferred_cancel(&relay->bulk);
    byte_queue_clear(&relay->backlog);
    if (end == RELAY_END_CLEAN) {
        socket_close_cleanly(relay->descriptor);
    } else {
        socket_close_with_reset(relay->descriptor);
    }
    hbone_stream_release(relay->stream);
    relay->stream = NULL;
    relay->events->on_end(relay, end, reason);
}

static bool reset_from_application(struct stream_relay *relay)
{
    hbone_stream_reset(relay->stream, HBONE_CONNECT_ERROR);
    end_relay(relay, RELAY_END_RESET, "connection reset by the application");
    return false;
}

void stream_relay_cut(struct stream_relay *relay, enum hbone_error code, const char *reason)
{
    hbone_stream_reset(relay->stream, code);
    end_relay(relay, RELAY_END_CUT, reason);
}

/* Edge-triggered: what is readable is remembered, so that a flow that has to wait needs no change of interest, and the kernel
 * looks at no socket twice. Writability is asked for while something waits: asked for always, it would wake once a connection. */
static void update_interest(struct stream_relay *relay)
{
    loop_watch_for(&relay->watch, STREAM_RELAY_INTEREST | (relay->backlog.length > 0 ? (uint32_t)EPOLLOUT : 0));
}

static bool end_if_both_ended(struct stream_relay *relay)
{
    if (relay->has_application_end && relay->has_passed_stream_end) {
        end_relay(relay, RELAY_END_CLEAN, NULL);
        return false;
    }
    return true;
}

/* The stream's end becomes a FIN once everything before it has gone. */
static bool pass_stream_end(struct stream_relay *relay)
{
    if (relay->has_stream_end && !relay->has_passed_stream_end && relay->backlog.length == 0) {
        relay->has_passed_stream_end = true;
        socket_shutdown_write(relay->descriptor);
    }
    return end_if_both_ended(relay);
}

static void account_delivery(struct stream_relay *relay, size_t written)
{
    if (written > 0) {
        hbone_stream_credit(relay->stream, written);
        relay->events->on_progress(relay, 0, written);
    }
}

static bool write_backlog(struct stream_relay *relay)
{
    size_t written;
    enum byte_queue_status status = byte_queue_write(&relay->backlog, relay->descriptor, &written);
    account_delivery(relay, written);
    return status == BYTE_QUEUE_FAILED ? reset_from_application(relay) : pass_stream_end(relay);
}

static bool may_read(const struct stream_relay *relay)
{
    return relay->is_readable && !relay->has_application_end && !relay->is_blocked_by_stream;
}

/* What a read says about the flow and the socket: a short one has emptied it, unless its FIN is behind what was read. */
static void note_read(struct stream_relay *relay, size_t length, size_t room)
{
    bool is_full = length == room;
    bool was_bulk = relay->is_bulk;
    relay->is_bulk = length > BULK_READ_BYTES || (is_full && (relay->is_bulk || room >= WHOLE_HOLE_BYTES));
    relay->is_readable = is_full || relay->has_hang_up;
    if (!was_bulk && !relay->is_bulk) {
        loop_note_small_flow(relay->loop);
    }
}

static bool read_once(struct stream_relay *relay)
{
    struct iovec holes[HBONE_HOLES_MAXIMUM];
    int count = hbone_stream_reserve(relay->stream, holes, relay->is_bulk ? HBONE_HOLES_MAXIMUM : 1);
    if (count == 0) {
        relay->is_blocked_by_stream = true;
        return true;
    }
    size_t room = 0;
    for (int i = 0; i < count; i++) {
        room += holes[i].iov_len;
    }
    ssize_t length;
    do {
        length = readv(relay->descriptor, holes, count);
    } while (length < 0 && errno == EINTR);
    int error = errno;
    hbone_stream_commit(relay->stream, length > 0 ? (size_t)length : 0);
    if (length > 0) {
        note_read(relay, (size_t)length, room);
        relay->events->on_progress(relay, (size_t)length, 0);
        return true;
    }
    if (length == 0) {
        relay->has_application_end = true;
        hbone_stream_end(relay->stream);
        return end_if_both_ended(relay);
    }
    relay->is_readable = false;
    return error == EAGAIN || error == EWOULDBLOCK ? true : reset_from_application(relay);
}

/* Reads what is there at once: a last message and the FIN behind it leave together. Bulk goes on in its turns. */
static bool read_application(struct stream_relay *relay)
{
    while (may_read(relay)) {
        if (relay->is_bulk) {
            loop_defer_bulk(relay->loop, &relay->bulk);
            return true;
        }
        if (!read_once(relay)) {
            return false;
        }
    }
    return true;
}

static void run_bulk(struct deferred *deferred)
{
    struct stream_relay *relay = CONTAINER_OF(deferred, struct stream_relay, bulk);
    if (!may_read(relay) || read_once(relay)) {
        (void)read_application(relay);
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct stream_relay *relay = CONTAINER_OF(watch, struct stream_relay, watch);
    if ((events & EPOLLOUT) != 0 && relay->backlog.length > 0) {
        if (!write_backlog(relay)) {
            return;
        }
        update_interest(relay);
    }
    relay->is_readable = relay->is_readable || (events & ~(uint32_t)EPOLLOUT) != 0;
    relay->has_hang_up = relay->has_hang_up || (events & (EPOLLRDHUP | EPOLLHUP)) != 0;
    if (may_read(relay)) {
        (void)read_application(relay);
    } else if ((events & EPOLLERR) != 0) {
        /* Reading is stopped or over: only a reset shows here. */
        (void)reset_from_application(relay);
    }
}

void stream_relay_on_data(struct stream_relay *relay, const struct bytes *slices, int count)
{
    size_t written;
    bool ends_soon = hbone_stream_has_remote_end(relay->stream);
    enum byte_queue_status status =
        byte_queue_pass(&relay->backlog, relay->descriptor, slices, count, ends_soon, &written);
    account_delivery(relay, written);
    if (status == BYTE_QUEUE_FAILED) {
        reset_from_application(relay);
        return;
    }
    update_interest(relay);
}

void stream_relay_on_end_stream(struct stream_relay *relay)
{
    relay->has_stream_end = true;
    (void)pass_stream_end(relay);
}

/* What a peer says that gives up, or whose application did. Every other code says that something broke (dataplane §15). */
static bool is_departure(const struct hbone_reset *reset)
{
    return reset->cause == HBONE_RESET_BY_PEER &&
           (reset->code == HBONE_NO_ERROR || reset->code == HBONE_CANCEL || reset->code == HBONE_STREAM_CLOSED ||
               reset->code == HBONE_CONNECT_ERROR);
}

static void end_by_reset(struct stream_relay *relay, const struct hbone_reset *reset)
{
    if (reset->cause == HBONE_RESET_TUNNEL_LOST) {
        end_relay(relay, RELAY_END_LOST, reset->reason);
    } else if (reset->cause == HBONE_RESET_TUNNEL_CLOSED) {
        end_relay(relay, RELAY_END_CUT, reset->reason);
    } else if (is_departure(reset)) {
        end_relay(relay, RELAY_END_RESET, reset->reason);
    } else {
        char reason[160];
        snprintf(reason, sizeof reason, "io error: stream reset: %s", reset->reason);
        end_relay(relay, RELAY_END_LOST, reason);
    }
}

void stream_relay_on_reset(struct stream_relay *relay, const struct hbone_reset *reset)
{
    if (!reset->is_orderly) {
        end_by_reset(relay, reset);
        return;
    }
    /* The peer has sent everything and wants no more: what it sent is still to be delivered. */
    relay->has_application_end = true;
    if (pass_stream_end(relay)) {
        update_interest(relay);
    }
}

void stream_relay_on_writable(struct stream_relay *relay)
{
    relay->is_blocked_by_stream = false;
    (void)read_application(relay);
}

void stream_relay_take_queue(struct stream_relay *relay, struct byte_queue *queue, bool has_stream_end)
{
    relay->has_stream_end = has_stream_end;
    relay->backlog = *queue;
    *queue = byte_queue_of(queue->pool);
    if (write_backlog(relay)) {
        update_interest(relay);
    }
}

static bool watch_application(struct stream_relay *relay)
{
    struct result watched = loop_watch(relay->loop, &relay->watch, relay->descriptor, STREAM_RELAY_INTEREST);
    if (!result_is_ok(&watched)) {
        stream_relay_cut(relay, HBONE_INTERNAL_ERROR, "the event loop refused the application's socket");
        return false;
    }
    return true;
}

static void initialise(struct stream_relay *relay, struct loop *loop, struct buffer_pool *pool, int descriptor,
    struct hbone_stream *stream, const struct stream_relay_events *events)
{
    struct hbone_session *session = hbone_stream_session(stream);
    struct loop_account *account = session != NULL ? hbone_session_account(session) : NULL;
    *relay = (struct stream_relay){ .events = events, .stream = stream, .descriptor = descriptor, .loop = loop };
    relay->backlog = byte_queue_of(pool);
    relay->watch.on_ready = on_ready;
    relay->watch.account = relay->bulk.account = account;
    relay->bulk.run = run_bulk;
    list_initialise(&relay->bulk.link);
}

bool stream_relay_start(struct stream_relay *relay, struct loop *loop, struct buffer_pool *pool, int descriptor,
    struct hbone_stream *stream, const struct stream_relay_events *events)
{
    initialise(relay, loop, pool, descriptor, stream, events);
    return watch_application(relay);
}

bool stream_relay_start_watched(struct stream_relay *relay, struct buffer_pool *pool, struct io_watch *watch,
    uint32_t seen_events, bool has_ended, struct hbone_stream *stream, const struct stream_relay_events *events)
{
    initialise(relay, watch->loop, pool, watch->descriptor, stream, events);
    loop_watch_move(watch, &relay->watch);
    relay->has_application_end = has_ended;
    relay->is_readable = seen_events != 0;
    relay->has_hang_up = (seen_events & EPOLLRDHUP) != 0;
    return read_application(relay);
}
