/* Small meshes for tests: specs with sensible values to change, and a version under way that they are added to. */
#ifndef AMBAR_TESTS_UNIT_MESH_FIXTURE_H
#define AMBAR_TESTS_UNIT_MESH_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/change.h"
#include "mesh/policy.h"
#include "mesh/service.h"
#include "mesh/workload.h"

#define TEXT(text_) bytes_of_string(text_)

static inline struct ip_address ip_of(const char *text)
{
    struct ip_address ip;
    if (!ip_parse(text, &ip)) {
        fail_msg("not an IP address: %s", text);
    }
    return ip;
}

static inline struct socket_address target_of(const char *text)
{
    struct socket_address address;
    if (!socket_address_parse(text, &address)) {
        fail_msg("not an address: %s", text);
    }
    return address;
}

/* A mesh under way. */
struct mesh_fixture {
    struct mesh_version *version;
    struct mesh_change *change; /* NULL between changes */
};

static inline struct mesh_fixture mesh_fixture_on(const char *network, const char *node_name)
{
    struct mesh_settings settings = { .network = network, .node_name = node_name };
    return (struct mesh_fixture){ .version = mesh_version_new(&settings) };
}

static inline struct mesh_fixture mesh_fixture_new(void)
{
    return mesh_fixture_on("", NULL);
}

static inline struct mesh_change *mesh_fixture_change(struct mesh_fixture *fixture)
{
    if (fixture->change == NULL) {
        fixture->change = mesh_change_begin(fixture->version);
    }
    return fixture->change;
}

/* The version with all that was added so far. */
static inline const struct mesh_version *mesh_fixture_version(struct mesh_fixture *fixture)
{
    if (fixture->change != NULL) {
        struct mesh_version *next = mesh_change_commit(fixture->change);
        fixture->change = NULL;
        mesh_version_release(fixture->version);
        fixture->version = next;
    }
    return fixture->version;
}

static inline void mesh_fixture_free(struct mesh_fixture *fixture)
{
    mesh_fixture_version(fixture);
    mesh_version_release(fixture->version);
}

/* A pod of namespace "default" with one address (NULL: none). The address lives in a ring that outlasts a small test. */
static inline struct workload_spec pod_spec(const char *uid, const char *ip)
{
    static struct ip_address ring[256];
    static size_t next;
    struct workload_spec spec = workload_spec_initial();
    const char *slash = strrchr(uid, '/');
    spec.texts[WORKLOAD_UID] = TEXT(uid);
    spec.texts[WORKLOAD_NAME] = TEXT(slash != NULL ? slash + 1 : uid);
    spec.texts[WORKLOAD_NAMESPACE] = TEXT("default");
    spec.texts[WORKLOAD_TRUST_DOMAIN] = TEXT("cluster.local");
    spec.texts[WORKLOAD_SERVICE_ACCOUNT] = TEXT("default");
    spec.texts[WORKLOAD_TYPE] = TEXT("pod");
    spec.protocol = WORKLOAD_HBONE;
    if (ip != NULL) {
        ring[next % 256] = ip_of(ip);
        spec.addresses = &ring[next++ % 256];
        spec.address_count = 1;
    }
    return spec;
}

static inline struct workload *workload_of(const struct workload_spec *spec)
{
    struct workload *workload = NULL;
    struct result made = workload_new(spec, &workload);
    if (!result_is_ok(&made)) {
        fail_msg("%s", made.message);
    }
    return workload;
}

static inline const struct workload *mesh_fixture_add_workload(
    struct mesh_fixture *fixture, const struct workload_spec *spec)
{
    struct workload *workload = workload_of(spec);
    mesh_change_upsert_workload(mesh_fixture_change(fixture), workload);
    return workload;
}

static inline struct service_vip_spec vip_of(const char *network, const char *cidr)
{
    struct service_vip_spec vip = { .network = TEXT(network) };
    if (!cidr_parse(cidr, &vip.cidr)) {
        fail_msg("not a CIDR block: %s", cidr);
    }
    return vip;
}

static inline struct service *service_of(const struct service_spec *spec)
{
    struct service *service = NULL;
    struct result made = service_new(spec, &service);
    if (!result_is_ok(&made)) {
        fail_msg("%s", made.message);
    }
    return service;
}

static inline const struct service *mesh_fixture_add_service(
    struct mesh_fixture *fixture, const struct service_spec *spec)
{
    struct service *service = service_of(spec);
    mesh_change_upsert_service(mesh_fixture_change(fixture), service);
    return service;
}

static inline struct gateway_spec gateway_at(const char *network, const char *ip, uint16_t port)
{
    return (struct gateway_spec){
        .kind = GATEWAY_ADDRESS, .hbone_mtls_port = port, .network = TEXT(network), .ip = ip_of(ip)
    };
}

static inline struct gateway_spec gateway_named(const char *namespace_, const char *hostname, uint16_t port)
{
    return (struct gateway_spec){
        .kind = GATEWAY_HOSTNAME, .hbone_mtls_port = port, .namespace_ = TEXT(namespace_), .hostname = TEXT(hostname)
    };
}

#endif
