#include "net/byte_queue.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* Lives at the start of a pool block; the bytes follow it. */
struct byte_queue_block {
    struct byte_queue_block *next;
    uint32_t begin;
    uint32_t end;
    uint8_t bytes[];
};

#define BLOCK_CAPACITY (BUFFER_BLOCK_BYTES - sizeof(struct byte_queue_block))
#define VECTOR_MAXIMUM 64

static struct byte_queue_block *add_block(struct byte_queue *queue)
{
    struct byte_queue_block *block = buffer_pool_take(queue->pool);
    *block = (struct byte_queue_block){ 0 };
    if (queue->last != NULL) {
        queue->last->next = block;
    } else {
        queue->first = block;
    }
    queue->last = block;
    return block;
}

static void drop_first_block(struct byte_queue *queue)
{
    struct byte_queue_block *block = queue->first;
    queue->first = block->next;
    if (queue->first == NULL) {
        queue->last = NULL;
    }
    buffer_pool_give(queue->pool, block);
}

void byte_queue_append(struct byte_queue *queue, struct bytes bytes)
{
    queue->length += bytes.length;
    while (bytes.length > 0) {
        struct byte_queue_block *block = queue->last;
        if (block == NULL || block->end == BLOCK_CAPACITY) {
            block = add_block(queue);
        }
        size_t room = BLOCK_CAPACITY - block->end;
        size_t part = bytes.length < room ? bytes.length : room;
        memcpy(block->bytes + block->end, bytes.data, part);
        block->end += (uint32_t)part;
        bytes.data += part;
        bytes.length -= part;
    }
}

/* One vectored write that never raises SIGPIPE. */
static ssize_t write_vector(int descriptor, struct iovec *vector, size_t count, int flags)
{
    struct msghdr message = { .msg_iov = vector, .msg_iovlen = count };
    ssize_t written;
    do {
        written = sendmsg(descriptor, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
    } while (written < 0 && errno == EINTR);
    return written;
}

static void consume(struct byte_queue *queue, size_t length)
{
    queue->length -= length;
    while (length > 0 && queue->first != NULL) {
        struct byte_queue_block *block = queue->first;
        size_t held = block->end - block->begin;
        if (length < held) {
            block->begin += (uint32_t)length;
            return;
        }
        length -= held;
        drop_first_block(queue);
    }
}

enum byte_queue_status byte_queue_write(struct byte_queue *queue, int descriptor, size_t *written)
{
    *written = 0;
    while (queue->length > 0) {
        struct iovec vector[VECTOR_MAXIMUM];
        size_t count = 0;
        for (struct byte_queue_block *block = queue->first; block != NULL && count < VECTOR_MAXIMUM;
             block = block->next) {
            vector[count++] = (struct iovec){ block->bytes + block->begin, block->end - block->begin };
        }
        ssize_t taken = write_vector(descriptor, vector, count, 0);
        if (taken < 0) {
            return errno == EAGAIN || errno == EWOULDBLOCK ? BYTE_QUEUE_AGAIN : BYTE_QUEUE_FAILED;
        }
        consume(queue, (size_t)taken);
        *written += (size_t)taken;
    }
    return BYTE_QUEUE_EMPTY;
}

static void append_rest(struct byte_queue *queue, const struct bytes *slices, int count, size_t skip)
{
    for (int i = 0; i < count; i++) {
        if (skip >= slices[i].length) {
            skip -= slices[i].length;
            continue;
        }
        byte_queue_append(queue, bytes_of(slices[i].data + skip, slices[i].length - skip));
        skip = 0;
    }
}

enum byte_queue_status byte_queue_pass(
    struct byte_queue *queue, int descriptor, const struct bytes *slices, int count, bool ends_soon, size_t *written)
{
    *written = 0;
    if (queue->length > 0) {
        append_rest(queue, slices, count, 0);
        return byte_queue_write(queue, descriptor, written);
    }
    for (int done = 0; done < count;) {
        struct iovec vector[VECTOR_MAXIMUM];
        int part = count - done < VECTOR_MAXIMUM ? count - done : VECTOR_MAXIMUM;
        size_t offered = 0;
        for (int i = 0; i < part; i++) {
            vector[i].iov_base = (void *)(uintptr_t)slices[done + i].data;
            vector[i].iov_len = slices[done + i].length;
            offered += slices[done + i].length;
        }
        ssize_t taken = write_vector(descriptor, vector, (size_t)part, ends_soon ? MSG_MORE : 0);
        bool would_block = taken < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
        if (taken < 0 && !would_block) {
            return BYTE_QUEUE_FAILED;
        }
        size_t accepted = taken < 0 ? 0 : (size_t)taken;
        *written += accepted;
        if (accepted < offered) {
            append_rest(queue, slices + done, count - done, accepted);
            return BYTE_QUEUE_AGAIN;
        }
        done += part;
    }
    return BYTE_QUEUE_EMPTY;
}

void byte_queue_clear(struct byte_queue *queue)
{
    while (queue->first != NULL) {
        drop_first_block(queue);
    }
    queue->length = 0;
}
