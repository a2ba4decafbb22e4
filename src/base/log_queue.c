#include "base/log_queue.h"

#include "base/memory.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A record is its length and its bytes, padded to the alignment, never split at the ring's end. */
#define RECORD_HEADER sizeof(uint32_t)
#define RECORD_ALIGNMENT RECORD_HEADER
#define SKIP_TO_START UINT32_MAX /* instead of a length: the next record is at the beginning of the ring */

struct log_queue *log_queue_new(void)
{
    /* Not zeroed: the pages of the ring are to stay untouched. */
    size_t size = (sizeof(struct log_queue) + 63) / 64 * 64;
    struct log_queue *queue = aligned_alloc(64, size);
    if (queue == NULL) {
        abort();
    }
    queue->next = NULL;
    queue->dropped_reported = 0;
    atomic_init(&queue->is_abandoned, false);
    atomic_init(&queue->dropped, 0);
    atomic_init(&queue->produced, 0);
    atomic_init(&queue->consumed, 0);
    return queue;
}

void log_queue_free(struct log_queue *queue)
{
    memory_free(queue);
}

static size_t record_size(size_t length)
{
    size_t size = RECORD_HEADER + length;
    return (size + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

static void write_header(struct log_queue *queue, size_t place, uint32_t header)
{
    memcpy(queue->ring + place, &header, sizeof header);
}

/* How many bytes to skip so that the record goes to the beginning of the ring: where it would not fit before the end, and
 * where the ring is empty and past LOG_QUEUE_QUIET_BYTES, so that a quiet thread touches no more than those. What is skipped counts as
 * used until the record is taken: until then there is room for as much as the quiet ones. */
static size_t skipped_bytes(size_t place, size_t size, bool is_empty)
{
    bool fits_before_end = size <= LOG_QUEUE_BYTES - place;
    if (fits_before_end && !(is_empty && place >= LOG_QUEUE_QUIET_BYTES)) {
        return 0;
    }
    return LOG_QUEUE_BYTES - place;
}

/* After a burst: the memory beyond the quiet part goes back to the system. The ring is empty, so nobody reads it. */
static void release_burst(struct log_queue *queue)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = ((uintptr_t)queue->ring + LOG_QUEUE_QUIET_BYTES + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)queue->ring + LOG_QUEUE_BYTES) / page * page;
    (void)madvise((uint8_t *)queue->ring + (begin - (uintptr_t)queue->ring), end - begin, MADV_DONTNEED);
}

bool log_queue_put(struct log_queue *queue, struct bytes line)
{
    uint64_t produced = atomic_load_explicit(&queue->produced, memory_order_relaxed);
    uint64_t consumed = atomic_load_explicit(&queue->consumed, memory_order_acquire);
    size_t size = record_size(line.length);
    size_t place = (size_t)(produced % LOG_QUEUE_BYTES);
    size_t skipped = skipped_bytes(place, size, produced == consumed);
    if (line.length > LOG_LINE_MAXIMUM || skipped + size > LOG_QUEUE_BYTES - (size_t)(produced - consumed)) {
        atomic_fetch_add_explicit(&queue->dropped, 1, memory_order_relaxed);
        return false;
    }
    if (skipped > 0) {
        if (produced == consumed && place >= 2 * LOG_QUEUE_QUIET_BYTES) {
            release_burst(queue);
        }
        write_header(queue, place, SKIP_TO_START);
        place = 0;
    }
    write_header(queue, place, (uint32_t)line.length);
    memcpy(queue->ring + place + RECORD_HEADER, line.data, line.length);
    /* Sequentially consistent: the producer then reads whether the consumer sleeps, which the consumer says before it
     * looks here for the last time. */
    atomic_store_explicit(&queue->produced, produced + skipped + size, memory_order_seq_cst);
    return true;
}

bool log_queue_is_empty(const struct log_queue *queue)
{
    return atomic_load_explicit(&queue->produced, memory_order_seq_cst) ==
           atomic_load_explicit(&queue->consumed, memory_order_relaxed);
}

uint64_t log_queue_waiting_bytes(const struct log_queue *queue)
{
    uint64_t consumed = atomic_load_explicit(&queue->consumed, memory_order_relaxed);
    return atomic_load_explicit(&queue->produced, memory_order_relaxed) - consumed;
}

static uint32_t read_header(const struct log_queue *queue, size_t place)
{
    uint32_t header;
    memcpy(&header, queue->ring + place, sizeof header);
    return header;
}

bool log_queue_take(struct log_queue *queue, struct writer *out)
{
    if (log_queue_is_empty(queue)) {
        return false;
    }
    uint64_t consumed = atomic_load_explicit(&queue->consumed, memory_order_relaxed);
    size_t place = (size_t)(consumed % LOG_QUEUE_BYTES);
    uint32_t length = read_header(queue, place);
    if (length == SKIP_TO_START) {
        consumed += LOG_QUEUE_BYTES - place;
        place = 0;
        length = read_header(queue, place);
    }
    writer_add(out, queue->ring + place + RECORD_HEADER, length);
    atomic_store_explicit(&queue->consumed, consumed + record_size(length), memory_order_release);
    return true;
}
