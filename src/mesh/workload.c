#include "mesh/workload.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/packing.h"
#include "mesh/workload_shared.h"

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

_Static_assert(WORKLOAD_TEXT_COUNT *(MESH_TEXT_MAXIMUM + 1) < WORKLOAD_TEXT_IS_NAME, "16-bit offsets reach every text");

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

/* Gives each of the own texts its offset, sharing ends; returns the bytes needed. Offset 0 is the empty text. */
static size_t plan_own_texts(const struct workload_spec *spec, uint16_t offsets[static WORKLOAD_OWN_TEXTS])
{
    size_t length = 1;
    for (size_t i = 0; i < WORKLOAD_OWN_TEXTS; i++) {
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

static void write_own_texts(
    char *out, const struct workload_spec *spec, const uint16_t offsets[static WORKLOAD_OWN_TEXTS])
{
    out[0] = '\0';
    for (size_t i = 0; i < WORKLOAD_OWN_TEXTS; i++) {
        struct bytes text = spec->texts[i];
        if (text.length > 0) {
            /* A shared end is written again over itself. */
            memcpy(out + offsets[i], text.data, text.length);
            out[offsets[i] + text.length] = '\0';
        }
    }
}

struct result workload_new(const struct workload_spec *spec, struct workload **workload)
{
    RESULT_TRY(check_spec(spec));
    uint16_t offsets[WORKLOAD_OWN_TEXTS];
    size_t addresses_size = spec->address_count * sizeof(struct ip_address);
    size_t texts_length = plan_own_texts(spec, offsets);
    struct workload *made = memory_allocate(sizeof *made + addresses_size + texts_length);
    struct ip_address *addresses = (struct ip_address *)(made + 1);
    if (addresses_size > 0) {
        memcpy(addresses, spec->addresses, addresses_size);
    }
    write_own_texts((char *)addresses + addresses_size, spec, offsets);
    const struct workload_kind *kind = workload_kind_get(spec);
    *made = (struct workload){
        .references = 1,
        .capacity = spec->capacity,
        .place = workload_place_get(spec),
        .kind = kind,
        .services = kind->services,
        .policy_keys = kind->policy_keys,
        .waypoint = kind->waypoint,
        .network_gateway = kind->network_gateway,
        .addresses = addresses,
        .address_count = (uint16_t)spec->address_count,
        .service_count = kind->service_count,
        .policy_count = kind->policy_count,
        .application_tunnel_port = spec->application_tunnel_port,
        .protocol = (uint8_t)spec->protocol,
        .network_mode = (uint8_t)spec->network_mode,
        .tunnel_protocol = (uint8_t)spec->tunnel_protocol,
        .is_healthy = spec->is_healthy,
        .has_native_tunnel = spec->has_native_tunnel,
        .has_application_tunnel = spec->has_application_tunnel,
    };
    memcpy(made->own_offsets, offsets, sizeof offsets);
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
        workload_place_release(workload->place);
        workload_kind_release(workload->kind);
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
