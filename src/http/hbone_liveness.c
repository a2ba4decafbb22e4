#include "http/hbone_internal.h"

#include "base/random.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>

#define LINGER_MS 1000
/* A timer so late says that the loop stood still, not the peer: first hear what has come meanwhile. */
#define LATE_NS (500 * NANOSECONDS_PER_MILLISECOND)
#define SECOND_CHANCE_MS 100

static uint64_t ms(uint64_t milliseconds)
{
    return milliseconds * NANOSECONDS_PER_MILLISECOND;
}

static uint64_t earlier(uint64_t left, uint64_t right)
{
    return left < right ? left : right;
}

static uint64_t later(uint64_t left, uint64_t right)
{
    return left > right ? left : right;
}

/* How many bytes the peer's kernel has acknowledged so far; 0 where the socket is not TCP. */
static uint64_t acknowledged_bytes(const struct hbone_session *session)
{
    struct tcp_info info = { 0 };
    socklen_t length = sizeof info;
    bool is_known = getsockopt(session->descriptor, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
                    length >= offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof info.tcpi_bytes_acked;
    return is_known ? info.tcpi_bytes_acked : 0;
}

static bool has_unacknowledged(const struct hbone_session *session)
{
    int queued = 0;
    bool is_known = ioctl(session->descriptor, SIOCOUTQ, &queued) == 0;
    return (is_known && queued > 0) || hbone_output_unsent_bytes(session) > 0;
}

/* Since when the peer owes a sign of life; 0: it owes none. A peer that stands still while its kernel goes on acknowledging is
 * told by its silence after DATA: a live one at least answers the PING that this sends. */
static uint64_t owed_since_ns(struct hbone_session *session, uint64_t now_ns)
{
    struct hbone_liveness *liveness = &session->liveness;
    uint64_t since_ns = UINT64_MAX;
    if (liveness->watched_since_ns != 0 && !has_unacknowledged(session)) {
        liveness->watched_since_ns = 0;
    }
    if (liveness->watched_since_ns != 0) {
        uint64_t acknowledged = acknowledged_bytes(session);
        if (acknowledged != liveness->acknowledged_bytes) {
            liveness->acknowledged_bytes = acknowledged;
            liveness->watched_since_ns = now_ns;
        }
        since_ns = later(liveness->watched_since_ns, liveness->last_received_ns);
    }
    uint64_t oldest_connect_ns = hbone_streams_oldest_unanswered_ns(session);
    if (oldest_connect_ns != 0) {
        since_ns = earlier(since_ns, later(oldest_connect_ns, liveness->last_received_ns));
    }
    if (liveness->unheard_since_ns != 0) {
        since_ns = earlier(since_ns, liveness->unheard_since_ns);
    }
    if (liveness->probed_since_ns != 0) {
        since_ns = earlier(since_ns, liveness->probed_since_ns);
    }
    return since_ns == UINT64_MAX ? 0 : since_ns;
}

static void send_ping(struct hbone_session *session, uint64_t now_ns)
{
    struct hbone_liveness *liveness = &session->liveness;
    if (liveness->ping_sent_ns != 0) {
        return;
    }
    liveness->ping_sent_ns = now_ns;
    liveness->ping_payload++;
    hbone_frame_write_ping(hbone_output_control(session), liveness->ping_payload, false);
}

/* On a slow path the PING still waits behind other bytes: as long as these get through, the peer is not judged. */
static bool is_path_busy(struct hbone_session *session)
{
    struct hbone_liveness *liveness = &session->liveness;
    uint64_t before = liveness->suspected_acknowledged_bytes;
    liveness->suspected_acknowledged_bytes = acknowledged_bytes(session);
    return has_unacknowledged(session) && liveness->suspected_acknowledged_bytes != before;
}

static void suspect(struct hbone_session *session, uint64_t now_ns)
{
    send_ping(session, now_ns);
    session->liveness.suspected_since_ns = now_ns;
    session->liveness.suspected_acknowledged_bytes = acknowledged_bytes(session);
}

/* Issue 3: silence where an answer is owed sends a PING, and silence after that ends the tunnel. Returns when to look again. */
static uint64_t check_suspicion(struct hbone_session *session, uint64_t now_ns)
{
    struct hbone_liveness *liveness = &session->liveness;
    const struct hbone_settings *settings = &session->settings;
    uint64_t since_ns = owed_since_ns(session, now_ns);
    if (since_ns == 0 || since_ns > liveness->suspected_since_ns) {
        liveness->suspected_since_ns = 0;
    }
    if (since_ns == 0) {
        return UINT64_MAX;
    }
    if (liveness->suspected_since_ns == 0) {
        if (now_ns - since_ns < ms(settings->suspicion_ms)) {
            return since_ns + ms(settings->suspicion_ms);
        }
        suspect(session, now_ns);
    }
    if (now_ns - liveness->suspected_since_ns >= ms(settings->suspicion_grace_ms)) {
        if (is_path_busy(session)) {
            liveness->suspected_since_ns = now_ns;
            return now_ns + ms(settings->suspicion_grace_ms);
        }
        hbone_session_lose(session, "the peer gave no sign of life for %llu ms while it owed one",
            (unsigned long long)((now_ns - since_ns) / NANOSECONDS_PER_MILLISECOND));
    }
    return liveness->suspected_since_ns + ms(settings->suspicion_grace_ms);
}

static uint64_t check_ping(struct hbone_session *session, uint64_t now_ns)
{
    struct hbone_liveness *liveness = &session->liveness;
    if (liveness->ping_sent_ns == 0 && now_ns >= liveness->ping_due_ns) {
        send_ping(session, now_ns);
    }
    if (liveness->ping_sent_ns == 0) {
        return liveness->ping_due_ns;
    }
    uint64_t deadline_ns = liveness->ping_sent_ns + ms(session->settings.ping_timeout_ms);
    if (now_ns >= deadline_ns) {
        hbone_session_lose(session, "HBONE ping timeout/error: the peer did not answer a PING for %llu ms",
            (unsigned long long)session->settings.ping_timeout_ms);
    }
    return deadline_ns;
}

static uint64_t check_settings(struct hbone_session *session, uint64_t now_ns)
{
    uint64_t deadline_ns = session->liveness.settings_deadline_ns;
    if (deadline_ns == 0) {
        return UINT64_MAX;
    }
    if (now_ns >= deadline_ns) {
        hbone_session_fail(session, HBONE_SETTINGS_TIMEOUT, "the peer sent no SETTINGS for %llu ms",
            (unsigned long long)session->settings.settings_timeout_ms);
    }
    return deadline_ns;
}

static void look_after(struct hbone_session *session, uint64_t now_ns)
{
    uint64_t due_ns = check_settings(session, now_ns);
    due_ns = earlier(due_ns, check_ping(session, now_ns));
    due_ns = earlier(due_ns, check_suspicion(session, now_ns));
    if (hbone_session_is_live(session)) {
        timer_arm_at(session->loop, &session->liveness.timer, due_ns);
    }
}

static void on_expire(struct timer *timer)
{
    struct hbone_session *session = CONTAINER_OF(timer, struct hbone_session, liveness.timer);
    struct hbone_liveness *liveness = &session->liveness;
    uint64_t now_ns = loop_now_ns(session->loop);
    hbone_session_enter(session);
    if (session->state == HBONE_SESSION_LINGERING) {
        hbone_session_conclude_linger(session);
    } else if (now_ns > timer->due_ns + LATE_NS && !liveness->was_late) {
        liveness->was_late = true;
        timer_arm_after_ms(session->loop, timer, SECOND_CHANCE_MS);
    } else if (hbone_session_is_live(session)) {
        liveness->was_late = false;
        look_after(session, now_ns);
    }
    hbone_session_leave(session);
}

void hbone_liveness_start(struct hbone_session *session)
{
    struct hbone_liveness *liveness = &session->liveness;
    uint64_t now_ns = loop_now_ns(session->loop);
    liveness->timer.on_expire = on_expire;
    liveness->last_received_ns = now_ns;
    liveness->settings_sent_ns = now_ns;
    liveness->settings_deadline_ns = now_ns + ms(session->settings.settings_timeout_ms);
    liveness->ping_due_ns = now_ns + ms(session->settings.ping_interval_ms);
    liveness->ping_payload = random_u64() >> 1;
    timer_arm_at(session->loop, &liveness->timer, earlier(liveness->settings_deadline_ns, liveness->ping_due_ns));
}

void hbone_liveness_stop(struct hbone_session *session)
{
    timer_disarm(&session->liveness.timer);
}

void hbone_liveness_linger(struct hbone_session *session)
{
    timer_arm_after_ms(session->loop, &session->liveness.timer, LINGER_MS);
}

void hbone_liveness_received(struct hbone_session *session)
{
    struct hbone_liveness *liveness = &session->liveness;
    liveness->last_received_ns = loop_now_ns(session->loop);
    liveness->bytes_sent_when_heard = session->bytes_sent;
    liveness->unheard_since_ns = 0;
    liveness->probed_since_ns = 0;
    liveness->suspected_since_ns = 0;
}

void hbone_liveness_sent(struct hbone_session *session)
{
    struct hbone_liveness *liveness = &session->liveness;
    bool is_unheard = liveness->unheard_since_ns == 0 && session->bytes_sent != liveness->bytes_sent_when_heard;
    bool is_unwatched = liveness->watched_since_ns == 0;
    if ((!is_unwatched && !is_unheard) || !hbone_session_is_live(session)) {
        return;
    }
    uint64_t now_ns = loop_now_ns(session->loop);
    if (is_unheard) {
        liveness->unheard_since_ns = now_ns;
    }
    if (is_unwatched) {
        liveness->watched_since_ns = now_ns;
        liveness->acknowledged_bytes = acknowledged_bytes(session);
    }
    uint64_t due_ns = now_ns + ms(session->settings.suspicion_ms);
    if (!timer_is_armed(&liveness->timer) || liveness->timer.due_ns > due_ns) {
        timer_arm_at(session->loop, &liveness->timer, due_ns);
    }
}

void hbone_session_probe(struct hbone_session *session)
{
    struct hbone_liveness *liveness = &session->liveness;
    if (!hbone_session_is_live(session) || liveness->probed_since_ns != 0) {
        return;
    }
    uint64_t now_ns = loop_now_ns(session->loop);
    liveness->probed_since_ns = now_ns;
    suspect(session, now_ns);
    uint64_t due_ns = now_ns + ms(session->settings.suspicion_grace_ms);
    if (!timer_is_armed(&liveness->timer) || liveness->timer.due_ns > due_ns) {
        timer_arm_at(session->loop, &liveness->timer, due_ns);
    }
}

static void measure_round_trip(struct hbone_liveness *liveness, uint64_t sample_ns)
{
    liveness->round_trip_ns =
        liveness->round_trip_ns == 0 ? sample_ns : (7 * liveness->round_trip_ns + sample_ns) / 8; /* RFC 6298 §2 */
}

void hbone_liveness_settings_received(struct hbone_session *session)
{
    session->liveness.settings_deadline_ns = 0;
}

void hbone_liveness_settings_acknowledged(struct hbone_session *session)
{
    measure_round_trip(&session->liveness, loop_now_ns(session->loop) - session->liveness.settings_sent_ns);
}

void hbone_liveness_ping(struct hbone_session *session, uint64_t payload, bool is_ack)
{
    struct hbone_liveness *liveness = &session->liveness;
    uint64_t now_ns = loop_now_ns(session->loop);
    if (!is_ack) {
        hbone_frame_write_ping(hbone_output_control(session), payload, true);
    } else if (payload == HBONE_DRAIN_PING && session->drain == HBONE_DRAIN_ANNOUNCED) {
        hbone_session_drain_acknowledged(session);
    } else if (liveness->ping_sent_ns != 0 && payload == liveness->ping_payload) {
        measure_round_trip(liveness, now_ns - liveness->ping_sent_ns);
        liveness->ping_sent_ns = 0;
        liveness->ping_due_ns = now_ns + ms(session->settings.ping_interval_ms);
    }
}
