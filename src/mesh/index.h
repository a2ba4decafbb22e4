/* The insides of a version, shared by its lookups (version.c, name_service.c) and its making (change.c); for nobody else.
 *
 * One persistent map holds every secondary index: a key is the index's letter and its parts, a value the list of objects
 * under it, in the order in which they arrived. */
#ifndef AMBAR_MESH_INDEX_H
#define AMBAR_MESH_INDEX_H

#include "base/persistent_map.h"
#include "mesh/policy.h"
#include "mesh/service.h"
#include "mesh/version.h"
#include "mesh/workload.h"

enum index_kind {
    INDEX_WORKLOAD_BY_ADDRESS = 'a',  /* network, ip */
    INDEX_WORKLOAD_BY_HOSTNAME = 'h', /* namespace, hostname */
    INDEX_LOCAL_WORKLOAD = 'l',       /* name, namespace, service account */
    INDEX_SERVICE_BY_VIP = 'v',       /* network, ip */
    INDEX_SERVICE_BY_HOSTNAME = 's',  /* hostname */
    INDEX_SERVICE_WITH_CIDR = 'c',    /* every service that has a CIDR VIP */
    INDEX_POLICY_BY_NAMESPACE = 'n',  /* namespace; policies of that scope */
    INDEX_GLOBAL_POLICY = 'g',        /* policies of global scope */
};

/* The longest: three texts of the model. */
#define INDEX_KEY_MAXIMUM (3 * (MESH_TEXT_MAXIMUM + 1) + 32)

struct index_key {
    size_t length;
    bool is_too_long; /* made from foreign bytes that nothing in the model can equal */
    uint8_t data[INDEX_KEY_MAXIMUM];
};

void index_key_begin(struct index_key *key, enum index_kind kind);
void index_key_add_text(struct index_key *key, struct bytes text);
void index_key_add_ip(struct index_key *key, const struct ip_address *ip);
static inline struct bytes index_key_bytes(const struct index_key *key)
{
    return bytes_of(key->data, key->length);
}

/* The objects under one key. Immutable, except for the change that made it, until that is committed. */
struct index_list {
    _Atomic uint32_t references;
    uint32_t count, capacity;
    uint16_t key_length;
    uint64_t made_by; /* number of the change */
    void *items[];    /* `capacity` of them, then the key, whose first byte tells their type */
};

static inline struct bytes index_list_key(const struct index_list *list)
{
    return bytes_of(&list->items[list->capacity], list->key_length);
}

/* NULL when nothing is under the key. */
const struct index_list *index_find(const struct persistent_map *index, const struct index_key *key);
/* Both consume the map; the item gets a reference of its own. `change_number` is unique per change. */
struct persistent_map *index_add(
    struct persistent_map *index, const struct index_key *key, void *item, uint64_t change_number);
/* The same as removing `old` and adding `item`, with less to do where `old` was alone. */
struct persistent_map *index_replace(
    struct persistent_map *index, const struct index_key *key, const void *old, void *item, uint64_t change_number);
struct persistent_map *index_remove(struct persistent_map *index, const struct index_key *key, const void *item);

/* The workloads that name one service, by uid. */
struct endpoint_set {
    _Atomic uint32_t references;
    uint32_t key_length;
    uint64_t made_by; /* number of the change */
    struct persistent_map *workloads;
    char key[]; /* "namespace/hostname", with a NUL */
};
/* Takes over the reference to the map. */
struct endpoint_set *endpoint_set_new(struct bytes key, struct persistent_map *workloads, uint64_t change_number);
void endpoint_set_release(void *set);

extern const struct persistent_map_type workload_map_type; /* by uid */
extern const struct persistent_map_type service_map_type;  /* by "namespace/hostname" */
extern const struct persistent_map_type policy_map_type;   /* by resource name */
extern const struct persistent_map_type index_map_type;
extern const struct persistent_map_type endpoint_set_map_type; /* by "namespace/hostname" */

struct mesh_version_settings {
    _Atomic uint32_t references;
    char *network;
    char *node_name; /* NULL: any */
};

struct mesh_version {
    _Atomic uint32_t references;
    uint64_t generation, policy_generation, departure_generation;
    struct mesh_version_settings *settings;
    struct persistent_map *workloads;
    struct persistent_map *services;
    struct persistent_map *policies;
    struct persistent_map *index;
    struct persistent_map *endpoints;
};

/* A private copy that shares every map: what a change works on. */
struct mesh_version *mesh_version_copy(const struct mesh_version *version);

#endif
