/* Nodes, and (namespace, service account, node) of what runs there. */
#include "ambard/identity_table.h"

#include "ambard/workload_reading.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "kube/pod.h"
#include "kube/workload_entry.h"

struct identity_table {
    struct hash_map *nodes;
    struct hash_map *identities; /* "namespace/service-account/node": none of the parts can hold a slash */
};

static void add_identity(
    struct identity_table *table, const char *namespace_, const char *service_account, const char *node)
{
    if (node[0] == '\0') {
        return;
    }
    char *AUTO_FREE key =
        string_format("%s/%s/%s", namespace_, service_account[0] == '\0' ? "default" : service_account, node);
    hash_map_put(table->identities, bytes_of_string(key), table);
}

struct identity_table *identity_table_new(const struct kube_store *store)
{
    struct identity_table *table = NEW(struct identity_table);
    table->nodes = hash_map_new();
    table->identities = hash_map_new();
    struct kube_object_list nodes = kube_store_list(store, KUBE_NODE);
    for (size_t i = 0; i < nodes.count; i++) {
        hash_map_put(table->nodes, bytes_of_string(nodes.items[i]->metadata.name), table);
    }
    struct kube_object_list pods = kube_store_list(store, KUBE_POD);
    for (size_t i = 0; i < pods.count; i++) {
        const struct kube_pod *pod = kube_as_pod(pods.items[i]);
        if (pod->status.phase != KUBE_POD_FAILED) {
            add_identity(table, pod->object.metadata.namespace_, pod->spec.service_account, pod->spec.node_name);
        }
    }
    struct kube_object_list entries = kube_store_list(store, KUBE_WORKLOAD_ENTRY);
    for (size_t i = 0; i < entries.count; i++) {
        const struct kube_workload_entry *entry = kube_as_workload_entry(entries.items[i]);
        const struct kube_metadata *metadata = &entry->object.metadata;
        add_identity(table, metadata->namespace_, entry->spec.service_account,
            kube_labels_text(&metadata->annotations, ANNOTATION_NODE));
    }
    return table;
}

void identity_table_free(struct identity_table *table)
{
    if (table == NULL) {
        return;
    }
    hash_map_free(table->nodes, NULL);
    hash_map_free(table->identities, NULL);
    memory_free(table);
}

bool identity_table_has_node(const struct identity_table *table, const char *node)
{
    return hash_map_get(table->nodes, bytes_of_string(node)) != NULL;
}

bool identity_table_has(
    const struct identity_table *table, const char *namespace_, const char *service_account, const char *node)
{
    bool has_slash =
        strchr(namespace_, '/') != NULL || strchr(service_account, '/') != NULL || strchr(node, '/') != NULL;
    char *AUTO_FREE key = string_format("%s/%s/%s", namespace_, service_account, node);
    return !has_slash && hash_map_get(table->identities, bytes_of_string(key)) != NULL;
}
