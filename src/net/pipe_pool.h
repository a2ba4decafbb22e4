/* Pipes for passing bytes from one socket to another inside the kernel (splice), lent to a relay while bytes are in flight. A pool
 * belongs to one thread; it makes at most PIPE_POOL_PIPES_MAXIMUM pipes, and whoever gets none copies instead. */
#ifndef AMBAR_NET_PIPE_POOL_H
#define AMBAR_NET_PIPE_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define PIPE_POOL_PIPES_MAXIMUM 32
#define PIPE_BYTES (256 * 1024) /* asked for; a kernel short of pipe memory gives less */

struct pipe_pool;

struct splice_pipe {
    struct splice_pipe *next; /* the pool's own */
    int ends[2];
    size_t held; /* bytes in it */
};

struct pipe_pool *pipe_pool_new(void);
void pipe_pool_free(struct pipe_pool *pool); /* NULL is allowed; every pipe must have been given back */

/* An empty pipe; NULL: none is left or the process has no descriptors. */
struct splice_pipe *pipe_pool_take(struct pipe_pool *pool);
/* One that still holds bytes is closed, they are lost with it. NULL is allowed. */
void pipe_pool_give(struct pipe_pool *pool, struct splice_pipe *pipe);
/* Closes the pipes that nobody has needed since the last call. Once every few seconds. */
void pipe_pool_release_unused(struct pipe_pool *pool);
size_t pipe_pool_count(const struct pipe_pool *pool); /* that exist, lent or not */

/* From the socket into the empty pipe, at most PIPE_BYTES: bytes moved, 0 at the end of the stream, or a negative error number (-EAGAIN:
 * nothing is there). */
ssize_t splice_pipe_fill(struct splice_pipe *pipe, int socket);
/* What it holds into the socket, as far as the socket takes it: bytes moved, or a negative error number other than -EAGAIN. */
ssize_t splice_pipe_drain(struct splice_pipe *pipe, int socket);

#endif
