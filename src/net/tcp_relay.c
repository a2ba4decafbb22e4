#include "net/tcp_relay.h"

#include "net/pipe_pool.h"
#include "net/socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* A read above this makes a direction bulk (design §5); below it a copy is cheaper than a pipe. */
#define BULK_READ_BYTES (32 * 1024)

static struct tcp_relay_side *other_side(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    return side == &relay->sides[0] ? &relay->sides[1] : &relay->sides[0];
}

static void close_sides(struct tcp_relay *relay, bool with_reset)
{
    for (int i = 0; i < 2; i++) {
        struct tcp_relay_side *side = &relay->sides[i];
        loop_unwatch(&side->watch);
        deferred_cancel(&side->bulk);
        byte_queue_clear(&side->backlog);
        if (side->pipe != NULL) {
            pipe_pool_give(buffer_pool_pipes(relay->pool), side->pipe);
            side->pipe = NULL;
        }
        if (with_reset) {
            socket_close_with_reset(side->descriptor);
        } else {
            socket_close_cleanly(side->descriptor);
        }
    }
}

static void end_relay(struct tcp_relay *relay, enum relay_end end)
{
    close_sides(relay, end != RELAY_END_CLEAN);
    relay->events->on_end(relay, end);
}

void tcp_relay_cut(struct tcp_relay *relay, enum relay_end end)
{
    end_relay(relay, end);
}

static bool has_waiting(const struct tcp_relay_side *side)
{
    return side->backlog.length > 0 || (side->pipe != NULL && side->pipe->held > 0);
}

static bool may_read(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    return !side->has_read_end && !has_waiting(other_side(relay, side));
}

/* Reads while the other side keeps up; writes while something waits for this side. */
static void update_interest(struct tcp_relay *relay)
{
    for (int i = 0; i < 2; i++) {
        struct tcp_relay_side *side = &relay->sides[i];
        if (side->has_read_end && side->has_sent_end) {
            /* Nothing is left to do here, and a socket closed both ways would report EPOLLHUP for ever. */
            loop_unwatch(&side->watch);
            continue;
        }
        uint32_t events = 0;
        if (may_read(relay, side)) {
            events |= EPOLLIN;
        }
        if (has_waiting(side)) {
            events |= EPOLLOUT;
        }
        /* An end that waits for its turn shows as EPOLLHUP, asked for or not: one event of it is enough. */
        loop_watch_for(&side->watch, events != 0 ? events : (uint32_t)EPOLLET);
    }
}

static void report(struct tcp_relay *relay, const struct tcp_relay_side *to, size_t bytes)
{
    if (bytes > 0) {
        bool is_forward = to == &relay->sides[1];
        relay->events->on_progress(relay, is_forward ? bytes : 0, is_forward ? 0 : bytes);
    }
}

/* Passes a FIN on once everything read before it has gone. Returns false when the relay has ended. */
static bool pass_end(struct tcp_relay *relay, struct tcp_relay_side *from, struct tcp_relay_side *to)
{
    if (from->has_read_end && !to->has_sent_end && !has_waiting(to)) {
        to->has_sent_end = true;
        shutdown(to->descriptor, SHUT_WR);
    }
    if (relay->sides[0].has_sent_end && relay->sides[1].has_sent_end) {
        end_relay(relay, RELAY_END_CLEAN);
        return false;
    }
    return true;
}

static bool fail(struct tcp_relay *relay)
{
    end_relay(relay, RELAY_END_RESET);
    return false;
}

/* Ends the relay when the socket fails. An empty pipe goes back. */
static bool drain_pipe(struct tcp_relay *relay, struct tcp_relay_side *to)
{
    if (to->pipe == NULL) {
        return true;
    }
    ssize_t moved = splice_pipe_drain(to->pipe, to->descriptor);
    if (moved < 0) {
        return fail(relay);
    }
    report(relay, to, (size_t)moved);
    if (to->pipe->held == 0) {
        pipe_pool_give(buffer_pool_pipes(relay->pool), to->pipe);
        to->pipe = NULL;
    }
    return true;
}

static bool write_waiting(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    size_t written;
    enum byte_queue_status status = byte_queue_write(&side->backlog, side->descriptor, &written);
    report(relay, side, written);
    if (status == BYTE_QUEUE_FAILED) {
        return fail(relay);
    }
    if (side->backlog.length == 0 && !drain_pipe(relay, side)) {
        return false;
    }
    return pass_end(relay, other_side(relay, side), side);
}

static bool note_end(struct tcp_relay *relay, struct tcp_relay_side *from)
{
    from->has_read_end = true;
    return pass_end(relay, from, other_side(relay, from));
}

static bool read_once(struct tcp_relay *relay, struct tcp_relay_side *from)
{
    struct tcp_relay_side *to = other_side(relay, from);
    uint8_t *buffer = buffer_pool_shared(relay->pool);
    ssize_t length = recv(from->descriptor, buffer, BUFFER_SHARED_BYTES, MSG_DONTWAIT);
    if (length < 0) {
        return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? true : fail(relay);
    }
    if (length == 0) {
        return note_end(relay, from);
    }
    from->is_bulk = length > BULK_READ_BYTES;
    struct bytes read = bytes_of(buffer, (size_t)length);
    size_t written;
    enum byte_queue_status status = byte_queue_pass(&to->backlog, to->descriptor, &read, 1, false, &written);
    report(relay, to, written);
    return status == BYTE_QUEUE_FAILED ? fail(relay) : true;
}

/* The next large read of a direction, inside the kernel where there is a pipe. */
static bool splice_once(struct tcp_relay *relay, struct tcp_relay_side *from)
{
    struct tcp_relay_side *to = other_side(relay, from);
    to->pipe = to->pipe != NULL ? to->pipe : pipe_pool_take(buffer_pool_pipes(relay->pool));
    if (to->pipe == NULL) {
        return read_once(relay, from);
    }
    ssize_t length = splice_pipe_fill(to->pipe, from->descriptor);
    from->is_bulk = length > BULK_READ_BYTES;
    if (length < 0 && length != -EAGAIN) {
        return fail(relay);
    }
    if (!drain_pipe(relay, to)) {
        return false;
    }
    return length == 0 ? note_end(relay, from) : true;
}

static void on_bulk_turn(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    if (!may_read(relay, side) || splice_once(relay, side)) {
        update_interest(relay);
    }
}

static void run_first_bulk(struct deferred *deferred)
{
    struct tcp_relay *relay = CONTAINER_OF(deferred, struct tcp_relay, sides[0].bulk);
    on_bulk_turn(relay, &relay->sides[0]);
}

static void run_second_bulk(struct deferred *deferred)
{
    struct tcp_relay *relay = CONTAINER_OF(deferred, struct tcp_relay, sides[1].bulk);
    on_bulk_turn(relay, &relay->sides[1]);
}

static void on_ready(struct tcp_relay *relay, struct tcp_relay_side *side, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && has_waiting(side) && !write_waiting(relay, side)) {
        return;
    }
    bool reads = may_read(relay, side);
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && reads) {
        if (side->is_bulk) {
            loop_defer_bulk(relay->loop, &side->bulk);
        } else if (!read_once(relay, side)) {
            return;
        }
    }
    /* With reading stopped, a reset shows as an error event only. */
    if ((events & EPOLLERR) != 0 && !reads) {
        (void)fail(relay);
        return;
    }
    update_interest(relay);
}

static void on_first_ready(struct io_watch *watch, uint32_t events)
{
    struct tcp_relay *relay = CONTAINER_OF(watch, struct tcp_relay, sides[0].watch);
    on_ready(relay, &relay->sides[0], events);
}

static void on_second_ready(struct io_watch *watch, uint32_t events)
{
    struct tcp_relay *relay = CONTAINER_OF(watch, struct tcp_relay, sides[1].watch);
    on_ready(relay, &relay->sides[1], events);
}

void tcp_relay_start(struct tcp_relay *relay, struct loop *loop, struct loop_account *account, struct buffer_pool *pool,
    int descriptor, int other_descriptor, const struct tcp_relay_events *events)
{
    *relay = (struct tcp_relay){ .events = events, .loop = loop, .pool = pool };
    const int descriptors[2] = { descriptor, other_descriptor };
    for (int i = 0; i < 2; i++) {
        struct tcp_relay_side *side = &relay->sides[i];
        side->backlog = byte_queue_of(pool);
        side->descriptor = descriptors[i];
        side->watch.on_ready = i == 0 ? on_first_ready : on_second_ready;
        side->bulk.run = i == 0 ? run_first_bulk : run_second_bulk;
        side->watch.account = side->bulk.account = account;
        list_initialise(&side->bulk.link);
    }
    for (int i = 0; i < 2; i++) {
        struct result watched = loop_watch(loop, &relay->sides[i].watch, descriptors[i], EPOLLIN);
        if (!result_is_ok(&watched)) {
            end_relay(relay, RELAY_END_CUT);
            return;
        }
    }
}
