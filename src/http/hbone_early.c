#include "http/hbone_internal.h"

/* A peer not heard of for so long may be gone, and what was sent to it early cannot be sent again: it has to answer first. */
#define SILENCE_NS (2 * NANOSECONDS_PER_SECOND)
/* Nobody waits for a held response but the counters of the peer; most applications have answered by then. */
#define HELD_MS 5

void hbone_early_set_peer_bytes(struct hbone_session *session, uint32_t value)
{
    session->early_bytes = value < HBONE_EARLY_BYTES ? value : HBONE_EARLY_BYTES;
}

size_t hbone_session_early_bytes(const struct hbone_session *session)
{
    bool is_fresh = loop_now_ns(session->loop) - session->liveness.last_received_ns <= SILENCE_NS;
    return session->role == HBONE_CLIENT && is_fresh && hbone_session_is_live(session) ? session->early_bytes : 0;
}

/* With all its early bytes sent, the client waits. Credit is not given back before many times as much has come. */
static bool has_sent_early_bytes(const struct hbone_stream *stream)
{
    int64_t received = (int64_t)stream->window_bytes - stream->receive_window;
    return received >= (int64_t)stream->session->early_bytes;
}

static void on_held_expiry(struct timer *timer)
{
    hbone_output_schedule(CONTAINER_OF(timer, struct hbone_session, held));
}

struct writer *hbone_early_response_control(struct hbone_stream *stream)
{
    struct hbone_session *session = stream->session;
    if (session->early_bytes == 0 || has_sent_early_bytes(stream)) {
        return hbone_output_control(session);
    }
    if (!timer_is_armed(&session->held)) {
        session->held.on_expire = on_held_expiry;
        timer_arm_after_ms(session->loop, &session->held, HELD_MS);
    }
    return &session->output.control;
}

void hbone_early_received(struct hbone_stream *stream)
{
    if (timer_is_armed(&stream->session->held) && has_sent_early_bytes(stream)) {
        hbone_output_schedule(stream->session);
    }
}
