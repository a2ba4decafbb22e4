/* The proxy's half of ZDS (ztunnel-management §6): which pods are served, and what is answered when. */
#include "unit/ztunnel/inpod_fixture.h"

static void an_add_is_answered_when_the_listeners_are_bound(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    assert_int_equal(fixture->launched, 1);
    assert_string_equal(fixture->launches[0].uid, "uid-1");
    assert_int_equal(fixture->launches[0].inode, fixture->namespaces[0].inode);
    assert_silent(fixture);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
    assert_int_equal(metric_total(fixture->registry, METRIC_ACTIVE_PROXIES), 1);
    assert_int_equal(metric_total(fixture->registry, METRIC_PROXIES_STARTED), 1);
}

static void ready_means_snapshot_sent_and_nothing_pending(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    assert_false(fixture->is_ready);
    finish_snapshot(fixture);
    assert_true(fixture->is_ready);
    send_add(fixture, "uid-2", 1);
    assert_false(fixture->is_ready);
    assert_int_equal(metric_total(fixture->registry, METRIC_PENDING_PROXIES), 1);
    start_succeeds(&fixture->launches[1]);
    assert_true(fixture->is_ready);
    assert_string_equal(answer(fixture), "");
    reconnect(fixture);
    assert_false(fixture->is_ready);
}

static void a_pod_named_again_with_its_namespace_is_left_alone(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-1", 0);
    assert_string_equal(answer(fixture), "");
    assert_int_equal(fixture->launched, 1);
    assert_false(fixture->launches[0].is_stopped);
}

static void a_pod_with_another_namespace_is_cut_and_started_anew(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-1", 1);
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 0);
    assert_int_equal(fixture->launched, 2);
    assert_int_equal(fixture->launches[1].inode, fixture->namespaces[1].inode);
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
}

static void a_namespace_changes_hands_only_when_its_holder_is_gone(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 0);
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launched, 1);
    assert_silent(fixture);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
    assert_string_equal(fixture->launches[1].uid, "uid-2");
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
}

static void a_namespace_of_a_deleted_pod_waits_for_its_end_too(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    send_add(fixture, "uid-2", 0);
    assert_int_equal(fixture->launched, 1);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
}

static void our_own_namespace_is_refused(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 2);
    assert_string_equal(answer(fixture), "failure to start proxy : the network namespace is ztunnel's own");
    assert_int_equal(fixture->launched, 0);
}

static void a_delete_cuts_at_once_and_of_an_unknown_pod_is_fine(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    assert_true(fixture->launches[0].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 0);
    assert_int_equal(metric_total(fixture->registry, METRIC_PROXIES_STOPPED), 1);
    send_plain(fixture, ZDS_DELETE, "uid-9");
    assert_string_equal(answer(fixture), "");
}

static void a_delete_before_the_snapshot_is_carried_out_by_the_snapshot(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_plain(fixture, ZDS_DELETE, "uid-1");
    assert_string_equal(answer(fixture), "");
    assert_false(fixture->launches[0].is_stopped);
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
}

static void the_next_snapshot_keeps_what_it_names_and_cuts_the_rest(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    bring_up(fixture, "uid-2", 1);
    finish_snapshot(fixture);
    reconnect(fixture);
    assert_false(fixture->launches[0].is_stopped || fixture->launches[1].is_stopped);
    send_plain(fixture, ZDS_KEEP, "uid-2");
    assert_string_equal(answer(fixture), "");
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
    assert_false(fixture->launches[1].is_stopped);
    assert_true(fixture->is_ready);
}

static void a_failed_start_is_answered_and_tried_again_when_named_again(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    start_fails(&fixture->launches[0], "failed to bind to address [::]:15008: Address in use");
    assert_string_equal(
        answer(fixture), "failure to start proxy : failed to bind to address [::]:15008: Address in use");
    finish_snapshot(fixture);
    assert_false(fixture->is_ready);
    /* The failed try is still being cleared away: the agent's answer waits for the next. */
    send_add(fixture, "uid-1", 0);
    assert_silent(fixture);
    end_launch(&fixture->launches[0]);
    assert_int_equal(fixture->launched, 2);
    start_succeeds(&fixture->launches[1]);
    assert_string_equal(answer(fixture), "");
    assert_true(fixture->is_ready);
}

static void a_pod_still_starting_when_the_agent_comes_back_answers_the_new_add(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    reconnect(fixture);
    send_add(fixture, "uid-1", 0);
    assert_int_equal(fixture->launched, 1);
    assert_silent(fixture);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
}

static void a_pod_that_is_still_starting_can_be_deleted(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    reconnect(fixture);
    finish_snapshot(fixture);
    assert_true(fixture->launches[0].is_stopped);
    assert_true(fixture->is_ready);
}

static void one_request_is_worked_on_at_a_time(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    send_add(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    assert_int_equal(fixture->launched, 1);
    start_succeeds(&fixture->launches[0]);
    assert_string_equal(answer(fixture), "");
    turn(fixture, 10);
    assert_int_equal(fixture->launched, 2);
}

/* The same datagram with `count` descriptors beside it. */

static void an_agent_that_hangs_up_is_dialled_again_with_growing_pauses(void **state)
{
    struct fixture *fixture = *state;
    uint64_t took_ns[5];
    for (size_t i = 0; i < ARRAY_LENGTH(took_ns); i++) {
        uint64_t start_ns = clock_monotonic_ns();
        reconnect(fixture);
        took_ns[i] = clock_monotonic_ns() - start_ns;
    }
    /* 20, 40, 80, 160, 320 ms, each 20 % more or less. */
    assert_true(took_ns[4] > 250 * NANOSECONDS_PER_MILLISECOND);
    finish_snapshot(fixture);
    close(fixture->agent);
    close(fixture->listener);
    listen_as_agent(fixture);
    accept_proxy(fixture);
}

static void what_runs_drains_when_the_proxy_stops(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    bring_up(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    inpod_manager_stop(fixture->manager, 25000);
    assert_hung_up(fixture);
    assert_true(fixture->launches[0].is_stopped && fixture->launches[1].is_stopped);
    assert_int_equal(fixture->launches[0].deadline_ms, 25000);
    assert_false(fixture->has_stopped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        manager_test(an_add_is_answered_when_the_listeners_are_bound),
        manager_test(ready_means_snapshot_sent_and_nothing_pending),
        manager_test(a_pod_named_again_with_its_namespace_is_left_alone),
        manager_test(a_pod_with_another_namespace_is_cut_and_started_anew),
        manager_test(a_namespace_changes_hands_only_when_its_holder_is_gone),
        manager_test(a_namespace_of_a_deleted_pod_waits_for_its_end_too),
        manager_test(our_own_namespace_is_refused),
        manager_test(a_delete_cuts_at_once_and_of_an_unknown_pod_is_fine),
        manager_test(a_delete_before_the_snapshot_is_carried_out_by_the_snapshot),
        manager_test(the_next_snapshot_keeps_what_it_names_and_cuts_the_rest),
        manager_test(a_failed_start_is_answered_and_tried_again_when_named_again),
        manager_test(a_pod_still_starting_when_the_agent_comes_back_answers_the_new_add),
        manager_test(a_pod_that_is_still_starting_can_be_deleted),
        manager_test(one_request_is_worked_on_at_a_time),
        manager_test(an_agent_that_hangs_up_is_dialled_again_with_growing_pauses),
        manager_test(what_runs_drains_when_the_proxy_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
