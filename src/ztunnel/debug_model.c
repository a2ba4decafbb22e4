#include "ztunnel/debug_model.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/certificate_bundle.h"
#include "tls/identity.h"
#include "ztunnel/certificate_dump.h"
#include "ztunnel/debug_live.h"
#include "ztunnel/model_dump.h"
#include "ztunnel/sorted_items.h"

#define PIECE_BYTES (32u * 1024)
#define COLLECTED_A_STEP 2048

/* One answer under way: a list of the model's items in order. */
struct debug_list {
    struct mesh_version *version;
    const char *node_name;
    char *namespace_; /* NULL: all */
    size_t limit, shown;
    struct writer out;
    struct json_writer json;
    struct persistent_map_iterator iterator;
    struct sorted_items items;
    bool is_collected;
    const void *(*next)(struct persistent_map_iterator *iterator);
    const char *(*namespace_of)(const void *item);
    void (*write)(struct debug_list *list, const void *item);
};

static void finish_list(struct debug_list *list)
{
    json_write_array_end(&list->json);
    json_write_member_bool(&list->json, "isTruncated", list->shown < list->items.count);
    json_write_member_unsigned(&list->json, "total", list->items.count);
    json_write_object_end(&list->json);
}

static void collect(struct debug_list *list)
{
    for (int i = 0; i < COLLECTED_A_STEP && !list->is_collected; i++) {
        const void *item = list->next(&list->iterator);
        list->is_collected = item == NULL;
        if (item != NULL && (list->namespace_ == NULL || text_equal(list->namespace_, list->namespace_of(item)))) {
            sorted_items_add(&list->items, item);
        }
    }
}

static void on_writable(struct http1_exchange *exchange, void *context)
{
    struct debug_list *list = context;
    bool is_over = false;
    if (!list->is_collected) {
        collect(list);
    } else if (sorted_items_prepare(&list->items)) {
        const void *item = NULL;
        while (list->out.length < PIECE_BYTES && list->shown < list->limit &&
               (item = sorted_items_next(&list->items)) != NULL) {
            list->write(list, item);
            list->shown++;
        }
        is_over = list->out.length < PIECE_BYTES;
    }
    if (is_over) {
        finish_list(list);
    }
    http1_stream_write(exchange, writer_bytes(&list->out));
    writer_clear(&list->out);
    if (is_over) {
        http1_stream_end(exchange);
    }
}

static void on_closed(void *context)
{
    struct debug_list *list = context;
    sorted_items_free(&list->items);
    mesh_version_release(list->version);
    memory_free(list->namespace_);
    writer_free(&list->out);
    memory_free(list);
}

static struct debug_list *begin_list(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    size_t limit;
    if (!debug_read_limit(exchange, &limit)) {
        return NULL;
    }
    struct debug_list *list = NEW(struct debug_list);
    list->limit = limit;
    list->version = mesh_publication_reference(source->publication);
    list->node_name = source->configuration->node_name;
    list->namespace_ = http1_query(exchange, "namespace");
    list->json = json_writer_of(&list->out, true);
    return list;
}

static void stream_list(struct http1_exchange *exchange, struct debug_list *list, const char *key)
{
    json_write_object_begin(&list->json);
    json_write_key(&list->json, key);
    json_write_array_begin(&list->json);
    const struct http1_stream_handlers handlers = { on_writable, on_closed, list };
    http1_stream_begin(exchange, 200, "application/json", &handlers);
}

static const char *workload_key(const void *item)
{
    return workload_text(item, WORKLOAD_UID);
}

static const char *workload_namespace(const void *item)
{
    return workload_text(item, WORKLOAD_NAMESPACE);
}

static const void *next_workload(struct persistent_map_iterator *iterator)
{
    return mesh_workloads_next(iterator);
}

static void write_addresses(struct json_writer *json, const struct workload *workload)
{
    char text[IP_TEXT_SIZE];
    json_write_key(json, "addresses");
    json_write_array_begin(json);
    for (size_t i = 0; i < workload->address_count; i++) {
        json_write_string(json, ip_format(&workload->addresses[i], text));
    }
    json_write_array_end(json);
}

static void write_workload(struct debug_list *list, const void *item)
{
    const struct workload *workload = item;
    struct json_writer *json = &list->json;
    struct writer identity = writer_growing();
    workload_add_identity(workload, &identity);
    const char *node = workload_text(workload, WORKLOAD_NODE);
    json_write_object_begin(json);
    write_addresses(json, workload);
    json_write_member_unsigned(json, "capacity", workload->capacity);
    json_write_member_string(json, "identity", writer_string(&identity));
    json_write_member_bool(json, "isHealthy", workload->is_healthy);
    json_write_member_bool(json, "isOnThisNode", !text_is_empty(list->node_name) && text_equal(node, list->node_name));
    json_write_member_string(json, "name", workload_text(workload, WORKLOAD_NAME));
    json_write_member_string(json, "namespace", workload_text(workload, WORKLOAD_NAMESPACE));
    json_write_member_string(json, "node", node);
    json_write_member_unsigned(json, "policies", workload->policy_count);
    json_write_member_string(json, "protocol", workload->protocol == WORKLOAD_HBONE ? "HBONE" : "TCP");
    json_write_member_unsigned(json, "services", workload->service_count);
    json_write_member_string(json, "uid", workload_text(workload, WORKLOAD_UID));
    json_write_key(json, "waypoint");
    dump_gateway(workload->waypoint, json);
    json_write_object_end(json);
    writer_free(&identity);
}

void debug_answer_workloads(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct debug_list *list = begin_list(exchange, source);
    if (list == NULL) {
        return;
    }
    list->next = next_workload;
    list->namespace_of = workload_namespace;
    list->write = write_workload;
    mesh_workloads_begin(list->version, &list->iterator);
    sorted_items_begin(&list->items, workload_key, mesh_version_workload_count(list->version));
    stream_list(exchange, list, "workloads");
}

static const char *policy_key(const void *item)
{
    return ((const struct policy *)item)->key;
}

static const char *policy_namespace(const void *item)
{
    return ((const struct policy *)item)->namespace_;
}

static const void *next_policy(struct persistent_map_iterator *iterator)
{
    return mesh_policies_next(iterator);
}

static void write_policy(struct debug_list *list, const void *item)
{
    dump_policy(item, &list->json);
}

void debug_answer_policies(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct debug_list *list = begin_list(exchange, source);
    if (list == NULL) {
        return;
    }
    list->next = next_policy;
    list->namespace_of = policy_namespace;
    list->write = write_policy;
    mesh_policies_begin(list->version, &list->iterator);
    sorted_items_begin(&list->items, policy_key, mesh_version_policy_count(list->version));
    stream_list(exchange, list, "policies");
}

static void write_time(struct json_writer *json, const char *key, int64_t time_s)
{
    char text[40];
    clock_format_rfc3339_s(time_s, text);
    json_write_member_string(json, key, text);
}

static void write_certificate(const struct certificate_view *view, void *context)
{
    struct json_writer *json = context;
    const struct certificate_bundle *bundle = view->certificate != NULL ? view->certificate->bundle : NULL;
    char *AUTO_FREE state = certificate_state_text(view);
    json_write_object_begin(json);
    if (bundle != NULL) {
        int64_t now_s = clock_wall_s();
        json_write_key(json, "ageSeconds");
        json_write_signed(json, now_s - bundle->not_before_s);
        write_time(json, "expirationTime", bundle->not_after_s);
        json_write_key(json, "leftSeconds");
        json_write_signed(json, bundle->not_after_s - now_s);
        json_write_member_string(json, "serialNumber", bundle->serial);
        write_time(json, "validFrom", bundle->not_before_s);
    }
    json_write_member_string(json, "identity", view->identity);
    json_write_member_string(json, "state", state);
    json_write_object_end(json);
}

void debug_answer_certificates(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    json_write_object_begin(&json);
    json_write_key(&json, "certificates");
    json_write_array_begin(&json);
    certificate_store_visit(source->certificates, write_certificate, &json);
    json_write_array_end(&json);
    json_write_object_end(&json);
    http1_respond(exchange, 200, "application/json", writer_bytes(&out));
    writer_free(&out);
}

static void write_pod(const struct inpod_view *view, void *context)
{
    struct json_writer *json = context;
    json_write_object_begin(json);
    json_write_member_string(json, "enrolment", enrolment_state_name(view->enrolment->state));
    json_write_member_string(json, "enrolmentReason", view->enrolment->reason);
    json_write_member_string(json, "failure", view->failure);
    json_write_member_string(json, "name", view->name);
    json_write_member_string(json, "namespace", view->namespace_);
    json_write_member_string(json, "serviceAccount", view->service_account);
    json_write_member_string(json, "state", view->is_up ? "Up" : "Pending");
    json_write_member_string(json, "uid", view->uid);
    json_write_object_end(json);
}

void debug_answer_pods(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    json_write_object_begin(&json);
    json_write_key(&json, "pods");
    json_write_array_begin(&json);
    if (source->pods != NULL) {
        inpod_manager_visit(source->pods, write_pod, &json);
    }
    json_write_array_end(&json);
    json_write_object_end(&json);
    http1_respond(exchange, 200, "application/json", writer_bytes(&out));
    writer_free(&out);
}
