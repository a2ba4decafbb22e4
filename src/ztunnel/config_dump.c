#include "ztunnel/config_dump.h"

#include "base/memory.h"
#include "ztunnel/certificate_dump.h"
#include "ztunnel/connection.h"
#include "ztunnel/model_dump.h"
#include "ztunnel/pod_state_dump.h"
#include "ztunnel/sorted_items.h"
#include "ztunnel/version.h"

#define PIECE_BYTES (32u * 1024) /* written in one turn of the loop */
#define COLLECTED_A_STEP 2048

enum advance { ADVANCE_AGAIN, ADVANCE_NEXT_PART, ADVANCE_WAIT };

/* One answer under way. */
struct config_dump {
    struct http1_exchange *exchange;
    struct config_dump_source source;
    struct mesh_version *version;
    struct writer out;
    struct json_writer json;
    size_t part;
    /* The list that is being written. */
    bool is_collected, is_begun;
    struct persistent_map_iterator iterator;
    struct sorted_items items;
    /* The endpoints of the service that is being written, or of a staged one. */
    const struct service *service;
    const char *staged_key;
    bool are_endpoints_collected;
    struct mesh_endpoint_iterator endpoint_iterator;
    struct sorted_items endpoints;
    struct pod_state_dump *pod_states;
};

static const char *workload_key(const void *item)
{
    return workload_text(item, WORKLOAD_UID);
}

static const char *service_key(const void *item)
{
    return ((const struct service *)item)->hostname;
}

static const char *policy_key(const void *item)
{
    return ((const struct policy *)item)->key;
}

static const char *text_key(const void *item)
{
    return item;
}

/* One kind of item: how a version enumerates them, and in which order. */
struct list_kind {
    const char *key;
    item_key *item_key;
    size_t (*count)(const struct mesh_version *version);
    void (*begin)(const struct mesh_version *version, struct persistent_map_iterator *iterator);
    const void *(*next)(const struct mesh_version *version, struct persistent_map_iterator *iterator);
    /* Writes an item, or the beginning of one whose endpoints follow. */
    void (*write)(struct config_dump *dump, const void *item);
};

static const void *next_workload(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    (void)version;
    return mesh_workloads_next(iterator);
}

static const void *next_service(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    (void)version;
    return mesh_services_next(iterator);
}

static const void *next_policy(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    (void)version;
    return mesh_policies_next(iterator);
}

static const void *next_staged_service(const struct mesh_version *version, struct persistent_map_iterator *iterator)
{
    struct bytes key;
    return mesh_staged_services_next(version, iterator, &key) ? key.data : NULL;
}

static size_t no_count(const struct mesh_version *version)
{
    (void)version;
    return 0;
}

static void write_workload(struct config_dump *dump, const void *item)
{
    dump_workload(item, &dump->json);
}

static void write_local_workload(struct config_dump *dump, const void *item)
{
    dump_local_workload(item, &dump->json);
}

static void write_policy(struct config_dump *dump, const void *item)
{
    dump_policy(item, &dump->json);
}

static void begin_endpoints(struct config_dump *dump, const char *key)
{
    dump->are_endpoints_collected = false;
    mesh_endpoints_begin(dump->version, bytes_of_string(key), &dump->endpoint_iterator);
    sorted_items_begin(&dump->endpoints, text_key, 0);
}

static void write_service(struct config_dump *dump, const void *item)
{
    dump->service = item;
    dump_service_begin(item, &dump->json);
    begin_endpoints(dump, dump->service->key);
}

static void write_local_service(struct config_dump *dump, const void *item)
{
    const struct service *service = item;
    dump_service_begin(service, &dump->json);
    dump_listed_endpoints(service, &dump->json);
    dump_service_end(service, &dump->json);
}

static void write_staged_service(struct config_dump *dump, const void *item)
{
    dump->staged_key = item;
    json_write_key(&dump->json, item);
    json_write_object_begin(&dump->json);
    begin_endpoints(dump, item);
}

static const struct list_kind WORKLOADS = { "workloads", workload_key, mesh_version_workload_count,
    mesh_workloads_begin, next_workload, write_workload };
static const struct list_kind SERVICES = { "services", service_key, mesh_version_service_count, mesh_services_begin,
    next_service, write_service };
static const struct list_kind POLICIES = { "policies", policy_key, mesh_version_policy_count, mesh_policies_begin,
    next_policy, write_policy };
static const struct list_kind STAGED_SERVICES = { "stagedServices", text_key, no_count, mesh_staged_services_begin,
    next_staged_service, write_staged_service };
static const struct list_kind LOCAL_WORKLOADS = { "workloads", workload_key, mesh_version_workload_count,
    mesh_workloads_begin, next_workload, write_local_workload };
static const struct list_kind LOCAL_SERVICES = { "services", service_key, mesh_version_service_count,
    mesh_services_begin, next_service, write_local_service };

static bool find_endpoint(const struct config_dump *dump, const char *uid, struct mesh_endpoint *endpoint)
{
    if (dump->service != NULL) {
        return mesh_find_endpoint(dump->version, dump->service, bytes_of_string(uid), endpoint);
    }
    const struct workload *workload = mesh_workload_by_uid(dump->version, bytes_of_string(uid));
    const struct workload_service *entry =
        workload != NULL ? workload_find_service(workload, bytes_of_string(dump->staged_key)) : NULL;
    if (entry == NULL) {
        return false;
    }
    *endpoint = (struct mesh_endpoint){ uid, workload, entry->ports, entry->port_count, workload->is_healthy };
    return true;
}

/* True when every endpoint of the service has been written. */
static bool write_endpoint(struct config_dump *dump)
{
    struct mesh_endpoint endpoint;
    if (!dump->are_endpoints_collected) {
        for (int i = 0; i < COLLECTED_A_STEP; i++) {
            if (!mesh_endpoints_next(&dump->endpoint_iterator, &endpoint)) {
                dump->are_endpoints_collected = true;
                break;
            }
            bool is_shown = dump->service == NULL || endpoint.is_healthy || dump->service->allows_unhealthy;
            if (is_shown) {
                sorted_items_add(&dump->endpoints, endpoint.workload_uid);
            }
        }
        return false;
    }
    if (!sorted_items_prepare(&dump->endpoints)) {
        return false;
    }
    const char *uid = sorted_items_next(&dump->endpoints);
    if (uid == NULL) {
        return true;
    }
    if (find_endpoint(dump, uid, &endpoint)) {
        json_write_key(&dump->json, uid);
        dump_endpoint(&endpoint, &dump->json);
    }
    return false;
}

static bool is_writing_endpoints(const struct config_dump *dump)
{
    return dump->service != NULL || dump->staged_key != NULL;
}

static void end_endpoints(struct config_dump *dump)
{
    sorted_items_free(&dump->endpoints);
    if (dump->service != NULL) {
        dump_service_end(dump->service, &dump->json);
    } else {
        json_write_object_end(&dump->json);
    }
    dump->service = NULL;
    dump->staged_key = NULL;
}

/* Collects, sorts and writes the items of one kind, a little at a time. */
static enum advance write_list(
    struct config_dump *dump, const struct mesh_version *version, const struct list_kind *kind, bool is_object)
{
    if (is_writing_endpoints(dump)) {
        if (write_endpoint(dump)) {
            end_endpoints(dump);
        }
        return ADVANCE_AGAIN;
    }
    if (!dump->is_begun) {
        dump->is_begun = true;
        dump->is_collected = version == NULL;
        json_write_key(&dump->json, kind->key);
        (is_object ? json_write_object_begin : json_write_array_begin)(&dump->json);
        sorted_items_begin(&dump->items, kind->item_key, version != NULL ? kind->count(version) : 0);
        if (version != NULL) {
            kind->begin(version, &dump->iterator);
        }
    }
    if (!dump->is_collected) {
        for (int i = 0; i < COLLECTED_A_STEP && !dump->is_collected; i++) {
            const void *item = kind->next(version, &dump->iterator);
            dump->is_collected = item == NULL;
            if (item != NULL) {
                sorted_items_add(&dump->items, item);
            }
        }
        return ADVANCE_AGAIN;
    }
    if (!sorted_items_prepare(&dump->items)) {
        return ADVANCE_AGAIN;
    }
    const void *item = sorted_items_next(&dump->items);
    if (item != NULL) {
        kind->write(dump, item);
        return ADVANCE_AGAIN;
    }
    sorted_items_free(&dump->items);
    dump->is_begun = false;
    (is_object ? json_write_object_end : json_write_array_end)(&dump->json);
    return ADVANCE_NEXT_PART;
}

static enum advance part_begin(struct config_dump *dump)
{
    json_write_object_begin(&dump->json);
    json_write_key(&dump->json, "certificates");
    json_write_array_begin(&dump->json);
    certificate_store_visit(dump->source.certificates, certificate_dump, &dump->json);
    json_write_array_end(&dump->json);
    json_write_key(&dump->json, "config");
    configuration_dump(dump->source.configuration, &dump->json);
    return ADVANCE_NEXT_PART;
}

static enum advance part_policies(struct config_dump *dump)
{
    return write_list(dump, dump->version, &POLICIES, false);
}

static enum advance part_services(struct config_dump *dump)
{
    return write_list(dump, dump->version, &SERVICES, false);
}

static enum advance part_staged_services(struct config_dump *dump)
{
    return write_list(dump, dump->version, &STAGED_SERVICES, true);
}

static enum advance part_local_begin(struct config_dump *dump)
{
    json_write_key(&dump->json, "staticConfig");
    json_write_object_begin(&dump->json);
    return ADVANCE_NEXT_PART;
}

static enum advance part_local_policies(struct config_dump *dump)
{
    return write_list(dump, dump->source.local, &POLICIES, false);
}

static enum advance part_local_services(struct config_dump *dump)
{
    return write_list(dump, dump->source.local, &LOCAL_SERVICES, false);
}

static enum advance part_local_workloads(struct config_dump *dump)
{
    return write_list(dump, dump->source.local, &LOCAL_WORKLOADS, false);
}

static enum advance part_version(struct config_dump *dump)
{
    json_write_object_end(&dump->json); /* staticConfig */
    json_write_key(&dump->json, "version");
    version_dump(dump->source.configuration, &dump->json);
    return ADVANCE_NEXT_PART;
}

static void on_pod_state(void *context)
{
    struct config_dump *dump = context;
    http1_stream_resume(dump->exchange);
}

static enum advance part_pod_states(struct config_dump *dump)
{
    if (dump->source.pods == NULL) {
        return ADVANCE_NEXT_PART;
    }
    if (dump->pod_states == NULL) {
        dump->pod_states = pod_state_dump_new(dump->source.pods, dump->source.live, on_pod_state, dump);
        json_write_key(&dump->json, "workloadState");
        json_write_object_begin(&dump->json);
    }
    switch (pod_state_dump_write(dump->pod_states, &dump->json)) {
    case POD_STATE_WRITTEN:
        return ADVANCE_AGAIN;
    case POD_STATE_WAITS:
        return ADVANCE_WAIT;
    case POD_STATE_OVER:
        break;
    }
    json_write_object_end(&dump->json);
    return ADVANCE_NEXT_PART;
}

static enum advance part_workloads(struct config_dump *dump)
{
    return write_list(dump, dump->version, &WORKLOADS, false);
}

/* In the alphabetical order of the keys. */
static enum advance (*const PARTS[])(struct config_dump *dump) = { part_begin, part_policies, part_services,
    part_staged_services, part_local_begin, part_local_policies, part_local_services, part_local_workloads,
    part_version, part_pod_states, part_workloads };

static void on_writable(struct http1_exchange *exchange, void *context)
{
    struct config_dump *dump = context;
    enum advance advance = ADVANCE_AGAIN;
    while (dump->part < ARRAY_LENGTH(PARTS) && dump->out.length < PIECE_BYTES && advance != ADVANCE_WAIT) {
        advance = PARTS[dump->part](dump);
        dump->part += advance == ADVANCE_NEXT_PART;
    }
    if (dump->part == ARRAY_LENGTH(PARTS)) {
        json_write_object_end(&dump->json);
    }
    http1_stream_write(exchange, writer_bytes(&dump->out));
    writer_clear(&dump->out);
    if (dump->part == ARRAY_LENGTH(PARTS)) {
        http1_stream_end(exchange);
    } else if (advance == ADVANCE_WAIT) {
        http1_stream_pause(exchange);
    }
}

static void on_closed(void *context)
{
    struct config_dump *dump = context;
    pod_state_dump_free(dump->pod_states);
    sorted_items_free(&dump->items);
    sorted_items_free(&dump->endpoints);
    mesh_version_release(dump->version);
    writer_free(&dump->out);
    memory_free(dump);
}

void config_dump_answer(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct config_dump *dump = NEW(struct config_dump);
    dump->exchange = exchange;
    dump->source = *source;
    dump->version = mesh_publication_reference(source->publication);
    dump->json = json_writer_of(&dump->out, true);
    const struct http1_stream_handlers handlers = { on_writable, on_closed, dump };
    http1_stream_begin(exchange, 200, "application/json", &handlers);
}
