#include "ztunnel/live_walk.h"

#include "cmocka_all.h"

#include "base/memory.h"
#include "ztunnel/connection.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#include <pthread.h>

#define WORKERS 2
#define CONNECTIONS 500 /* of each worker */

/* Workers that are a loop in a thread, one pod and its connections; the test is the control thread. */
struct fixture {
    struct loop *control;
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    struct pod pods[WORKERS];
    struct connection *connections;
    struct live_view *view;
    struct writer text;
    struct json_writer json;
    struct live_walk *walk;
    int pieces;
    bool is_over;
};

static void *run_loop(void *loop)
{
    loop_run(loop);
    return NULL;
}

static int set_up(void **state)
{
    struct fixture *fixture = NEW(struct fixture);
    fixture->control = loop_new();
    fixture->connections = memory_allocate_zeroed((size_t)WORKERS * CONNECTIONS, sizeof *fixture->connections);
    for (unsigned i = 0; i < WORKERS; i++) {
        struct worker *worker = &fixture->workers[i];
        struct pod *pod = &fixture->pods[i];
        worker->index = i;
        worker->loop = loop_new();
        list_initialise(&worker->pods);
        list_initialise(&worker->walks);
        list_initialise(&pod->connections);
        pod->worker = worker;
        pod->information.uid = i == 0 ? string_duplicate("first") : string_duplicate("second");
        list_append(&worker->pods, &pod->link);
        for (unsigned j = 0; j < CONNECTIONS; j++) {
            struct connection *connection = &fixture->connections[i * CONNECTIONS + j];
            connection->id = j;
            connection->pod = pod;
            connection->is_opened = j % 2 == 0;
            connection->direction = j % 4 < 2 ? CONNECTION_OUTBOUND : CONNECTION_INBOUND;
            list_append(&pod->connections, &connection->link);
        }
        assert_int_equal(pthread_create(&fixture->threads[i], NULL, run_loop, worker->loop), 0);
    }
    fixture->view = live_view_new(fixture->control, fixture->workers, WORKERS);
    fixture->json = json_writer_of(&fixture->text, false);
    json_write_array_begin(&fixture->json);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_stop(fixture->workers[i].loop);
        pthread_join(fixture->threads[i], NULL);
    }
    live_view_workers_gone(fixture->view);
    live_view_free(fixture->view);
    for (unsigned i = 0; i < WORKERS; i++) {
        loop_free(fixture->workers[i].loop);
        memory_free(fixture->pods[i].information.uid);
    }
    loop_free(fixture->control);
    writer_free(&fixture->text);
    memory_free(fixture->connections);
    memory_free(fixture);
    return 0;
}

static void write_id(const struct connection *connection, struct json_writer *json)
{
    json_write_unsigned(json, connection->id);
}

static const struct live_rows ROWS = { .of_connection = write_id };

static void on_piece(void *context)
{
    struct fixture *fixture = context;
    struct bytes piece;
    fixture->pieces++;
    fixture->is_over = live_walk_take(fixture->walk, &fixture->json, &piece);
    if (piece.length > 0) {
        writer_add_bytes(&fixture->text, piece);
    }
}

static void begin(struct fixture *fixture, const char *uid, int direction, bool opened_only, size_t maximum)
{
    const struct live_walk_settings settings = { &ROWS, uid, direction, opened_only, maximum, on_piece, fixture };
    fixture->walk = live_walk_new(fixture->view, &settings);
}

static void take_one_piece(struct fixture *fixture)
{
    int before = fixture->pieces;
    live_walk_next(fixture->walk, &fixture->json);
    for (int turn = 0; turn < 5000 && fixture->pieces == before; turn++) {
        loop_run_once(fixture->control, 10);
    }
    assert_int_equal(fixture->pieces, before + 1);
}

static void take_all(struct fixture *fixture)
{
    while (!fixture->is_over) {
        take_one_piece(fixture);
    }
}

static size_t count_rows(const struct fixture *fixture)
{
    size_t rows = 1;
    for (size_t i = 0; i < fixture->text.length; i++) {
        rows += fixture->text.data[i] == ',';
    }
    return rows;
}

static void every_connection_of_every_worker_is_seen_once_in_small_pieces(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, NULL, LIVE_ANY_DIRECTION, false, SIZE_MAX);
    take_all(fixture);
    assert_int_equal(count_rows(fixture), WORKERS * CONNECTIONS);
    assert_int_equal(live_walk_connections(fixture->walk), WORKERS * CONNECTIONS);
    assert_true(fixture->pieces > WORKERS * 4);
    live_walk_free(fixture->walk);
}

static void a_walk_can_be_of_one_pod_and_direction_and_bounded(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, "second", CONNECTION_INBOUND, true, SIZE_MAX);
    take_all(fixture);
    assert_int_equal(live_walk_connections(fixture->walk), CONNECTIONS / 4);
    live_walk_free(fixture->walk);
    fixture->is_over = false;
    begin(fixture, NULL, LIVE_ANY_DIRECTION, false, 100);
    take_all(fixture);
    assert_int_equal(live_walk_connections(fixture->walk), 100);
    live_walk_free(fixture->walk);
}

struct closing {
    struct posted posted;
    struct worker *worker;
    _Atomic bool is_done;
};

/* Closes on the worker's thread the first connections, the one that the walk would look at next among them. */
static void close_connections(struct posted *posted)
{
    struct closing *closing = CONTAINER_OF(posted, struct closing, posted);
    struct pod *pod = LIST_ENTRY(closing->worker->pods.next, struct pod, link);
    for (int i = 0; i < 200; i++) {
        struct connection *connection = LIST_ENTRY(pod->connections.next, struct connection, link);
        live_walks_skip_connection(closing->worker, connection);
        list_remove(&connection->link);
        memset(connection, 0xee, sizeof *connection);
    }
    closing->is_done = true;
}

static void connections_that_close_between_two_pieces_are_passed_over(void **state)
{
    struct fixture *fixture = *state;
    begin(fixture, NULL, LIVE_ANY_DIRECTION, false, SIZE_MAX);
    take_one_piece(fixture);
    struct closing closing = { .posted.run = close_connections, .worker = &fixture->workers[0] };
    loop_post(fixture->workers[0].loop, &closing.posted);
    while (!closing.is_done) {
        loop_run_once(fixture->control, 1);
    }
    size_t seen = live_walk_connections(fixture->walk);
    take_all(fixture);
    assert_int_equal(live_walk_connections(fixture->walk), seen + CONNECTIONS - 200 + CONNECTIONS);
    live_walk_free(fixture->walk);
}

static void a_walk_that_is_given_up_leaves_nothing_behind(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 20; i++) {
        begin(fixture, NULL, LIVE_ANY_DIRECTION, false, SIZE_MAX);
        if (i % 3 != 0) {
            take_one_piece(fixture);
        }
        if (i % 3 == 2) {
            live_walk_next(fixture->walk, &fixture->json);
        }
        live_walk_free(fixture->walk);
        fixture->is_over = false;
    }
    for (int turn = 0; turn < 100; turn++) {
        loop_run_once(fixture->control, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            every_connection_of_every_worker_is_seen_once_in_small_pieces, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_can_be_of_one_pod_and_direction_and_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_that_close_between_two_pieces_are_passed_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_that_is_given_up_leaves_nothing_behind, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
