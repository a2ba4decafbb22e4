#include "cmocka_all.h"

#include "unit/xds/certificate_fixture.h"
#include "xds/certificate_store.h"

#include <pthread.h>
#include <stdatomic.h>

#define ONE "spiffe://cluster.local/ns/default/sa/one"

/* The control loop runs in a thread of its own, as in the program; the test is the worker. */
struct fixture {
    struct loop *control;
    struct loop *worker;
    struct scripted_source *source;
    struct certificate_store *store;
    struct certificate_cache *cache;
    pthread_t thread;
    struct certificate_request request;
    int answers;
    bool was_successful;
};

static void on_answer(
    struct certificate_request *request, struct tls_identity *certificate, const struct result *failure)
{
    struct fixture *fixture = CONTAINER_OF(request, struct fixture, request);
    assert_true((certificate == NULL) == (failure != NULL));
    fixture->answers++;
    fixture->was_successful = certificate != NULL;
}

static void *run_control(void *argument)
{
    loop_run(argument);
    return NULL;
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->control = loop_new();
    fixture->worker = loop_new();
    fixture->source = scripted_source_new();
    fixture->store = certificate_store_new(fixture->control, &fixture->source->source);
    fixture->cache = certificate_cache_new(fixture->store, fixture->worker);
    list_initialise(&fixture->request.link);
    fixture->request.on_answer = on_answer;
    assert_int_equal(pthread_create(&fixture->thread, NULL, run_control, fixture->control), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    certificate_cache_free(fixture->cache);
    loop_stop(fixture->control);
    pthread_join(fixture->thread, NULL);
    certificate_store_free(fixture->store);
    loop_free(fixture->worker);
    loop_free(fixture->control);
    memory_free(fixture);
    return 0;
}

#define FORGET (-1)
#define AWAIT_FETCH (-2)

/* Something done on the control thread, waited for. */
struct errand {
    struct posted posted;
    struct fixture *fixture;
    int64_t lifetime_s; /* of the certificate to answer with; 0: fail; or one of the below */
    _Atomic bool is_done;
};

static void run_errand(struct posted *posted)
{
    struct errand *errand = CONTAINER_OF(posted, struct errand, posted);
    if (errand->lifetime_s == FORGET) {
        certificate_store_forget(errand->fixture->store, ONE);
    } else {
        if (errand->fixture->source->running_count == 0) {
            loop_post(errand->fixture->control, posted);
            return;
        }
        if (errand->lifetime_s != AWAIT_FETCH) {
            scripted_answer(errand->fixture->source, ONE, errand->lifetime_s);
        }
    }
    atomic_store(&errand->is_done, true);
}

static void on_control(struct fixture *fixture, int64_t lifetime_s)
{
    struct errand errand = { .posted = { .run = run_errand }, .fixture = fixture, .lifetime_s = lifetime_s };
    loop_post(fixture->control, &errand.posted);
    while (!atomic_load(&errand.is_done)) {
        loop_run_once(fixture->worker, 1);
    }
}

static void wait_for_answer(struct fixture *fixture, int answers)
{
    for (int i = 0; i < 5000 && fixture->answers < answers; i++) {
        loop_run_once(fixture->worker, 1);
    }
    assert_int_equal(fixture->answers, answers);
}

static void fetch_first(struct fixture *fixture, int64_t lifetime_s)
{
    assert_null(certificate_cache_get(fixture->cache, ONE));
    certificate_cache_request(fixture->cache, ONE, &fixture->request);
    on_control(fixture, lifetime_s);
    wait_for_answer(fixture, 1);
}

static void a_requested_certificate_is_then_answered_from_memory(void **state)
{
    struct fixture *fixture = *state;
    fetch_first(fixture, 3600);
    assert_true(fixture->was_successful);
    assert_non_null(certificate_cache_get(fixture->cache, ONE));
}

static void a_failure_reaches_the_worker(void **state)
{
    struct fixture *fixture = *state;
    fetch_first(fixture, 0);
    assert_false(fixture->was_successful);
    assert_null(certificate_cache_get(fixture->cache, ONE));
}

static void a_renewed_certificate_replaces_the_old_one_which_serves_meanwhile(void **state)
{
    struct fixture *fixture = *state;
    fetch_first(fixture, 4);
    struct tls_identity *before = tls_identity_reference(certificate_cache_get(fixture->cache, ONE));
    on_control(fixture, 3600); /* the renewal, at half of its life */
    for (int i = 0; i < 5000 && certificate_cache_get(fixture->cache, ONE) == before; i++) {
        loop_run_once(fixture->worker, 1);
    }
    struct tls_identity *after = certificate_cache_get(fixture->cache, ONE);
    assert_non_null(after);
    assert_ptr_not_equal(after, before);
    tls_identity_release(before);
}

static void a_forgotten_identity_is_not_served_any_more(void **state)
{
    struct fixture *fixture = *state;
    fetch_first(fixture, 3600);
    on_control(fixture, FORGET);
    assert_null(certificate_cache_get(fixture->cache, ONE));
}

static void a_cache_may_close_while_its_request_is_under_way(void **state)
{
    struct fixture *fixture = *state;
    certificate_cache_request(fixture->cache, ONE, &fixture->request);
    on_control(fixture, AWAIT_FETCH);
    certificate_cache_free(fixture->cache);
    fixture->cache = NULL;
    on_control(fixture, 3600);
    assert_int_equal(fixture->answers, 0);
    certificate_request_cancel(&fixture->request);
}

static void a_cache_may_close_before_its_request_has_arrived(void **state)
{
    struct fixture *fixture = *state;
    certificate_cache_request(fixture->cache, ONE, &fixture->request);
    certificate_cache_free(fixture->cache);
    fixture->cache = NULL;
    on_control(fixture, FORGET);
    assert_int_equal(fixture->answers, 0);
}

static void a_cancelled_request_is_not_answered(void **state)
{
    struct fixture *fixture = *state;
    certificate_cache_request(fixture->cache, ONE, &fixture->request);
    certificate_request_cancel(&fixture->request);
    on_control(fixture, 3600);
    for (int i = 0; i < 50; i++) {
        loop_run_once(fixture->worker, 1);
    }
    assert_int_equal(fixture->answers, 0);
    assert_non_null(certificate_cache_get(fixture->cache, ONE));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_requested_certificate_is_then_answered_from_memory),
        TEST(a_failure_reaches_the_worker),
        TEST(a_renewed_certificate_replaces_the_old_one_which_serves_meanwhile),
        TEST(a_forgotten_identity_is_not_served_any_more),
        TEST(a_cache_may_close_while_its_request_is_under_way),
        TEST(a_cache_may_close_before_its_request_has_arrived),
        TEST(a_cancelled_request_is_not_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
