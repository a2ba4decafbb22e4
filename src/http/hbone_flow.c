#include "http/hbone_internal.h"

#include "net/socket.h"

/* A connection window that was shut counts as open with so much. */
#define OPEN_AGAIN_BYTES (HBONE_WINDOW_DEFAULT / 2)
/* A window that is drained within this time, whatever the round trip, is too small to be worth its turns. */
#define GROWTH_TIME_MINIMUM_NS (4 * NANOSECONDS_PER_MILLISECOND)
/* One that takes so many times longer than the growth time is larger than its reader needs. */
#define SHRINK_FACTOR 32

static void announce(struct hbone_session *session, uint32_t stream_id, uint32_t increment)
{
    hbone_frame_write_window_update(hbone_output_control(session), stream_id, increment);
}

/* RFC 9113 §6.9: padding counts. The connection's credit goes back as bytes arrive, whatever becomes of their stream, so that one
 * reader that stands still never stops the others; what one can pin is bounded by its own window. */
bool hbone_flow_charge(struct hbone_session *session, struct hbone_stream **stream, uint32_t length)
{
    if ((int64_t)length > session->receive_window) {
        return false;
    }
    session->receive_window -= length;
    session->pending_credit_bytes += length;
    if (session->pending_credit_bytes >= session->settings.connection_window_bytes / 4) {
        hbone_output_schedule(session);
    }
    struct hbone_stream *charged = *stream;
    if (charged == NULL) {
        return true;
    }
    if ((int64_t)length > charged->receive_window) {
        uint32_t id = charged->id;
        *stream = NULL;
        hbone_stream_violation(session, id, HBONE_FLOW_CONTROL_ERROR, "the peer sent more than the stream's window");
        return true;
    }
    charged->receive_window -= (int32_t)length;
    return true;
}

static uint64_t growth_time_ns(const struct hbone_session *session)
{
    uint64_t two_round_trips_ns = 2 * session->liveness.round_trip_ns;
    return two_round_trips_ns > GROWTH_TIME_MINIMUM_NS ? two_round_trips_ns : GROWTH_TIME_MINIMUM_NS;
}

/* Credit cannot be taken back: a reader that stops pins what its peer was granted. So beyond what wake-ups within one machine need
 * a window is twice what the path itself holds at the rate the reader has shown, by the kernel's smallest round trip: that of
 * PINGs counts our own and the peer's delays in, which a larger window would only lengthen. */
uint32_t hbone_flow_window_limit(uint32_t maximum, uint32_t window, uint64_t taken_ns, uint64_t round_trip_ns)
{
    uint64_t path_bytes = (uint64_t)window * round_trip_ns / (taken_ns > 0 ? taken_ns : 1);
    uint64_t limit = path_bytes > HBONE_STREAM_WINDOW_UNMEASURED_MAXIMUM / 2 ? path_bytes * 2
                                                                             : HBONE_STREAM_WINDOW_UNMEASURED_MAXIMUM;
    return limit < maximum ? (uint32_t)limit : maximum;
}

static void grow(struct hbone_stream *stream, uint64_t taken_ns)
{
    const struct hbone_session *session = stream->session;
    uint32_t maximum = session->settings.stream_window_bytes_maximum;
    if (stream->window_bytes >= maximum) {
        return;
    }
    uint64_t round_trip_ns = socket_minimum_round_trip_ns(session->descriptor);
    uint32_t limit = hbone_flow_window_limit(maximum, stream->window_bytes, taken_ns, round_trip_ns);
    uint32_t grown = stream->window_bytes > limit / 2 ? limit : stream->window_bytes * 2;
    if (grown > stream->window_bytes) {
        stream->pending_credit_bytes += grown - stream->window_bytes;
        stream->window_bytes = grown;
    }
}

/* Once a whole window was consumed: was it so fast that the window holds the peer back, or so slowly that half would do? */
static void measure(struct hbone_stream *stream, uint32_t bytes)
{
    struct hbone_session *session = stream->session;
    uint64_t now_ns = loop_now_ns(session->loop);
    stream->measured_bytes += bytes;
    if (stream->measured_bytes < stream->window_bytes) {
        return;
    }
    uint64_t taken_ns = now_ns - stream->measured_since_ns;
    bool keeps_up = stream->uncredited_bytes <= stream->window_bytes / 2;
    stream->measured_bytes = 0;
    stream->measured_since_ns = now_ns;
    if (taken_ns <= growth_time_ns(session)) {
        if (keeps_up) {
            grow(stream, taken_ns);
        }
    } else if (taken_ns > SHRINK_FACTOR * growth_time_ns(session) &&
               stream->window_bytes / 2 >= HBONE_STREAM_WINDOW_START) {
        /* Credit cannot be taken back, only held back. */
        uint32_t half = stream->window_bytes / 2;
        uint32_t held_back = half < stream->pending_credit_bytes ? half : stream->pending_credit_bytes;
        stream->pending_credit_bytes -= held_back;
        stream->window_bytes -= held_back;
    }
}

void hbone_flow_return(struct hbone_stream *stream, uint32_t bytes)
{
    struct hbone_session *session = stream->session;
    if (stream->is_over || stream->has_remote_end || bytes == 0) {
        return; /* the peer will send no more: nothing to credit */
    }
    stream->pending_credit_bytes += bytes;
    measure(stream, bytes);
    if (stream->pending_credit_bytes >= stream->window_bytes / 4 && list_is_empty(&stream->credit_link)) {
        list_append(&session->creditors, &stream->credit_link);
        hbone_output_schedule(session);
    }
}

void hbone_flow_deliver(struct hbone_stream *stream, uint32_t bytes)
{
    struct hbone_session *session = stream->session;
    stream->uncredited_bytes += bytes;
    session->pinned_bytes += bytes;
    for (struct hbone_pinned *pinned = session->settings.pinned; pinned != NULL; pinned = pinned->whole) {
        pinned->bytes += bytes;
        if (stream->uncredited_bytes > pinned->largest_stream_bytes) {
            pinned->largest_stream_bytes = stream->uncredited_bytes;
        }
    }
}

void hbone_flow_unpin(struct hbone_stream *stream, uint32_t bytes)
{
    struct hbone_session *session = stream->session;
    stream->uncredited_bytes -= bytes;
    session->pinned_bytes -= bytes;
    for (struct hbone_pinned *pinned = session->settings.pinned; pinned != NULL; pinned = pinned->whole) {
        pinned->bytes -= bytes;
    }
}

void hbone_stream_credit(struct hbone_stream *stream, size_t bytes)
{
    struct hbone_session *session = stream->session;
    if (session == NULL) {
        return;
    }
    if (bytes > stream->uncredited_bytes) {
        bytes = stream->uncredited_bytes;
    }
    hbone_flow_unpin(stream, (uint32_t)bytes);
    hbone_flow_return(stream, (uint32_t)bytes);
}

void hbone_flow_write_updates(struct hbone_session *session)
{
    if (session->pending_credit_bytes >= session->settings.connection_window_bytes / 4) {
        announce(session, 0, session->pending_credit_bytes);
        session->receive_window += session->pending_credit_bytes;
        session->pending_credit_bytes = 0;
    }
    struct list *link;
    while ((link = list_take_first(&session->creditors)) != NULL) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, credit_link);
        announce(session, stream->id, stream->pending_credit_bytes);
        stream->receive_window += (int32_t)stream->pending_credit_bytes;
        stream->pending_credit_bytes = 0;
    }
}

static void connection_window_update(struct hbone_session *session, uint32_t increment)
{
    if (increment == 0) {
        hbone_session_fail(session, HBONE_PROTOCOL_ERROR, "the peer sent a WINDOW_UPDATE of 0 for the connection");
        return;
    }
    session->send_window += increment;
    if (session->send_window > HBONE_WINDOW_MAXIMUM) {
        hbone_session_fail(session, HBONE_FLOW_CONTROL_ERROR, "the peer made the connection's window overflow");
        return;
    }
    /* Drops that are used up at once are no opening. */
    if (session->send_window >= OPEN_AGAIN_BYTES) {
        session->stalled_since_ns = 0;
    }
}

void hbone_flow_window_update(struct hbone_session *session, uint32_t stream_id, uint32_t increment)
{
    if (stream_id == 0) {
        connection_window_update(session, increment);
        return;
    }
    struct hbone_stream *stream = hbone_stream_find(session, stream_id);
    if (stream == NULL) {
        return; /* closed: RFC 9113 §5.1 */
    }
    if (increment == 0) {
        hbone_stream_violation(session, stream_id, HBONE_PROTOCOL_ERROR, "the peer sent a WINDOW_UPDATE of 0");
        return;
    }
    int64_t window = (int64_t)stream->send_window + increment;
    if (window > HBONE_WINDOW_MAXIMUM) {
        hbone_stream_violation(
            session, stream_id, HBONE_FLOW_CONTROL_ERROR, "the peer made the stream's window overflow");
        return;
    }
    stream->send_window = (int32_t)window;
}

/* RFC 9113 §6.9.2: the difference applies to every stream; false when a window would overflow. */
bool hbone_flow_set_peer_initial_window(struct hbone_session *session, uint32_t window)
{
    int64_t difference = (int64_t)window - session->peer_initial_window;
    session->peer_initial_window = (int32_t)window;
    LIST_FOR_EACH(link, &session->streams) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, link);
        int64_t changed = stream->send_window + difference;
        if (stream->is_over) {
            continue;
        }
        if (changed > HBONE_WINDOW_MAXIMUM) {
            return false;
        }
        stream->send_window = (int32_t)changed;
    }
    return true;
}

/* Until now the peer may have sent by the default window, where ours is smaller. */
void hbone_flow_settings_acknowledged(struct hbone_session *session)
{
    uint32_t announced = session->settings.stream_window_bytes_maximum < HBONE_STREAM_WINDOW_START
                             ? session->settings.stream_window_bytes_maximum
                             : HBONE_STREAM_WINDOW_START;
    int32_t difference = (int32_t)announced - session->initial_window;
    session->initial_window = (int32_t)announced;
    LIST_FOR_EACH(link, &session->streams) {
        struct hbone_stream *stream = LIST_ENTRY(link, struct hbone_stream, link);
        stream->receive_window += difference;
        stream->window_bytes = (uint32_t)((int32_t)stream->window_bytes + difference);
    }
}

size_t hbone_flow_sendable(const struct hbone_stream *stream)
{
    int64_t window =
        stream->session->send_window < stream->send_window ? stream->session->send_window : stream->send_window;
    return window > 0 ? (size_t)window : 0;
}

void hbone_flow_sent(struct hbone_stream *stream, size_t bytes)
{
    struct hbone_session *session = stream->session;
    stream->send_window -= (int32_t)bytes;
    session->send_window -= (int64_t)bytes;
    session->bytes_sent += bytes;
    if (session->send_window <= 0 && session->stalled_since_ns == 0) {
        session->stalled_since_ns = loop_now_ns(session->loop);
    }
}
