#include "cni/proxy_connection.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#define TARGET "cni::zds"

enum phase { AWAITS_HELLO, SENDS_SNAPSHOT, IS_LIVE };

/* One request, from the queue to its answer. */
struct update {
    struct list link;
    enum zds_request_kind kind;
    uint8_t message[ZDS_MESSAGE_BYTES_MAXIMUM];
    size_t length;
    int descriptor; /* owned; -1: none */
    bool is_sent;
    char *uid; /* for logs; empty for the end of the snapshot */
    proxy_update_done *done;
    void *context;
};

struct proxy_connection {
    struct list link;
    struct io_watch watch;
    struct timer deadline;
    struct deferred work; /* starts the next request outside of callers' and callbacks' stacks */
    struct proxy_connection_settings settings;
    uint64_t number;
    enum phase phase;
    /* The pods to tell of, by key; those that were removed meanwhile are passed over. */
    char **snapshot;
    size_t snapshot_count;
    size_t snapshot_next;
    struct list updates;
    size_t update_count;
    struct update *current; /* being sent, or sent and not answered */
};

static void update_free(struct update *update)
{
    if (update->descriptor >= 0) {
        (void)close(update->descriptor);
    }
    memory_free(update->uid);
    memory_free(update);
}

/* Frees the update, then tells its maker. */
static void update_finish(struct update *update, struct result result)
{
    proxy_update_done *done = update->done;
    void *context = update->context;
    update_free(update);
    if (done != NULL) {
        done(context, &result);
    }
}

/* Takes the descriptor. Every name is bounded (enrolment_check), so the request fits into a datagram. */
static struct update *update_new(const struct zds_request *request, int descriptor)
{
    struct update *update = NEW(struct update);
    struct writer writer = writer_fixed(update->message, sizeof update->message);
    list_initialise(&update->link);
    zds_request_encode(request, &writer);
    update->kind = request->kind;
    update->length = writer.length;
    update->descriptor = descriptor;
    update->uid = request->uid.length == 0 ? string_duplicate("")
                                           : string_duplicate_n((const char *)request->uid.data, request->uid.length);
    return update;
}

static struct bytes text_bytes(const char *text)
{
    return bytes_of_string(text == NULL ? "" : text);
}

/* An Add with the namespace, or a Keep where it could not be found again. */
static struct update *update_of(const struct enrolment *enrolment)
{
    int descriptor = enrolment->network.descriptor;
    if (descriptor >= 0) {
        descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
    }
    struct zds_request request = {
        .kind = descriptor >= 0 ? ZDS_ADD : ZDS_KEEP,
        .uid = text_bytes(enrolment->uid),
        .has_workload_info = true,
        .name = text_bytes(enrolment->name),
        .namespace_ = text_bytes(enrolment->namespace_),
        .service_account = text_bytes(enrolment->service_account),
    };
    return update_new(&request, descriptor);
}

static void free_snapshot(struct proxy_connection *connection)
{
    for (size_t i = 0; i < connection->snapshot_count; i++) {
        memory_free(connection->snapshot[i]);
    }
    memory_free(connection->snapshot);
    connection->snapshot = NULL;
    connection->snapshot_count = connection->snapshot_next = 0;
}

static void fail_updates(struct proxy_connection *connection)
{
    struct list *link;
    struct update *current = connection->current;
    connection->current = NULL;
    if (current != NULL) {
        update_finish(current, result_fail(RESULT_UNAVAILABLE, "connection closed before %s",
                                   current->is_sent ? "response received" : "request sent"));
    }
    while ((link = list_take_first(&connection->updates)) != NULL) {
        update_finish(LIST_ENTRY(link, struct update, link),
            result_fail(RESULT_UNAVAILABLE, "connection closed before request sent"));
    }
}

void proxy_connection_free(struct proxy_connection *connection)
{
    int descriptor = connection->watch.descriptor;
    loop_unwatch(&connection->watch);
    timer_disarm(&connection->deadline);
    deferred_cancel(&connection->work);
    list_remove(&connection->link);
    (void)close(descriptor);
    fail_updates(connection);
    deferred_cancel(&connection->work);
    free_snapshot(connection);
    memory_free(connection);
}

/* Ends the connection for `reason`. Nothing may touch it afterwards. */
static void end(struct proxy_connection *connection, enum log_level level, const char *reason)
{
    LOG_EVENT(level, TARGET, "ztunnel disconnected", LOG_NUMBER("connection", connection->number),
        LOG_STRING("reason", reason));
    connection->settings.on_end(connection, connection->settings.context);
    proxy_connection_free(connection);
}

static void arm_deadline(struct proxy_connection *connection)
{
    timer_arm_after_ms(connection->settings.loop, &connection->deadline, connection->settings.deadline_ms);
}

/* The next pod of the snapshot, or its end, or the first update that waits; NULL when there is nothing to say. */
static struct update *next_request(struct proxy_connection *connection)
{
    while (connection->phase == SENDS_SNAPSHOT && connection->snapshot_next < connection->snapshot_count) {
        const char *key = connection->snapshot[connection->snapshot_next++];
        const struct enrolment *enrolment = enrolment_table_find(connection->settings.enrolments, key);
        if (enrolment != NULL && !enrolment->is_leaving) {
            return update_of(enrolment);
        }
    }
    if (connection->phase == SENDS_SNAPSHOT) {
        free_snapshot(connection);
        connection->phase = IS_LIVE;
        return update_new(&(struct zds_request){ .kind = ZDS_SNAPSHOT_SENT }, -1);
    }
    struct list *link = list_take_first(&connection->updates);
    if (link == NULL) {
        return NULL;
    }
    connection->update_count--;
    return LIST_ENTRY(link, struct update, link);
}

/* Sends the current request, or waits until the socket takes it. */
static void send_current(struct proxy_connection *connection)
{
    struct update *update = connection->current;
    int error = zds_send(connection->watch.descriptor, bytes_of(update->message, update->length), update->descriptor);
    if (error == EAGAIN || error == EWOULDBLOCK) {
        loop_watch_for(&connection->watch, EPOLLIN | EPOLLOUT);
        return;
    }
    if (error != 0) {
        struct result result = result_system(error, "sending to ztunnel");
        end(connection, LOG_WARN, result.message);
        return;
    }
    update->is_sent = true;
    loop_watch_for(&connection->watch, EPOLLIN);
    arm_deadline(connection);
}

static void start_next(struct deferred *work)
{
    struct proxy_connection *connection = CONTAINER_OF(work, struct proxy_connection, work);
    if (connection->current != NULL || connection->phase == AWAITS_HELLO) {
        return;
    }
    connection->current = next_request(connection);
    if (connection->current == NULL) {
        timer_disarm(&connection->deadline);
        return;
    }
    arm_deadline(connection);
    send_current(connection);
}

static void take_snapshot(struct proxy_connection *connection)
{
    const struct enrolment_table *enrolments = connection->settings.enrolments;
    char key[ENROLMENT_KEY_SIZE];
    size_t position = 0;
    const struct enrolment *enrolment;
    size_t capacity = enrolment_table_count(enrolments);
    connection->snapshot = memory_allocate_zeroed(capacity, sizeof *connection->snapshot);
    while (connection->snapshot_count < capacity && (enrolment = enrolment_table_next(enrolments, &position)) != NULL) {
        connection->snapshot[connection->snapshot_count++] = string_duplicate(enrolment_key_of(enrolment, key));
    }
}

static struct result hear_hello(struct proxy_connection *connection, struct bytes message)
{
    uint32_t version;
    RESULT_TRY(zds_hello_decode(message, &version)); /* any version is served (cni §6) */
    take_snapshot(connection);
    connection->phase = SENDS_SNAPSHOT;
    timer_disarm(&connection->deadline);
    LOG_EVENT(LOG_INFO, TARGET, "ztunnel connected", LOG_NUMBER("connection", connection->number),
        LOG_NUMBER("version", version), LOG_NUMBER("pods", connection->snapshot_count));
    return result_ok();
}

static struct result hear_answer(struct proxy_connection *connection, struct bytes message)
{
    struct bytes text;
    RESULT_TRY(zds_response_decode(message, &text));
    struct update *update = connection->current;
    struct result result = result_ok();
    connection->current = NULL;
    timer_disarm(&connection->deadline);
    if (text.length > 0) {
        result = result_fail(RESULT_DENIED, "ztunnel refused: %.*s", (int)text.length, (const char *)text.data);
        LOG_EVENT(LOG_WARN, TARGET, "ztunnel refused a request", LOG_NUMBER("connection", connection->number),
            LOG_STRING("uid", update->uid), LOG_STRING("error", result.message));
    }
    update_finish(update, result);
    return result_ok();
}

static struct result hear(struct proxy_connection *connection, const struct zds_datagram *datagram)
{
    struct bytes message = bytes_of(datagram->data, datagram->length);
    if (datagram->descriptor >= 0) {
        (void)close(datagram->descriptor);
        return result_fail(RESULT_INVALID, "unexpected descriptor from ztunnel");
    }
    if (connection->phase == AWAITS_HELLO) {
        return hear_hello(connection, message);
    }
    if (connection->current == NULL || !connection->current->is_sent) {
        return result_fail(RESULT_INVALID, "a message that nobody asked for");
    }
    return hear_answer(connection, message);
}

/* Receives what is there. False when the connection has ended. */
static bool receive(struct proxy_connection *connection)
{
    struct zds_datagram datagram;
    struct result result;
    switch (zds_receive(connection->watch.descriptor, &datagram, &result)) {
    case ZDS_NOTHING_YET:
        return true;
    case ZDS_ENDED:
        end(connection, LOG_INFO, "closed by ztunnel");
        return false;
    case ZDS_REFUSED:
    case ZDS_BROKEN:
        end(connection, LOG_WARN, result.message);
        return false;
    case ZDS_RECEIVED:
        break;
    }
    result = hear(connection, &datagram);
    if (!result_is_ok(&result)) {
        end(connection, LOG_WARN, result.message);
        return false;
    }
    loop_defer(connection->settings.loop, &connection->work);
    return true;
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct proxy_connection *connection = CONTAINER_OF(watch, struct proxy_connection, watch);
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && !receive(connection)) {
        return;
    }
    if ((events & EPOLLOUT) != 0 && connection->current != NULL && !connection->current->is_sent) {
        send_current(connection);
    }
}

static void on_deadline(struct timer *timer)
{
    struct proxy_connection *connection = CONTAINER_OF(timer, struct proxy_connection, deadline);
    const struct update *waited_for = connection->current;
    bool was_greeted = connection->phase != AWAITS_HELLO;
    /* The answer may lie there already: the agent itself may have been busy with a pod's rules. */
    if (!receive(connection)) {
        return;
    }
    bool is_late = was_greeted ? connection->current != NULL && connection->current == waited_for
                               : connection->phase == AWAITS_HELLO;
    if (is_late) {
        end(connection, LOG_WARN, was_greeted ? "no answer in time" : "no hello in time");
    }
}

struct result proxy_connection_new(
    const struct proxy_connection_settings *settings, int socket, struct proxy_connection **connection)
{
    static uint64_t connections_made;
    struct proxy_connection *made = NEW(struct proxy_connection);
    made->settings = *settings;
    made->settings.deadline_ms = settings->deadline_ms == 0 ? PROXY_DEADLINE_MS : settings->deadline_ms;
    made->number = ++connections_made;
    list_initialise(&made->link);
    list_initialise(&made->updates);
    list_initialise(&made->work.link);
    made->work.run = start_next;
    made->watch.on_ready = on_ready;
    made->deadline.on_expire = on_deadline;
    struct result result = loop_watch(settings->loop, &made->watch, socket, EPOLLIN);
    if (!result_is_ok(&result)) {
        (void)close(socket);
        memory_free(made);
        return result;
    }
    arm_deadline(made);
    *connection = made;
    return result_ok();
}

static void enqueue(struct proxy_connection *connection, struct update *update, proxy_update_done *done, void *context)
{
    update->done = done;
    update->context = context;
    if (connection->update_count >= PROXY_UPDATES_MAXIMUM) {
        update_finish(update, result_fail(RESULT_LIMIT, "%d updates wait for ztunnel already", PROXY_UPDATES_MAXIMUM));
        return;
    }
    connection->update_count++;
    list_append(&connection->updates, &update->link);
    loop_defer(connection->settings.loop, &connection->work);
}

void proxy_connection_add(
    struct proxy_connection *connection, const struct enrolment *enrolment, proxy_update_done *done, void *context)
{
    struct update *update = update_of(enrolment);
    if (update->kind == ZDS_KEEP) {
        /* After the snapshot a Keep would be a violation of the protocol, which ends the proxy. */
        update->done = done;
        update->context = context;
        update_finish(update, result_fail(RESULT_SYSTEM, "no descriptor of the network namespace to hand over"));
        return;
    }
    enqueue(connection, update, done, context);
}

void proxy_connection_delete(
    struct proxy_connection *connection, const char *uid, proxy_update_done *done, void *context)
{
    struct zds_request request = { .kind = ZDS_DELETE, .uid = text_bytes(uid) };
    enqueue(connection, update_new(&request, -1), done, context);
}

struct list *proxy_connection_link(struct proxy_connection *connection)
{
    return &connection->link;
}

struct proxy_connection *proxy_connection_of_link(struct list *link)
{
    return LIST_ENTRY(link, struct proxy_connection, link);
}

uint64_t proxy_connection_number(const struct proxy_connection *connection)
{
    return connection->number;
}
