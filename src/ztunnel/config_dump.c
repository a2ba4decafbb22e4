#include "ztunnel/config_dump.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/certificate_bundle.h"
#include "tls/identity.h"
#include "ztunnel/model_dump.h"
#include "ztunnel/pod_assignment.h"
#include "ztunnel/version.h"

#include <stdlib.h>

/* One pod with the connections its worker reported. */
struct dumped_pod {
    char *uid, *name, *namespace_, *service_account;
    bool is_up;
    char *connections; /* JSON; NULL: not (yet) reported */
    struct config_dump *dump;
};

/* One answer under way. */
struct config_dump {
    struct http1_exchange *exchange;
    struct config_dump_source source;
    struct mesh_version *version;
    struct dumped_pod *pods;
    size_t pod_count;
    size_t awaited;
};

typedef const char *sort_key(const void *item);

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

static int compare_items(const void *left, const void *right, void *key)
{
    sort_key *key_of = *(sort_key **)key;
    return strcmp(key_of(*(const void *const *)left), key_of(*(const void *const *)right));
}

static void sort_items(const void **items, size_t count, sort_key *key)
{
    if (count > 0) {
        qsort_r(items, count, sizeof *items, compare_items, &key);
    }
}

static void write_workloads(const struct config_dump *dump, struct json_writer *json)
{
    size_t count = 0;
    const void **items = memory_allocate_zeroed(mesh_version_workload_count(dump->version), sizeof *items);
    struct persistent_map_iterator iterator;
    mesh_workloads_begin(dump->version, &iterator);
    for (const struct workload *workload; (workload = mesh_workloads_next(&iterator)) != NULL;) {
        items[count++] = workload;
    }
    sort_items(items, count, workload_key);
    json_write_array_begin(json);
    for (size_t i = 0; i < count; i++) {
        dump_workload(items[i], json);
    }
    json_write_array_end(json);
    memory_free(items);
}

static void write_services(const struct config_dump *dump, struct json_writer *json)
{
    size_t count = 0;
    const void **items = memory_allocate_zeroed(mesh_version_service_count(dump->version), sizeof *items);
    struct persistent_map_iterator iterator;
    mesh_services_begin(dump->version, &iterator);
    for (const struct service *service; (service = mesh_services_next(&iterator)) != NULL;) {
        items[count++] = service;
    }
    sort_items(items, count, service_key);
    json_write_array_begin(json);
    for (size_t i = 0; i < count; i++) {
        dump_service(dump->version, items[i], json);
    }
    json_write_array_end(json);
    memory_free(items);
}

static void write_policies(const struct config_dump *dump, struct json_writer *json)
{
    size_t count = 0;
    const void **items = memory_allocate_zeroed(mesh_version_policy_count(dump->version), sizeof *items);
    struct persistent_map_iterator iterator;
    mesh_policies_begin(dump->version, &iterator);
    for (const struct policy *policy; (policy = mesh_policies_next(&iterator)) != NULL;) {
        items[count++] = policy;
    }
    sort_items(items, count, policy_key);
    json_write_array_begin(json);
    for (size_t i = 0; i < count; i++) {
        dump_policy(items[i], json);
    }
    json_write_array_end(json);
    memory_free(items);
}

static void write_staged_services(const struct config_dump *dump, struct json_writer *json)
{
    struct persistent_map_iterator iterator;
    struct bytes key;
    mesh_staged_services_begin(dump->version, &iterator);
    json_write_object_begin(json);
    while (mesh_staged_services_next(dump->version, &iterator, &key)) {
        char *name = string_duplicate_n((const char *)key.data, key.length);
        json_write_key(json, name);
        memory_free(name);
        json_write_object_begin(json);
        struct mesh_endpoint_iterator endpoints;
        struct mesh_endpoint endpoint;
        mesh_endpoints_begin(dump->version, key, &endpoints);
        while (mesh_endpoints_next(&endpoints, &endpoint)) {
            json_write_key(json, endpoint.workload_uid);
            dump_endpoint(&endpoint, json);
        }
        json_write_object_end(json);
    }
    json_write_object_end(json);
}

static void write_certificate(const struct x509_st *certificate, struct json_writer *json)
{
    int64_t not_before_s;
    int64_t not_after_s;
    char time[40];
    struct writer pem = writer_growing();
    struct writer encoded = writer_growing();
    certificate_write_pem(certificate, &pem);
    writer_add_base64(&encoded, writer_bytes(&pem));
    certificate_validity(certificate, &not_before_s, &not_after_s);
    char *serial = certificate_serial(certificate);
    json_write_object_begin(json);
    clock_format_rfc3339(not_after_s * (int64_t)NANOSECONDS_PER_SECOND, 0, time);
    json_write_member_string(json, "expirationTime", time);
    json_write_member_string(json, "pem", writer_string(&encoded));
    json_write_member_string(json, "serialNumber", serial);
    clock_format_rfc3339(not_before_s * (int64_t)NANOSECONDS_PER_SECOND, 0, time);
    json_write_member_string(json, "validFrom", time);
    json_write_object_end(json);
    memory_free(serial);
    writer_free(&encoded);
    writer_free(&pem);
}

static void write_certificate_state(const struct certificate_view *view, struct json_writer *json)
{
    struct writer state = writer_growing();
    switch (view->state) {
    case CERTIFICATE_INITIALIZING:
        writer_add_string(&state, "Initializing");
        break;
    case CERTIFICATE_AVAILABLE:
        writer_add_string(&state, "Available");
        break;
    case CERTIFICATE_UNAVAILABLE:
        writer_print(&state, "Unavailable: %s", view->failure);
        break;
    }
    json_write_member_string(json, "state", writer_string(&state));
    writer_free(&state);
}

static void visit_certificate(const struct certificate_view *view, void *context)
{
    struct json_writer *json = context;
    const struct certificate_bundle *bundle = view->certificate != NULL ? view->certificate->bundle : NULL;
    json_write_object_begin(json);
    json_write_key(json, "certChain");
    json_write_array_begin(json);
    if (bundle != NULL) {
        write_certificate(bundle->leaf, json);
        for (size_t i = 0; i < bundle->intermediates.count; i++) {
            write_certificate(bundle->intermediates.items[i], json);
        }
    }
    json_write_array_end(json);
    json_write_member_string(json, "identity", view->identity);
    json_write_key(json, "rootCerts");
    json_write_array_begin(json);
    for (size_t i = 0; bundle != NULL && i < bundle->roots.count; i++) {
        write_certificate(bundle->roots.items[i], json);
    }
    json_write_array_end(json);
    write_certificate_state(view, json);
    json_write_object_end(json);
}

static void write_workload_state(const struct config_dump *dump, struct json_writer *json)
{
    json_write_object_begin(json);
    for (size_t i = 0; i < dump->pod_count; i++) {
        const struct dumped_pod *pod = &dump->pods[i];
        json_write_key(json, pod->uid);
        json_write_object_begin(json);
        if (pod->connections != NULL) {
            json_write_key(json, "connections");
            json_write_raw(json, bytes_of_string(pod->connections));
        }
        json_write_key(json, "info");
        json_write_object_begin(json);
        json_write_member_string(json, "name", pod->name);
        json_write_member_string(json, "namespace", pod->namespace_);
        json_write_member_string(json, "serviceAccount", pod->service_account);
        json_write_object_end(json);
        json_write_member_string(json, "state", pod->is_up ? "Up" : "Pending");
        json_write_object_end(json);
    }
    json_write_object_end(json);
}

static void write_document(const struct config_dump *dump, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_key(json, "certificates");
    json_write_array_begin(json);
    certificate_store_visit(dump->source.certificates, visit_certificate, json);
    json_write_array_end(json);
    json_write_key(json, "config");
    configuration_dump(dump->source.configuration, json);
    json_write_key(json, "policies");
    write_policies(dump, json);
    json_write_key(json, "services");
    write_services(dump, json);
    json_write_key(json, "stagedServices");
    write_staged_services(dump, json);
    json_write_key(json, "version");
    version_dump(dump->source.configuration, json);
    if (dump->source.pods != NULL) {
        json_write_key(json, "workloadState");
        write_workload_state(dump, json);
    }
    json_write_key(json, "workloads");
    write_workloads(dump, json);
    json_write_object_end(json);
}

static void free_dump(struct config_dump *dump)
{
    for (size_t i = 0; i < dump->pod_count; i++) {
        struct dumped_pod *pod = &dump->pods[i];
        memory_free(pod->uid);
        memory_free(pod->name);
        memory_free(pod->namespace_);
        memory_free(pod->service_account);
        memory_free(pod->connections);
    }
    memory_free(dump->pods);
    mesh_version_release(dump->version);
    memory_free(dump);
}

static void finish(struct config_dump *dump)
{
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    write_document(dump, &json);
    http1_respond(dump->exchange, 200, "application/json", writer_bytes(&out));
    writer_free(&out);
    free_dump(dump);
}

static void on_connections(void *context, char *text)
{
    struct dumped_pod *pod = context;
    pod->connections = text;
    if (--pod->dump->awaited == 0) {
        finish(pod->dump);
    }
}

static void collect_pod(const struct inpod_view *view, void *context)
{
    struct config_dump *dump = context;
    dump->pods = memory_resize(dump->pods, dump->pod_count + 1, sizeof *dump->pods);
    dump->pods[dump->pod_count++] = (struct dumped_pod){ string_duplicate(view->uid), string_duplicate(view->name),
        string_duplicate(view->namespace_), string_duplicate(view->service_account), view->is_up, NULL, dump };
}

static int compare_pods(const void *left, const void *right)
{
    return strcmp(((const struct dumped_pod *)left)->uid, ((const struct dumped_pod *)right)->uid);
}

static void ask_pod(const struct inpod_view *view, void *context)
{
    struct config_dump *dump = context;
    for (size_t i = 0; view->assignment != NULL && i < dump->pod_count; i++) {
        if (strcmp(dump->pods[i].uid, view->uid) == 0) {
            dump->awaited++;
            pod_assignment_dump(view->assignment, on_connections, &dump->pods[i]);
        }
    }
}

void config_dump_answer(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct config_dump *dump = NEW(struct config_dump);
    dump->exchange = exchange;
    dump->source = *source;
    dump->version = mesh_publication_reference(source->publication);
    if (source->pods != NULL) {
        inpod_manager_visit(source->pods, collect_pod, dump);
        if (dump->pod_count > 0) {
            qsort(dump->pods, dump->pod_count, sizeof *dump->pods, compare_pods);
        }
        inpod_manager_visit(source->pods, ask_pod, dump);
    }
    if (dump->awaited == 0) {
        finish(dump);
    }
}
