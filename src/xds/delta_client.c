#include "xds/delta_client.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "xds/delta_client_state.h"
#include "xds/delta_request.h"

#define METHOD_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define BACKOFF_LEAST_MS 10
#define BACKOFF_MOST_MS 15000
#define PENDING_MAXIMUM 4096

static void connect_stream(struct delta_client *client);

const char *delta_termination_name(enum delta_termination reason)
{
    static const char *const names[] = { "ConnectionError", "Reconnect", "Error", "Complete" };
    return names[reason];
}

static void tell_connection(struct delta_client *client, bool is_up)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    if (client->is_connected != is_up && consumer->on_connection != NULL) {
        consumer->on_connection(consumer->context, is_up);
    }
    client->is_connected = is_up;
}

static void drop_stream(struct delta_client *client)
{
    delta_walk_abort(client);
    if (client->call != NULL) {
        grpc_call_cancel(client->call);
        client->call = NULL;
    }
    grpc_channel_free(client->channel);
    client->channel = NULL;
    tell_connection(client, false);
}

static void retry_after(struct delta_client *client, uint64_t delay_ms, enum delta_termination reason)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    if (consumer->on_termination != NULL) {
        consumer->on_termination(consumer->context, reason);
    }
    timer_arm_after_ms(client->loop, &client->retry, delay_ms);
}

const struct log_spans *delta_spans(const struct delta_client *client, struct log_spans *memory)
{
    memory->count = 1;
    memory->spans[0] = (struct log_span){ "xds", { LOG_NUMBER("id", client->attempt) } };
    return memory;
}

static uint64_t lengthen_backoff(struct delta_client *client)
{
    client->backoff_ms = client->backoff_ms * 2 < BACKOFF_MOST_MS ? client->backoff_ms * 2 : BACKOFF_MOST_MS;
    return client->backoff_ms;
}

static void log_failure(
    struct delta_client *client, enum log_level level, const char *what, struct writer *status, uint64_t delay_ms)
{
    struct writer delay = writer_growing();
    delta_delay_write(delay_ms, &delay);
    log_print_in(DELTA_SPANS(client), level, DELTA_LOG_TARGET, "%s%s, retrying in %s", what, writer_string(status),
        writer_string(&delay));
    writer_free(&delay);
}

static void connection_failed(struct delta_client *client, const struct grpc_end *end)
{
    uint64_t delay_ms = lengthen_backoff(client);
    struct writer text = writer_growing();
    const struct control_plane_settings *to = &client->settings.control_plane;
    writer_print(&text, "gRPC connection error connecting to %s://%s:%u: ", to->is_plaintext ? "http" : "https",
        to->host, to->port);
    delta_status_write(end, &text);
    log_failure(client, LOG_WARN, "XDS client connection error: ", &text, delay_ms);
    writer_free(&text);
    retry_after(client, delay_ms, DELTA_CONNECTION_ERROR);
}

/* Ends of an established stream that only mean "come again" (ztunnel-management §3.6). */
static bool is_plain_reconnect(const struct grpc_end *end)
{
    switch (end->status) {
    case GRPC_UNKNOWN:
    case GRPC_CANCELLED:
    case GRPC_DEADLINE_EXCEEDED:
        return true;
    case GRPC_UNAVAILABLE:
        return strstr(end->message, "transport is closing") != NULL ||
               strstr(end->message, "received prior goaway") != NULL;
    default:
        return false;
    }
}

static void stream_failed(struct delta_client *client, const struct grpc_end *end)
{
    struct writer text = writer_growing();
    writer_add_string(&text, "gRPC error ");
    delta_status_write(end, &text);
    if (is_plain_reconnect(end)) {
        client->backoff_ms = BACKOFF_LEAST_MS;
        log_failure(client, LOG_DEBUG, "XDS client terminated: ", &text, BACKOFF_LEAST_MS);
        retry_after(client, BACKOFF_LEAST_MS, DELTA_RECONNECT);
    } else {
        uint64_t delay_ms = lengthen_backoff(client);
        log_failure(client, LOG_WARN, "XDS client error: ", &text, delay_ms);
        retry_after(client, delay_ms, DELTA_ERROR);
    }
    writer_free(&text);
}

static void on_end(struct grpc_call *call, const struct grpc_end *end, void *context)
{
    (void)call;
    struct delta_client *client = context;
    client->call = NULL;
    drop_stream(client);
    if (!end->was_opened) {
        connection_failed(client, end);
    } else if (end->status != GRPC_OK) {
        stream_failed(client, end);
    } else {
        client->backoff_ms = BACKOFF_LEAST_MS;
        log_print_in(DELTA_SPANS(client), LOG_WARN, DELTA_LOG_TARGET, "XDS client complete");
        retry_after(client, 0, DELTA_COMPLETE);
    }
}

/* A response that is no DeltaDiscoveryResponse: the reference's client sees it as a status of its own making. */
static void fail_stream(struct delta_client *client, const struct result *failure)
{
    const struct grpc_end end = { .status = GRPC_INTERNAL, .message = failure->message, .was_opened = true };
    drop_stream(client);
    stream_failed(client, &end);
}

static void on_message_part(
    struct grpc_call *call, struct bytes part, size_t message_bytes, bool is_last, void *context)
{
    (void)message_bytes;
    struct delta_client *client = context;
    if (!client->is_walking) {
        delta_walk_begin(client);
    }
    struct result fed = delta_response_feed(&client->response, part);
    if (grpc_call_queued_bytes(call) > DELTA_UNREAD_MAXIMUM_BYTES) {
        fed = result_fail(RESULT_LIMIT, "the control plane does not read what it is answered");
    }
    if (result_is_ok(&fed) && is_last) {
        fed = delta_response_end(&client->response);
    }
    if (!result_is_ok(&fed)) {
        fail_stream(client, &fed);
    } else if (is_last) {
        delta_walk_complete(client);
    }
}

static void on_opened(struct grpc_call *call, void *context)
{
    (void)call;
    struct delta_client *client = context;
    tell_connection(client, true);
    log_print_in(DELTA_SPANS(client), LOG_INFO, DELTA_LOG_TARGET, "Stream established");
}

static void send_first_request(struct delta_client *client, size_t index)
{
    struct watched_type *type = &client->types[index];
    size_t count = 0, position = 0;
    void *value;
    struct bytes name;
    struct bytes *pending = memory_allocate((hash_map_count(type->pending) + 1) * sizeof *pending);
    while (hash_map_next(type->pending, &position, &name, &value)) {
        if (!version_table_has(type->held, name)) {
            pending[count++] = name;
        }
    }
    const struct delta_first_request request = { .node = client->settings.node,
        .type_url = client->settings.types[index].type_url,
        .is_on_demand = client->settings.types[index].is_on_demand,
        .held = type->held,
        .pending = pending,
        .pending_count = count };
    struct writer message = writer_growing();
    type->sweeps_left_out = delta_first_request_write(&request, &message);
    grpc_call_send(client->call, writer_bytes(&message));
    writer_free(&message);
    memory_free(pending);
}

static void start_call(struct delta_client *client, const struct grpc_metadata *metadata, size_t count)
{
    const struct grpc_call_settings settings = {
        .path = METHOD_PATH,
        .metadata = metadata,
        .metadata_count = count,
        .message_maximum_bytes = DELTA_RESPONSE_MAXIMUM_BYTES,
        .context = client,
        .on_opened = on_opened,
        .on_message_part = on_message_part,
        .on_end = on_end,
    };
    client->attempt++;
    client->call = grpc_call_start(client->channel, &settings);
    for (size_t i = 0; i < client->settings.type_count; i++) {
        send_first_request(client, i);
    }
}

/* The root file cannot be read, or the like. The contract has no wait here; without one a missing file would cost a CPU. */
static void local_failure(struct delta_client *client, const struct result *failure)
{
    struct writer text = writer_growing();
    client->backoff_ms = BACKOFF_LEAST_MS;
    writer_add_string(&text, failure->message);
    static struct log_limit limit;
    uint64_t dropped;
    if (log_limit_allows(&limit, 1, &dropped)) {
        log_failure(client, LOG_WARN, "XDS client error: ", &text, BACKOFF_LEAST_MS);
    }
    writer_free(&text);
    retry_after(client, BACKOFF_LEAST_MS, DELTA_ERROR);
}

static void connect_stream(struct delta_client *client)
{
    struct result ready =
        control_plane_channel(client->loop, client->pool, &client->settings.control_plane, &client->channel);
    if (!result_is_ok(&ready)) {
        local_failure(client, &ready);
        return;
    }
    struct arena arena = { 0 };
    struct grpc_metadata *metadata;
    size_t count;
    struct result authorised = control_plane_metadata(&client->settings.control_plane, &arena, &metadata, &count);
    if (result_is_ok(&authorised)) {
        start_call(client, metadata, count);
        control_plane_metadata_wipe(&client->settings.control_plane, metadata);
    } else {
        const struct grpc_end end = { .status = GRPC_UNAUTHENTICATED, .message = authorised.message };
        drop_stream(client);
        connection_failed(client, &end);
    }
    arena_free(&arena);
}

static void on_retry(struct timer *timer)
{
    connect_stream(CONTAINER_OF(timer, struct delta_client, retry));
}

struct delta_client *delta_client_new(
    struct loop *loop, struct buffer_pool *pool, const struct delta_client_settings *settings)
{
    struct delta_client *client = NEW(struct delta_client);
    client->loop = loop;
    client->pool = pool;
    client->settings = *settings;
    if (client->settings.type_count > DELTA_TYPES_MAXIMUM) {
        client->settings.type_count = DELTA_TYPES_MAXIMUM;
    }
    client->node = memory_allocate(settings->node.length);
    memcpy(client->node, settings->node.data, settings->node.length);
    client->settings.node = bytes_of(client->node, settings->node.length);
    client->retry.on_expire = on_retry;
    client->backoff_ms = BACKOFF_LEAST_MS;
    client->nack = writer_growing();
    for (size_t i = 0; i < client->settings.type_count; i++) {
        client->types[i].held = version_table_new();
        client->types[i].pending = hash_map_new();
    }
    return client;
}

void delta_client_start(struct delta_client *client)
{
    if (client->call == NULL && !timer_is_armed(&client->retry)) {
        connect_stream(client);
    }
}

void delta_client_free(struct delta_client *client)
{
    if (client == NULL) {
        return;
    }
    timer_disarm(&client->retry);
    drop_stream(client);
    for (size_t i = 0; i < client->settings.type_count; i++) {
        size_t position = 0;
        void *value;
        struct bytes name;
        while (hash_map_next(client->types[i].pending, &position, &name, &value)) {
            delta_pending_answer(value);
        }
        hash_map_free(client->types[i].pending, NULL);
        version_table_free(client->types[i].held);
    }
    writer_free(&client->nack);
    memory_free(client->node);
    memory_free(client);
}

bool delta_client_is_connected(const struct delta_client *client)
{
    return client->is_connected;
}

size_t delta_client_resource_count(const struct delta_client *client, int type)
{
    return version_table_count(client->types[type].held);
}

static void send_subscription(struct delta_client *client, int type, struct bytes name, bool is_subscribed)
{
    if (client->call == NULL) {
        return;
    }
    struct writer message = writer_growing();
    delta_subscription_write(client->settings.types[type].type_url, name, is_subscribed, &message);
    grpc_call_send(client->call, writer_bytes(&message));
    writer_free(&message);
}

/* One that the control plane has not answered so far, and that nobody waits for any more. False: there is none. */
static bool drop_abandoned_name(struct delta_client *client, int type)
{
    struct hash_map *names = client->types[type].pending;
    size_t position = 0;
    void *value;
    struct bytes name;
    while (hash_map_next(names, &position, &name, &value)) {
        const struct pending_name *pending = value;
        if (list_is_empty(&pending->waiters) && !pending->is_answered) {
            send_subscription(client, type, name, false);
            memory_free(hash_map_remove(names, name));
            return true;
        }
    }
    return false;
}

struct result delta_client_demand(
    struct delta_client *client, int type, struct bytes name, struct delta_waiter *waiter, bool *is_held)
{
    struct watched_type *watched = &client->types[type];
    list_initialise(&waiter->link);
    struct pending_name *pending = hash_map_get(watched->pending, name);
    *is_held = pending == NULL && version_table_has(watched->held, name);
    if (*is_held) {
        return result_ok();
    }
    if (name.length == 0 || name.length > RESOURCE_NAME_MAXIMUM_BYTES) {
        return result_fail(RESULT_INVALID, "a resource name has 1 to %d bytes", RESOURCE_NAME_MAXIMUM_BYTES);
    }
    if (pending == NULL) {
        if (hash_map_count(watched->pending) >= PENDING_MAXIMUM && !drop_abandoned_name(client, type)) {
            return result_fail(RESULT_LIMIT, "%d resources are already waited for", PENDING_MAXIMUM);
        }
        pending = NEW(struct pending_name);
        list_initialise(&pending->waiters);
        hash_map_put(watched->pending, name, pending);
        send_subscription(client, type, name, true);
    }
    list_append(&pending->waiters, &waiter->link);
    return result_ok();
}

void delta_client_stop_waiting(struct delta_waiter *waiter)
{
    list_remove(&waiter->link);
}
