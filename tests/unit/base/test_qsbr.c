/* Readers and one writer. The threaded test is the one to run under ThreadSanitizer. */
#include "base/qsbr.h"

#include "base/memory.h"
#include "cmocka_all.h"

#include <pthread.h>
#include <stdatomic.h>

static _Atomic int freed_objects;

static void free_object(void *object)
{
    freed_objects++;
    memory_free(object);
}

static int setup(void **state)
{
    freed_objects = 0;
    *state = qsbr_new();
    return 0;
}

static int teardown(void **state)
{
    qsbr_free(*state);
    return 0;
}

static void without_readers_an_object_goes_at_once(void **state)
{
    qsbr_retire(*state, NEW(int), free_object);
    assert_int_equal(freed_objects, 1);
    assert_false(qsbr_reclaim(*state));
}

static void an_object_stays_until_every_reader_was_quiescent(void **state)
{
    struct qsbr_reader *first = qsbr_register(*state);
    struct qsbr_reader *second = qsbr_register(*state);
    qsbr_retire(*state, NEW(int), free_object);
    assert_true(qsbr_reclaim(*state));
    qsbr_quiescent(first);
    assert_true(qsbr_reclaim(*state));
    assert_int_equal(freed_objects, 0);
    qsbr_quiescent(second);
    assert_false(qsbr_reclaim(*state));
    assert_int_equal(freed_objects, 1);
    qsbr_unregister(first);
    qsbr_unregister(second);
}

static void an_offline_reader_is_not_waited_for(void **state)
{
    struct qsbr_reader *reader = qsbr_register(*state);
    qsbr_offline(reader);
    qsbr_retire(*state, NEW(int), free_object);
    assert_int_equal(freed_objects, 1);
    qsbr_online(reader);
    qsbr_retire(*state, NEW(int), free_object);
    assert_int_equal(freed_objects, 1);
    qsbr_unregister(reader);
    assert_false(qsbr_reclaim(*state));
    assert_int_equal(freed_objects, 2);
}

static void a_reader_that_leaves_is_not_waited_for(void **state)
{
    struct qsbr_reader *reader = qsbr_register(*state);
    qsbr_retire(*state, NEW(int), free_object);
    qsbr_unregister(reader);
    assert_false(qsbr_reclaim(*state));
    assert_int_equal(freed_objects, 1);
}

static void what_is_still_retired_goes_with_the_domain(void **state)
{
    (void)state;
    struct qsbr *domain = qsbr_new();
    struct qsbr_reader *reader = qsbr_register(domain);
    qsbr_retire(domain, NEW(int), free_object);
    qsbr_retire(domain, NEW(int), free_object);
    qsbr_unregister(reader);
    qsbr_free(domain);
    assert_int_equal(freed_objects, 2);
}

#define READERS 4
#define VERSIONS 20000

struct shared {
    struct qsbr *domain;
    _Atomic(int *) current;
    _Atomic bool is_over;
    _Atomic int bad_reads;
};

static void *read_versions(void *argument)
{
    struct shared *shared = argument;
    struct qsbr_reader *reader = qsbr_register(shared->domain);
    int last = 0;
    for (unsigned turn = 0; !atomic_load_explicit(&shared->is_over, memory_order_relaxed); turn++) {
        int *version = atomic_load_explicit(&shared->current, memory_order_acquire);
        int seen = *version;
        if (seen < last || *version != seen) {
            shared->bad_reads++;
        }
        last = seen;
        qsbr_quiescent(reader);
        if (turn % 16 == 0) {
            qsbr_offline(reader);
            qsbr_online(reader);
        }
    }
    qsbr_unregister(reader);
    return NULL;
}

static int *new_version(int number)
{
    int *version = NEW(int);
    *version = number;
    return version;
}

static void four_readers_never_see_a_freed_version(void **state)
{
    struct shared shared = { .domain = *state };
    atomic_init(&shared.current, new_version(0));
    pthread_t threads[READERS];
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_versions, &shared), 0);
    }
    for (int i = 1; i <= VERSIONS; i++) {
        int *old = atomic_exchange_explicit(&shared.current, new_version(i), memory_order_acq_rel);
        qsbr_retire(shared.domain, old, free_object);
    }
    atomic_store(&shared.is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_int_equal(shared.bad_reads, 0);
    assert_false(qsbr_reclaim(shared.domain));
    assert_int_equal(freed_objects, VERSIONS);
    memory_free(atomic_load(&shared.current));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_readers_an_object_goes_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_stays_until_every_reader_was_quiescent, setup, teardown),
        cmocka_unit_test_setup_teardown(an_offline_reader_is_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reader_that_leaves_is_not_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_still_retired_goes_with_the_domain, setup, teardown),
        cmocka_unit_test_setup_teardown(four_readers_never_see_a_freed_version, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
