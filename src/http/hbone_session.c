#include "http/hbone_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CAPACITY_QUEUE_BYTES (64 * 1024) /* with so much unsent control, new CONNECTs had better go elsewhere */
#define STALL_NS (100 * NANOSECONDS_PER_MILLISECOND)
#define STREAMS_BEFORE_SETTINGS 100 /* wire-protocols §11.1 */
#define DISCARD_READS_A_TURN 16
#define FLOOD_BUDGET 1000
#define FLOOD_REFILL_PER_SECOND 200

const char *hbone_error_name(uint32_t code)
{
    static const char *const names[] = { "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR",
        "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED" };
    return code < ARRAY_LENGTH(names) ? names[code] : "unknown error";
}

struct hbone_settings hbone_settings_default(enum hbone_role role)
{
    bool is_server = role == HBONE_SERVER;
    return (struct hbone_settings){
        .stream_window_bytes_maximum = 4 * 1024 * 1024,
        .connection_window_bytes = 16 * 1024 * 1024,
        .frame_bytes_maximum = 1024 * 1024,
        .concurrent_streams_maximum = is_server ? 200 : 100,
        .header_list_bytes_maximum = is_server ? 65536 : 16384,
        .ping_interval_ms = 10 * 1000,
        .ping_timeout_ms = 20 * 1000,
        /* Together a little less than the 5 s within which a dead peer is to be found. */
        .suspicion_ms = 1900,
        .suspicion_grace_ms = 2900,
        .settings_timeout_ms = 10 * 1000,
    };
}

static void destroy(struct hbone_session *session)
{
    hbone_liveness_stop(session);
    timer_disarm(&session->held);
    loop_unwatch(&session->watch);
    hbone_streams_detach_all(session);
    deferred_cancel(&session->turn_end);
    deferred_cancel(&session->bulk_read);
    deferred_cancel(&session->bulk_notify);
    hbone_exchange_forget(session);
    hbone_header_decoder_free(&session->decoder);
    writer_free(&session->output.control);
    memory_free(session->output.slots);
    record_free(session->layer);
    (void)close(session->descriptor);
    memory_free(session->end_reason);
    memory_free(session->drain_reason);
    memory_free(session);
}

void hbone_session_enter(struct hbone_session *session)
{
    session->depth++;
}

void hbone_session_leave(struct hbone_session *session)
{
    if (--session->depth == 0 && session->is_freed) {
        destroy(session);
    }
}

void hbone_session_free(struct hbone_session *session)
{
    if (session == NULL) {
        return;
    }
    session->is_freed = true;
    session->state = HBONE_SESSION_ENDED;
    if (session->depth == 0) {
        destroy(session);
    }
}

/* GOAWAY and close_notify, as far as the socket takes them at once. */
static void say_goodbye(struct hbone_session *session)
{
    hbone_frame_write_goaway(hbone_output_control(session), session->last_stream_id, HBONE_NO_ERROR, "");
    if (hbone_output_move_control(session)) {
        hbone_output_seal(session);
        record_close(session->layer);
        (void)record_flush(session->layer);
    }
}

void hbone_session_abort(struct hbone_session *session, const char *reason)
{
    hbone_session_enter(session);
    if (hbone_session_is_live(session)) {
        say_goodbye(session);
        session->state = HBONE_SESSION_ENDED;
        session->end_cause = HBONE_RESET_TUNNEL_CLOSED;
        hbone_streams_raise_lost(session, reason);
    } else if (session->state == HBONE_SESSION_ENDING) {
        /* Decided in this turn; its end will not come to carry it out. */
        session->state = HBONE_SESSION_ENDED;
        hbone_streams_raise_lost(session, session->end_reason);
    }
    hbone_session_leave(session);
    hbone_session_free(session);
}

static void decide_end(struct hbone_session *session, uint32_t code, bool was_clean, const char *reason)
{
    if (!hbone_session_is_live(session)) {
        return;
    }
    session->state = HBONE_SESSION_ENDING;
    session->end_code = code;
    session->was_clean = was_clean;
    session->end_reason = string_duplicate(reason);
    hbone_output_schedule(session);
}

void hbone_session_fail(struct hbone_session *session, uint32_t code, const char *format, ...)
{
    char reason[256];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    decide_end(session, code, false, reason);
}

void hbone_session_lose(struct hbone_session *session, const char *format, ...)
{
    char reason[320];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    session->is_peer_gone = true;
    decide_end(session, HBONE_NO_ERROR, false, reason);
}

void hbone_session_finish(struct hbone_session *session, bool was_clean, const char *reason)
{
    decide_end(session, HBONE_NO_ERROR, was_clean, reason);
}

bool hbone_session_spend(struct hbone_session *session, int cost, const char *what)
{
    struct hbone_flood_budget *budget = &session->flood;
    uint64_t now_ns = loop_now_ns(session->loop);
    uint64_t refill = (now_ns - budget->refilled_ns) * FLOOD_REFILL_PER_SECOND / NANOSECONDS_PER_SECOND;
    if (refill > 0) {
        uint64_t missing = (uint64_t)(FLOOD_BUDGET - budget->left);
        budget->left += (int32_t)(refill < missing ? refill : missing);
        budget->refilled_ns = now_ns;
    }
    if (budget->left < cost) {
        hbone_session_fail(session, HBONE_ENHANCE_YOUR_CALM, "the peer floods the tunnel: too many frames (%s)", what);
        return false;
    }
    budget->left -= cost;
    return true;
}

static void conclude(struct hbone_session *session)
{
    if (session->state == HBONE_SESSION_ENDED) {
        return;
    }
    session->state = HBONE_SESSION_ENDED;
    hbone_liveness_stop(session);
    timer_disarm(&session->held);
    loop_unwatch(&session->watch);
    deferred_cancel(&session->bulk_read);
    deferred_cancel(&session->bulk_notify);
    if (!session->is_freed) {
        session->events->on_ended(session, session->end_reason, session->was_clean);
    }
}

void hbone_session_conclude_linger(struct hbone_session *session)
{
    conclude(session);
}

/* GOAWAY, close_notify and FIN as far as the socket takes them. A close with input unread would make the kernel send RST, and the
 * peer lose our last words: so input is read away until it closes too, or for a second. */
static void linger(struct hbone_session *session)
{
    hbone_output_flush(session);
    bool is_all_moved = session->output.control.length == 0;
    if (!session->output.has_failed && is_all_moved && !session->is_close_queued) {
        session->is_close_queued = true;
        record_close(session->layer);
        hbone_output_flush(session);
    }
    if (session->output.has_failed) {
        conclude(session);
        return;
    }
    if (session->is_close_queued && !session->is_shut && record_unsent_bytes(session->layer) == 0) {
        session->is_shut = true;
        (void)shutdown(session->descriptor, SHUT_WR);
    }
    if (session->is_shut && session->is_input_over) {
        conclude(session);
    }
}

static void begin_end(struct hbone_session *session)
{
    hbone_exchange_forget(session);
    session->input.stream = NULL;
    hbone_streams_raise_lost(session, session->end_reason);
    if (session->is_freed) {
        return;
    }
    if (session->is_peer_gone) {
        conclude(session);
        return;
    }
    const char *text = session->end_code == HBONE_NO_ERROR ? "" : session->end_reason;
    hbone_frame_write_goaway(hbone_output_control(session), session->last_stream_id, session->end_code, text);
    session->state = HBONE_SESSION_LINGERING;
    hbone_liveness_linger(session);
    linger(session);
}

static void discard_input(struct hbone_session *session)
{
    uint8_t discarded[16384] HBONE_UNINITIALISED;
    for (int reads = 0; reads < DISCARD_READS_A_TURN; reads++) {
        ssize_t length = recv(session->descriptor, discarded, sizeof discarded, MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (length <= 0) {
            session->is_input_over = true;
            linger(session);
            return;
        }
    }
}

static void finish_when_drained(struct hbone_session *session)
{
    bool is_drained = session->role == HBONE_SERVER ? session->drain == HBONE_DRAIN_FINAL : session->is_draining;
    if (is_drained && session->stream_count == 0) {
        hbone_session_finish(session, true, session->drain_reason);
    }
}

static void keep_drain_reason(struct hbone_session *session, const char *reason)
{
    if (session->drain_reason == NULL) {
        session->drain_reason = string_duplicate(reason);
    }
    session->is_capacity_changed = true;
    hbone_output_schedule(session);
}

void hbone_session_begin_draining(struct hbone_session *session, const char *format, ...)
{
    char reason[160];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof reason, format, arguments);
    va_end(arguments);
    session->is_draining = true;
    keep_drain_reason(session, reason);
}

void hbone_session_drain(struct hbone_session *session, const char *reason)
{
    if (!hbone_session_is_live(session) || session->is_draining) {
        return;
    }
    session->is_draining = true;
    keep_drain_reason(session, reason);
    if (session->role == HBONE_SERVER) {
        session->drain = HBONE_DRAIN_ANNOUNCED;
        hbone_frame_write_goaway(hbone_output_control(session), HBONE_STREAM_ID_MAXIMUM, HBONE_NO_ERROR, "");
        hbone_frame_write_ping(hbone_output_control(session), HBONE_DRAIN_PING, false);
    }
}

void hbone_session_drain_acknowledged(struct hbone_session *session)
{
    session->drain = HBONE_DRAIN_FINAL;
    hbone_frame_write_goaway(hbone_output_control(session), session->last_stream_id, HBONE_NO_ERROR, "");
    session->is_capacity_changed = true;
}

void hbone_session_close(struct hbone_session *session, const char *reason)
{
    if (hbone_session_is_live(session)) {
        session->end_cause = HBONE_RESET_TUNNEL_CLOSED;
        hbone_session_finish(session, session->stream_count == 0, reason);
    }
}

void hbone_session_calm(struct hbone_session *session, const char *reason)
{
    hbone_session_fail(session, HBONE_ENHANCE_YOUR_CALM, "%s", reason);
}

static void run_turn_end(struct deferred *deferred)
{
    struct hbone_session *session = CONTAINER_OF(deferred, struct hbone_session, turn_end);
    hbone_session_enter(session);
    if (session->is_capacity_changed && hbone_session_is_live(session)) {
        session->is_capacity_changed = false;
        finish_when_drained(session);
        if (session->events->on_capacity != NULL) {
            session->events->on_capacity(session);
        }
    }
    if (hbone_session_is_live(session)) {
        hbone_flow_write_updates(session);
        hbone_output_flush(session);
    }
    if (session->state == HBONE_SESSION_ENDING) {
        begin_end(session);
    } else if (session->state == HBONE_SESSION_LINGERING) {
        linger(session);
    }
    hbone_session_leave(session);
}

static void handle_end_of_input(struct hbone_session *session, enum record_status status)
{
    bool is_between_frames = session->input.header_filled == 0 && session->block.block == NULL;
    bool is_quiet = session->stream_count == 0 && is_between_frames;
    if (status == RECORD_CLOSED) {
        session->is_input_over = true;
        hbone_session_finish(session, is_quiet, "the peer closed the tunnel");
        return;
    }
    bool has_said_goodbye = status == RECORD_TRUNCATED && session->has_clean_goaway && is_quiet;
    if (has_said_goodbye) {
        session->is_peer_gone = true;
        hbone_session_finish(session, true, "the peer went away");
        return;
    }
    hbone_session_lose(session, "the tunnel was lost: %s", record_failure(session->layer));
}

static void parse(struct hbone_session *session, const struct bytes *runs, int count)
{
    struct hbone_batch batch HBONE_UNINITIALISED;
    batch.count = 0;
    list_initialise(&batch.small);
    list_initialise(&batch.large);
    session->batch = &batch;
    size_t bytes = 0;
    for (int i = 0; i < count; i++) {
        bytes += runs[i].length;
        hbone_input_run(session, runs[i]);
    }
    hbone_batch_deliver(session);
    session->batch = NULL;
    session->is_bulk = bytes > HBONE_BULK_READ_BYTES;
}

static void read_once(struct hbone_session *session)
{
    struct bytes runs[HBONE_RUNS_MAXIMUM] HBONE_UNINITIALISED;
    int count = 0;
    size_t budget = loop_has_small_flows(session->loop) ? HBONE_READ_BUDGET_BYTES / 2 : HBONE_READ_BUDGET_BYTES;
    enum record_status status = record_receive(session->layer, budget, runs, HBONE_RUNS_MAXIMUM, &count);
    if (status == RECORD_AGAIN) {
        return;
    }
    if (status != RECORD_OK) {
        handle_end_of_input(session, status);
        return;
    }
    hbone_liveness_received(session);
    parse(session, runs, count);
    hbone_output_postpone(session);
    if (hbone_session_is_live(session)) {
        hbone_streams_notify_writable(session);
    }
    if (hbone_session_is_live(session) && record_has_buffered_input(session->layer)) {
        loop_defer_bulk(session->loop, &session->bulk_read);
    }
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct hbone_session *session = CONTAINER_OF(watch, struct hbone_session, watch);
    hbone_session_enter(session);
    if ((events & EPOLLOUT) != 0) {
        hbone_output_schedule(session);
    }
    if ((events & ~(uint32_t)EPOLLOUT) != 0) {
        if (session->state == HBONE_SESSION_LINGERING) {
            discard_input(session);
        } else if (session->is_bulk) {
            loop_defer_bulk(session->loop, &session->bulk_read);
        } else if (hbone_session_is_live(session)) {
            read_once(session);
        }
    }
    hbone_session_leave(session);
}

static void run_bulk_read(struct deferred *deferred)
{
    struct hbone_session *session = CONTAINER_OF(deferred, struct hbone_session, bulk_read);
    hbone_session_enter(session);
    if (hbone_session_is_live(session)) {
        hbone_output_schedule(session); /* our preface may have waited for this */
        read_once(session);
    }
    hbone_session_leave(session);
}

static void run_bulk_notify(struct deferred *deferred)
{
    struct hbone_session *session = CONTAINER_OF(deferred, struct hbone_session, bulk_notify);
    hbone_session_enter(session);
    if (hbone_session_is_live(session)) {
        hbone_streams_notify_writable(session);
    }
    hbone_session_leave(session);
}

static void write_preface(struct hbone_session *session)
{
    const struct hbone_settings *settings = &session->settings;
    struct writer *out = hbone_output_control(session);
    bool is_client = session->role == HBONE_CLIENT;
    uint32_t window = settings->stream_window_bytes_maximum < HBONE_STREAM_WINDOW_START
                          ? settings->stream_window_bytes_maximum
                          : HBONE_STREAM_WINDOW_START;
    const struct hbone_setting_entry entries[] = {
        { HBONE_SETTING_HEADER_TABLE_SIZE, 0 },
        is_client ? (struct hbone_setting_entry){ HBONE_SETTING_ENABLE_PUSH, 0 }
                  : (struct hbone_setting_entry){ HBONE_SETTING_MAX_CONCURRENT_STREAMS,
                        settings->concurrent_streams_maximum },
        { HBONE_SETTING_INITIAL_WINDOW_SIZE, window },
        { HBONE_SETTING_MAX_FRAME_SIZE, settings->frame_bytes_maximum },
        { HBONE_SETTING_MAX_HEADER_LIST_SIZE, settings->header_list_bytes_maximum },
        { HBONE_SETTING_EARLY_BYTES, HBONE_EARLY_BYTES },
    };
    if (is_client) {
        writer_add(out, HBONE_PREFACE, HBONE_PREFACE_BYTES);
    }
    hbone_frame_write_settings(out, entries, ARRAY_LENGTH(entries));
    session->initial_window = window > HBONE_WINDOW_DEFAULT ? (int32_t)window : HBONE_WINDOW_DEFAULT;
    session->receive_window = HBONE_WINDOW_DEFAULT;
    if (settings->connection_window_bytes > HBONE_WINDOW_DEFAULT) {
        hbone_frame_write_window_update(out, 0, settings->connection_window_bytes - HBONE_WINDOW_DEFAULT);
        session->receive_window = settings->connection_window_bytes;
    }
}

struct hbone_session *hbone_session_new(struct loop *loop, struct record_layer *layer, int descriptor,
    enum hbone_role role, const struct hbone_settings *settings, const struct hbone_session_events *events,
    void *context)
{
    struct hbone_session *session = NEW(struct hbone_session);
    session->loop = loop;
    session->layer = layer;
    session->descriptor = descriptor;
    session->role = role;
    session->settings = *settings;
    session->events = events;
    session->context = context;
    session->watch.on_ready = on_ready;
    session->turn_end.run = run_turn_end;
    session->bulk_read.run = run_bulk_read;
    session->bulk_notify.run = run_bulk_notify;
    session->watch.account = session->bulk_read.account = session->bulk_notify.account = settings->account;
    list_initialise(&session->turn_end.link);
    list_initialise(&session->bulk_read.link);
    list_initialise(&session->bulk_notify.link);
    list_initialise(&session->streams);
    list_initialise(&session->waiting);
    list_initialise(&session->creditors);
    session->output.control = writer_growing();
    session->next_stream_id = 1;
    session->peer_streams_maximum = STREAMS_BEFORE_SETTINGS;
    session->peer_initial_window = HBONE_WINDOW_DEFAULT;
    session->send_window = HBONE_WINDOW_DEFAULT;
    session->end_cause = HBONE_RESET_TUNNEL_LOST;
    session->input.preface_left = role == HBONE_SERVER ? HBONE_PREFACE_BYTES : 0;
    session->flood = (struct hbone_flood_budget){ FLOOD_BUDGET, loop_now_ns(loop) };
    write_preface(session);
    hbone_liveness_start(session);
    struct result watched = loop_watch(loop, &session->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        hbone_session_lose(session, "%s", watched.message);
    } else if (record_has_buffered_input(layer)) {
        deferred_cancel(&session->turn_end); /* what the peer says already is answered together with our preface */
        loop_defer_bulk(loop, &session->bulk_read);
    }
    return session;
}

void *hbone_session_context(const struct hbone_session *session)
{
    return session->context;
}

void hbone_session_attach(struct hbone_session *session, const struct hbone_session_events *events, void *context)
{
    session->events = events;
    session->context = context;
}

uint32_t hbone_session_capacity(const struct hbone_session *session)
{
    if (hbone_session_is_draining(session) || session->output.control.length > CAPACITY_QUEUE_BYTES) {
        return 0;
    }
    uint32_t limit = session->settings.concurrent_streams_maximum < session->peer_streams_maximum
                         ? session->settings.concurrent_streams_maximum
                         : session->peer_streams_maximum;
    return limit > session->stream_count ? limit - session->stream_count : 0;
}

const struct certificate_list *hbone_session_peer_chain(const struct hbone_session *session)
{
    return session->layer != NULL ? session->layer->peer_chain : NULL;
}

bool hbone_session_is_ending(const struct hbone_session *session)
{
    return !hbone_session_is_live(session);
}

size_t hbone_session_stream_count(const struct hbone_session *session)
{
    return session->stream_count;
}

bool hbone_session_is_draining(const struct hbone_session *session)
{
    return session->is_draining || !hbone_session_is_live(session) || session->next_stream_id > HBONE_STREAM_ID_MAXIMUM;
}

struct loop_account *hbone_session_account(const struct hbone_session *session)
{
    return session->settings.account;
}

bool hbone_session_is_stalled(const struct hbone_session *session)
{
    return session->stalled_since_ns != 0 && loop_now_ns(session->loop) - session->stalled_since_ns > STALL_NS;
}

struct hbone_statistics hbone_session_statistics(const struct hbone_session *session)
{
    return (struct hbone_statistics){
        .streams = session->stream_count,
        .streams_total = session->streams_total,
        .bytes_received = session->bytes_received,
        .bytes_sent = session->bytes_sent,
        .unsent_bytes = hbone_output_unsent_bytes(session),
        .send_window_bytes = session->send_window,
        .receive_window_bytes = session->receive_window,
        .pinned_bytes = session->pinned_bytes,
        .round_trip_ns = session->liveness.round_trip_ns,
    };
}
