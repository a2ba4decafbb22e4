/* The queue of turns: shares alternate by what they cost, not by how much they queue. */
#include "net/fair_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#define QUANTUM 100

struct entry {
    struct list link;
    int number;
};

static struct fair_queue queue;
static struct fair_share shares[4];
static struct entry entries[64];

static int set_up(void **state)
{
    (void)state;
    fair_queue_initialise(&queue, QUANTUM);
    for (size_t i = 0; i < ARRAY_LENGTH(shares); i++) {
        fair_share_initialise(&shares[i]);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(entries); i++) {
        entries[i].number = (int)i;
        list_initialise(&entries[i].link);
    }
    return 0;
}

static void add(int share, int first, int last)
{
    for (int i = first; i <= last; i++) {
        fair_queue_add(&queue, &shares[share], &entries[i].link);
    }
}

/* The number of the entry taken, or -1. */
static int take(int64_t cost)
{
    struct fair_share *share = NULL;
    struct list *link = fair_queue_take(&queue, &share);
    if (link == NULL) {
        return -1;
    }
    fair_queue_charge(&queue, share, cost);
    return LIST_ENTRY(link, struct entry, link)->number;
}

static void entries_of_one_share_keep_their_order(void **state)
{
    (void)state;
    add(0, 0, 3);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(take(1000), i);
    }
    assert_int_equal(take(1), -1);
    assert_true(fair_queue_is_empty(&queue));
}

static void shares_alternate_when_each_entry_costs_a_quantum(void **state)
{
    (void)state;
    add(0, 0, 9);
    add(1, 10, 19);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(take(QUANTUM), i);
        assert_int_equal(take(QUANTUM), 10 + i);
    }
}

static void one_entry_waits_for_one_quantum_of_each_other_not_for_their_queues(void **state)
{
    (void)state;
    add(0, 0, 29);
    add(1, 30, 59);
    add(2, 60, 60);
    int served = 0;
    while (take(QUANTUM / 10) != 60) {
        served++;
    }
    assert_in_range(served, 1, 20);
}

static void costs_decide_not_counts(void **state)
{
    (void)state;
    int64_t cost[2] = { 0, 0 };
    for (int round = 0; round < 2000; round++) {
        if (list_is_empty(&shares[0].entries)) {
            add(0, 0, 9);
        }
        if (list_is_empty(&shares[1].entries)) {
            add(1, 10, 19);
        }
        struct fair_share *share;
        (void)fair_queue_take(&queue, &share);
        int64_t price = share == &shares[0] ? 700 : 10;
        fair_queue_charge(&queue, share, price);
        cost[share == &shares[1]] += price;
    }
    /* 70 times as dear an entry, the same time. */
    assert_in_range(cost[0] * 100 / cost[1], 90, 110);
}

static void a_share_that_was_idle_has_saved_no_credit(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) {
        add(0, 0, 0);
        assert_int_equal(take(1), 0);
    }
    assert_int_equal(take(1), -1);
    add(0, 0, 29);
    add(1, 30, 30);
    int served = 0;
    while (take(QUANTUM) != 30) {
        served++;
    }
    assert_in_range(served, 0, 2);
}

static void a_debt_is_paid_off_in_turns_and_bounded(void **state)
{
    (void)state;
    add(0, 0, 1);
    assert_int_equal(take((int64_t)1 << 60), 0);
    add(1, 10, 59);
    int served = 0;
    while (take(QUANTUM) != 1) {
        served++;
    }
    assert_in_range(served, FAIR_DEBT_QUANTA - 1, FAIR_DEBT_QUANTA + 2);
}

static void removed_entries_are_not_served(void **state)
{
    (void)state;
    add(0, 0, 2);
    add(1, 10, 10);
    list_remove(&entries[0].link);
    list_remove(&entries[10].link);
    assert_int_equal(take(1), 1);
    assert_int_equal(take(1), 2);
    assert_false(fair_queue_is_empty(&queue));
    assert_int_equal(take(1), -1);
    assert_true(fair_queue_is_empty(&queue));
}

static void a_share_can_leave_while_others_wait(void **state)
{
    (void)state;
    add(0, 0, 0);
    add(1, 10, 11);
    list_remove(&entries[0].link);
    fair_share_leave(&shares[0]);
    assert_int_equal(take(1), 10);
    assert_int_equal(take(1), 11);
    assert_int_equal(take(1), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(entries_of_one_share_keep_their_order, set_up),
        cmocka_unit_test_setup(shares_alternate_when_each_entry_costs_a_quantum, set_up),
        cmocka_unit_test_setup(one_entry_waits_for_one_quantum_of_each_other_not_for_their_queues, set_up),
        cmocka_unit_test_setup(costs_decide_not_counts, set_up),
        cmocka_unit_test_setup(a_share_that_was_idle_has_saved_no_credit, set_up),
        cmocka_unit_test_setup(a_debt_is_paid_off_in_turns_and_bounded, set_up),
        cmocka_unit_test_setup(removed_entries_are_not_served, set_up),
        cmocka_unit_test_setup(a_share_can_leave_while_others_wait, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
