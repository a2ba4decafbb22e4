/* A walk over what lives on the workers (connections, tunnels, refusals), for the dumps of the control thread: piece by piece, so
 * that neither a worker's turn nor the memory of an answer grows with the number of connections.
 *
 * A walk is owned by one thread at a time and travels through the two loops: the control thread asks for a piece, the worker
 * writes some rows and posts the walk back. Between pieces only its cursor stays with the worker, which moves it on when what it
 * points to goes away. There is no lock, and a worker without a walk pays one comparison a closed connection. */
#ifndef AMBAR_ZTUNNEL_LIVE_WALK_H
#define AMBAR_ZTUNNEL_LIVE_WALK_H

#include "base/json_writer.h"
#include "base/list.h"
#include "net/loop.h"

struct connection;
struct live_view;
struct live_walk;
struct pod;
struct worker;

/* What walks share. Control thread. */
struct live_view *live_view_new(struct loop *control, struct worker *workers, size_t worker_count);
/* The workers' threads have ended: walks are no longer handed to them. */
void live_view_workers_gone(struct live_view *view);
void live_view_free(struct live_view *view); /* after live_view_workers_gone; NULL is allowed */

/* The rows. Each is called on the worker's thread and may write any number of values (or text) to `json`; NULL: no such rows. */
struct live_rows {
    void (*of_worker)(struct worker *worker, struct json_writer *json);
    void (*of_pod)(struct pod *pod, struct json_writer *json);
    void (*of_connection)(const struct connection *connection, struct json_writer *json);
};

#define LIVE_ANY_DIRECTION (-1)

struct live_walk_settings {
    const struct live_rows *rows;
    const char *uid;                 /* of the one pod to look at; NULL: all. Copied */
    int direction;                   /* enum connection_direction, or LIVE_ANY_DIRECTION */
    bool opened_only;                /* connections that were counted as opened */
    size_t maximum;                  /* connections at most */
    void (*on_piece)(void *context); /* after live_walk_next. Control thread */
    void *context;
};

struct live_walk *live_walk_new(struct live_view *view, const struct live_walk_settings *settings);
/* Asks for the next piece, which continues the document of `json`. One at a time, not after the walk is over. */
void live_walk_next(struct live_walk *walk, const struct json_writer *json);
/* In on_piece: the text, borrowed until the next call; `json` goes on behind it. True: it was the last piece. */
bool live_walk_take(struct live_walk *walk, struct json_writer *json, struct bytes *piece);
size_t live_walk_connections(const struct live_walk *walk); /* written so far */
/* At any time; no on_piece comes any more. NULL is allowed. */
void live_walk_free(struct live_walk *walk);

/* Worker's thread: what is about to leave its list. */
void live_walks_skip_connection(struct worker *worker, const struct connection *connection);
void live_walks_skip_pod(struct worker *worker, const struct pod *pod);

#endif
