/* What the files of one HBONE session share; nobody else includes it.
 *
 *   hbone_session.c   birth, readiness, the turn's end, closing
 *   hbone_input.c     bytes -> frames -> what they do to the session
 *   hbone_exchange.c  field blocks: requests, responses, their refusals
 *   hbone_batch.c     DATA slices of one read, collected per stream
 *   hbone_output.c    record slots, queue of control frames, flush
 *   hbone_stream.c    the streams and their table
 *   hbone_early.c     what follows a CONNECT before its response
 *   hbone_flow.c      windows and credit of both directions
 *   hbone_liveness.c  PING, round trip, deadlines
 *
 * Events are raised only from the loop's calls (readiness, timer, end of the turn), never from within a public function. */
#ifndef AMBAR_HTTP_HBONE_INTERNAL_H
#define AMBAR_HTTP_HBONE_INTERNAL_H

#include "base/clock.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/writer.h"
#include "http/hbone_frame.h"
#include "http/hbone_headers.h"
#include "http/hbone_session.h"
#include "net/loop.h"
#include "tls/record_layer.h"

#define HBONE_STREAM_WINDOW_START (256 * 1024)
/* What a stream's window may grow to whatever the round trip: enough for wake-ups on one machine, and the bound on what a reader
 * pins that was fast and then stops (less than 1 MiB). */
#define HBONE_STREAM_WINDOW_UNMEASURED_MAXIMUM (896 * 1024)
/* One read of bulk. Every doubling of it saves a tenth of the processor time of a byte, and doubles what a small message behind it
 * waits: half as much while there are some (loop_has_small_flows). */
#define HBONE_READ_BUDGET_BYTES (512 * 1024)
#define HBONE_BULK_READ_BYTES (32 * 1024) /* a read larger than this makes the tunnel wait for its turn (design §5) */
#define HBONE_RUNS_MAXIMUM 128
#define HBONE_CONTROL_QUEUE_BYTES_MAXIMUM (256 * 1024)
#define HBONE_EARLY_BYTES 4096 /* a request; what is longer is worth a round trip */

/* For arrays on the way of every read: the build zeroes locals, which costs more than the frames of a small message. */
#if defined(__has_attribute) && __has_attribute(uninitialized)
#define HBONE_UNINITIALISED __attribute__((uninitialized))
#else
#define HBONE_UNINITIALISED
#endif

struct hbone_stream {
    struct hbone_session *session;            /* NULL once the session was freed */
    const struct hbone_stream_events *events; /* NULL: nobody wants events (yet, or any more) */
    void *context;
    struct hbone_stream *next_in_bucket;
    struct list link;         /* in session->streams, from birth to release */
    struct list waiting_link; /* in session->waiting, while on_writable is owed */
    struct list credit_link;  /* in session->creditors, while a WINDOW_UPDATE is owed */
    struct list batch_link;   /* in batch->small or batch->large */
    uint32_t id;
    int32_t send_window;           /* negative after the peer shrank its initial window */
    int32_t receive_window;        /* what the peer may still send */
    uint32_t window_bytes;         /* the size that credit restores it to */
    uint32_t uncredited_bytes;     /* delivered, not credited by the consumer */
    uint32_t pending_credit_bytes; /* credited, not announced */
    uint32_t measured_bytes;       /* credited since measured_since_ns */
    uint64_t measured_since_ns;
    uint64_t opened_ns;
    int16_t batch_first, batch_last; /* entries of the batch, -1: none */
    bool is_attached : 1;            /* released by its owner, not by the session */
    bool is_over : 1;
    bool has_local_end : 1;  /* END_STREAM sent */
    bool has_remote_end : 1; /* END_STREAM received */
    bool has_response : 1;   /* client: received; server: sent */
    bool has_early_data : 1; /* client: DATA was sent before the response */
};

/* Where the parser stands in the bytes of the tunnel. */
struct hbone_input {
    uint8_t preface_left; /* server: bytes of the connection preface still to come */
    uint8_t header_filled;
    uint8_t header[HBONE_FRAME_HEADER_BYTES];
    struct hbone_frame frame;
    uint32_t left;    /* payload still to come */
    uint32_t padding; /* of these at the end; known once has_pad_length */
    bool needs_pad_length;
    uint8_t skip; /* bytes of a HEADERS frame's priority fields still to come */
    uint8_t gathered_count;
    uint8_t gathered[72]; /* small payloads: one setting at a time, PING, GOAWAY with the start of its text ... */
    struct hbone_stream *stream; /* of a DATA frame under way; NULL: its bytes are only counted */
    bool has_settings;           /* the peer's first SETTINGS have come */
};

/* A field block under way; frames of other kinds may not come between its pieces. */
struct hbone_block_state {
    struct hbone_header_block *block; /* NULL: none */
    uint32_t stream_id;
    bool end_stream;
    bool is_request; /* a new stream of the peer; else for a present stream or one that is gone */
    bool is_skipped; /* no longer decoded: the answer is known, and there is no table to keep in step */
    size_t bytes;
};

struct hbone_output {
    struct writer control;      /* frames not yet copied into slots */
    size_t control_moved;       /* of these bytes */
    struct iovec *slots;        /* HBONE_HOLES_MAXIMUM, while any are lent */
    int slot_count, slot_index; /* lent; the one being filled */
    size_t slot_used;
    struct hbone_stream *reserved_by; /* between reserve and commit */
    int reserved_count;
    size_t reserved_bytes_maximum;
    bool is_full; /* the record layer refused a slot */
    size_t unsent_when_full;
    bool has_failed;
};

struct hbone_liveness {
    struct timer timer;
    uint64_t last_received_ns;
    uint64_t settings_deadline_ns; /* 0 once they have come */
    uint64_t settings_sent_ns;     /* 0 once acknowledged */
    uint64_t ping_due_ns;
    uint64_t ping_sent_ns; /* 0: none under way */
    uint64_t ping_payload;
    uint64_t watched_since_ns; /* bytes were sent and may be unacknowledged; 0: none */
    uint64_t acknowledged_bytes;
    uint64_t unheard_since_ns; /* DATA was sent and nothing was received after it; 0: not so */
    uint64_t bytes_sent_when_heard;
    uint64_t probed_since_ns; /* hbone_session_probe; 0: not so */
    uint64_t suspected_since_ns;
    uint64_t suspected_acknowledged_bytes; /* at the last look since then */
    uint64_t linger_deadline_ns;
    uint64_t round_trip_ns;
    bool was_late; /* the loop itself stood still: nobody is judged by that */
};

/* What a peer may make us do for nothing; refilled by time. */
struct hbone_flood_budget {
    int32_t left;
    uint64_t refilled_ns;
};

enum hbone_session_state {
    HBONE_SESSION_LIVE,
    HBONE_SESSION_ENDING,    /* decided; the end of the turn carries it out */
    HBONE_SESSION_LINGERING, /* last words are being sent, input is thrown away until the peer closes */
    HBONE_SESSION_ENDED,
};

enum hbone_drain_state { HBONE_DRAIN_NONE, HBONE_DRAIN_ANNOUNCED, HBONE_DRAIN_FINAL };

struct hbone_session {
    struct loop *loop;
    struct record_layer *layer;
    struct io_watch watch;
    struct deferred turn_end;
    struct deferred bulk_read;
    struct deferred bulk_notify;
    int descriptor;
    enum hbone_role role;
    struct hbone_settings settings;
    const struct hbone_session_events *events;
    void *context;

    enum hbone_session_state state;
    int depth;     /* of event-raising calls on the stack */
    bool is_freed; /* as soon as depth is 0 */
    bool is_bulk;
    bool is_capacity_changed;
    bool is_peer_gone;  /* nothing can be said to it any more */
    bool is_input_over; /* it has said its last byte */
    bool is_close_queued, is_shut;
    bool was_clean;
    enum hbone_reset_cause end_cause; /* of the streams that end with the tunnel: TUNNEL_LOST or TUNNEL_CLOSED */
    uint32_t end_code;
    char *end_reason;
    char *drain_reason;
    enum hbone_drain_state drain;
    bool is_draining; /* no new streams of ours (client) */
    bool has_peer_goaway;
    bool has_clean_goaway; /* it said NO_ERROR */

    struct list streams, waiting, creditors;
    struct hbone_stream *requested; /* while on_request runs for it; NULL once it was released */
    struct hbone_stream **table;
    uint32_t table_size;
    uint32_t stream_count;     /* in the table */
    uint32_t unanswered_count; /* client: CONNECTs without a response */
    uint32_t next_stream_id;   /* client */
    uint32_t last_stream_id;   /* server: the highest the peer has opened */
    uint64_t streams_total;

    uint32_t peer_streams_maximum;
    int32_t peer_initial_window;
    int32_t initial_window; /* ours, as the peer knows it by now */
    bool is_settings_acknowledged;
    uint32_t early_bytes; /* what both sides agree to; 0: the peer did not say so */
    struct timer held;    /* server: responses wait for the application's first bytes until then */

    int64_t send_window;
    int64_t receive_window;
    uint32_t pending_credit_bytes;
    uint64_t stalled_since_ns; /* send_window is used up; 0: it is not */
    size_t pinned_bytes;
    uint64_t bytes_received, bytes_sent;

    struct hbone_input input;
    struct hbone_block_state block;
    struct hbone_header_decoder decoder;
    struct hbone_header_encoder encoder;
    struct hbone_batch *batch; /* while a read is being parsed */
    struct hbone_output output;
    struct hbone_liveness liveness;
    struct hbone_flood_budget flood;
};

/* hbone_session.c: every entry from the loop is between these two; the second frees a session that was freed within. */
void hbone_session_enter(struct hbone_session *session);
void hbone_session_leave(struct hbone_session *session);
/* Decides the end. The first reason stands. The end of the turn resets the streams and says GOAWAY(code) unless the peer is gone. */
void hbone_session_fail(struct hbone_session *session, uint32_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void hbone_session_lose(struct hbone_session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
void hbone_session_finish(struct hbone_session *session, bool was_clean, const char *reason); /* GOAWAY(NO_ERROR) */
/* False, and the session fails with ENHANCE_YOUR_CALM, when the peer has used up what it may ask for nothing. */
bool hbone_session_spend(struct hbone_session *session, int cost, const char *what);
void hbone_session_conclude_linger(struct hbone_session *session); /* the deadline has passed */
/* No new streams are possible, the session finishes with its last one. Client, or after the final GOAWAY. */
void hbone_session_begin_draining(struct hbone_session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline bool hbone_session_is_live(const struct hbone_session *session)
{
    return session->state == HBONE_SESSION_LIVE;
}

/* hbone_input.c */
void hbone_input_run(struct hbone_session *session, struct bytes run);

/* hbone_exchange.c */
void hbone_exchange_begin(struct hbone_session *session);
void hbone_exchange_fragment(struct hbone_session *session, struct bytes fragment);
void hbone_exchange_end(struct hbone_session *session);
void hbone_exchange_forget(struct hbone_session *session);

/* hbone_batch.c */
#define HBONE_BATCH_ENTRIES 256
struct hbone_batch {
    struct hbone_batch_entry {
        struct bytes slice;
        int16_t next;
    } entries[HBONE_BATCH_ENTRIES];
    int count;
    struct list small, large; /* streams by what this read has for them */
};
void hbone_batch_add(struct hbone_session *session, struct hbone_stream *stream, struct bytes slice);
void hbone_batch_deliver_stream(struct hbone_session *session, struct hbone_stream *stream); /* may release it */
void hbone_batch_deliver(struct hbone_session *session);

/* hbone_output.c */
struct writer *hbone_output_control(
    struct hbone_session *session);                            /* to append frames; they leave at the end of the turn */
bool hbone_output_move_control(struct hbone_session *session); /* false: some is left, the layer is full */
int hbone_output_lend(struct hbone_session *session, int count); /* slots from slot_index on with room for a frame */
void hbone_output_advance(struct hbone_session *session);        /* seals the slot being filled */
void hbone_output_seal(struct hbone_session *session);           /* and gives back what is lent */
void hbone_output_flush(struct hbone_session *session);
void hbone_output_schedule(struct hbone_session *session);
/* Behind what was put off to the turn's end meanwhile, whose words leave in the same flush. */
void hbone_output_postpone(struct hbone_session *session);
size_t hbone_output_unsent_bytes(const struct hbone_session *session);

/* hbone_early.c */
void hbone_early_set_peer_bytes(struct hbone_session *session, uint32_t value);
/* Where to write a response that opens a stream: it leaves with whatever is sent next, or soon. */
struct writer *hbone_early_response_control(struct hbone_stream *stream);
void hbone_early_received(struct hbone_stream *stream); /* DATA has come: does the client wait now? */

/* hbone_stream.c */
struct hbone_stream *hbone_stream_new(struct hbone_session *session, uint32_t id);
struct hbone_stream *hbone_stream_find(const struct hbone_session *session, uint32_t id);
void hbone_stream_finish(struct hbone_stream *stream); /* over: leaves the table; nothing is sent, nothing raised */
void hbone_stream_finish_if_both_ended(struct hbone_stream *stream);
/* END_STREAM has come: delivers what is collected, raises on_end. */
void hbone_stream_raise_end(struct hbone_session *session, struct hbone_stream *stream);
/* Finishes, raises on_reset. `code` is sent first when the peer broke a rule. */
void hbone_stream_raise_reset(
    struct hbone_stream *stream, enum hbone_reset_cause cause, uint32_t code, const char *reason);
void hbone_stream_violation(struct hbone_session *session, uint32_t id, uint32_t code, const char *reason);
void hbone_streams_raise_lost(struct hbone_session *session, const char *reason);
void hbone_streams_refuse_above(struct hbone_session *session, uint32_t last_stream_id);
void hbone_streams_notify_writable(struct hbone_session *session);
void hbone_streams_detach_all(struct hbone_session *session);
uint64_t hbone_streams_oldest_unanswered_ns(const struct hbone_session *session); /* 0: none */

/* hbone_flow.c */
/* Charges a DATA frame (padding included) to the windows. False: the connection's was exceeded. `*stream` becomes NULL when
 * it has broken its own. */
bool hbone_flow_charge(struct hbone_session *session, struct hbone_stream **stream, uint32_t length);
void hbone_flow_deliver(
    struct hbone_stream *stream, uint32_t bytes); /* handed to the consumer, pinned until it credits them */
void hbone_flow_unpin(struct hbone_stream *stream, uint32_t bytes);
void hbone_flow_return(struct hbone_stream *stream, uint32_t bytes); /* credit to the stream, batched */
/* What a window may grow to whose `window` bytes were taken within `taken_ns` over a path of `round_trip_ns`. */
uint32_t hbone_flow_window_limit(uint32_t maximum, uint32_t window, uint64_t taken_ns, uint64_t round_trip_ns);
void hbone_flow_write_updates(struct hbone_session *session); /* at the end of the turn */
void hbone_flow_window_update(struct hbone_session *session, uint32_t stream_id, uint32_t increment);
bool hbone_flow_set_peer_initial_window(struct hbone_session *session, uint32_t window);
void hbone_flow_settings_acknowledged(struct hbone_session *session);
size_t hbone_flow_sendable(const struct hbone_stream *stream);
void hbone_flow_sent(struct hbone_stream *stream, size_t bytes);

/* hbone_liveness.c */
void hbone_liveness_start(struct hbone_session *session);
void hbone_liveness_stop(struct hbone_session *session);
void hbone_liveness_received(struct hbone_session *session);
void hbone_liveness_sent(struct hbone_session *session);
void hbone_liveness_settings_received(struct hbone_session *session);
void hbone_liveness_settings_acknowledged(struct hbone_session *session);
void hbone_liveness_ping(struct hbone_session *session, uint64_t payload, bool is_ack);
void hbone_liveness_linger(struct hbone_session *session);

#define HBONE_DRAIN_PING 0x0b7ba2f08b9bfe54ULL /* ztunnel-dataplane §19.1 */
/* The peer has answered the drain's PING. hbone_session.c */
void hbone_session_drain_acknowledged(struct hbone_session *session);

#endif
