/* No line of memory is written by two workers with every packet: the addresses of what each of them writes. */
#include "base/qsbr.h"
#include "net/buffer_pool.h"
#include "net/loop.h"
#include "ztunnel/metrics.h"
#include "ztunnel/worker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define WORKERS 4

struct written {
    struct qsbr *readers;
    struct metric_registry *metrics;
    struct loop *loop;
    struct buffer_pool *buffers;
    struct qsbr_reader *reader;
    struct metric_series *series[3];
    pthread_t thread;
};

static uintptr_t line_of(const void *memory)
{
    return (uintptr_t)memory / MEMORY_LINE_BYTES;
}

/* What worker_start and a worker's first connection make, on the threads they make it on. */
static void *make_on_worker(void *argument)
{
    struct written *written = argument;
    static const char *const REPORTERS[] = { "source" };
    struct metric_shard *shard = metric_shard_new(written->metrics);
    written->reader = qsbr_register(written->readers);
    written->series[0] = metric_series_get(shard, METRIC_PINNED_BYTES, NULL);
    written->series[1] = metric_series_get(shard, METRIC_SOCKETS_OPEN, REPORTERS);
    written->series[2] = metric_series_get(shard, METRIC_PINNED_LARGEST_BYTES, NULL);
    return NULL;
}

static void each_workers_objects_begin_on_lines_of_their_own(void **state)
{
    (void)state;
    struct written all[WORKERS] = { 0 };
    struct qsbr *readers = qsbr_new();
    struct metric_registry *metrics = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    struct worker *workers = memory_allocate_lines(WORKERS * sizeof *workers);
    for (int i = 0; i < WORKERS; i++) {
        all[i] = (struct written){ .readers = readers, .metrics = metrics };
        all[i].loop = loop_new();
        all[i].buffers = buffer_pool_new();
        assert_int_equal(pthread_create(&all[i].thread, NULL, make_on_worker, &all[i]), 0);
        pthread_join(all[i].thread, NULL);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal((uintptr_t)&workers[i] % MEMORY_LINE_BYTES, 0);
        assert_int_equal((uintptr_t)all[i].loop % MEMORY_LINE_BYTES, 0);
        assert_int_equal((uintptr_t)all[i].buffers % MEMORY_LINE_BYTES, 0);
        assert_int_equal((uintptr_t)all[i].reader % MEMORY_LINE_BYTES, 0);
        for (int other = 0; other < i; other++) {
            assert_true(line_of(all[i].loop) != line_of(all[other].loop));
            assert_true(line_of(all[i].buffers) != line_of(all[other].buffers));
            assert_true(line_of(all[i].reader) != line_of(all[other].reader));
            for (size_t a = 0; a < ARRAY_LENGTH(all[i].series) * ARRAY_LENGTH(all[i].series); a++) {
                const struct metric_series *mine = all[i].series[a / ARRAY_LENGTH(all[i].series)];
                const struct metric_series *theirs = all[other].series[a % ARRAY_LENGTH(all[i].series)];
                assert_true(line_of(mine) != line_of(theirs));
            }
        }
    }
    for (int i = 0; i < WORKERS; i++) {
        qsbr_unregister(all[i].reader);
        buffer_pool_free(all[i].buffers);
        loop_free(all[i].loop);
    }
    memory_free(workers);
    metric_registry_free(metrics);
    qsbr_free(readers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_workers_objects_begin_on_lines_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
