#include "mesh/workload_shared.h"

#include "base/memory.h"
#include "base/writer.h"
#include "mesh/interned.h"
#include "mesh/packing.h"

#define KEY_BYTES_USUAL 1024

/* A key has everything the part is made of, in an order that `derive` follows: texts, each ended by a NUL (none contains one), and
 * numbers as they lie in memory. */

static void add_text(struct writer *key, struct bytes text)
{
    writer_add_bytes(key, text);
    writer_add_u8(key, '\0');
}

static const struct interned *interned_of(const void *derived)
{
    return CONTAINER_OF(derived, struct interned, derived);
}

static const void *intern(const struct workload_spec *spec,
    void (*write_key)(const struct workload_spec *, struct writer *), size_t derived_bytes,
    void (*derive)(void *derived, const uint8_t *key, const void *context))
{
    uint8_t memory[KEY_BYTES_USUAL];
    struct writer key = writer_fixed(memory, sizeof memory);
    write_key(spec, &key);
    if (!key.has_overflowed) {
        return interned_get(writer_bytes(&key), derived_bytes, derive, spec)->derived;
    }
    struct writer long_key = writer_growing();
    write_key(spec, &long_key);
    const struct interned *part = interned_get(writer_bytes(&long_key), derived_bytes, derive, spec);
    writer_free(&long_key);
    return part->derived;
}

static void write_place_key(const struct workload_spec *spec, struct writer *key)
{
    for (size_t i = 0; i < WORKLOAD_PLACE_TEXTS; i++) {
        add_text(key, spec->texts[WORKLOAD_NETWORK + i]);
    }
}

static void derive_place(void *derived, const uint8_t *key, const void *context)
{
    const struct workload_spec *spec = context;
    struct workload_place *place = derived;
    size_t offset = 0;
    place->texts = (const char *)key;
    for (size_t i = 0; i < WORKLOAD_PLACE_TEXTS; i++) {
        place->offsets[i] = (uint16_t)offset;
        offset += spec->texts[WORKLOAD_NETWORK + i].length + 1;
    }
}

const struct workload_place *workload_place_get(const struct workload_spec *spec)
{
    return intern(spec, write_place_key, sizeof(struct workload_place), derive_place);
}

void workload_place_release(const struct workload_place *place)
{
    interned_release(interned_of(place));
}

/* A workload that bears its own name as its application's has it in common with its likes that its names are the same, not
 * what they are. */
static bool is_own_name(const struct workload_spec *spec, size_t kind_text)
{
    struct bytes text = spec->texts[WORKLOAD_NAMESPACE + kind_text];
    return text.length > 0 && bytes_equal(text, spec->texts[WORKLOAD_NAME]);
}

static void add_gateway(const struct gateway_spec *gateway, struct writer *key)
{
    writer_add_u8(key, (uint8_t)gateway->kind);
    if (gateway->kind == GATEWAY_NONE) {
        return;
    }
    writer_add_u16(key, gateway->hbone_mtls_port);
    writer_add(key, &gateway->ip, sizeof gateway->ip);
    add_text(key, gateway->namespace_);
    add_text(key, gateway->hostname);
    add_text(key, gateway->network);
}

static void write_kind_key(const struct workload_spec *spec, struct writer *key)
{
    for (size_t i = 0; i < WORKLOAD_KIND_TEXTS; i++) {
        bool is_own = is_own_name(spec, i);
        writer_add_u8(key, is_own ? 1 : 0);
        add_text(key, is_own ? bytes_of(NULL, 0) : spec->texts[WORKLOAD_NAMESPACE + i]);
    }
    writer_add_u16(key, (uint16_t)spec->service_count);
    for (size_t i = 0; i < spec->service_count; i++) {
        add_text(key, spec->services[i].key);
        writer_add_u32(key, (uint32_t)spec->services[i].port_count);
        writer_add(key, spec->services[i].ports, spec->services[i].port_count * sizeof(struct port_mapping));
    }
    writer_add_u16(key, (uint16_t)spec->policy_count);
    for (size_t i = 0; i < spec->policy_count; i++) {
        add_text(key, spec->policy_keys[i]);
    }
    add_gateway(&spec->waypoint, key);
    add_gateway(&spec->network_gateway, key);
}

/* Behind the kind and its services: gateways, policy keys, ports, in falling order of alignment. */
static size_t kind_size(const struct workload_spec *spec)
{
    size_t size = sizeof(struct workload_kind) + spec->service_count * sizeof(struct workload_service);
    size += ((spec->waypoint.kind != GATEWAY_NONE) + (spec->network_gateway.kind != GATEWAY_NONE)) *
            sizeof(struct gateway_address);
    size += spec->policy_count * sizeof(char *);
    for (size_t i = 0; i < spec->service_count; i++) {
        size += spec->services[i].port_count * sizeof(struct port_mapping);
    }
    return size;
}

static const char *take_text(const uint8_t **at, struct bytes text)
{
    const char *taken = (const char *)*at;
    *at += text.length + 1;
    return taken;
}

static void derive_kind_texts(struct workload_kind *kind, const struct workload_spec *spec, const uint8_t **at)
{
    kind->texts = (const char *)*at;
    for (size_t i = 0; i < WORKLOAD_KIND_TEXTS; i++) {
        bool is_own = is_own_name(spec, i);
        (*at)++;
        kind->offsets[i] = is_own ? WORKLOAD_TEXT_IS_NAME : (uint16_t)((const char *)*at - kind->texts);
        (void)take_text(at, is_own ? bytes_of(NULL, 0) : spec->texts[WORKLOAD_NAMESPACE + i]);
    }
}

static void derive_services(
    struct workload_kind *kind, const struct workload_spec *spec, const uint8_t **at, struct port_mapping *ports)
{
    *at += sizeof(uint16_t);
    for (size_t i = 0; i < spec->service_count; i++) {
        size_t count = spec->services[i].port_count;
        kind->services[i] = (struct workload_service){ take_text(at, spec->services[i].key), ports, count };
        *at += sizeof(uint32_t) + count * sizeof *ports;
        if (count > 0) {
            memcpy(ports, spec->services[i].ports, count * sizeof *ports);
        }
        ports += count;
    }
    kind->service_count = (uint16_t)spec->service_count;
}

static const struct gateway_address *derive_gateway(
    const struct gateway_spec *spec, const uint8_t **at, struct packing *packing)
{
    (*at)++;
    if (spec->kind == GATEWAY_NONE) {
        return NULL;
    }
    struct gateway_address *gateway = packing_take(packing, sizeof *gateway);
    *at += sizeof(uint16_t) + sizeof spec->ip;
    gateway->kind = spec->kind;
    gateway->hbone_mtls_port = spec->hbone_mtls_port;
    gateway->ip = spec->ip;
    gateway->namespace_ = take_text(at, spec->namespace_);
    gateway->hostname = take_text(at, spec->hostname);
    gateway->network = take_text(at, spec->network);
    return gateway;
}

static void derive_kind(void *derived, const uint8_t *key, const void *context)
{
    const struct workload_spec *spec = context;
    struct workload_kind *kind = derived;
    size_t size = kind_size(spec);
    size_t gateways = (spec->waypoint.kind != GATEWAY_NONE) + (spec->network_gateway.kind != GATEWAY_NONE);
    struct packing packing = { (uint8_t *)&kind->services[spec->service_count], (uint8_t *)derived + size };
    struct packing gateway_packing = packing;
    (void)packing_take(&packing, gateways * sizeof(struct gateway_address));
    const char **policy_keys = packing_take(&packing, spec->policy_count * sizeof *policy_keys);
    const uint8_t *at = key;
    derive_kind_texts(kind, spec, &at);
    derive_services(kind, spec, &at, (struct port_mapping *)packing.at);
    at += sizeof(uint16_t);
    for (size_t i = 0; i < spec->policy_count; i++) {
        policy_keys[i] = take_text(&at, spec->policy_keys[i]);
    }
    kind->policy_keys = policy_keys;
    kind->policy_count = (uint16_t)spec->policy_count;
    kind->waypoint = derive_gateway(&spec->waypoint, &at, &gateway_packing);
    kind->network_gateway = derive_gateway(&spec->network_gateway, &at, &gateway_packing);
}

const struct workload_kind *workload_kind_get(const struct workload_spec *spec)
{
    return intern(spec, write_kind_key, kind_size(spec), derive_kind);
}

void workload_kind_release(const struct workload_kind *kind)
{
    interned_release(interned_of(kind));
}
