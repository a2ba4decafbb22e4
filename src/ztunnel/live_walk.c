#include "ztunnel/live_walk.h"

#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

/* A piece ends at whichever comes first: it costs a worker some 100 us. */
#define PIECE_CONNECTIONS 64
#define PIECE_BYTES (16u * 1024)
#define PIECE_STEPS 2048 /* connections and pods looked at */

struct live_view {
    struct loop *control;
    struct worker *workers;
    size_t worker_count;
    struct list walks;
    bool are_workers_gone;
};

struct live_walk {
    struct list link; /* view->walks. Control thread */
    struct live_view *view;
    bool is_abandoned; /* control thread */
    bool is_away;      /* control thread: a worker has it */
    struct live_walk_settings settings;
    char *uid;
    struct posted to_worker, to_control;
    /* Whoever has the walk. */
    size_t worker_index;
    struct worker *worker;
    bool is_over;
    struct json_writer json;
    struct writer out;
    size_t connections;
    /* Worker's thread: the cursor. */
    struct list worker_link; /* worker->walks */
    bool is_entered;
    struct list *next_pod;        /* in worker->pods */
    struct list *next_connection; /* in the connections of next_pod; NULL: the pod was not entered yet */
};

struct live_view *live_view_new(struct loop *control, struct worker *workers, size_t worker_count)
{
    struct live_view *view = NEW(struct live_view);
    view->control = control;
    view->workers = workers;
    view->worker_count = worker_count;
    list_initialise(&view->walks);
    return view;
}

void live_view_workers_gone(struct live_view *view)
{
    view->are_workers_gone = true;
}

static void free_walk(struct live_walk *walk)
{
    list_remove(&walk->link);
    writer_free(&walk->out);
    memory_free(walk->uid);
    memory_free(walk);
}

void live_view_free(struct live_view *view)
{
    if (view == NULL) {
        return;
    }
    while (!list_is_empty(&view->walks)) {
        free_walk(LIST_ENTRY(view->walks.next, struct live_walk, link));
    }
    memory_free(view);
}

static void enter_worker(struct live_walk *walk)
{
    struct worker *worker = walk->worker;
    walk->is_entered = true;
    list_append(&worker->walks, &walk->worker_link);
    walk->next_pod = worker->pods.next;
    walk->next_connection = NULL;
    if (walk->settings.rows->of_worker != NULL) {
        walk->settings.rows->of_worker(worker, &walk->json);
    }
}

static void leave_worker(struct live_walk *walk)
{
    list_remove(&walk->worker_link);
    walk->is_entered = false;
    walk->worker_index++;
}

static bool is_wanted_pod(const struct live_walk *walk, const struct pod *pod)
{
    return walk->uid == NULL || text_equal(walk->uid, pod->information.uid);
}

static bool is_wanted(const struct live_walk *walk, const struct connection *connection)
{
    return (walk->settings.direction == LIVE_ANY_DIRECTION || walk->settings.direction == connection->direction) &&
           (connection->is_opened || !walk->settings.opened_only);
}

static void leave_pod(struct live_walk *walk)
{
    walk->next_pod = walk->next_pod->next;
    walk->next_connection = NULL;
}

static void enter_pod(struct live_walk *walk, struct pod *pod)
{
    if (!is_wanted_pod(walk, pod)) {
        leave_pod(walk);
        return;
    }
    walk->next_connection = pod->connections.next;
    if (walk->settings.rows->of_pod != NULL) {
        walk->settings.rows->of_pod(pod, &walk->json);
    }
}

static void visit_connection(struct live_walk *walk)
{
    const struct connection *connection = LIST_ENTRY(walk->next_connection, struct connection, link);
    walk->next_connection = walk->next_connection->next;
    if (is_wanted(walk, connection)) {
        walk->connections++;
        walk->settings.rows->of_connection(connection, &walk->json);
    }
}

/* True when this worker has nothing more. */
static bool write_piece(struct live_walk *walk)
{
    size_t first = walk->connections;
    for (unsigned steps = 0; steps < PIECE_STEPS && walk->next_pod != &walk->worker->pods; steps++) {
        struct pod *pod = LIST_ENTRY(walk->next_pod, struct pod, link);
        bool has_connections = walk->settings.rows->of_connection != NULL && walk->connections < walk->settings.maximum;
        if (walk->next_connection == NULL) {
            enter_pod(walk, pod);
        } else if (!has_connections || walk->next_connection == &pod->connections) {
            leave_pod(walk);
        } else {
            visit_connection(walk);
        }
        if (walk->connections - first == PIECE_CONNECTIONS || walk->out.length >= PIECE_BYTES) {
            return false;
        }
    }
    return walk->next_pod == &walk->worker->pods;
}

static void on_worker(struct posted *posted)
{
    struct live_walk *walk = CONTAINER_OF(posted, struct live_walk, to_worker);
    walk->json.out = &walk->out;
    if (walk->is_over) { /* given up between two pieces */
        leave_worker(walk);
    } else {
        if (!walk->is_entered) {
            enter_worker(walk);
        }
        if (write_piece(walk)) {
            leave_worker(walk);
        }
    }
    loop_post(walk->view->control, &walk->to_control);
}

static void on_control(struct posted *posted)
{
    struct live_walk *walk = CONTAINER_OF(posted, struct live_walk, to_control);
    walk->is_away = false;
    if (walk->is_abandoned) {
        live_walk_free(walk);
        return;
    }
    walk->is_over = walk->worker_index == walk->view->worker_count;
    walk->settings.on_piece(walk->settings.context);
}

struct live_walk *live_walk_new(struct live_view *view, const struct live_walk_settings *settings)
{
    struct live_walk *walk = NEW(struct live_walk);
    walk->view = view;
    walk->settings = *settings;
    walk->uid = settings->uid != NULL ? string_duplicate(settings->uid) : NULL;
    walk->to_worker.run = on_worker;
    walk->to_control.run = on_control;
    list_append(&view->walks, &walk->link);
    return walk;
}

static void send_to_worker(struct live_walk *walk)
{
    walk->is_away = true;
    walk->worker = &walk->view->workers[walk->worker_index];
    loop_post(walk->worker->loop, &walk->to_worker);
}

void live_walk_next(struct live_walk *walk, const struct json_writer *json)
{
    walk->json = *json;
    writer_clear(&walk->out);
    if (!walk->view->are_workers_gone) {
        send_to_worker(walk);
    }
}

bool live_walk_take(struct live_walk *walk, struct json_writer *json, struct bytes *piece)
{
    struct writer *out = json->out;
    *json = walk->json;
    json->out = out;
    *piece = writer_bytes(&walk->out);
    return walk->is_over;
}

size_t live_walk_connections(const struct live_walk *walk)
{
    return walk->connections;
}

void live_walk_free(struct live_walk *walk)
{
    if (walk == NULL) {
        return;
    }
    walk->is_abandoned = true;
    if (walk->is_away && !walk->view->are_workers_gone) {
        return; /* freed when it comes back */
    }
    if (walk->is_entered && !walk->view->are_workers_gone) {
        walk->is_over = true;
        send_to_worker(walk);
    } else {
        free_walk(walk);
    }
}

void live_walks_skip_connection(struct worker *worker, const struct connection *connection)
{
    LIST_FOR_EACH(link, &worker->walks) {
        struct live_walk *walk = LIST_ENTRY(link, struct live_walk, worker_link);
        if (walk->next_connection == &connection->link) {
            walk->next_connection = connection->link.next;
        }
    }
}

void live_walks_skip_pod(struct worker *worker, const struct pod *pod)
{
    LIST_FOR_EACH(link, &worker->walks) {
        struct live_walk *walk = LIST_ENTRY(link, struct live_walk, worker_link);
        if (walk->next_pod == &pod->link) {
            leave_pod(walk);
        }
    }
}
