#include "cmocka_all.h"

#include "base/clock.h"
#include "base/writer.h"
#include "unit/xds/certificate_fixture.h"
#include "xds/certificate_store.h"

#include <stdio.h>

#define ONE "spiffe://cluster.local/ns/default/sa/one"
#define TWO "spiffe://cluster.local/ns/default/sa/two"

struct waiter {
    struct certificate_waiter waiter;
    int answers;
    struct tls_identity *certificate;
    char failure[256];
};

struct fixture {
    struct loop *loop;
    struct scripted_source *source;
    struct certificate_store *store;
    struct waiter waiters[4];
};

static void on_answer(struct certificate_waiter *waiter, struct tls_identity *certificate, const struct result *failure)
{
    struct waiter *own = CONTAINER_OF(waiter, struct waiter, waiter);
    own->answers++;
    tls_identity_release(own->certificate);
    own->certificate = certificate;
    snprintf(own->failure, sizeof own->failure, "%s", failure != NULL ? failure->message : "");
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->loop = loop_new();
    fixture->source = scripted_source_new();
    fixture->store = certificate_store_new(fixture->loop, &fixture->source->source);
    for (size_t i = 0; i < ARRAY_LENGTH(fixture->waiters); i++) {
        fixture->waiters[i].waiter.on_answer = on_answer;
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    certificate_store_free(fixture->store);
    for (size_t i = 0; i < ARRAY_LENGTH(fixture->waiters); i++) {
        tls_identity_release(fixture->waiters[i].certificate);
    }
    loop_free(fixture->loop);
    memory_free(fixture);
    return 0;
}

static struct waiter *get(struct fixture *fixture, size_t index, const char *identity)
{
    certificate_store_get(fixture->store, identity, CERTIFICATE_REAL_TIME, &fixture->waiters[index].waiter);
    loop_run_once(fixture->loop, 0);
    return &fixture->waiters[index];
}

static void all_who_wait_get_the_certificate_of_one_fetch(void **state)
{
    struct fixture *fixture = *state;
    struct waiter *first = get(fixture, 0, ONE);
    struct waiter *second = get(fixture, 1, ONE);
    assert_int_equal(fixture->source->started_count, 1);
    assert_int_equal(first->answers + second->answers, 0);
    scripted_answer(fixture->source, ONE, 3600);
    assert_int_equal(first->answers, 1);
    assert_ptr_equal(first->certificate, second->certificate);
    assert_non_null(first->certificate);
}

static void an_available_certificate_is_answered_at_once(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 3600);
    assert_int_equal(get(fixture, 1, ONE)->answers, 1);
    assert_int_equal(fixture->source->started_count, 1);
}

static void a_failure_is_answered_at_once_until_the_retry(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 0);
    assert_string_equal(fixture->waiters[0].failure, "scripted failure");
    struct waiter *later = get(fixture, 1, ONE);
    assert_int_equal(later->answers, 1);
    assert_string_equal(later->failure, "scripted failure");
    assert_int_equal(fixture->source->started_count, 1);
}

static void turn_for(struct fixture *fixture, uint64_t duration_ms)
{
    uint64_t end = clock_monotonic_ns() + duration_ms * NANOSECONDS_PER_MILLISECOND;
    while (clock_monotonic_ns() < end) {
        loop_run_once(fixture->loop, 5);
    }
}

static void a_failure_is_retried_after_about_a_second(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 0);
    turn_for(fixture, 700);
    assert_int_equal(fixture->source->started_count, 1);
    turn_for(fixture, 800);
    assert_int_equal(fixture->source->started_count, 2);
    scripted_answer(fixture->source, ONE, 3600);
    assert_non_null(get(fixture, 1, ONE)->certificate);
}

static void a_hanging_fetch_delays_no_other_identity(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    get(fixture, 1, TWO);
    scripted_answer(fixture->source, TWO, 3600);
    assert_int_equal(fixture->waiters[0].answers, 0);
    assert_int_equal(fixture->waiters[1].answers, 1);
}

static void at_most_eight_fetches_run_and_urgent_ones_go_first(void **state)
{
    struct fixture *fixture = *state;
    char identity[80];
    for (int i = 0; i < 12; i++) {
        snprintf(identity, sizeof identity, "spiffe://cluster.local/ns/default/sa/w%02d", i);
        certificate_store_prefetch(fixture->store, identity);
    }
    loop_run_once(fixture->loop, 0);
    assert_int_equal(fixture->source->running_count, 8);
    get(fixture, 0, ONE);
    get(fixture, 1, "spiffe://cluster.local/ns/default/sa/w11");
    assert_int_equal(fixture->source->running_count, 8);
    scripted_answer(fixture->source, fixture->source->running[0]->identity, 3600);
    loop_run_once(fixture->loop, 0);
    /* Raised to real time, and due before ONE. */
    assert_string_equal(fixture->source->running[7]->identity, "spiffe://cluster.local/ns/default/sa/w11");
    scripted_answer(fixture->source, fixture->source->running[0]->identity, 3600);
    loop_run_once(fixture->loop, 0);
    assert_string_equal(fixture->source->running[7]->identity, ONE);
}

/* Issued two minutes back-dated: with 126 s to live from now its middle is three seconds from now. */
static void a_certificate_is_renewed_at_half_its_life(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, AUTHORITY_LEAF_BACKDATE_S + 6);
    turn_for(fixture, 1500);
    assert_int_equal(fixture->source->started_count, 1);
    turn_for(fixture, 3500);
    assert_int_equal(fixture->source->started_count, 2);
}

/* From files, say: "no well-defined expiration" is the year 9999 (RFC 5280 4.1.2.5). */
static void answer_for_ever(struct fixture *fixture, const char *identity, int64_t half_life_s)
{
    struct certificate_fetch *fetch = fixture->source->running[0];
    struct tls_identity *certificate = scripted_certificate(fixture->source, identity, 3600);
    certificate->bundle->not_before_s = clock_wall_s();
    certificate->bundle->not_after_s = certificate->bundle->not_before_s + 2 * half_life_s;
    scripted_take(fixture->source, 0);
    fetch->on_done(fetch, certificate, NULL);
}

/* The middle of its life is 2^64 ns from now, and a little. */
static void a_certificate_of_a_thousand_years_is_not_renewed_today(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    answer_for_ever(fixture, ONE, 18446744074);
    turn_for(fixture, 600);
    assert_int_equal(fixture->source->started_count, 1);
}

static void a_certificate_without_an_end_survives_a_failed_renewal(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 3);
    turn_for(fixture, 1400);
    assert_int_equal(fixture->source->started_count, 2);
    fixture->waiters[0].certificate->bundle->not_after_s = 253402300799;
    scripted_answer(fixture->source, ONE, 0);
    turn_for(fixture, 300); /* the first retry comes after 800 ms at the earliest */
    assert_int_equal(fixture->source->started_count, 2);
    assert_non_null(get(fixture, 1, ONE)->certificate);
}

static void a_valid_certificate_survives_a_failed_renewal(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 3);
    turn_for(fixture, 1400);
    assert_int_equal(fixture->source->started_count, 2);
    scripted_answer(fixture->source, ONE, 0);
    struct waiter *later = get(fixture, 1, ONE);
    assert_non_null(later->certificate);
    assert_string_equal(later->failure, "");
}

static void an_expired_certificate_is_not_kept(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, ONE);
    scripted_answer(fixture->source, ONE, 2);
    turn_for(fixture, 3200);
    scripted_answer(fixture->source, ONE, 0);
    struct waiter *later = get(fixture, 1, ONE);
    assert_null(later->certificate);
    assert_string_equal(later->failure, "scripted failure");
}

static void a_forgotten_identity_tells_its_waiters_and_stops_its_fetch(void **state)
{
    struct fixture *fixture = *state;
    struct waiter *waiter = get(fixture, 0, ONE);
    certificate_store_forget(fixture->store, ONE);
    assert_int_equal(waiter->answers, 1);
    assert_string_equal(waiter->failure, "the identity is no longer needed");
    assert_int_equal(fixture->source->cancelled_count, 1);
    assert_int_equal(certificate_store_count(fixture->store), 0);
}

static void a_cancelled_waiter_is_not_answered(void **state)
{
    struct fixture *fixture = *state;
    struct waiter *waiter = get(fixture, 0, ONE);
    certificate_waiter_cancel(&waiter->waiter);
    certificate_waiter_cancel(&waiter->waiter);
    scripted_answer(fixture->source, ONE, 3600);
    assert_int_equal(waiter->answers, 0);
}

static void note_view(const struct certificate_view *view, void *context)
{
    static const char *const states[] = { "Initializing", "Available", "Unavailable" };
    writer_print(context, "%s %s %s;", strrchr(view->identity, '/') + 1, states[view->state],
        view->failure != NULL ? view->failure : "");
}

static void a_visit_shows_states_in_order_of_identity(void **state)
{
    struct fixture *fixture = *state;
    get(fixture, 0, TWO);
    get(fixture, 1, ONE);
    get(fixture, 2, "spiffe://cluster.local/ns/default/sa/three");
    scripted_answer(fixture->source, ONE, 3600);
    scripted_answer(fixture->source, TWO, 0);
    struct writer text = writer_growing();
    certificate_store_visit(fixture->store, note_view, &text);
    assert_string_equal(writer_string(&text), "one Available ;three Initializing ;two Unavailable scripted failure;");
    writer_free(&text);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(all_who_wait_get_the_certificate_of_one_fetch),
        TEST(an_available_certificate_is_answered_at_once),
        TEST(a_failure_is_answered_at_once_until_the_retry),
        TEST(a_failure_is_retried_after_about_a_second),
        TEST(a_hanging_fetch_delays_no_other_identity),
        TEST(at_most_eight_fetches_run_and_urgent_ones_go_first),
        TEST(a_certificate_is_renewed_at_half_its_life),
        TEST(a_certificate_of_a_thousand_years_is_not_renewed_today),
        TEST(a_certificate_without_an_end_survives_a_failed_renewal),
        TEST(a_valid_certificate_survives_a_failed_renewal),
        TEST(an_expired_certificate_is_not_kept),
        TEST(a_forgotten_identity_tells_its_waiters_and_stops_its_fetch),
        TEST(a_cancelled_waiter_is_not_answered),
        TEST(a_visit_shows_states_in_order_of_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
