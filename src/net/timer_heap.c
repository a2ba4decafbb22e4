#include "net/timer_heap.h"

#define INITIAL_CAPACITY 64

static void place(struct timer_heap *heap, size_t index, struct timer *timer)
{
    heap->timers[index] = timer;
    timer->heap_index = index;
}

static void move_up(struct timer_heap *heap, size_t index, struct timer *timer)
{
    while (index > 1 && heap->timers[index / 2]->due_ns > timer->due_ns) {
        place(heap, index, heap->timers[index / 2]);
        index /= 2;
    }
    place(heap, index, timer);
}

static void move_down(struct timer_heap *heap, size_t index, struct timer *timer)
{
    for (size_t child; (child = index * 2) <= heap->count; index = child) {
        if (child < heap->count && heap->timers[child + 1]->due_ns < heap->timers[child]->due_ns) {
            child++;
        }
        if (heap->timers[child]->due_ns >= timer->due_ns) {
            break;
        }
        place(heap, index, heap->timers[child]);
    }
    place(heap, index, timer);
}

void timer_heap_insert(struct timer_heap *heap, struct timer *timer)
{
    if (heap->count + 1 >= heap->capacity) { /* place 0 is not used */
        heap->capacity = heap->capacity == 0 ? INITIAL_CAPACITY : heap->capacity * 2;
        heap->timers = memory_resize(heap->timers, heap->capacity, sizeof(struct timer *));
    }
    move_up(heap, ++heap->count, timer);
}

void timer_heap_remove(struct timer_heap *heap, struct timer *timer)
{
    size_t index = timer->heap_index;
    struct timer *last = heap->timers[heap->count--];
    timer->heap_index = 0;
    if (last == timer) {
        return;
    }
    if (index > 1 && heap->timers[index / 2]->due_ns > last->due_ns) {
        move_up(heap, index, last);
    } else {
        move_down(heap, index, last);
    }
}

void timer_heap_free(struct timer_heap *heap)
{
    for (size_t i = 1; i <= heap->count; i++) {
        heap->timers[i]->heap_index = 0;
    }
    memory_free(heap->timers);
    *heap = (struct timer_heap){ NULL, 0, 0 };
}
