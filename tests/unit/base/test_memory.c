#include "base/memory.h"

#include "cmocka_all.h"

#include <signal.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

static void zero_bytes_are_an_object_of_their_own(void **state)
{
    (void)state;
    void *first = memory_allocate(0), *second = memory_allocate_zeroed(0, 8);
    assert_ptr_not_equal(first, second);
    memory_free(first);
    memory_free(second);
}

static void strings_are_copied(void **state)
{
    (void)state;
    char *AUTO_FREE whole = string_duplicate("abc");
    char *AUTO_FREE part = string_duplicate_n("abcdef", 2);
    char *AUTO_FREE made = string_format("%d-%s", 7, whole);
    assert_string_equal(whole, "abc");
    assert_string_equal(part, "ab");
    assert_string_equal(made, "7-abc");
}

static void constant_time_comparison_compares_every_byte(void **state)
{
    (void)state;
    const unsigned char secret[] = { 1, 2, 3, 4 };
    for (size_t i = 0; i < sizeof secret; i++) {
        unsigned char guess[sizeof secret];
        memcpy(guess, secret, sizeof guess);
        assert_true(memory_equal_constant_time(secret, guess, sizeof guess));
        guess[i] ^= 0x80;
        assert_false(memory_equal_constant_time(secret, guess, sizeof guess));
    }
    assert_true(memory_equal_constant_time(secret, "x", 0));
}

static void wiping_leaves_zeros(void **state)
{
    (void)state;
    char secret[8] = "private";
    memory_wipe(secret, sizeof secret);
    assert_memory_equal(secret, "\0\0\0\0\0\0\0\0", sizeof secret);
}

static void a_product_that_overflows_ends_the_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        volatile size_t huge = SIZE_MAX / 2;
        void *memory = memory_resize(NULL, huge, 3);
        memory_free(memory);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zero_bytes_are_an_object_of_their_own),
        cmocka_unit_test(strings_are_copied),
        cmocka_unit_test(constant_time_comparison_compares_every_byte),
        cmocka_unit_test(wiping_leaves_zeros),
        cmocka_unit_test(a_product_that_overflows_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
