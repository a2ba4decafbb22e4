#include "ztunnel/sorted_items.h"

#include "base/memory.h"

#include <stdlib.h>

#define BLOCK_ITEMS 512

void sorted_items_begin(struct sorted_items *sorted, item_key *key, size_t expected)
{
    *sorted = (struct sorted_items){ .key = key, .capacity = expected + 1 };
    sorted->items = memory_allocate_zeroed(sorted->capacity, sizeof *sorted->items);
}

void sorted_items_add(struct sorted_items *sorted, const void *item)
{
    if (sorted->count == sorted->capacity) {
        sorted->capacity *= 2;
        sorted->items = memory_resize(sorted->items, sorted->capacity, sizeof *sorted->items);
    }
    sorted->items[sorted->count++] = item;
}

static int compare_items(const void *left, const void *right, void *context)
{
    const struct sorted_items *sorted = context;
    return strcmp(sorted->key(*(const void *const *)left), sorted->key(*(const void *const *)right));
}

static size_t block_end(const struct sorted_items *sorted, size_t block)
{
    size_t end = (block + 1) * BLOCK_ITEMS;
    return end < sorted->count ? end : sorted->count;
}

static bool is_before(const struct sorted_items *sorted, size_t left_block, size_t right_block)
{
    return strcmp(sorted->key(sorted->items[sorted->positions[left_block]]),
               sorted->key(sorted->items[sorted->positions[right_block]])) < 0;
}

static void sift_down(struct sorted_items *sorted, size_t position)
{
    for (;;) {
        size_t child = 2 * position + 1;
        if (child >= sorted->heap_count) {
            return;
        }
        if (child + 1 < sorted->heap_count && is_before(sorted, sorted->heap[child + 1], sorted->heap[child])) {
            child++;
        }
        if (!is_before(sorted, sorted->heap[child], sorted->heap[position])) {
            return;
        }
        size_t block = sorted->heap[position];
        sorted->heap[position] = sorted->heap[child];
        sorted->heap[child] = block;
        position = child;
    }
}

static void build_heap(struct sorted_items *sorted)
{
    size_t blocks = (sorted->count + BLOCK_ITEMS - 1) / BLOCK_ITEMS;
    sorted->positions = memory_allocate_zeroed(blocks + 1, sizeof *sorted->positions);
    sorted->heap = memory_allocate_zeroed(blocks + 1, sizeof *sorted->heap);
    for (size_t block = 0; block < blocks; block++) {
        sorted->positions[block] = block * BLOCK_ITEMS;
        sorted->heap[block] = block;
    }
    sorted->heap_count = blocks;
    for (size_t position = blocks / 2; position-- > 0;) {
        sift_down(sorted, position);
    }
}

bool sorted_items_prepare(struct sorted_items *sorted)
{
    if (sorted->sorted < sorted->count) {
        size_t end = block_end(sorted, sorted->sorted / BLOCK_ITEMS);
        qsort_r(sorted->items + sorted->sorted, end - sorted->sorted, sizeof *sorted->items, compare_items, sorted);
        sorted->sorted = end;
        return false;
    }
    if (sorted->heap == NULL) {
        build_heap(sorted);
    }
    return true;
}

const void *sorted_items_next(struct sorted_items *sorted)
{
    if (sorted->heap_count == 0) {
        return NULL;
    }
    size_t block = sorted->heap[0];
    const void *item = sorted->items[sorted->positions[block]++];
    if (sorted->positions[block] == block_end(sorted, block)) {
        sorted->heap[0] = sorted->heap[--sorted->heap_count];
    }
    sift_down(sorted, 0);
    return item;
}

void sorted_items_free(struct sorted_items *sorted)
{
    memory_free(sorted->items);
    memory_free(sorted->positions);
    memory_free(sorted->heap);
    *sorted = (struct sorted_items){ 0 };
}
