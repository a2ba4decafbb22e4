#include "mesh/index.h"

#include "base/memory.h"

#include <stdatomic.h>

void index_key_begin(struct index_key *key, enum index_kind kind)
{
    key->data[0] = (uint8_t)kind;
    key->length = 1;
    key->is_too_long = false;
}

static void key_add(struct index_key *key, const void *data, size_t length)
{
    if (key->is_too_long || length > sizeof key->data - key->length) {
        key->is_too_long = true;
        return;
    }
    if (length > 0) {
        memcpy(key->data + key->length, data, length);
    }
    key->length += length;
}

void index_key_add_text(struct index_key *key, struct bytes text)
{
    /* No text of the model contains a NUL, so it ends a part unambiguously; one from outside that does equals nothing. */
    if (text.length > MESH_TEXT_MAXIMUM || (text.length > 0 && memchr(text.data, '\0', text.length) != NULL)) {
        key->is_too_long = true;
        return;
    }
    key_add(key, text.data, text.length);
    key_add(key, "", 1);
}

void index_key_add_ip(struct index_key *key, const struct ip_address *ip)
{
    struct bytes raw = ip_bytes(ip);
    key_add(key, raw.data, raw.length);
}

static void item_reference(uint8_t kind, void *item)
{
    switch ((enum index_kind)kind) {
    case INDEX_WORKLOAD_BY_ADDRESS:
    case INDEX_WORKLOAD_BY_HOSTNAME:
    case INDEX_LOCAL_WORKLOAD:
        workload_reference(item);
        return;
    case INDEX_SERVICE_BY_VIP:
    case INDEX_SERVICE_BY_HOSTNAME:
    case INDEX_SERVICE_WITH_CIDR:
        service_reference(item);
        return;
    case INDEX_POLICY_BY_NAMESPACE:
    case INDEX_GLOBAL_POLICY:
        policy_reference(item);
        return;
    }
}

static void item_release(uint8_t kind, void *item)
{
    switch ((enum index_kind)kind) {
    case INDEX_WORKLOAD_BY_ADDRESS:
    case INDEX_WORKLOAD_BY_HOSTNAME:
    case INDEX_LOCAL_WORKLOAD:
        workload_release(item);
        return;
    case INDEX_SERVICE_BY_VIP:
    case INDEX_SERVICE_BY_HOSTNAME:
    case INDEX_SERVICE_WITH_CIDR:
        service_release(item);
        return;
    case INDEX_POLICY_BY_NAMESPACE:
    case INDEX_GLOBAL_POLICY:
        policy_release(item);
        return;
    }
}

static struct index_list *list_new(struct bytes key, uint32_t capacity, uint64_t change_number)
{
    struct index_list *list = memory_allocate(sizeof(struct index_list) + capacity * sizeof(void *) + key.length);
    list->references = 1;
    list->count = 0;
    list->capacity = capacity;
    list->key_length = (uint16_t)key.length;
    list->made_by = change_number;
    memcpy(&list->items[capacity], key.data, key.length);
    return list;
}

static void list_append(struct index_list *list, void *item)
{
    item_reference(index_list_key(list).data[0], item);
    list->items[list->count++] = item;
}

static void list_reference(void *value)
{
    struct index_list *list = value;
    atomic_fetch_add_explicit(&list->references, 1, memory_order_relaxed);
}

static void list_release(void *value)
{
    struct index_list *list = value;
    if (atomic_fetch_sub_explicit(&list->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    uint8_t kind = index_list_key(list).data[0];
    for (uint32_t i = 0; i < list->count; i++) {
        item_release(kind, list->items[i]);
    }
    memory_free(list);
}

static struct bytes list_key_of(const void *value)
{
    return index_list_key(value);
}

const struct persistent_map_type index_map_type = { list_reference, list_release, list_key_of };

const struct index_list *index_find(const struct persistent_map *index, const struct index_key *key)
{
    return key->is_too_long ? NULL : persistent_map_get(&index_map_type, index, index_key_bytes(key));
}

struct persistent_map *index_add(
    struct persistent_map *index, const struct index_key *key, void *item, uint64_t change_number)
{
    /* Mostly nothing is there yet. */
    struct index_list *list = list_new(index_key_bytes(key), 1, change_number);
    list_append(list, item);
    void *present;
    index = persistent_map_put_new(&index_map_type, index, index_key_bytes(key), list, &present);
    if (present == NULL) {
        return index;
    }
    list_release(list);
    struct index_list *old = present;
    bool is_ours = old->made_by == change_number;
    if (is_ours && old->count < old->capacity) {
        list_append(old, item);
        return index;
    }
    /* Lists are as long as they need to be, except where one change adds again and again: then they double. */
    uint32_t capacity = is_ours ? old->count * 2 : old->count + 1;
    list = list_new(index_key_bytes(key), capacity, change_number);
    for (uint32_t i = 0; i < old->count; i++) {
        list_append(list, old->items[i]);
    }
    list_append(list, item);
    return persistent_map_put(&index_map_type, index, index_key_bytes(key), list);
}

struct persistent_map *index_replace(
    struct persistent_map *index, const struct index_key *key, const void *old, void *item, uint64_t change_number)
{
    const struct index_list *present = index_find(index, key);
    if (present == NULL || present->count != 1) {
        /* Among several the latest stands last. */
        return index_add(index_remove(index, key, old), key, item, change_number);
    }
    struct index_list *list = list_new(index_key_bytes(key), 1, change_number);
    list_append(list, item);
    return persistent_map_put(&index_map_type, index, index_key_bytes(key), list);
}

struct persistent_map *index_remove(struct persistent_map *index, const struct index_key *key, const void *item)
{
    const struct index_list *old = index_find(index, key);
    if (old == NULL) {
        return index;
    }
    if (old->count == 1 && old->items[0] == item) {
        return persistent_map_remove(&index_map_type, index, index_key_bytes(key));
    }
    /* Not marked as this change's own: it has no room to grow in place. */
    struct index_list *list = list_new(index_key_bytes(key), old->count, 0);
    for (uint32_t i = 0; i < old->count; i++) {
        if (old->items[i] != item) {
            list_append(list, old->items[i]);
        }
    }
    return persistent_map_put(&index_map_type, index, index_key_bytes(key), list);
}

struct endpoint_set *endpoint_set_new(struct bytes key, struct persistent_map *workloads, uint64_t change_number)
{
    struct endpoint_set *set = memory_allocate(sizeof(struct endpoint_set) + key.length + 1);
    set->references = 1;
    set->key_length = (uint32_t)key.length;
    set->made_by = change_number;
    set->workloads = workloads;
    memcpy(set->key, key.data, key.length);
    set->key[key.length] = '\0';
    return set;
}

static void endpoint_set_reference(void *value)
{
    struct endpoint_set *set = value;
    atomic_fetch_add_explicit(&set->references, 1, memory_order_relaxed);
}

void endpoint_set_release(void *value)
{
    struct endpoint_set *set = value;
    if (atomic_fetch_sub_explicit(&set->references, 1, memory_order_acq_rel) == 1) {
        persistent_map_release(&workload_map_type, set->workloads);
        memory_free(set);
    }
}

static struct bytes endpoint_set_key_of(const void *value)
{
    const struct endpoint_set *set = value;
    return bytes_of(set->key, set->key_length);
}

const struct persistent_map_type endpoint_set_map_type = { endpoint_set_reference, endpoint_set_release,
    endpoint_set_key_of };

static void workload_value_reference(void *value)
{
    workload_reference(value);
}
static void workload_value_release(void *value)
{
    workload_release(value);
}
static struct bytes workload_key_of(const void *value)
{
    return bytes_of_string(workload_text(value, WORKLOAD_UID));
}

const struct persistent_map_type workload_map_type = { workload_value_reference, workload_value_release,
    workload_key_of };

static void service_value_reference(void *value)
{
    service_reference(value);
}
static void service_value_release(void *value)
{
    service_release(value);
}
static struct bytes service_key_of(const void *value)
{
    const struct service *service = value;
    return bytes_of_string(service->key);
}

const struct persistent_map_type service_map_type = { service_value_reference, service_value_release, service_key_of };

static void policy_value_reference(void *value)
{
    policy_reference(value);
}
static void policy_value_release(void *value)
{
    policy_release(value);
}
static struct bytes policy_key_of(const void *value)
{
    const struct policy *policy = value;
    return bytes_of_string(policy->key);
}

const struct persistent_map_type policy_map_type = { policy_value_reference, policy_value_release, policy_key_of };
