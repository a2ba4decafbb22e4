#include "base/log.h"
#include "base/memory.h"
#include "xds/delta_client_state.h"
#include "xds/delta_request.h"

#define NACK_MAXIMUM_BYTES (256 * 1024)
#define TYPE_UNKNOWN (-1)

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
    client->rejected_count++;
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

static void remember_version(struct delta_client *client, struct bytes name, struct bytes version, uint64_t fingerprint)
{
    if (client->touched_count == client->touched_capacity) {
        client->touched_capacity = client->touched_capacity * 2 + 64;
        client->touched = memory_resize(client->touched, client->touched_capacity, sizeof *client->touched);
    }
    client->touched[client->touched_count++] =
        version_table_put(client->types[client->type].held, name, version, fingerprint);
}

/* Who asked by address is answered by a resource of another name, of which the address is an alias. */
static void note_answers(struct delta_client *client, const struct delta_wire_resource *resource, bool is_found)
{
    struct watched_type *type = &client->types[client->type];
    struct bytes alias;
    if (hash_map_count(type->pending) == 0) {
        return;
    }
    note_answer(type, resource->name, is_found);
    for (struct cursor cursor = cursor_of(resource->message); delta_wire_resource_next_alias(&cursor, &alias);) {
        note_answer(type, alias, is_found);
    }
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

/* Its type may be unknown: it is there, as far as the sweep is concerned, and whoever waits for it gets nothing. */
static void note_unread(struct delta_client *client, struct bytes name)
{
    for (size_t i = 0; i < client->settings.type_count; i++) {
        version_table_unmark(client->types[i].held, name);
        note_answer(&client->types[i], name, false);
    }
}

static bool has_no_room(const struct version_table *held, struct bytes name)
{
    bool is_full = version_table_count(held) >= DELTA_RESOURCES_MAXIMUM || version_table_is_full(held);
    return is_full && !version_table_has(held, name);
}

static void on_resource(void *context, const struct delta_wire_resource *resource)
{
    struct delta_client *client = context;
    const struct delta_consumer *consumer = &client->settings.consumer;
    client->value_bytes += resource->value.length;
    const char *refusal = refusal_of(resource);
    if (refusal != NULL) {
        reject(client, resource->name, refusal);
        note_unread(client, resource->name);
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
    if (has_no_room(client->types[type].held, resource->name)) {
        reject(client, resource->name, "decode: 1000000 resources, or 128 MiB of their names, are held already");
        note_unread(client, resource->name);
        return;
    }
    begin_for_consumer(client, type);
    /* A control plane that starts again sends everything; what is already applied need not be decoded again. */
    uint64_t fingerprint = client->settings.types[type].skips_unchanged ? hash_bytes(resource->value) : 0;
    if (version_table_put_unchanged(client->types[type].held, resource->name, resource->version, fingerprint)) {
        note_answers(client, resource, true);
        return;
    }
    const struct delta_resource shown = { resource->name, resource->version, resource->value };
    struct result applied = consumer->update(consumer->context, type, &shown);
    if (result_is_ok(&applied)) {
        remember_version(client, resource->name, resource->version, fingerprint);
    } else {
        version_table_unmark(client->types[type].held, resource->name);
        reject(client, resource->name, applied.message);
    }
    note_answers(client, resource, result_is_ok(&applied));
}

void delta_walk_begin(struct delta_client *client)
{
    client->is_walking = true;
    client->response = delta_response_of(on_resource, client);
    client->type = TYPE_UNKNOWN;
    client->has_begun = false;
    client->contradicts_itself = false;
    writer_clear(&client->nack);
    client->rejected_count = 0;
    client->value_bytes = 0;
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
void delta_walk_abort(struct delta_client *client)
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

void delta_pending_answer(struct pending_name *pending)
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
        delta_pending_answer(due[i]);
    }
    memory_free(due);
}

static void tell_response(const struct delta_client *client, const char *type_url)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    if (consumer->on_response != NULL) {
        consumer->on_response(consumer->context, type_url, client->value_bytes, client->rejected_count);
    }
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
    tell_response(client, writer_string(&client->response.type_url));
    LOG_EVENT_IN(DELTA_SPANS(client), is_nack ? LOG_ERROR : LOG_DEBUG, DELTA_LOG_TARGET,
        is_nack ? "sending response" : "sending acknowledgement",
        LOG_DISPLAY("type_url", writer_string(&client->response.type_url)),
        LOG_DISPLAY("nonce", writer_string(&client->response.nonce)), LOG_DISPLAY("type", is_nack ? "NACK" : "ACK"),
        LOG_STRING("error", is_nack ? writer_string(&client->nack) : NULL));
}

static void note_readiness(struct delta_client *client, int type)
{
    client->types[type].is_acknowledged = true;
    for (size_t i = 0; i < client->settings.type_count; i++) {
        if (!client->types[i].is_acknowledged && !client->settings.types[i].is_on_demand) {
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
void delta_walk_complete(struct delta_client *client)
{
    const struct delta_consumer *consumer = &client->settings.consumer;
    int type = find_type(client, writer_bytes(&client->response.type_url));
    if (type == TYPE_UNKNOWN) {
        log_print_in(DELTA_SPANS(client), LOG_ERROR, DELTA_LOG_TARGET, "unknown type %s",
            writer_string(&client->response.type_url));
        writer_clear(&client->nack);
        send_acknowledgement(client);
        delta_walk_abort(client);
        return;
    }
    if (client->contradicts_itself || (client->has_begun && client->type != type)) {
        reject(
            client, writer_bytes(&client->response.type_url), "decode: the response carries resources of another type");
        send_acknowledgement(client);
        delta_walk_abort(client);
        return;
    }
    begin_for_consumer(client, type);
    apply_removals(client);
    sweep_left_out(client);
    consumer->commit(consumer->context, type);
    bool is_accepted = client->nack.length == 0;
    send_acknowledgement(client);
    end_response(client);
    version_table_tidy(client->types[type].held);
    answer_pending(&client->types[type]);
    if (is_accepted) {
        note_readiness(client, type);
    }
}
