#include "net/tcp_relay.h"

#include "net/socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct tcp_relay_side *other_side(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    return side == &relay->sides[0] ? &relay->sides[1] : &relay->sides[0];
}

static void close_sides(struct tcp_relay *relay, bool with_reset)
{
    for (int i = 0; i < 2; i++) {
        struct tcp_relay_side *side = &relay->sides[i];
        loop_unwatch(&side->watch);
        byte_queue_clear(&side->backlog);
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
        if (!side->has_read_end && other_side(relay, side)->backlog.length == 0) {
            events |= EPOLLIN;
        }
        if (side->backlog.length > 0) {
            events |= EPOLLOUT;
        }
        loop_watch_for(&side->watch, events);
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
    if (from->has_read_end && !to->has_sent_end && to->backlog.length == 0) {
        to->has_sent_end = true;
        shutdown(to->descriptor, SHUT_WR);
    }
    if (relay->sides[0].has_sent_end && relay->sides[1].has_sent_end) {
        end_relay(relay, RELAY_END_CLEAN);
        return false;
    }
    return true;
}

static bool write_backlog(struct tcp_relay *relay, struct tcp_relay_side *side)
{
    size_t written;
    enum byte_queue_status status = byte_queue_write(&side->backlog, side->descriptor, &written);
    report(relay, side, written);
    if (status == BYTE_QUEUE_FAILED) {
        end_relay(relay, RELAY_END_RESET);
        return false;
    }
    return pass_end(relay, other_side(relay, side), side);
}

static bool read_once(struct tcp_relay *relay, struct tcp_relay_side *from)
{
    struct tcp_relay_side *to = other_side(relay, from);
    uint8_t *buffer = buffer_pool_shared(relay->pool);
    ssize_t length = recv(from->descriptor, buffer, BUFFER_SHARED_BYTES, MSG_DONTWAIT);
    if (length < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) {
            return true;
        }
        end_relay(relay, RELAY_END_RESET);
        return false;
    }
    if (length == 0) {
        from->has_read_end = true;
        return pass_end(relay, from, to);
    }
    struct bytes read = bytes_of(buffer, (size_t)length);
    size_t written;
    enum byte_queue_status status = byte_queue_pass(&to->backlog, to->descriptor, &read, 1, &written);
    report(relay, to, written);
    if (status == BYTE_QUEUE_FAILED) {
        end_relay(relay, RELAY_END_RESET);
        return false;
    }
    return true;
}

static void on_ready(struct tcp_relay *relay, struct tcp_relay_side *side, uint32_t events)
{
    if ((events & EPOLLOUT) != 0 && side->backlog.length > 0 && !write_backlog(relay, side)) {
        return;
    }
    bool may_read = !side->has_read_end && other_side(relay, side)->backlog.length == 0;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && may_read && !read_once(relay, side)) {
        return;
    }
    /* With reading stopped, a reset shows as an error event only. */
    if ((events & EPOLLERR) != 0 && !may_read) {
        end_relay(relay, RELAY_END_RESET);
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

void tcp_relay_start(struct tcp_relay *relay, struct loop *loop, struct buffer_pool *pool, int descriptor,
    int other_descriptor, const struct tcp_relay_events *events)
{
    *relay = (struct tcp_relay){ .events = events, .pool = pool };
    const int descriptors[2] = { descriptor, other_descriptor };
    for (int i = 0; i < 2; i++) {
        relay->sides[i].backlog = byte_queue_of(pool);
        relay->sides[i].descriptor = descriptors[i];
        relay->sides[i].watch.on_ready = i == 0 ? on_first_ready : on_second_ready;
    }
    for (int i = 0; i < 2; i++) {
        struct result watched = loop_watch(loop, &relay->sides[i].watch, descriptors[i], EPOLLIN);
        if (!result_is_ok(&watched)) {
            end_relay(relay, RELAY_END_CUT);
            return;
        }
    }
}
