/* Memory for keys: wiped, locked, shared by threads. */
#include "unit/tls/support.h"

#include "tls/secret_memory.h"

#include <pthread.h>

static void test_key_memory_is_zero_when_lent_again_and_given_back_whole(void **state)
{
    (void)state;
    void *slots[200];
    size_t before = secret_memory_lent_bytes();
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < ARRAY_LENGTH(slots); i++) {
            static const uint8_t zeros[SECRET_SLOT_BYTES];
            slots[i] = secret_memory_take();
            assert_int_equal((uintptr_t)slots[i] % SECRET_SLOT_ALIGNMENT, 0);
            assert_memory_equal(slots[i], zeros, sizeof zeros);
            memset(slots[i], 0xee, SECRET_SLOT_BYTES);
        }
        assert_int_equal(secret_memory_lent_bytes(), before + sizeof slots / sizeof slots[0] * SECRET_SLOT_BYTES);
        for (size_t i = 0; i < ARRAY_LENGTH(slots); i++) {
            secret_memory_give(slots[(i * 77) % ARRAY_LENGTH(slots)]);
        }
        assert_int_equal(secret_memory_lent_bytes(), before);
    }
}

/* What the kernel says of the pages around a pointer. */
static void test_keys_lie_in_memory_that_is_locked_and_not_dumped(void **state)
{
    (void)state;
    void *slot = secret_memory_take();
    memset(slot, 1, 1);
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    char line[512];
    bool is_here = false, is_found = false;
    while (!is_found && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t start, end;
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
            is_here = (uintptr_t)slot >= start && (uintptr_t)slot < end;
        } else if (is_here && strncmp(line, "VmFlags:", 8) == 0) {
            is_found = true;
            assert_contains(line, " dd"); /* not in a dump */
            assert_contains(line, " wf"); /* wiped in a child */
            if (secret_memory_is_locked()) {
                assert_contains(line, " lo");
            }
        }
    }
    assert_int_equal(fclose(maps), 0);
    assert_true(is_found);
    secret_memory_give(slot);
}

static void *take_and_give(void *seed)
{
    unsigned random = (unsigned)(uintptr_t)seed;
    void *slots[100] = { NULL };
    for (int round = 0; round < 3000; round++) {
        void **slot = &slots[(size_t)rand_r(&random) % ARRAY_LENGTH(slots)];
        if (*slot != NULL) {
            assert_memory_equal(*slot, seed == NULL ? "zero" : "mine", 4);
            secret_memory_give(*slot);
            *slot = NULL;
        } else {
            *slot = secret_memory_take();
            memcpy(*slot, seed == NULL ? "zero" : "mine", 4);
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(slots); i++) {
        secret_memory_give(slots[i]);
    }
    return NULL;
}

static void test_threads_share_it_without_seeing_each_others(void **state)
{
    (void)state;
    pthread_t threads[4];
    size_t before = secret_memory_lent_bytes();
    for (uintptr_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, (void *)i), 0);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(secret_memory_lent_bytes(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_key_memory_is_zero_when_lent_again_and_given_back_whole),
        cmocka_unit_test(test_keys_lie_in_memory_that_is_locked_and_not_dumped),
        cmocka_unit_test(test_threads_share_it_without_seeing_each_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
