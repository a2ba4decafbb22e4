/* One conversion of all objects: what its steps share. Made and driven by the index; pure but for address allocation.
 *
 * Everything a step makes lives in the conversion's arena, which the index keeps until the next conversion. */
#ifndef AMBAR_AMBARD_CONVERSION_H
#define AMBAR_AMBARD_CONVERSION_H

#include "ambard/index.h"
#include "base/arena.h"
#include "base/writer.h"
#include "kube/mesh_config.h"
#include "kube/store.h"

struct auto_allocation;
struct hash_map;
struct network_gateway_table;
struct peer_authentication_table;
struct policy_table;
struct service_table;
struct waypoint_table;

/* A resource as a step hands it over; everything borrowed. */
struct ambient_draft {
    enum ambient_resource_type type;
    const char *name;
    struct bytes body;
    const char *const *aliases;
    size_t alias_count;
    const char *node;
    const char *const *services;
    size_t service_count;
};

struct conversion {
    const struct ambient_index_settings *settings;
    const struct kube_store *store;
    struct auto_allocation *allocation;
    struct arena *arena;
    void (*emit)(void *context, const struct ambient_draft *draft);
    void *emit_context;

    const struct kube_mesh_settings *mesh; /* never NULL */
    const char *trust_domain;
    const char *root_namespace;
    const char *network; /* of the whole cluster; "" when unnamed */

    struct waypoint_table *waypoints;
    struct network_gateway_table *network_gateways;
    struct service_table *services;
    struct policy_table *policies;
    struct peer_authentication_table *peer_authentication;

    struct ambient_condition *conditions; /* grown by conversion_add_condition; freed by the index */
    size_t condition_count;
    size_t condition_capacity;
};

/* Reads the mesh's settings. `conversion` has its settings, store, arena and emit set. */
void conversion_read_mesh(struct conversion *conversion);

/* Whether discoverySelectors let us see the namespace. */
bool conversion_sees_namespace(const struct conversion *conversion, const char *namespace_);
/* Label istio.io/rev absent or ours, and in a namespace that is seen. */
bool conversion_takes(const struct conversion *conversion, const struct kube_object *object);

/* The labels and annotations of a namespace; empty when there is no Namespace object. */
const struct kube_labels *conversion_namespace_labels(const struct conversion *conversion, const char *namespace_);
const struct kube_labels *conversion_namespace_annotations(const struct conversion *conversion, const char *namespace_);

/* The trust domain as it goes over the wire: "" when it is exactly cluster.local. */
const char *conversion_wire_trust_domain(const struct conversion *conversion);

void conversion_add_condition(struct conversion *conversion, const struct kube_object *object, const char *type,
    bool is_true, const char *reason, const char *format, ...) __attribute__((format(printf, 6, 7)));

/* For qsort over arrays of `const char *`. */
int compare_texts(const void *left, const void *right);

#endif
