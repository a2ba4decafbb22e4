/* Scrapes while a worker is stuck. */
#include "ztunnel/metrics_server.h"

#include "cmocka_all.h"

#include "unit/xds/certificate_fixture.h"
#include "unit/ztunnel/proxy_fixture.h"

#define SERIES 9000
#define LABEL_BYTES 300 /* together more than any socket's buffers take */
#define WORKERS_LATE_MS 250
#define PART_MS 20000 /* two are longer than a scrape may last; one is less than a client may take nothing */

struct fixture {
    struct proxy_rig rig;
    struct loop *control;
    struct metrics_source source;
    struct metrics_server *server;
    int client;
    struct writer answer;
};

static const struct hbone_pool_opener NO_OPENER = { NULL, NULL, NULL };

static void fill_registry(struct fixture *fixture)
{
    char label[LABEL_BYTES + 1];
    const char *labels[] = { label };
    memset(label, 'x', LABEL_BYTES);
    label[LABEL_BYTES] = '\0';
    for (int i = 0; i < SERIES; i++) {
        int length = snprintf(label, sizeof label, "%d", i);
        label[length] = 'x';
        metric_count_labelled(fixture->source.shard, METRIC_XDS_MESSAGE, labels, 1);
    }
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    int listener;
    uint16_t port = application_listen(&listener);
    close(listener);
    return port;
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW_LINES(struct fixture);
    fixture->answer = writer_growing();
    fixture->client = -1;
    fixture->control = loop_new();
    proxy_rig_begin(&fixture->rig, &NO_OPENER, NULL);
    fixture->rig.configuration.metrics_port = free_port();
    fixture->rig.configuration.ipv6_enabled = false;
    fixture->source = (struct metrics_source){
        .configuration = &fixture->rig.configuration,
        .registry = fixture->rig.shared.metrics,
        .shard = metric_shard_new(fixture->rig.shared.metrics),
        .publication = fixture->rig.shared.publication,
        .certificates = certificate_store_new(fixture->control, &scripted_source_new()->source),
        .workers = &fixture->rig.worker,
        .worker_count = 1,
    };
    fixture->server = metrics_server_new(fixture->control, &fixture->source);
    struct result listening = metrics_server_listen(fixture->server);
    assert_true(result_is_ok(&listening));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    if (fixture->client >= 0) {
        close(fixture->client);
    }
    turn_some(&fixture->rig); /* a worker stops with nothing left to do */
    metrics_server_free(fixture->server);
    certificate_store_free(fixture->source.certificates);
    proxy_rig_end(&fixture->rig);
    loop_free(fixture->control);
    writer_free(&fixture->answer);
    memory_free(fixture);
    return 0;
}

static void ask(struct fixture *fixture)
{
    static const char REQUEST[] = "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    const int small = 4096;
    struct sockaddr_in to = { .sin_family = AF_INET,
        .sin_port = htons(fixture->rig.configuration.metrics_port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    fixture->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fixture->client, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    assert_int_equal(connect(fixture->client, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(send(fixture->client, REQUEST, sizeof REQUEST - 1, MSG_NOSIGNAL), sizeof REQUEST - 1);
}

static void turn_control(struct fixture *fixture)
{
    for (int i = 0; i < 50; i++) {
        loop_run_once(fixture->control, 0);
    }
}

/* False once the server has closed. */
static bool read_some(struct fixture *fixture)
{
    ssize_t got = recv(fixture->client, writer_reserve(&fixture->answer, 65536), 65536, MSG_DONTWAIT);
    fixture->answer.length += got > 0 ? (size_t)got : 0;
    return got != 0 && (got > 0 || errno == EAGAIN);
}

static void read_all(struct fixture *fixture)
{
    for (int i = 0; i < 100000 && read_some(fixture); i++) {
        loop_run_once(fixture->control, 1);
    }
}

static size_t answers_begun(struct fixture *fixture)
{
    size_t count = 0;
    const char *at = writer_string(&fixture->answer);
    while ((at = strstr(at, "HTTP/1.1 200")) != NULL) {
        at++;
        count++;
    }
    return count;
}

static void a_scrape_does_not_wait_for_a_stuck_worker(void **state)
{
    struct fixture *fixture = *state;
    ask(fixture);
    turn_control(fixture);
    (void)read_some(fixture);
    assert_int_equal(answers_begun(fixture), 0);
    loop_advance_ms(fixture->control, WORKERS_LATE_MS);
    read_all(fixture);
    assert_int_equal(answers_begun(fixture), 1);
    assert_non_null(strstr(writer_string(&fixture->answer), "\nistio_build{"));
    assert_non_null(strstr(writer_string(&fixture->answer), "# EOF"));
    turn_some(&fixture->rig);
    turn_control(fixture); /* what the worker says now is nobody's any more */
}

/* The client hardly reads: its scrape is given up, and then the worker comes back. */
static void a_worker_that_comes_back_after_the_scrape_was_given_up_does_not_begin_it_again(void **state)
{
    struct fixture *fixture = *state;
    fill_registry(fixture);
    ask(fixture);
    turn_control(fixture);
    loop_advance_ms(fixture->control, WORKERS_LATE_MS);
    turn_control(fixture);
    for (int part = 0; part < 2; part++) {
        loop_advance_ms(fixture->control, PART_MS);
        for (int i = 0; i < 20; i++) {
            assert_true(read_some(fixture));
            turn_control(fixture);
        }
    }
    turn_some(&fixture->rig);
    turn_control(fixture);
    read_all(fixture);
    assert_int_equal(answers_begun(fixture), 1);
    assert_null(strstr(writer_string(&fixture->answer), "# EOF")); /* and the scraper knows that it is not whole */
}

static void a_scrape_whose_client_has_gone_waits_for_its_worker_and_ends(void **state)
{
    struct fixture *fixture = *state;
    fill_registry(fixture);
    ask(fixture);
    turn_control(fixture);
    loop_advance_ms(fixture->control, WORKERS_LATE_MS);
    turn_control(fixture);
    close(fixture->client);
    fixture->client = -1;
    turn_control(fixture);
    turn_some(&fixture->rig);
    turn_control(fixture);
    assert_true(metric_registry_set_count(fixture->source.registry) > SERIES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_scrape_does_not_wait_for_a_stuck_worker),
        TEST(a_worker_that_comes_back_after_the_scrape_was_given_up_does_not_begin_it_again),
        TEST(a_scrape_whose_client_has_gone_waits_for_its_worker_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
