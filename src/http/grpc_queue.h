/* The messages of one call that wait to be sent, framed. For one thread. */
#ifndef AMBAR_HTTP_GRPC_QUEUE_H
#define AMBAR_HTTP_GRPC_QUEUE_H

#include "base/list.h"
#include "base/writer.h"

struct grpc_queue {
    struct list messages;
    size_t bytes; /* waiting, framing included */
};

void grpc_queue_initialise(struct grpc_queue *queue);
/* Drops what waits. */
void grpc_queue_clear(struct grpc_queue *queue);

void grpc_queue_add(struct grpc_queue *queue, struct bytes message); /* a copy */
void grpc_queue_add_taking(struct grpc_queue *queue, struct writer *message);

/* Moves up to `capacity` bytes of framed messages to `out`; returns how many. */
size_t grpc_queue_read(struct grpc_queue *queue, uint8_t *out, size_t capacity);

#endif
