#include "ztunnel/pod_state_dump.h"

#include "base/clock.h"
#include "base/memory.h"
#include "ztunnel/connection.h"

#include <stdlib.h>

struct dumped_pod {
    char *uid, *name, *namespace_, *service_account;
    bool is_up;
    struct enrolment_report enrolment;
};

enum step { STEP_BEGIN, STEP_INBOUND, STEP_OUTBOUND, STEP_END };

struct pod_state_dump {
    struct live_view *live;
    void (*on_ready)(void *context);
    void *context;
    struct dumped_pod *pods;
    size_t count, capacity;
    size_t current;
    enum step step;
    struct live_walk *walk; /* through the connections of one direction */
    bool is_waiting;
};

static void collect_pod(const struct inpod_view *view, void *context)
{
    struct pod_state_dump *dump = context;
    if (dump->count == dump->capacity) {
        dump->capacity = dump->capacity == 0 ? 16 : 2 * dump->capacity;
        dump->pods = memory_resize(dump->pods, dump->capacity, sizeof *dump->pods);
    }
    dump->pods[dump->count++] = (struct dumped_pod){ string_duplicate(view->uid), string_duplicate(view->name),
        string_duplicate(view->namespace_), string_duplicate(view->service_account), view->is_up, *view->enrolment };
}

static int compare_pods(const void *left, const void *right)
{
    return strcmp(((const struct dumped_pod *)left)->uid, ((const struct dumped_pod *)right)->uid);
}

struct pod_state_dump *pod_state_dump_new(
    const struct inpod_manager *pods, struct live_view *live, void (*on_ready)(void *context), void *context)
{
    struct pod_state_dump *dump = NEW(struct pod_state_dump);
    dump->live = live;
    dump->on_ready = on_ready;
    dump->context = context;
    inpod_manager_visit(pods, collect_pod, dump);
    if (dump->count > 1) {
        qsort(dump->pods, dump->count, sizeof *dump->pods, compare_pods);
    }
    return dump;
}

static const struct live_rows CONNECTION_ROWS = { .of_connection = connection_dump };

static void on_piece(void *context)
{
    struct pod_state_dump *dump = context;
    dump->is_waiting = false;
    dump->on_ready(dump->context);
}

static enum pod_state_progress ask(struct pod_state_dump *dump, const struct json_writer *json)
{
    dump->is_waiting = true;
    live_walk_next(dump->walk, json);
    return POD_STATE_WAITS;
}

/* One direction of one pod: an array, piece by piece. */
static enum pod_state_progress write_direction(
    struct pod_state_dump *dump, const char *key, enum connection_direction direction, struct json_writer *json)
{
    if (dump->walk == NULL) {
        const struct live_walk_settings settings = { .rows = &CONNECTION_ROWS,
            .uid = dump->pods[dump->current].uid,
            .direction = (int)direction,
            .opened_only = true,
            .maximum = SIZE_MAX,
            .on_piece = on_piece,
            .context = dump };
        dump->walk = live_walk_new(dump->live, &settings);
        json_write_key(json, key);
        json_write_array_begin(json);
        return ask(dump, json);
    }
    struct bytes piece;
    bool is_over = live_walk_take(dump->walk, json, &piece);
    if (piece.length > 0) {
        writer_add_bytes(json->out, piece);
    }
    if (!is_over) {
        return ask(dump, json);
    }
    json_write_array_end(json);
    live_walk_free(dump->walk);
    dump->walk = NULL;
    dump->step++;
    return POD_STATE_WRITTEN;
}

static void write_begin(const struct dumped_pod *pod, struct json_writer *json)
{
    json_write_key(json, pod->uid);
    json_write_object_begin(json);
    if (pod->is_up) {
        json_write_key(json, "connections");
        json_write_object_begin(json);
    }
}

static void write_enrolment(const struct enrolment_report *report, struct json_writer *json)
{
    char time[40];
    json_write_key(json, "enrolment");
    json_write_object_begin(json);
    if (report->checked_wall_s != 0) {
        clock_format_rfc3339_s(report->checked_wall_s, time);
        json_write_member_string(json, "checked", time);
    }
    if (report->reason[0] != '\0') {
        json_write_member_string(json, "reason", report->reason);
    }
    json_write_member_string(json, "state", enrolment_state_name(report->state));
    json_write_object_end(json);
}

static void write_end(const struct dumped_pod *pod, struct json_writer *json)
{
    if (pod->is_up) {
        json_write_object_end(json);
    }
    write_enrolment(&pod->enrolment, json);
    json_write_key(json, "info");
    json_write_object_begin(json);
    json_write_member_string(json, "name", pod->name);
    json_write_member_string(json, "namespace", pod->namespace_);
    json_write_member_string(json, "serviceAccount", pod->service_account);
    json_write_object_end(json);
    json_write_member_string(json, "state", pod->is_up ? "Up" : "Pending");
    json_write_object_end(json);
}

enum pod_state_progress pod_state_dump_write(struct pod_state_dump *dump, struct json_writer *json)
{
    if (dump->is_waiting) {
        return POD_STATE_WAITS;
    }
    if (dump->current == dump->count) {
        return POD_STATE_OVER;
    }
    const struct dumped_pod *pod = &dump->pods[dump->current];
    switch (dump->step) {
    case STEP_BEGIN:
        write_begin(pod, json);
        dump->step = pod->is_up ? STEP_INBOUND : STEP_END;
        return POD_STATE_WRITTEN;
    case STEP_INBOUND:
        return write_direction(dump, "inbound", CONNECTION_INBOUND, json);
    case STEP_OUTBOUND:
        return write_direction(dump, "outbound", CONNECTION_OUTBOUND, json);
    case STEP_END:
        write_end(pod, json);
        dump->step = STEP_BEGIN;
        dump->current++;
        return POD_STATE_WRITTEN;
    }
    return POD_STATE_OVER;
}

void pod_state_dump_free(struct pod_state_dump *dump)
{
    if (dump == NULL) {
        return;
    }
    live_walk_free(dump->walk);
    for (size_t i = 0; i < dump->count; i++) {
        memory_free(dump->pods[i].uid);
        memory_free(dump->pods[i].name);
        memory_free(dump->pods[i].namespace_);
        memory_free(dump->pods[i].service_account);
    }
    memory_free(dump->pods);
    memory_free(dump);
}
