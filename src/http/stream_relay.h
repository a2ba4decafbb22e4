/* Bytes between an application's TCP connection and one HBONE stream, in both directions, without copies where the windows
 * allow it, and with FIN, RST and half-close passed on (design §5, "Close"):
 *
 *   application FIN  -> END_STREAM             END_STREAM  -> FIN, after everything before it
 *   application RST  -> RST_STREAM(CONNECT_ERROR)   RST_STREAM, lost tunnel -> RST
 *
 * Credit goes back to the peer when bytes have left to the application. An idle relay holds no buffer. Worker's thread. */
#ifndef AMBAR_HTTP_STREAM_RELAY_H
#define AMBAR_HTTP_STREAM_RELAY_H

#include "http/hbone_session.h"
#include "net/byte_queue.h"
#include "net/loop.h"
#include "net/relay_end.h"

#include <stdbool.h>
#include <sys/epoll.h>

/* What a relay watches its application's socket for. */
#define STREAM_RELAY_INTEREST ((uint32_t)(EPOLLIN | EPOLLRDHUP) | (uint32_t)EPOLLET)

struct stream_relay;

struct stream_relay_events {
    /* From the application into the stream; from the stream into the application's socket. */
    void (*on_progress)(struct stream_relay *relay, size_t from_application_bytes, size_t to_application_bytes);
    /* Called once, last: descriptor closed, stream released; the relay may be freed in it. `reason` is NULL for a clean end. */
    void (*on_end)(struct stream_relay *relay, enum relay_end end, const char *reason);
};

struct stream_relay {
    const struct stream_relay_events *events;
    struct hbone_stream *stream;
    struct loop *loop;
    struct io_watch watch; /* of the application's socket */
    int descriptor;
    struct byte_queue backlog; /* bytes for the application */
    struct deferred bulk;      /* the next read of a bulk flow */
    bool is_bulk;              /* its last read was large */
    bool is_readable;          /* the socket may have something to read: edge-triggered, so it is remembered */
    bool has_hang_up;          /* its FIN has arrived, behind what is still to be read */
    bool is_blocked_by_stream; /* the stream gave no hole */
    bool has_application_end;  /* the application's FIN was read */
    bool has_stream_end;       /* the stream's END_STREAM came */
    bool has_passed_stream_end;
};

/* The events of a stream whose context is a relay: for hbone_session_connect and hbone_stream_attach callers that switch to
 * the relay once the CONNECT is answered, by forwarding from their own events. */
void stream_relay_on_data(struct stream_relay *relay, const struct bytes *slices, int count);
void stream_relay_on_end_stream(struct stream_relay *relay);
void stream_relay_on_reset(struct stream_relay *relay, const struct hbone_reset *reset);
void stream_relay_on_writable(struct stream_relay *relay);

/* Takes the connected descriptor and the open stream. Events of the stream that came before must have been kept by the
 * caller and follow through the functions above. Any function here may call on_end, and the relay may be gone when it
 * returns; only the start tells: false when it has ended already. */
bool stream_relay_start(struct stream_relay *relay, struct loop *loop, struct buffer_pool *pool, int descriptor,
    struct hbone_stream *stream, const struct stream_relay_events *events);

/* The same for a socket that is watched already, for STREAM_RELAY_INTEREST: the relay takes the registration over.
 * `seen_events`: what its own on_ready was told meanwhile. `has_ended`: the application's FIN was read, and passed on. */
bool stream_relay_start_watched(struct stream_relay *relay, struct buffer_pool *pool, struct io_watch *watch,
    uint32_t seen_events, bool has_ended, struct hbone_stream *stream, const struct stream_relay_events *events);

/* Right after the start: delivers bytes of the stream that were kept while the application was being reached, and its end where
 * that had come too. Takes the queue. */
void stream_relay_take_queue(struct stream_relay *relay, struct byte_queue *queue, bool has_stream_end);

/* Resets the stream with `code` and the application's connection, and ends. */
void stream_relay_cut(struct stream_relay *relay, enum hbone_error code, const char *reason);

#endif
