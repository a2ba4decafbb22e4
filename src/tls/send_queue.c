#include "tls/send_queue.h"

#include "base/memory.h"
#include "net/buffer_pool.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

void send_queue_initialise(struct send_queue *queue, struct buffer_pool *pool)
{
    *queue = (struct send_queue){ .pool = pool };
}

static struct send_queue_contents *contents_of(struct send_queue *queue)
{
    if (queue->contents == NULL) {
        queue->contents = memory_allocate(sizeof *queue->contents);
    }
    return queue->contents;
}

static void forget_empty_contents(struct send_queue *queue)
{
    if (queue->block_count == 0 && queue->slot_count == 0) {
        memory_free(queue->contents);
        queue->contents = NULL;
    }
}

void send_queue_clear(struct send_queue *queue)
{
    send_queue_return_slots(queue);
    buffer_pool_give(queue->pool, queue->spare);
    for (size_t i = 0; i < queue->block_count; i++) {
        buffer_pool_give(queue->pool, queue->contents->blocks[i].memory);
    }
    memory_free(queue->contents);
    send_queue_initialise(queue, queue->pool);
}

void send_queue_move(struct send_queue *to, struct send_queue *from)
{
    *to = *from;
    send_queue_initialise(from, from->pool);
}

static void return_slots_before(struct send_queue *queue, int index)
{
    for (int i = 0; i < index; i++) {
        buffer_pool_give(queue->pool, queue->contents->slots[i]);
        queue->contents->slots[i] = NULL;
    }
}

int send_queue_reserve(struct send_queue *queue, struct iovec *slots, int count, size_t slot_bytes)
{
    return_slots_before(queue, queue->slot_count);
    struct send_queue_contents *contents = contents_of(queue);
    int room = queue->block_count >= SEND_QUEUE_SLOTS ? 0 : SEND_QUEUE_SLOTS - queue->block_count;
    int lent = count < room ? count : room;
    for (int i = 0; i < lent; i++) {
        contents->slots[i] = buffer_pool_take(queue->pool);
        slots[i] = (struct iovec){ contents->slots[i], slot_bytes };
    }
    queue->slot_count = (uint8_t)(lent < 0 ? 0 : lent);
    return queue->slot_count;
}

void send_queue_return_slots(struct send_queue *queue)
{
    return_slots_before(queue, queue->slot_count);
    queue->slot_count = 0;
    forget_empty_contents(queue);
}

uint8_t *send_queue_take_slot(struct send_queue *queue, int index)
{
    return_slots_before(queue, index);
    uint8_t *block = queue->contents->slots[index];
    queue->contents->slots[index] = NULL;
    return block;
}

void send_queue_append(struct send_queue *queue, uint8_t *block, size_t length)
{
    assert(queue->block_count < SEND_QUEUE_BLOCKS);
    contents_of(queue)->blocks[queue->block_count++] = (struct send_block){ block, 0, (uint32_t)length };
    queue->unsent_bytes += length;
}

uint8_t *send_queue_tail(struct send_queue *queue, size_t length)
{
    if (queue->block_count == 0) {
        return NULL;
    }
    const struct send_block *last = &queue->contents->blocks[queue->block_count - 1];
    return BUFFER_BLOCK_BYTES - last->end < length ? NULL : last->memory + last->end;
}

void send_queue_extend(struct send_queue *queue, size_t length)
{
    if (length > 0) {
        queue->contents->blocks[queue->block_count - 1].end += (uint32_t)length;
        queue->unsent_bytes += length;
    }
}

bool send_queue_add_to_last(struct send_queue *queue, struct bytes data)
{
    uint8_t *tail = send_queue_tail(queue, data.length);
    if (tail == NULL) {
        return false;
    }
    memcpy(tail, data.data, data.length);
    send_queue_extend(queue, data.length);
    return true;
}

bool send_queue_has_room(const struct send_queue *queue, size_t length)
{
    if (queue->block_count < SEND_QUEUE_BLOCKS) {
        return length <= BUFFER_BLOCK_BYTES;
    }
    return BUFFER_BLOCK_BYTES - queue->contents->blocks[queue->block_count - 1].end >= length;
}

bool send_queue_add(struct send_queue *queue, struct bytes data)
{
    if (send_queue_add_to_last(queue, data)) {
        return true;
    }
    if (queue->block_count == SEND_QUEUE_BLOCKS || data.length > BUFFER_BLOCK_BYTES) {
        return false;
    }
    uint8_t *block = queue->spare != NULL ? queue->spare : buffer_pool_take(queue->pool);
    queue->spare = NULL;
    memcpy(block, data.data, data.length);
    send_queue_append(queue, block, data.length);
    return true;
}

static void take_off(struct send_queue *queue, size_t sent)
{
    struct send_block *blocks = queue->contents->blocks;
    queue->unsent_bytes -= sent;
    size_t done = 0;
    while (done < queue->block_count) {
        struct send_block *block = &blocks[done];
        size_t length = block->end - block->start;
        if (sent < length) {
            block->start += (uint32_t)sent;
            break;
        }
        sent -= length;
        buffer_pool_give(queue->pool, block->memory);
        done++;
    }
    queue->block_count -= (uint8_t)done;
    memmove(blocks, blocks + done, queue->block_count * sizeof blocks[0]);
}

static ssize_t send_once(struct send_queue *queue, int descriptor)
{
    struct iovec pieces[SEND_QUEUE_BLOCKS];
    for (size_t i = 0; i < queue->block_count; i++) {
        const struct send_block *block = &queue->contents->blocks[i];
        pieces[i] = (struct iovec){ block->memory + block->start, block->end - block->start };
    }
    struct msghdr message = { .msg_iov = pieces, .msg_iovlen = queue->block_count };
    return sendmsg(descriptor, &message, MSG_NOSIGNAL);
}

int send_queue_flush(struct send_queue *queue, int descriptor)
{
    send_queue_return_slots(queue);
    while (queue->block_count > 0) {
        size_t wanted = queue->unsent_bytes;
        ssize_t sent = send_once(queue, descriptor);
        if (sent < 0 && errno == EINTR) {
            continue;
        }
        if (sent < 0) {
            return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        }
        take_off(queue, (size_t)sent);
        if ((size_t)sent < wanted) {
            return -EAGAIN;
        }
    }
    forget_empty_contents(queue);
    return 0;
}
