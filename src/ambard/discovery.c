#include "ambard/discovery_state.h"

#include "ambard/discovery_response.h"
#include "ambard/metrics.h"
#include "ambard/service_node.h"
#include "base/clock.h"
#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "xds/discovery_request.h"

#include <stdlib.h>

#define DISCOVERY_TARGET "ambard::discovery"
#define NAMES_MAXIMUM 200000 /* subscriptions of one stream */
#define TYPES_MAXIMUM 16     /* types of one stream that are not ours and are answered with nothing */

const char DISCOVERY_DELTA_PATH[] = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";

const struct watched_type_names DISCOVERY_TYPES[WATCH_COUNT] = {
    [WATCH_ADDRESS] = { "type.googleapis.com/istio.workload.Address", "wds" },
    [WATCH_WORKLOAD] = { "type.googleapis.com/istio.workload.Workload", "workload" },
    [WATCH_AUTHORIZATION] = { "type.googleapis.com/istio.security.Authorization", "wads" },
};

static char PRESENT[] = ""; /* the value of a set's members: only that it is not NULL matters */

struct discovery *discovery_new(const struct discovery_settings *settings)
{
    struct discovery *discovery = NEW(struct discovery);
    discovery->settings = *settings;
    list_initialise(&discovery->streams);
    return discovery;
}

void discovery_free(struct discovery *discovery)
{
    memory_free(discovery);
}

static void refuse(struct discovery_stream *stream, enum grpc_status status, const char *message, const char *reason)
{
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    static struct log_limit limit;
    uint64_t dropped;
    ambard_count(stream->discovery->settings.metrics, METRIC_STREAMS_REFUSED, grpc_status_name(status));
    if (log_limit_allows(&limit, 10, &dropped)) {
        LOG_EVENT(LOG_WARN, DISCOVERY_TARGET, "stream refused",
            LOG_DISPLAY("peer", socket_address_format(grpc_server_call_peer(stream->call), peer)),
            LOG_STRING("reason", reason), LOG_NUMBER("dropped", dropped));
    }
    grpc_server_call_finish(stream->call, status, message);
}

void discovery_on_start(struct grpc_server_call *call, struct discovery *discovery)
{
    struct discovery_stream *stream = NEW(struct discovery_stream);
    stream->discovery = discovery;
    stream->call = call;
    stream->connected_at_s = clock_wall_s();
    list_append(&discovery->streams, &stream->link);
    grpc_server_call_set_data(call, stream);
    ambard_set(discovery->settings.metrics, METRIC_CONNECTED, (int64_t)++discovery->stream_count);
    if (!grpc_server_call_is_encrypted(call)) {
        return; /* 15010, loopback only: unauthenticated as upstream's */
    }
    struct result caller = caller_authenticate(discovery->settings.callers, call, &stream->claims);
    if (!result_is_ok(&caller)) {
        refuse(stream, GRPC_UNAUTHENTICATED, "authentication failure", caller.message);
    }
}

/* What a resource of the index has to do with a watched type. */
static bool is_of_type(enum watched_type type, const struct ambient_resource *resource)
{
    switch (type) {
    case WATCH_ADDRESS:
        return resource->type != AMBIENT_AUTHORIZATION;
    case WATCH_WORKLOAD:
        return resource->type == AMBIENT_WORKLOAD;
    case WATCH_AUTHORIZATION:
        return resource->type == AMBIENT_AUTHORIZATION;
    case WATCH_COUNT:
        break;
    }
    return false;
}

static const struct ambient_resource *find(const struct discovery *discovery, enum watched_type type, const char *name)
{
    enum ambient_resource_type wanted = type == WATCH_AUTHORIZATION ? AMBIENT_AUTHORIZATION : AMBIENT_WORKLOAD;
    const struct ambient_resource *resource = ambient_index_get(discovery->settings.index, wanted, name);
    return resource != NULL && is_of_type(type, resource) ? resource : NULL;
}

static struct discovery_response begin_response(struct discovery_stream *stream, enum watched_type type)
{
    struct discovery_response response;
    discovery_response_begin(&response, DISCOVERY_TYPES[type].url, ++stream->discovery->counter);
    response.is_bare_workload = type == WATCH_WORKLOAD;
    response.has_aliases = type != WATCH_AUTHORIZATION && !stream->watches[type].is_wildcard;
    return response;
}

static void send_response(struct discovery_stream *stream, enum watched_type type, struct discovery_response *response)
{
    struct watch *watch = &stream->watches[type];
    memory_free(watch->nonce);
    struct writer message = discovery_response_finish(response, stream->discovery->counter, &watch->nonce);
    watch->is_acknowledged = false;
    watch->sent_at_s = clock_wall_s();
    ambard_count(stream->discovery->settings.metrics, METRIC_PUSHES, DISCOVERY_TYPES[type].short_name);
    LOG_EVENT(LOG_DEBUG, DISCOVERY_TARGET, "push", LOG_STRING("type", DISCOVERY_TYPES[type].short_name),
        LOG_STRING("node", stream->node_id), LOG_NUMBER("resources", response->resource_count),
        LOG_NUMBER("removed", response->removed_count), LOG_NUMBER("bytes", message.length));
    if (watch->unsent.length > 0) {
        /* It asks faster than it reads. */
        writer_free(&message);
        refuse(
            stream, GRPC_RESOURCE_EXHAUSTED, "too many requests before the answers were read", "client does not read");
    } else if (!grpc_server_call_send_taking(stream->call, &message)) {
        watch->unsent = message;
    }
}

static bool send_unsent(struct discovery_stream *stream, struct watch *watch)
{
    return watch->unsent.length == 0 || grpc_server_call_send_taking(stream->call, &watch->unsent);
}

/* On demand, whatever is sent is subscribed to from then on. */
static void add_resource(struct discovery_stream *stream, enum watched_type type, struct discovery_response *response,
    const struct ambient_resource *resource)
{
    if (!stream->watches[type].is_wildcard) {
        hash_map_put(stream->watches[type].names, bytes_of_string(resource->name), PRESENT);
    }
    discovery_response_add(response, resource);
}

static int compare_texts(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* Sends what is pending, as it is now: present names as resources, absent ones as removed. */
static void flush(struct discovery_stream *stream, enum watched_type type)
{
    struct watch *watch = &stream->watches[type];
    size_t count = hash_map_count(watch->pending);
    if (!send_unsent(stream, watch) || count == 0 || !grpc_server_call_is_writable(stream->call)) {
        return;
    }
    struct discovery_response response = begin_response(stream, type);
    const char **removed = memory_allocate_zeroed(count, sizeof *removed);
    size_t removed_count = 0;
    struct arena names = { 0 };
    size_t position = 0;
    struct bytes name;
    void *value;
    while (hash_map_next(watch->pending, &position, &name, &value)) {
        const char *text = arena_string_bytes(&names, name);
        const struct ambient_resource *resource = find(stream->discovery, type, text);
        if (resource != NULL) {
            add_resource(stream, type, &response, resource);
        } else {
            removed[removed_count++] = text;
        }
    }
    if (removed_count > 0) {
        qsort(removed, removed_count, sizeof *removed, compare_texts);
    }
    for (size_t i = 0; i < removed_count; i++) {
        discovery_response_remove(&response, removed[i]);
    }
    hash_map_free(watch->pending, NULL);
    watch->pending = hash_map_new();
    send_response(stream, type, &response);
    memory_free(removed);
    arena_free(&names);
}

/* Everything, minus what the client already has (§10.3 rule 7); policies are always sent whole (rule 10). */
static void answer_wildcard(
    struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    const struct ambient_index *index = stream->discovery->settings.index;
    struct hash_map *claimed = hash_map_new();
    for (size_t i = 0; i < request->initial_count; i++) {
        hash_map_put(
            claimed, bytes_of_string(request->initial[i].name), (void *)(uintptr_t)request->initial[i].version);
    }
    struct discovery_response response = begin_response(stream, type);
    static const enum ambient_resource_type KINDS[] = { AMBIENT_WORKLOAD, AMBIENT_SERVICE, AMBIENT_AUTHORIZATION };
    for (size_t kind = 0; kind < ARRAY_LENGTH(KINDS); kind++) {
        struct ambient_resource_list list = ambient_index_list(index, KINDS[kind]);
        for (size_t i = 0; i < list.count && is_of_type(type, list.items[i]); i++) {
            const char *version = hash_map_get(claimed, bytes_of_string(list.items[i]->name));
            bool is_known =
                type != WATCH_AUTHORIZATION && version != NULL && strcmp(version, list.items[i]->version) == 0;
            if (!is_known) {
                add_resource(stream, type, &response, list.items[i]);
            }
        }
    }
    for (size_t i = 0; i < request->initial_count; i++) {
        if (find(stream->discovery, type, request->initial[i].name) == NULL) {
            discovery_response_remove(&response, request->initial[i].name);
        }
    }
    hash_map_free(claimed, NULL);
    hash_map_free(stream->watches[type].pending, NULL);
    stream->watches[type].pending = hash_map_new();
    send_response(stream, type, &response);
}

static void add_once(struct discovery_stream *stream, enum watched_type type, struct discovery_response *response,
    struct hash_map *added, const struct ambient_resource *resource)
{
    if (is_of_type(type, resource) && hash_map_put(added, bytes_of_string(resource->name), PRESENT) == NULL) {
        add_resource(stream, type, response, resource);
    }
}

/* A service brings all its workloads. */
static void add_with_workloads(struct discovery_stream *stream, enum watched_type type,
    struct discovery_response *response, struct hash_map *added, const struct ambient_resource *resource)
{
    add_once(stream, type, response, added, resource);
    if (resource->type != AMBIENT_SERVICE) {
        return;
    }
    struct ambient_resource_list list =
        ambient_index_workloads_of_service(stream->discovery->settings.index, resource->name);
    for (size_t i = 0; i < list.count; i++) {
        add_once(stream, type, response, added, list.items[i]);
    }
}

/* A uid or "namespace/hostname", else "network/ip". False: unknown. */
static bool add_named(struct discovery_stream *stream, enum watched_type type, struct discovery_response *response,
    struct hash_map *added, const char *name)
{
    const struct ambient_resource *resource = find(stream->discovery, type, name);
    if (resource != NULL) {
        add_with_workloads(stream, type, response, added, resource);
        return true;
    }
    struct ambient_resource_list list = ambient_index_at_alias(stream->discovery->settings.index, name);
    for (size_t i = 0; i < list.count; i++) {
        add_with_workloads(stream, type, response, added, list.items[i]);
    }
    return list.count > 0;
}

static void answer_on_demand(
    struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    struct discovery_response response = begin_response(stream, type);
    struct hash_map *added = hash_map_new();
    for (size_t i = 0; i < request->subscribe_count; i++) {
        const char *name = request->subscribe[i];
        if (strcmp(name, "*") != 0 && !add_named(stream, type, &response, added, name)) {
            discovery_response_remove(&response, name);
        }
    }
    /* The node's own workloads are always wanted; those not yet sent come along. */
    struct ambient_resource_list local =
        ambient_index_workloads_on_node(stream->discovery->settings.index, stream->node_name);
    for (size_t i = 0; stream->node_name[0] != '\0' && i < local.count; i++) {
        if (hash_map_get(stream->watches[type].names, bytes_of_string(local.items[i]->name)) == NULL) {
            add_once(stream, type, &response, added, local.items[i]);
        }
    }
    for (size_t i = 0; i < request->initial_count; i++) {
        if (find(stream->discovery, type, request->initial[i].name) == NULL) {
            discovery_response_remove(&response, request->initial[i].name);
        }
    }
    hash_map_free(added, NULL);
    send_response(stream, type, &response);
}

/* Adds and removes names (§10.3 rule 2). True when the set has changed. */
static bool apply_subscriptions(struct watch *watch, const struct discovery_request *request, bool *has_star)
{
    bool has_changed = false;
    *has_star = false;
    for (size_t i = 0; i < request->subscribe_count; i++) {
        if (strcmp(request->subscribe[i], "*") == 0) {
            *has_star = true;
        } else if (hash_map_count(watch->names) < NAMES_MAXIMUM) {
            has_changed |= hash_map_put(watch->names, bytes_of_string(request->subscribe[i]), PRESENT) == NULL;
        }
    }
    for (size_t i = 0; i < request->initial_count && hash_map_count(watch->names) < NAMES_MAXIMUM; i++) {
        hash_map_put(watch->names, bytes_of_string(request->initial[i].name), PRESENT);
    }
    for (size_t i = 0; i < request->unsubscribe_count; i++) {
        if (strcmp(request->unsubscribe[i], "*") == 0) {
            *has_star = false;
        } else {
            hash_map_remove(watch->names, bytes_of_string(request->unsubscribe[i]));
        }
    }
    return has_changed;
}

static void answer(struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    if (stream->watches[type].is_wildcard) {
        answer_wildcard(stream, type, request);
    } else {
        answer_on_demand(stream, type, request);
    }
}

static void handle_first(
    struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    struct watch *watch = &stream->watches[type];
    watch->is_watched = true;
    watch->names = hash_map_new();
    watch->pending = hash_map_new();
    bool has_star;
    apply_subscriptions(watch, request, &has_star);
    watch->is_wildcard = has_star || request->subscribe_count == 0 || type == WATCH_AUTHORIZATION;
    LOG_EVENT(LOG_INFO, DISCOVERY_TARGET, "watch", LOG_STRING("type", DISCOVERY_TYPES[type].short_name),
        LOG_STRING("node", stream->node_id), LOG_BOOL("wildcard", watch->is_wildcard),
        LOG_NUMBER("held", request->initial_count));
    answer(stream, type, request);
}

static void note_refusal(
    struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    ambard_count(stream->discovery->settings.metrics, METRIC_REJECTS, DISCOVERY_TYPES[type].short_name);
    LOG_EVENT(LOG_WARN, DISCOVERY_TARGET, "client refused a response",
        LOG_STRING("type", DISCOVERY_TYPES[type].short_name), LOG_STRING("node", stream->node_id),
        LOG_STRING("error", request->refusal));
}

static void handle(struct discovery_stream *stream, enum watched_type type, const struct discovery_request *request)
{
    struct watch *watch = &stream->watches[type];
    if (request->is_refusal) {
        note_refusal(stream, type, request);
        if (watch->is_watched) {
            return;
        }
    }
    if (!watch->is_watched) {
        handle_first(stream, type, request);
        return;
    }
    if (request->nonce[0] != '\0' && (watch->nonce == NULL || strcmp(request->nonce, watch->nonce) != 0)) {
        ambard_count(stream->discovery->settings.metrics, METRIC_EXPIRED_NONCES, DISCOVERY_TYPES[type].short_name);
        return;
    }
    watch->is_acknowledged |= request->nonce[0] != '\0';
    bool has_star;
    bool has_changed = apply_subscriptions(watch, request, &has_star);
    if (has_changed || (watch->is_wildcard && (request->subscribe_count > 0 || request->unsubscribe_count > 0))) {
        answer(stream, type, request);
    }
}

/* A type we do not serve is answered with nothing, once, as a client may wait for it. */
static void handle_foreign(struct discovery_stream *stream, const struct discovery_request *request)
{
    if (request->nonce[0] != '\0' || stream->foreign_types++ >= TYPES_MAXIMUM) {
        return;
    }
    struct discovery_response response;
    char *nonce;
    discovery_response_begin(&response, request->type_url, ++stream->discovery->counter);
    struct writer message = discovery_response_finish(&response, stream->discovery->counter, &nonce);
    if (!grpc_server_call_send_taking(stream->call, &message)) {
        writer_free(&message);
    }
    memory_free(nonce);
}

/* The first request says who this is, and the caller must be that (§6.1). */
static bool accept_node(struct discovery_stream *stream, const struct discovery_request *request)
{
    if (!request->has_node || request->node_id[0] == '\0') {
        refuse(stream, GRPC_INVALID_ARGUMENT, "missing node information", "first request without a node");
        return false;
    }
    struct result checked = service_node_check(request->node_id, request->instance_ips);
    if (!result_is_ok(&checked)) {
        refuse(stream, GRPC_INVALID_ARGUMENT, checked.message, checked.message);
        return false;
    }
    const struct token_claims *claims = &stream->claims;
    bool is_other_namespace = claims->namespace_ != NULL && strcmp(claims->namespace_, request->node_namespace) != 0;
    bool is_other_account = claims->service_account != NULL && request->node_service_account[0] != '\0' &&
                            strcmp(claims->service_account, request->node_service_account) != 0;
    if (is_other_namespace || is_other_account) {
        char *message AUTO_FREE = string_format("authorization failed: no identities (%s/%s) matched %.200s/%.200s",
            claims->namespace_, claims->service_account, request->node_namespace, request->node_service_account);
        refuse(stream, GRPC_PERMISSION_DENIED, message, message);
        return false;
    }
    stream->has_node = true;
    stream->node_id = string_duplicate(request->node_id);
    stream->istio_version = string_duplicate(request->istio_version);
    stream->cluster_id = string_duplicate(request->cluster_id);
    /* The token's node is proven, the metadata's is only said. */
    stream->node_name = string_duplicate(claims->node != NULL ? claims->node : request->node_name);
    return true;
}

void discovery_on_message(struct grpc_server_call *call, struct bytes message)
{
    struct discovery_stream *stream = grpc_server_call_data(call);
    struct arena arena = { 0 };
    struct discovery_request request;
    struct result decoded = discovery_request_decode(message, &arena, &request);
    if (!result_is_ok(&decoded)) {
        refuse(stream, GRPC_INVALID_ARGUMENT, decoded.message, decoded.message);
    } else if (stream->has_node || accept_node(stream, &request)) {
        enum watched_type type = 0;
        while (type < WATCH_COUNT && strcmp(DISCOVERY_TYPES[type].url, request.type_url) != 0) {
            type++;
        }
        if (type < WATCH_COUNT) {
            handle(stream, type, &request);
        } else {
            handle_foreign(stream, &request);
        }
    }
    arena_free(&arena);
}

void discovery_on_end_of_messages(struct grpc_server_call *call)
{
    grpc_server_call_finish(call, GRPC_OK, "");
}

void discovery_on_writable(struct grpc_server_call *call)
{
    struct discovery_stream *stream = grpc_server_call_data(call);
    for (enum watched_type type = 0; type < WATCH_COUNT; type++) {
        if (stream->watches[type].is_watched) {
            flush(stream, type);
        }
    }
}

void discovery_on_closed(struct grpc_server_call *call)
{
    struct discovery_stream *stream = grpc_server_call_data(call);
    for (enum watched_type type = 0; type < WATCH_COUNT; type++) {
        hash_map_free(stream->watches[type].names, NULL);
        hash_map_free(stream->watches[type].pending, NULL);
        memory_free(stream->watches[type].nonce);
        writer_free(&stream->watches[type].unsent);
    }
    list_remove(&stream->link);
    ambard_set(stream->discovery->settings.metrics, METRIC_CONNECTED, (int64_t)--stream->discovery->stream_count);
    token_claims_clear(&stream->claims);
    memory_free(stream->node_id);
    memory_free(stream->node_name);
    memory_free(stream->istio_version);
    memory_free(stream->cluster_id);
    memory_free(stream);
}

/* On demand: a name that was asked for or sent, one of its aliases, a service that was, or this node. */
static bool concerns(
    const struct discovery_stream *stream, const struct watch *watch, const struct ambient_change *change)
{
    if (watch->is_wildcard || hash_map_get(watch->names, bytes_of_string(change->name)) != NULL) {
        return true;
    }
    const struct ambient_resource *resource = change->resource;
    if (resource == NULL) {
        return false;
    }
    if (resource->node[0] != '\0' && strcmp(resource->node, stream->node_name) == 0) {
        return true;
    }
    for (size_t i = 0; i < resource->alias_count; i++) {
        if (hash_map_get(watch->names, bytes_of_string(resource->aliases[i])) != NULL) {
            return true;
        }
    }
    for (size_t i = 0; i < resource->service_count; i++) {
        if (hash_map_get(watch->names, bytes_of_string(resource->services[i])) != NULL) {
            return true;
        }
    }
    return false;
}

static void note_change(struct discovery_stream *stream, enum watched_type type, const struct ambient_change *change)
{
    struct watch *watch = &stream->watches[type];
    bool is_policy = change->type == AMBIENT_AUTHORIZATION;
    bool is_service = change->type == AMBIENT_SERVICE;
    if (is_policy != (type == WATCH_AUTHORIZATION) || !concerns(stream, watch, change)) {
        return;
    }
    if (!(type == WATCH_WORKLOAD && is_service)) {
        hash_map_put(watch->pending, bytes_of_string(change->name), PRESENT);
    }
    if (!is_service) {
        return;
    }
    /* A changed service sends its workloads again (§10.3 rule 8). */
    struct ambient_resource_list list =
        ambient_index_workloads_of_service(stream->discovery->settings.index, change->name);
    for (size_t i = 0; i < list.count; i++) {
        hash_map_put(watch->pending, bytes_of_string(list.items[i]->name), PRESENT);
    }
}

void discovery_push(struct discovery *discovery, const struct ambient_changes *changes)
{
    LIST_FOR_EACH(link, &discovery->streams) {
        struct discovery_stream *stream = LIST_ENTRY(link, struct discovery_stream, link);
        for (enum watched_type type = 0; type < WATCH_COUNT; type++) {
            if (!stream->watches[type].is_watched) {
                continue;
            }
            for (size_t i = 0; i < changes->count; i++) {
                note_change(stream, type, &changes->items[i]);
            }
            flush(stream, type);
        }
    }
}
