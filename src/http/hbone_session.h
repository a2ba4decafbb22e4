/* One HBONE tunnel: a CONNECT-only HTTP/2 connection (RFC 9113, wire-protocols §11) over a record layer, client or server.
 *
 * Ownership: a session takes over its record layer and its descriptor and frees both. A stream belongs to whoever got it
 * (from hbone_session_connect, or by hbone_stream_attach in on_request) until hbone_stream_release. Everything happens on
 * the thread of the loop. Any function may be called from any event, hbone_session_free and hbone_stream_release included:
 * after them no further event comes. What an event lends (slices, headers, sentences) dies when the event returns.
 *
 * Bytes leave once per loop turn: all frames written in a turn share records and one flush at its end. */
#ifndef AMBAR_HTTP_HBONE_SESSION_H
#define AMBAR_HTTP_HBONE_SESSION_H

#include "base/bytes.h"
#include "base/result.h"

#include <sys/uio.h>

struct certificate_list;
struct hbone_session;
struct hbone_stream;
struct loop;
struct loop_account;
struct record_layer;

enum hbone_role { HBONE_CLIENT, HBONE_SERVER };

/* RFC 9113 §7. */
enum hbone_error {
    HBONE_NO_ERROR = 0x0,
    HBONE_PROTOCOL_ERROR = 0x1,
    HBONE_INTERNAL_ERROR = 0x2,
    HBONE_FLOW_CONTROL_ERROR = 0x3,
    HBONE_SETTINGS_TIMEOUT = 0x4,
    HBONE_STREAM_CLOSED = 0x5,
    HBONE_FRAME_SIZE_ERROR = 0x6,
    HBONE_REFUSED_STREAM = 0x7,
    HBONE_CANCEL = 0x8,
    HBONE_COMPRESSION_ERROR = 0x9,
    HBONE_CONNECT_ERROR = 0xa,
    HBONE_ENHANCE_YOUR_CALM = 0xb,
    HBONE_INADEQUATE_SECURITY = 0xc,
    HBONE_HTTP_1_1_REQUIRED = 0xd,
};

/* "PROTOCOL_ERROR"; "unknown error" for codes that RFC 9113 does not name. */
const char *hbone_error_name(uint32_t code);

struct hbone_field {
    struct bytes name, value;
};

/* Regular fields in order of arrival, already checked against RFC 9113 §8.2. */
struct hbone_headers {
    const struct hbone_field *fields;
    size_t count;
};

/* The value of the first field of that (lower-case) name; `data` is NULL when there is none. */
struct bytes hbone_headers_find(const struct hbone_headers *headers, const char *name);

struct hbone_request {
    struct bytes method;    /* any method: whoever wants only CONNECT answers the others with 400 */
    struct bytes authority; /* data NULL when absent, which CONNECT never is */
    struct hbone_headers headers;
};

/* Why a stream ended before both sides had sent END_STREAM. */
enum hbone_reset_cause {
    HBONE_RESET_BY_PEER, /* RST_STREAM with `code` */
    HBONE_RESET_REFUSED, /* RST_STREAM(REFUSED_STREAM) or above the last stream of a GOAWAY: the peer did nothing with it */
    HBONE_RESET_TUNNEL_LOST,   /* the whole tunnel is gone: the peer's doing, or the network's */
    HBONE_RESET_TUNNEL_CLOSED, /* the whole tunnel is gone: we have closed it, for a reason of our own */
    HBONE_RESET_BY_VIOLATION,  /* the peer broke a rule on this stream and we have reset it with `code` */
};

struct hbone_reset {
    enum hbone_reset_cause cause;
    uint32_t code; /* enum hbone_error, or whatever the peer sent */
    /* RST_STREAM(NO_ERROR) after the peer's END_STREAM: it has sent everything and wants no more from us. Not a failure. */
    bool is_orderly;
    /* No response had come, and it is the tunnel's fault: the same CONNECT may be tried once on another tunnel, with what was sent
     * behind it, if anything. Not when that was sent to a tunnel that was lost: it may have arrived. */
    bool is_retryable;
    /* The tunnel was lost before the peer's SETTINGS had come: it never spoke HTTP/2. */
    bool is_before_settings;
    const char *reason; /* one sentence */
};

struct hbone_stream_events {
    /* Client only: the final response. Informational ones are not shown. */
    void (*on_response)(struct hbone_stream *stream, int status, const struct hbone_headers *headers);
    /* All bytes of this stream that one read of the tunnel brought. What is not written onwards at once must be copied. They
     * stay charged to the stream's window until hbone_stream_credit. */
    void (*on_data)(struct hbone_stream *stream, const struct bytes *slices, int count);
    /* The peer's END_STREAM, after all its data. Our direction goes on. */
    void (*on_end)(struct hbone_stream *stream);
    /* Terminal: only hbone_stream_release is left to do. */
    void (*on_reset)(struct hbone_stream *stream, const struct hbone_reset *reset);
    /* After hbone_stream_reserve gave no hole: it may give some now. */
    void (*on_writable)(struct hbone_stream *stream);
};

struct hbone_session_events {
    /* Server only. Attach the stream, or answer it with `end`; a stream left unattached is released when this returns. */
    void (*on_request)(struct hbone_session *session, struct hbone_stream *stream, const struct hbone_request *request);
    /* Client: hbone_session_capacity has changed: a stream has gone, the peer's limit or a GOAWAY has come. May be NULL. */
    void (*on_capacity)(struct hbone_session *session);
    /* Terminal, after every stream's on_reset: only hbone_session_free is left to do. `was_clean`: both sides had finished,
     * no stream was cut. */
    void (*on_ended)(struct hbone_session *session, const char *reason, bool was_clean);
};

/* What streams hold for readers that do not take it: delivered and not credited. One for all sessions of a pod on a thread, and one for
 * all of the thread's. */
struct hbone_pinned {
    struct hbone_pinned *whole;    /* of which this is a part; NULL: of none */
    uint64_t bytes;                /* now */
    uint64_t largest_stream_bytes; /* the most that one stream has held at once, the read just delivered included */
};

struct hbone_settings {
    /* HTTP2_STREAM_WINDOW_SIZE: windows start at 256 KiB at most and grow up to this, beyond 896 KiB only as far as the network's
     * round trip asks for it. */
    uint32_t stream_window_bytes_maximum;
    uint32_t connection_window_bytes;    /* HTTP2_CONNECTION_WINDOW_SIZE */
    uint32_t frame_bytes_maximum;        /* HTTP2_FRAME_SIZE: what we accept */
    uint32_t concurrent_streams_maximum; /* server: announced, more are refused; client: our own cap */
    uint32_t header_list_bytes_maximum;
    uint64_t ping_interval_ms; /* first PING, and from each PONG to the next PING */
    uint64_t ping_timeout_ms;
    uint64_t
        suspicion_ms; /* bytes unacknowledged, a CONNECT unanswered or silence after DATA for so long send a PING ... */
    uint64_t suspicion_grace_ms;  /* ... and so long without any byte ends the tunnel */
    uint64_t settings_timeout_ms; /* for the peer's preface and SETTINGS */
    struct hbone_pinned *pinned;  /* counted there too; NULL: only in the session's statistics */
    struct loop_account *account; /* whose turns the session's reads take; NULL: the loop's own */
};

/* Issue 3, wire-protocols §11.1. */
struct hbone_settings hbone_settings_default(enum hbone_role role);

/* After the handshake. Sends the preface and SETTINGS in this turn; streams may be opened at once. `events` and `settings`
 * are copied resp. borrowed: the tables of events must outlive the session. */
struct hbone_session *hbone_session_new(struct loop *loop, struct record_layer *layer, int descriptor,
    enum hbone_role role, const struct hbone_settings *settings, const struct hbone_session_events *events,
    void *context);

/* At once and without a word to the peer (the descriptor is closed); streams lose their session silently. */
void hbone_session_free(struct hbone_session *session);

/* The same, but a GOAWAY is tried and every stream gets on_reset(TUNNEL_CLOSED) before this returns. No on_ended. */
void hbone_session_abort(struct hbone_session *session, const char *reason);

void *hbone_session_context(const struct hbone_session *session);
/* Replaces both; for a tunnel that changes hands after it was made. */
void hbone_session_attach(struct hbone_session *session, const struct hbone_session_events *events, void *context);

/* No new streams, the present ones go on, then on_ended(clean). Server: GOAWAY(2^31-1), PING, and after its answer
 * GOAWAY(last stream) (ztunnel-dataplane §19.1). Client: GOAWAY(NO_ERROR) when the last stream is gone. */
void hbone_session_drain(struct hbone_session *session, const char *reason);
/* GOAWAY(NO_ERROR) and close; live streams get on_reset(TUNNEL_CLOSED). on_ended comes in a later turn. */
void hbone_session_close(struct hbone_session *session, const char *reason);

/* The certificates the peer was verified by, leaf first; NULL unless revocation is on (tls/revocation.h). Borrowed. */
const struct certificate_list *hbone_session_peer_chain(const struct hbone_session *session);

/* There is reason to doubt the peer: a PING now, and without any byte from it within the grace the tunnel is lost. */
void hbone_session_probe(struct hbone_session *session);

/* The same with GOAWAY(ENHANCE_YOUR_CALM), and streams get TUNNEL_LOST: the peer asks for too much. From within an event. */
void hbone_session_calm(struct hbone_session *session, const char *reason);

/* Client: how many more streams may be opened now; 0 when draining, closing or full. */
uint32_t hbone_session_capacity(const struct hbone_session *session);
/* Client: how many bytes may be committed to a stream before its response comes (END_STREAM may follow them); 0 unless the peer has
 * said that it keeps them, and was heard of lately. A response that such a peer waits for leaves at once when it has all of them. */
size_t hbone_session_early_bytes(const struct hbone_session *session);
size_t hbone_session_stream_count(const struct hbone_session *session);
bool hbone_session_is_ending(const struct hbone_session *session);   /* closed or lost; on_ended comes, or has come */
bool hbone_session_is_draining(const struct hbone_session *session); /* no stream will ever be opened again */
/* Of the settings: whose turns whoever uses its streams takes too. */
struct loop_account *hbone_session_account(const struct hbone_session *session);
/* The peer's connection window has been shut for a moment: a new stream had better go elsewhere. */
bool hbone_session_is_stalled(const struct hbone_session *session);

struct hbone_statistics {
    size_t streams; /* open now */
    uint64_t streams_total;
    uint64_t bytes_received; /* payload of DATA */
    uint64_t bytes_sent;
    size_t unsent_bytes;       /* sealed or queued, not taken by the kernel */
    int64_t send_window_bytes; /* of the connection */
    int64_t receive_window_bytes;
    size_t pinned_bytes;    /* delivered to streams and not credited */
    uint64_t round_trip_ns; /* smoothed; 0 when not measured yet */
};
struct hbone_statistics hbone_session_statistics(const struct hbone_session *session);

/* Client: sends CONNECT with `:authority` and the fields in order (wire-protocols §11.2). NULL when there is no capacity. */
struct hbone_stream *hbone_session_connect(struct hbone_session *session, struct bytes authority,
    const struct hbone_field *fields, size_t count, const struct hbone_stream_events *events, void *context);

/* Server, in on_request: the stream is the caller's from now on. */
void hbone_stream_attach(struct hbone_stream *stream, const struct hbone_stream_events *events, void *context);

/* Server: the response. `end`: HEADERS with END_STREAM and, when the request is still open, RST_STREAM(NO_ERROR). Once. */
void hbone_stream_respond(
    struct hbone_stream *stream, int status, const struct hbone_field *fields, size_t count, bool end);

#define HBONE_HOLES_MAXIMUM 32
#define HBONE_HOLE_BYTES 16353 /* what a record leaves beside one frame header */

/* Sending without copies: up to `count` (at most HBONE_HOLES_MAXIMUM) runs of memory for readv, bounded by the windows and by
 * what the record layer still takes. Must be followed by hbone_stream_commit of this stream before anything else happens to the
 * session. 0: nothing may be sent now; on_writable will come (unless the stream is over). Ask for 1 hole for small flows:
 * it lies behind the frames of others in the turn's open record. */
int hbone_stream_reserve(struct hbone_stream *stream, struct iovec *holes, int count);
/* The first `bytes` of the holes become DATA frames; 0 is allowed. */
void hbone_stream_commit(struct hbone_stream *stream, size_t bytes);
/* Copies up to `length` bytes by reserve and commit; returns how many. For short texts and tests. */
size_t hbone_stream_write(struct hbone_stream *stream, const void *data, size_t length);

/* END_STREAM behind everything committed. Nothing may be committed afterwards. */
void hbone_stream_end(struct hbone_stream *stream);
/* RST_STREAM(code); the stream is over, without an event. Idempotent. */
void hbone_stream_reset(struct hbone_stream *stream, uint32_t code);
/* `bytes` of what on_data delivered have left to the application: they are returned to the peer as credit, in batches. */
void hbone_stream_credit(struct hbone_stream *stream, size_t bytes);
/* Gives the stream back: resets it with CANCEL (NO_ERROR for a server that has sent END_STREAM) when it is not over. */
void hbone_stream_release(struct hbone_stream *stream);

void *hbone_stream_context(const struct hbone_stream *stream);
uint32_t hbone_stream_id(const struct hbone_stream *stream);
struct hbone_session *hbone_stream_session(const struct hbone_stream *stream); /* NULL after the session was freed */
/* The peer's END_STREAM has come; on_end follows behind the data that is being delivered. */
bool hbone_stream_has_remote_end(const struct hbone_stream *stream);
/* Delivered and not credited. */
size_t hbone_stream_pinned_bytes(const struct hbone_stream *stream);
/* True once both directions have ended, it was reset, or its session is gone. */
bool hbone_stream_is_over(const struct hbone_stream *stream);

#endif
