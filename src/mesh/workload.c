#include "mesh/workload.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/packing.h"

#include <stdatomic.h>

static const char *const text_names[WORKLOAD_TEXT_COUNT] = {
    [WORKLOAD_UID] = "uid",
    [WORKLOAD_NAME] = "name",
    [WORKLOAD_NAMESPACE] = "namespace",
    [WORKLOAD_NETWORK] = "network",
    [WORKLOAD_TRUST_DOMAIN] = "trust_domain",
    [WORKLOAD_SERVICE_ACCOUNT] = "service_account",
    [WORKLOAD_NODE] = "node",
    [WORKLOAD_CANONICAL_NAME] = "canonical_name",
    [WORKLOAD_CANONICAL_REVISION] = "canonical_revision",
    [WORKLOAD_TYPE] = "workload_type",
    [WORKLOAD_OWNER_NAME] = "workload_name",
    [WORKLOAD_CLUSTER_ID] = "cluster_id",
    [WORKLOAD_HOSTNAME] = "hostname",
    [WORKLOAD_REGION] = "region",
    [WORKLOAD_ZONE] = "zone",
    [WORKLOAD_SUBZONE] = "subzone",
};

_Static_assert(
    WORKLOAD_TEXT_COUNT *(MESH_TEXT_MAXIMUM + 1) < UINT16_MAX, "16-bit offsets reach every text of a workload");

struct workload_spec workload_spec_initial(void)
{
    return (struct workload_spec){ .capacity = 1, .is_healthy = true };
}

static struct result check_spec(const struct workload_spec *spec)
{
    for (size_t i = 0; i < WORKLOAD_TEXT_COUNT; i++) {
        if (!packing_accepts_text(spec->texts[i])) {
            return packing_check_text(text_names[i], spec->texts[i]);
        }
    }
    if (spec->address_count > UINT16_MAX || spec->service_count > UINT16_MAX || spec->policy_count > UINT16_MAX) {
        return result_fail(RESULT_LIMIT, "workload has more than %d addresses, services or policies", UINT16_MAX);
    }
    for (size_t i = 0; i < spec->service_count; i++) {
        struct bytes key = spec->services[i].key;
        RESULT_TRY(packing_check_text("service key", key));
        if (key.length == 0 || memchr(key.data, '/', key.length) == NULL) {
            return result_fail(RESULT_INVALID, "failed to parse namespaced hostname: %.*s", (int)key.length,
                key.length > 0 ? (const char *)key.data : "");
        }
    }
    for (size_t i = 0; i < spec->policy_count; i++) {
        RESULT_TRY(packing_check_text("authorization policy", spec->policy_keys[i]));
    }
    RESULT_TRY(packing_check_gateway("waypoint", &spec->waypoint));
    return packing_check_gateway("network_gateway", &spec->network_gateway);
}

static bool ends_with(struct bytes text, struct bytes end)
{
    return text.length >= end.length && memcmp(text.data + (text.length - end.length), end.data, end.length) == 0;
}

/* Gives each text its offset, sharing ends; returns the bytes needed. Offset 0 is the empty text. */
static size_t plan_texts(const struct workload_spec *spec, uint16_t offsets[static WORKLOAD_TEXT_COUNT])
{
    size_t length = 1;
    for (size_t i = 0; i < WORKLOAD_TEXT_COUNT; i++) {
        struct bytes text = spec->texts[i];
        offsets[i] = 0;
        if (text.length == 0) {
            continue;
        }
        size_t host = 0;
        while (host < i && !ends_with(spec->texts[host], text)) {
            host++;
        }
        if (host < i) {
            offsets[i] = (uint16_t)(offsets[host] + spec->texts[host].length - text.length);
            continue;
        }
        offsets[i] = (uint16_t)length;
        length += text.length + 1;
    }
    return length;
}

static size_t workload_size(const struct workload_spec *spec, size_t texts_length)
{
    size_t size = sizeof(struct workload) + texts_length;
    size += spec->service_count * sizeof(struct workload_service);
    size += spec->policy_count * sizeof(char *);
    size += spec->address_count * sizeof(struct ip_address);
    for (size_t i = 0; i < spec->service_count; i++) {
        size += spec->services[i].port_count * sizeof(struct port_mapping);
        size += packing_text_size(spec->services[i].key);
    }
    for (size_t i = 0; i < spec->policy_count; i++) {
        size += packing_text_size(spec->policy_keys[i]);
    }
    if (spec->waypoint.kind != GATEWAY_NONE) {
        size += sizeof(struct gateway_address) + packing_gateway_size(&spec->waypoint);
    }
    if (spec->network_gateway.kind != GATEWAY_NONE) {
        size += sizeof(struct gateway_address) + packing_gateway_size(&spec->network_gateway);
    }
    return size;
}

static void pack_services(struct workload *workload, struct packing *packing, const struct workload_spec *spec,
    struct workload_service *services)
{
    for (size_t i = 0; i < spec->service_count; i++) {
        size_t size = spec->services[i].port_count * sizeof(struct port_mapping);
        struct port_mapping *ports = packing_take(packing, size);
        if (size > 0) {
            memcpy(ports, spec->services[i].ports, size);
        }
        services[i].ports = ports;
        services[i].port_count = spec->services[i].port_count;
    }
    workload->services = services;
    workload->service_count = (uint16_t)spec->service_count;
}

static void pack_texts(
    struct workload *workload, struct packing *packing, const struct workload_spec *spec, size_t texts_length)
{
    char *texts = packing_take(packing, texts_length);
    texts[0] = '\0';
    for (size_t i = 0; i < WORKLOAD_TEXT_COUNT; i++) {
        struct bytes text = spec->texts[i];
        if (text.length > 0) {
            /* A shared end is written again over itself. */
            memcpy(texts + workload->text_offsets[i], text.data, text.length);
            texts[workload->text_offsets[i] + text.length] = '\0';
        }
    }
    workload->texts = texts;
}

struct result workload_new(const struct workload_spec *spec, struct workload **workload)
{
    RESULT_TRY(check_spec(spec));
    uint16_t offsets[WORKLOAD_TEXT_COUNT];
    size_t texts_length = plan_texts(spec, offsets);
    size_t size = workload_size(spec, texts_length);
    struct workload *made = memory_allocate_zeroed(1, size);
    struct packing packing = { (uint8_t *)made + sizeof(struct workload), (uint8_t *)made + size };

    made->references = 1;
    made->capacity = spec->capacity;
    memcpy(made->text_offsets, offsets, sizeof offsets);
    made->protocol = (uint8_t)spec->protocol;
    made->network_mode = (uint8_t)spec->network_mode;
    made->tunnel_protocol = (uint8_t)spec->tunnel_protocol;
    made->application_tunnel_port = spec->application_tunnel_port;
    made->is_healthy = spec->is_healthy;
    made->has_native_tunnel = spec->has_native_tunnel;
    made->has_application_tunnel = spec->has_application_tunnel;

    struct workload_service *services = packing_take(&packing, spec->service_count * sizeof(struct workload_service));
    const char **policy_keys = packing_take(&packing, spec->policy_count * sizeof(char *));
    struct gateway_address *waypoint =
        spec->waypoint.kind != GATEWAY_NONE ? packing_take(&packing, sizeof *waypoint) : NULL;
    struct gateway_address *network_gateway =
        spec->network_gateway.kind != GATEWAY_NONE ? packing_take(&packing, sizeof *network_gateway) : NULL;
    pack_services(made, &packing, spec, services);
    struct ip_address *addresses = packing_take(&packing, spec->address_count * sizeof(struct ip_address));
    if (spec->address_count > 0) {
        memcpy(addresses, spec->addresses, spec->address_count * sizeof(struct ip_address));
    }
    made->addresses = addresses;
    made->address_count = (uint16_t)spec->address_count;

    pack_texts(made, &packing, spec, texts_length);
    for (size_t i = 0; i < spec->service_count; i++) {
        services[i].key = packing_text(&packing, spec->services[i].key);
    }
    for (size_t i = 0; i < spec->policy_count; i++) {
        policy_keys[i] = packing_text(&packing, spec->policy_keys[i]);
    }
    made->policy_keys = policy_keys;
    made->policy_count = (uint16_t)spec->policy_count;
    if (waypoint != NULL) {
        packing_gateway(&packing, &spec->waypoint, waypoint);
    }
    if (network_gateway != NULL) {
        packing_gateway(&packing, &spec->network_gateway, network_gateway);
    }
    made->waypoint = waypoint;
    made->network_gateway = network_gateway;
    *workload = made;
    return result_ok();
}

struct workload *workload_reference(const struct workload *workload)
{
    /* The count is the one part of an immutable object that changes. */
    struct workload *counted = (struct workload *)(uintptr_t)workload;
    atomic_fetch_add_explicit(&counted->references, 1, memory_order_relaxed);
    return counted;
}

void workload_release(struct workload *workload)
{
    if (workload != NULL && atomic_fetch_sub_explicit(&workload->references, 1, memory_order_acq_rel) == 1) {
        memory_free(workload);
    }
}

bool workload_has_address(const struct workload *workload, const struct ip_address *ip)
{
    for (size_t i = 0; i < workload->address_count; i++) {
        if (ip_equal(&workload->addresses[i], ip)) {
            return true;
        }
    }
    return false;
}

const struct workload_service *workload_find_service(const struct workload *workload, struct bytes key)
{
    /* On the wire this is a map: the last of equal keys holds. */
    for (size_t i = workload->service_count; i > 0; i--) {
        if (bytes_equal_string(key, workload->services[i - 1].key)) {
            return &workload->services[i - 1];
        }
    }
    return NULL;
}

void workload_add_identity(const struct workload *workload, struct writer *out)
{
    writer_print(out, "spiffe://%s/ns/%s/sa/%s", workload_text(workload, WORKLOAD_TRUST_DOMAIN),
        workload_text(workload, WORKLOAD_NAMESPACE), workload_text(workload, WORKLOAD_SERVICE_ACCOUNT));
}

static bool has_same_text(const struct workload *left, const struct workload *right, enum workload_text text)
{
    return strcmp(workload_text(left, text), workload_text(right, text)) == 0;
}

bool workload_has_same_identity(const struct workload *left, const struct workload *right)
{
    return has_same_text(left, right, WORKLOAD_SERVICE_ACCOUNT) && has_same_text(left, right, WORKLOAD_NAMESPACE) &&
           has_same_text(left, right, WORKLOAD_TRUST_DOMAIN);
}

void workload_describe(const struct workload *workload, struct writer *out)
{
    writer_print(out, "Workload{%s with uid %s (%s)}", workload_text(workload, WORKLOAD_NAME),
        workload_text(workload, WORKLOAD_UID), workload->protocol == WORKLOAD_HBONE ? "HBONE" : "TCP");
}
