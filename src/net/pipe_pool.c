#include "net/pipe_pool.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

struct pipe_pool {
    struct splice_pipe *idle; /* last given first */
    size_t count;
    size_t idle_count;
    size_t least_idle_count; /* since the last pipe_pool_release_unused */
};

struct pipe_pool *pipe_pool_new(void)
{
    return NEW(struct pipe_pool);
}

static void destroy(struct pipe_pool *pool, struct splice_pipe *pipe)
{
    (void)close(pipe->ends[0]);
    (void)close(pipe->ends[1]);
    memory_free(pipe);
    pool->count--;
}

static struct splice_pipe *take_idle(struct pipe_pool *pool)
{
    struct splice_pipe *pipe = pool->idle;
    pool->idle = pipe->next;
    pool->idle_count--;
    if (pool->idle_count < pool->least_idle_count) {
        pool->least_idle_count = pool->idle_count;
    }
    return pipe;
}

void pipe_pool_free(struct pipe_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    while (pool->idle != NULL) {
        destroy(pool, take_idle(pool));
    }
    memory_free(pool);
}

static struct splice_pipe *make(struct pipe_pool *pool)
{
    int ends[2];
    if (pool->count == PIPE_POOL_PIPES_MAXIMUM || pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) {
        return NULL;
    }
    /* Refused when the user's pipes hold too much already: the default of 64 KiB works as well, in more turns. */
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    struct splice_pipe *pipe = NEW(struct splice_pipe);
    pipe->ends[0] = ends[0];
    pipe->ends[1] = ends[1];
    pool->count++;
    return pipe;
}

struct splice_pipe *pipe_pool_take(struct pipe_pool *pool)
{
    return pool->idle != NULL ? take_idle(pool) : make(pool);
}

void pipe_pool_give(struct pipe_pool *pool, struct splice_pipe *pipe)
{
    if (pipe == NULL) {
        return;
    }
    if (pipe->held > 0) {
        destroy(pool, pipe);
        return;
    }
    pipe->next = pool->idle;
    pool->idle = pipe;
    pool->idle_count++;
}

void pipe_pool_release_unused(struct pipe_pool *pool)
{
    for (size_t unused = pool->least_idle_count; unused > 0; unused--) {
        destroy(pool, take_idle(pool));
    }
    pool->least_idle_count = pool->idle_count;
}

size_t pipe_pool_count(const struct pipe_pool *pool)
{
    return pool->count;
}

static ssize_t move(int from, int to, size_t length)
{
    ssize_t moved;
    do {
        moved = splice(from, NULL, to, NULL, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    } while (moved < 0 && errno == EINTR);
    return moved < 0 ? -errno : moved;
}

ssize_t splice_pipe_fill(struct splice_pipe *pipe, int socket)
{
    ssize_t moved = move(socket, pipe->ends[1], PIPE_BYTES);
    if (moved > 0) {
        pipe->held += (size_t)moved;
    }
    return moved;
}

ssize_t splice_pipe_drain(struct splice_pipe *pipe, int socket)
{
    size_t before = pipe->held;
    while (pipe->held > 0) {
        ssize_t moved = move(pipe->ends[0], socket, pipe->held);
        if (moved <= 0) {
            return moved == -EAGAIN ? (ssize_t)(before - pipe->held) : moved;
        }
        pipe->held -= (size_t)moved;
    }
    return (ssize_t)before;
}
