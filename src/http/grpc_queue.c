#include "http/grpc_queue.h"

#include "http/grpc.h"

struct queued_message {
    struct list link;
    size_t sent; /* of header and payload together */
    size_t length;
    uint8_t *payload;
    uint8_t header[GRPC_FRAME_HEADER_BYTES];
};

void grpc_queue_initialise(struct grpc_queue *queue)
{
    list_initialise(&queue->messages);
    queue->bytes = 0;
}

static void free_message(struct queued_message *message)
{
    memory_free(message->payload);
    memory_free(message);
}

void grpc_queue_clear(struct grpc_queue *queue)
{
    struct list *link;
    while ((link = list_take_first(&queue->messages)) != NULL) {
        free_message(LIST_ENTRY(link, struct queued_message, link));
    }
    queue->bytes = 0;
}

static void append(struct grpc_queue *queue, uint8_t *payload, size_t length)
{
    struct queued_message *message = NEW(struct queued_message);
    message->payload = payload;
    message->length = length;
    grpc_frame_header(message->header, (uint32_t)length);
    list_append(&queue->messages, &message->link);
    queue->bytes += GRPC_FRAME_HEADER_BYTES + length;
}

void grpc_queue_add(struct grpc_queue *queue, struct bytes message)
{
    uint8_t *copy = memory_allocate(message.length);
    if (message.length > 0) {
        memcpy(copy, message.data, message.length);
    }
    append(queue, copy, message.length);
}

void grpc_queue_add_taking(struct grpc_queue *queue, struct writer *message)
{
    size_t length = message->length;
    append(queue, (uint8_t *)writer_take_string(message), length);
}

size_t grpc_queue_read(struct grpc_queue *queue, uint8_t *out, size_t capacity)
{
    size_t written = 0;
    while (written < capacity && !list_is_empty(&queue->messages)) {
        struct queued_message *message = LIST_ENTRY(queue->messages.next, struct queued_message, link);
        bool is_in_header = message->sent < GRPC_FRAME_HEADER_BYTES;
        const uint8_t *from = is_in_header ? message->header + message->sent
                                           : message->payload + (message->sent - GRPC_FRAME_HEADER_BYTES);
        size_t end = is_in_header ? GRPC_FRAME_HEADER_BYTES : GRPC_FRAME_HEADER_BYTES + message->length;
        size_t available = end - message->sent;
        size_t length = available < capacity - written ? available : capacity - written;
        if (length > 0) {
            memcpy(out + written, from, length);
        }
        written += length;
        message->sent += length;
        if (message->sent == GRPC_FRAME_HEADER_BYTES + message->length) {
            list_remove(&message->link);
            free_message(message);
        }
    }
    queue->bytes -= written;
    return written;
}
