/* The buffer pool: what is lent, what is kept, what goes back to the system. */
#include "net/buffer_pool.h"
#include "unit/net/support.h"

#define MANY 600

static void test_a_given_block_is_the_next_one_taken(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new();
    void *one = buffer_pool_take(pool);
    void *two = buffer_pool_take(pool);
    memset(one, 0xaa, BUFFER_BLOCK_BYTES);
    memset(two, 0xbb, BUFFER_BLOCK_BYTES);
    assert_int_equal(buffer_pool_lent_bytes(pool), 2 * BUFFER_BLOCK_BYTES);
    buffer_pool_give(pool, one);
    assert_int_equal(buffer_pool_stock_bytes(pool), BUFFER_BLOCK_BYTES);
    assert_ptr_equal(buffer_pool_take(pool), one);
    memset(one, 0xcc, BUFFER_BLOCK_BYTES);
    assert_int_equal(((uint8_t *)two)[BUFFER_BLOCK_BYTES - 1], 0xbb);
    buffer_pool_give(pool, one);
    buffer_pool_give(pool, two);
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    buffer_pool_free(pool);
}

static void test_the_stock_is_bounded(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new();
    void *blocks[MANY];
    for (int i = 0; i < MANY; i++) {
        blocks[i] = buffer_pool_take(pool);
    }
    for (int i = 0; i < MANY; i++) {
        buffer_pool_give(pool, blocks[i]);
    }
    assert_int_equal(buffer_pool_lent_bytes(pool), 0);
    assert_true(buffer_pool_stock_bytes(pool) < MANY * BUFFER_BLOCK_BYTES / 2);
    buffer_pool_trim(pool);
    assert_int_equal(buffer_pool_stock_bytes(pool), 0);
    buffer_pool_free(pool);
}

static void test_what_stays_unused_between_two_calls_is_released_and_nothing_else(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new();
    void *blocks[10];
    for (int i = 0; i < 10; i++) {
        blocks[i] = buffer_pool_take(pool);
    }
    for (int i = 0; i < 10; i++) {
        buffer_pool_give(pool, blocks[i]);
    }
    buffer_pool_release_unused(pool);
    assert_int_equal(buffer_pool_stock_bytes(pool), 10 * BUFFER_BLOCK_BYTES);
    for (int i = 0; i < 3; i++) {
        blocks[i] = buffer_pool_take(pool);
    }
    for (int i = 0; i < 3; i++) {
        buffer_pool_give(pool, blocks[i]);
    }
    buffer_pool_release_unused(pool);
    assert_int_equal(buffer_pool_stock_bytes(pool), 3 * BUFFER_BLOCK_BYTES);
    buffer_pool_release_unused(pool);
    assert_int_equal(buffer_pool_stock_bytes(pool), 0);
    buffer_pool_free(pool);
}

static void test_the_shared_buffers_are_two_and_keep_their_address(void **state)
{
    (void)state;
    struct buffer_pool *pool = buffer_pool_new();
    uint8_t *one = buffer_pool_shared(pool), *two = buffer_pool_shared_second(pool);
    memset(one, 1, BUFFER_SHARED_BYTES);
    memset(two, 2, BUFFER_SHARED_BYTES);
    assert_int_equal(one[BUFFER_SHARED_BYTES - 1], 1);
    buffer_pool_trim(pool);
    assert_ptr_equal(buffer_pool_shared(pool), one);
    assert_int_equal(one[0], 0);
    buffer_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_given_block_is_the_next_one_taken),
        cmocka_unit_test(test_the_stock_is_bounded),
        cmocka_unit_test(test_what_stays_unused_between_two_calls_is_released_and_nothing_else),
        cmocka_unit_test(test_the_shared_buffers_are_two_and_keep_their_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
