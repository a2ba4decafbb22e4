/* Questions to /debug/explain: any two texts against a small mesh, the first line the source, the rest the destination. Either a
 * sentence or one JSON document comes out. */
#include "base/memory.h"
#include "mesh/change.h"
#include "ztunnel/explanation.h"

#include <jansson.h>
#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

static void add_workload(struct mesh_change *change, const char *uid, const char *ip_text)
{
    static const struct port_mapping PORT = { 80, 8080 };
    const struct workload_service_spec service = { bytes_of_string("default/web.default.svc.cluster.local"), &PORT, 1 };
    struct ip_address ip;
    expect(ip_parse(ip_text, &ip));
    struct workload_spec spec = workload_spec_initial();
    spec.texts[WORKLOAD_UID] = bytes_of_string(uid);
    spec.texts[WORKLOAD_NAME] = bytes_of_string(uid);
    spec.texts[WORKLOAD_NAMESPACE] = bytes_of_string("default");
    spec.protocol = WORKLOAD_HBONE;
    spec.addresses = &ip;
    spec.address_count = 1;
    spec.services = &service;
    spec.service_count = 1;
    struct workload *workload;
    struct result made = workload_new(&spec, &workload);
    expect(result_is_ok(&made));
    mesh_change_upsert_workload(change, workload);
}

static void add_service(struct mesh_change *change)
{
    static const struct port_mapping PORT = { 80, 8080 };
    struct service_vip_spec vip = { .network = bytes_of_string("") };
    expect(cidr_parse("10.96.0.1/32", &vip.cidr));
    const struct service_spec spec = { .name = bytes_of_string("web"),
        .namespace_ = bytes_of_string("default"),
        .hostname = bytes_of_string("web.default.svc.cluster.local"),
        .vips = &vip,
        .vip_count = 1,
        .ports = &PORT,
        .port_count = 1 };
    struct service *service;
    struct result made = service_new(&spec, &service);
    expect(result_is_ok(&made));
    mesh_change_upsert_service(change, service);
}

static const struct mesh_version *small_mesh(void)
{
    static struct mesh_version *mesh;
    if (mesh == NULL) {
        const struct mesh_settings settings = { .network = "" };
        struct mesh_version *empty = mesh_version_new(&settings);
        struct mesh_change *change = mesh_change_begin(empty);
        add_workload(change, "client", "10.0.0.1");
        add_workload(change, "server", "10.0.0.2");
        add_service(change);
        mesh = mesh_change_commit(change);
        mesh_version_release(empty);
    }
    return mesh;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct illegal_ports PORTS = { { 15008 }, 1 };
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line == NULL) {
        return 0;
    }
    char *AUTO_FREE source = string_duplicate_n((const char *)data, (size_t)(line - data));
    char *AUTO_FREE destination = string_duplicate_n((const char *)line + 1, size - (size_t)(line - data) - 1);
    const struct explanation_request request = { .version = small_mesh(),
        .source = source,
        .destination = destination,
        .cluster_domain = "cluster.local",
        .illegal_ports = &PORTS };
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, false);
    struct result problem;
    if (explanation_write(&request, &json, &problem)) {
        json_t *document = json_loadb((const char *)out.data, out.length, 0, NULL);
        expect(json_is_object(document));
        json_decref(document);
    } else {
        expect(out.length == 0 && problem.message[0] != '\0');
    }
    writer_free(&out);
    return 0;
}
