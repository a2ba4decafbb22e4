/* The lines of one thread on their way to the log's writer: a ring with one producer and one consumer, no lock.
 *
 * A line that finds no room is dropped and counted. An empty ring starts again at its beginning, so that of its memory
 * only as much is ever touched as the largest burst needed. */
#ifndef AMBAR_BASE_LOG_QUEUE_H
#define AMBAR_BASE_LOG_QUEUE_H

#include "base/writer.h"

#include <stdatomic.h>

#define LOG_QUEUE_BYTES (4 * 1024 * 1024) /* about 10,000 access lines (management §9); untouched pages cost nothing */
#define LOG_QUEUE_QUIET_BYTES (256 * 1024) /* all that is ever touched where the writer keeps up */
#define LOG_LINE_MAXIMUM (32 * 1024)

struct log_queue {
    struct log_queue *next;    /* of all queues; the list's */
    _Atomic bool is_abandoned; /* its thread has ended: nothing more will come */
    uint64_t dropped_reported; /* the consumer's */
    _Atomic uint64_t dropped;
    _Alignas(64) _Atomic uint64_t produced; /* positions only grow; modulo the size they are places in the ring */
    _Alignas(64) _Atomic uint64_t consumed;
    uint8_t line[LOG_LINE_MAXIMUM]; /* where the producer formats */
    _Alignas(8) uint8_t ring[LOG_QUEUE_BYTES];
};

struct log_queue *log_queue_new(void);
void log_queue_free(struct log_queue *queue);

/* Producer. False when the line was dropped. */
bool log_queue_put(struct log_queue *queue, struct bytes line);

/* Consumer. Appends the oldest line to `out`; false when there is none. */
bool log_queue_take(struct log_queue *queue, struct writer *out);
bool log_queue_is_empty(const struct log_queue *queue);

/* Any thread; about. */
uint64_t log_queue_waiting_bytes(const struct log_queue *queue);

#endif
