/* What waits to leave a record layer: pool blocks, sent with one sendmsg. Slots lent to the caller are blocks that become part
 * of the queue or go back. Inside tls only; for one thread. */
#ifndef AMBAR_TLS_SEND_QUEUE_H
#define AMBAR_TLS_SEND_QUEUE_H

#include "base/bytes.h"

#include <sys/uio.h>

struct buffer_pool;

#define SEND_QUEUE_SLOTS 32                      /* blocks that may wait before no slot is lent any more */
#define SEND_QUEUE_BLOCKS (SEND_QUEUE_SLOTS + 2) /* with room for records of the layer's own: alerts, key updates */

/* Only while there is something in it: an idle connection has none. */
struct send_queue_contents {
    struct send_block {
        uint8_t *memory;
        uint32_t start; /* of what is still to be sent */
        uint32_t end;
    } blocks[SEND_QUEUE_BLOCKS];
    uint8_t *slots[SEND_QUEUE_SLOTS]; /* lent by the last reserve; NULL once taken */
};

struct send_queue {
    struct buffer_pool *pool;
    struct send_queue_contents *contents; /* NULL without blocks and slots */
    uint8_t *spare; /* a block whose contents are used up while they are replaced, see send_queue_add */
    size_t unsent_bytes;
    uint8_t block_count;
    uint8_t slot_count;
};

void send_queue_initialise(struct send_queue *queue, struct buffer_pool *pool);
void send_queue_clear(struct send_queue *queue);

/* What waits in one queue becomes all of another's. */
void send_queue_move(struct send_queue *to, struct send_queue *from);

/* Lends up to `count` slots of `slot_bytes`; slots lent before go back. */
int send_queue_reserve(struct send_queue *queue, struct iovec *slots, int count, size_t slot_bytes);
void send_queue_return_slots(struct send_queue *queue);

/* The block of slot `index`, now the caller's; those before it go back. */
uint8_t *send_queue_take_slot(struct send_queue *queue, int index);

/* Appends a block that was lent as a slot, for which there is room therefore, from its beginning; the queue owns it then. */
void send_queue_append(struct send_queue *queue, uint8_t *block, size_t length);

/* Appends a copy: into the last block when it has room, else into the spare block, else into a new one. False when the queue is
 * full. `data` may not overlap the queue's blocks; at most BUFFER_BLOCK_BYTES. */
bool send_queue_add(struct send_queue *queue, struct bytes data);

/* Only into the last block; false when it has no room. */
bool send_queue_add_to_last(struct send_queue *queue, struct bytes data);

/* Whether send_queue_add would take so much. */
bool send_queue_has_room(const struct send_queue *queue, size_t length);

/* Where `length` bytes may be written behind the last block's contents, or NULL; send_queue_extend then makes them part of it. */
uint8_t *send_queue_tail(struct send_queue *queue, size_t length);
void send_queue_extend(struct send_queue *queue, size_t length);

/* 0 when all is sent, -EAGAIN when the socket is full, or another negative error number. */
int send_queue_flush(struct send_queue *queue, int descriptor);

#endif
