#include "xds/delta_client.h"

#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "net/loop.h"
#include "xds/delta_request.h"
#include "xds/delta_response.h"
#include "xds/version_table.h"

#define METHOD_PATH "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define LOG_TARGET "ztunnel::xds::client"
#define BACKOFF_LEAST_MS 10
#define BACKOFF_MOST_MS 15000
#define PENDING_MAXIMUM 4096
#define NACK_MAXIMUM_BYTES (256 * 1024)
#define TYPE_UNKNOWN (-1)

/* A name asked for on demand and not answered yet. */
struct pending_name {
    struct list waiters;
    bool is_answered; /* in the response being walked */
    bool is_found;
};

/* What is remembered of one type. */
struct watched_type {
    struct version_table *held;
    struct hash_map *pending; /* name -> struct pending_name */
    size_t answered_count;
    bool is_acknowledged; /* once, since the start of the process */
    bool sweeps_left_out; /* the next response ends with the removal of marked names */
};

struct delta_client {
    struct loop *loop;
    struct buffer_pool *pool;
    struct delta_client_settings settings;
    uint8_t *node;
    struct watched_type types[DELTA_TYPES_MAXIMUM];
    struct grpc_channel *channel;
    struct grpc_call *call; /* NULL between streams */
    struct timer retry;
    uint64_t backoff_ms;
    bool is_connected;
    bool was_ready;

    /* The response being walked. */
    bool is_walking;
    struct delta_response response;
    int type;                /* of the resources so far; TYPE_UNKNOWN before the first */
    bool has_begun;          /* the consumer was told */
    bool contradicts_itself; /* resources of two types */
    struct writer nack;
    uint32_t *touched; /* handles of versions recorded in this response, in case it is aborted */
    size_t touched_count, touched_capacity;
};

static void connect_stream(struct delta_client *client);

const char *delta_termination_name(enum delta_termination reason)
{
    static const char *const names[] = { "ConnectionError", "Reconnect", "Error", "Complete" };
    return names[reason];
}

static int find_type(const struct delta_client *client, struct bytes type_url)
{
    for (size_t i = 0; i < client->settings.type_count; i++) {
        if (bytes_equal_string(type_url, client->settings.types[i].type_url)) {
            return (int)i;
        }
    }
    return TYPE_UNKNOWN;
}

static void begin_for_consumer(struct delta_client *client, int type)
{
    client->type = type;
    if (!client->has_begun) {
        client->has_begun = true;
        client->settings.consumer.begin(client->settings.consumer.context, type);
    }
}

static void reject(struct delta_client *client, struct bytes name, const char *reason)
{
    if (client->nack.length > NACK_MAXIMUM_BYTES) {
        return;
    }
    if (client->nack.length > 0) {
        writer_add_string(&client->nack, "; ");
    }
    writer_add_bytes(&client->nack, name);
    writer_print(&client->nack, ": %s", reason);
}

static void note_answer(struct watched_type *type, struct bytes name, bool is_found)
{
    struct pending_name *pending = hash_map_get(type->pending, name);
    if (pending != NULL) {
        type->answered_count += !pending->is_answered;
        pending->is_answered = true;
        pending->is_found = is_found;
    }
}

static void remember_version(struct delta_client *client, struct bytes name, struct bytes version)
{
    if (client->touched_count == client->touched_capacity) {
        client->touched_capacity = client->touched_capacity * 2 + 64;
        client->touched = memory_resize(client->touched, client->touched_capacity, sizeof *client->touched);
    }
    client->touched[client->touched_count++] = version_table_put(client->types[client->type].held, name, version);
}

/* Why a resource cannot even be shown to the consumer; NULL: it can. */
static const char *refusal_of(const struct delta_wire_resource *resource)
{
    if (resource->is_too_large) {
        return "decode: resource is larger than 4 MiB";
    }
    if (resource->name.length == 0 || resource->name.length > RESOURCE_NAME_MAXIMUM_BYTES) {
        return "decode: resource name is empty or longer than 4096 bytes";
    }
    return resource->has_payload ? NULL : "XDS payload without resource";
}

static void on_resource(void *context, const struct delta_wire_resource *resource)
{
    struct delta_client *client = context;
    const struct delta_consumer *consumer = &client->settings.consumer;
    const char *refusal = refusal_of(resource);
    if (refusal != NULL) {
        reject(client, resource->name, refusal);
        return;
    }
    int type = find_type(client, resource->type_url);
    if (type == TYPE_UNKNOWN) {
        return;
    }
    if (client->has_begun && client->type != type) {
        client->contradicts_itself = true;
        return;
    }
    begin_for_consumer(client, type);
    const struct delta_resource shown = { resource->name, resource->version, resource->value };
    struct result applied = consumer->update(consumer->context, type, &shown);
    if (result_is_ok(&applied)) {
        remember_version(client, resource->name, resource->version);
    } else {
        version_table_unmark(client->types[type].held, resource->name);
        reject(client, resource->name, applied.message);
    }
    note_answer(&client->types[type], resource->name, result_is_ok(&applied));
}

static void begin_response(struct delta_client *client)
{
    client->is_walking = true;
    client->response = delta_response_of(on_resource, client);
    client->type = TYPE_UNKNOWN;
    client->has_begun = false;
    client->contradicts_itself = false;
    writer_clear(&client->nack);
    client->touched_count = 0;
}

static void end_response(struct delta_client *client)
{
    delta_response_clear(&client->response);
    client->is_walking = false;
    memory_free(client->touched);
    client->touched = NULL;
    client->touched_count = client->touched_capacity = 0;
}

/* What the consumer was shown is not to be published; its versions must not be claimed on the next stream. */
static void abort_response(struct delta_client *client)
{
    if (!client->is_walking) {
        return;
    }
    if (client->has_begun) {
        struct watched_type *type = &client->types[client->type];
        for (size_t i = 0; i < client->touched_count; i++) {
            version_table_forget_version(type->held, client->touched[i]);
        }
        size_t position = 0;
        void *value;
        struct bytes name;
        while (hash_map_next(type->pending, &position, &name, &value)) {
            ((struct pending_name *)value)->is_answered = false;
        }
        type->answered_count = 0;
        client->settings.consumer.abort(client->settings.consumer.context, client->type);
    }
    end_response(client);
}

static void remove_one(struct delta_client *client, struct bytes name)
{
    struct watched_type *type = &client->types[client->type];
    const struct delta_consumer *consumer = &client->settings.consumer;
    bool is_pending = hash_map_get(type->pending, name) != NULL;
    bool was_held = version_table_remove(type->held, name);
    note_answer(type, name, false);
    /* On demand "not found" is said as a removal of what was never held. */
    if (was_held || !is_pending) {
        consumer->remove(consumer->context, client->type, name);
    }
}

static void apply_removals(struct delta_client *client)
{
    struct cursor cursor = cursor_of(writer_bytes(&client->response.removed));
    struct bytes name;
    while (delta_response_next_removed(&cursor, &name)) {
        remove_one(client, name);
    }
}

/* Names that did not fit into the reconnect's request and that its first response did not contain are gone. */
static void sweep_left_out(struct delta_client *client)
{
    struct watched_type *type = &client->types[client->type];
    if (!type->sweeps_left_out) {
        return;
    }
    type->sweeps_left_out = false;
    uint32_t position = 0;
    struct version_entry entry;
    while (version_table_next(type->held, &position, &entry)) {
        if (entry.is_marked) {
            uint8_t copy[RESOURCE_NAME_MAXIMUM_BYTES];
            struct bytes name = bytes_of(copy, entry.name.length);
            memcpy(copy, entry.name.data, entry.name.length);
            remove_one(client, name);
        }
    }
}

static void answer_waiters(struct pending_name *pending)
{
    struct list *link;
    while ((link = list_take_first(&pending->waiters)) != NULL) {
        struct delta_waiter *waiter = LIST_ENTRY(link, struct delta_waiter, link);
        waiter->on_answer(waiter, pending->is_found);
    }
    memory_free(pending);
}

/* After the commit: whoever is answered reads the new version. */
static void answer_pending(struct watched_type *type)
{
    size_t position = 0;
    struct bytes name;
    void *value;
    struct list answered;
    if (type->answered_count == 0) {
        return;
    }
    type->answered_count = 0;
    list_initialise(&answered);
    struct pending_name **due = memory_allocate(hash_map_count(type->pending) * sizeof *due);
    size_t count = 0;
    while (hash_map_next(type->pending, &position, &name, &value)) {
        if (((struct pending_name *)value)->is_answered) {
            due[count++] = value;
            hash_map_remove(type->pending, name);
        }
    }
    for (size_t i = 0; i < count; i++) {
        answer_waiters(due[i]);
    }
    memory_free(due);
}

static void send_acknowledgement(struct delta_client *client)
{
    struct writer message = writer_growing();
    struct bytes type_url = writer_bytes(&client->response.type_url);
    struct bytes nonce = writer_bytes(&client->response.nonce);
    delta_acknowledgement_write(type_url, nonce, writer_bytes(&client->nack), &message);
    grpc_call_send(client->call, writer_bytes(&message));
    writer_free(&message);
    bool is_nack = client->nack.length > 0;
    LOG_EVENT(is_nack ? LOG_ERROR : LOG_DEBUG, LOG_TARGET, is_nack ? "sending response" : "sending acknowledgement",
        LOG_DISPLAY("type_url", writer_string(&client->response.type_url)),
        LOG_DISPLAY("nonce", writer_string(&client->response.nonce)), LOG_DISPLAY("type", is_nack ? "NACK" : "ACK"),
        LOG_STRING("error", is_nack ? writer_string(&client->nack) : NULL));
}

static void note_readiness(struct delta_client *client, int type)
{
    client->types[type].is_acknowledged = true;
    for (size_t i = 0; i < client->settings.type_count; i++) {
        if (!client->types[i].is_acknowledged) {
            return;
        }
    }
    if (!client->was_ready) {
        client->was_ready = true;
        if (client->settings.consumer.on_ready != NULL) {
            client->settings.consumer.on_ready(client->settings.consumer.context);
        }
    }
}

/* The whole response is here. */
static void complete_response(struct delta_client *client)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    int type = find_type(client, writer_bytes(&client->response.type_url));
    if (consumer->on_response != NULL) {
        consumer->on_response(consumer->context, writer_string(&client->response.type_url), client->response.bytes);
    }
    if (type == TYPE_UNKNOWN) {
        log_print(LOG_ERROR, LOG_TARGET, "unknown type %s", writer_string(&client->response.type_url));
        writer_clear(&client->nack);
        send_acknowledgement(client);
        abort_response(client);
        return;
    }
    if (client->contradicts_itself || (client->has_begun && client->type != type)) {
        reject(
            client, writer_bytes(&client->response.type_url), "decode: the response carries resources of another type");
        send_acknowledgement(client);
        abort_response(client);
        return;
    }
    begin_for_consumer(client, type);
    apply_removals(client);
    sweep_left_out(client);
    consumer->commit(consumer->context, type);
    send_acknowledgement(client);
    end_response(client);
    version_table_tidy(client->types[type].held);
    answer_pending(&client->types[type]);
    note_readiness(client, type);
}

static void drop_stream(struct delta_client *client)
{
    abort_response(client);
    if (client->call != NULL) {
        grpc_call_cancel(client->call);
        client->call = NULL;
    }
    grpc_channel_free(client->channel);
    client->channel = NULL;
    client->is_connected = false;
}

static void retry_after(struct delta_client *client, uint64_t delay_ms, enum delta_termination reason)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    if (consumer->on_termination != NULL) {
        consumer->on_termination(consumer->context, reason);
    }
    timer_arm_after_ms(client->loop, &client->retry, delay_ms);
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
    (void)client;
    delta_delay_write(delay_ms, &delay);
    log_print(level, LOG_TARGET, "%s%s, retrying in %s", what, writer_string(status), writer_string(&delay));
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
        log_print(LOG_WARN, LOG_TARGET, "XDS client complete");
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
    (void)call;
    (void)message_bytes;
    struct delta_client *client = context;
    if (!client->is_walking) {
        begin_response(client);
    }
    struct result fed = delta_response_feed(&client->response, part);
    if (result_is_ok(&fed) && is_last) {
        fed = delta_response_end(&client->response);
    }
    if (!result_is_ok(&fed)) {
        fail_stream(client, &fed);
    } else if (is_last) {
        complete_response(client);
    }
}

static void on_opened(struct grpc_call *call, void *context)
{
    (void)call;
    struct delta_client *client = context;
    client->is_connected = true;
    log_print(LOG_INFO, LOG_TARGET, "Stream established");
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
            answer_waiters(value);
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
        if (hash_map_count(watched->pending) >= PENDING_MAXIMUM) {
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

void delta_client_release(struct delta_client *client, int type, struct bytes name)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    send_subscription(client, type, name, false);
    if (client->is_walking) {
        /* One change at a time: the open response takes the removal along. */
        delta_response_add_removed(&client->response, name);
        return;
    }
    if (version_table_remove(client->types[type].held, name)) {
        consumer->begin(consumer->context, type);
        consumer->remove(consumer->context, type, name);
        consumer->commit(consumer->context, type);
    }
}
