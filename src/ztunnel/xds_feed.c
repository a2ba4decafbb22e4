#include "ztunnel/xds_feed.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "mesh/change.h"
#include "xds/address_codec.h"
#include "xds/authorization_codec.h"
#include "xds/node.h"
#include "ztunnel/metrics.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#define LARGE_RESPONSE_BYTES (4 * 1024 * 1024)
#define TRIM_AFTER_MS 3000
#define ADDRESS_TYPE_URL "type.googleapis.com/istio.workload.Address"
#define AUTHORIZATION_TYPE_URL "type.googleapis.com/istio.security.Authorization"

enum { TYPE_ADDRESS, TYPE_AUTHORIZATION, TYPE_COUNT };

/* How many workloads of this node have an identity. */
struct local_identity {
    size_t workloads;
};

struct xds_feed {
    struct xds_feed_settings settings;
    struct loop *loop;
    uint64_t begun_ns; /* when the response being applied began; 0: none is */
    struct delta_type types[TYPE_COUNT];
    struct delta_client *client;
    struct mesh_change *change;
    struct hash_map *local_identities; /* identity -> struct local_identity */
    struct hash_map *local_workloads;  /* uid -> its struct local_identity, borrowed */
    bool is_shared;
    struct timer trim;
};

/* By then the version that a large response replaced is released: its memory goes back to the system. */
static void on_trim(struct timer *timer)
{
    (void)timer;
    malloc_trim(0);
}

static bool is_prefetched(const struct xds_feed *feed, const struct workload *workload)
{
    const char *node = feed->settings.configuration->node_name;
    bool is_local = node != NULL && text_equal(workload_text(workload, WORKLOAD_NODE), node);
    return feed->is_shared && is_local && (workload->has_native_tunnel || workload->protocol == WORKLOAD_HBONE);
}

static void discount_identity(struct xds_feed *feed, struct bytes uid)
{
    struct local_identity *local = hash_map_remove(feed->local_workloads, uid);
    if (local != NULL) {
        local->workloads--;
    }
}

static void count_identity(struct xds_feed *feed, const struct workload *workload)
{
    struct bytes uid = bytes_of_string(workload_text(workload, WORKLOAD_UID));
    discount_identity(feed, uid);
    if (!is_prefetched(feed, workload)) {
        return;
    }
    struct writer identity = writer_growing();
    workload_add_identity(workload, &identity);
    struct local_identity *local = hash_map_get(feed->local_identities, writer_bytes(&identity));
    if (local == NULL) {
        local = NEW(struct local_identity);
        hash_map_put(feed->local_identities, writer_bytes(&identity), local);
    }
    local->workloads++;
    hash_map_put(feed->local_workloads, uid, local);
    certificate_store_prefetch(feed->settings.certificates, writer_string(&identity));
    writer_free(&identity);
}

/* Replaced in one response is not gone: only now, at its end, are the unused forgotten. */
static void forget_unused_identities(struct xds_feed *feed)
{
    size_t position = 0;
    struct bytes identity;
    void *value;
    while (hash_map_next(feed->local_identities, &position, &identity, &value)) {
        struct local_identity *local = value;
        if (local->workloads > 0) {
            continue;
        }
        char *name = string_duplicate_n((const char *)identity.data, identity.length);
        hash_map_remove(feed->local_identities, identity);
        memory_free(local);
        certificate_store_forget(feed->settings.certificates, name);
        memory_free(name);
    }
}

static void begin(void *context, int type)
{
    (void)type;
    struct xds_feed *feed = context;
    feed->begun_ns = clock_monotonic_ns();
    feed->change = mesh_change_begin(mesh_publication_read(feed->settings.publication));
}

static struct result update_address(struct xds_feed *feed, const struct delta_resource *resource)
{
    struct decoded_address decoded;
    RESULT_TRY(address_decode(resource->value, &decoded));
    if (decoded.service != NULL) {
        mesh_change_upsert_service(feed->change, decoded.service);
        return result_ok();
    }
    count_identity(feed, decoded.workload);
    mesh_change_upsert_workload(feed->change, decoded.workload);
    return result_ok();
}

static struct result update(void *context, int type, const struct delta_resource *resource)
{
    struct xds_feed *feed = context;
    if (type == TYPE_ADDRESS) {
        return update_address(feed, resource);
    }
    struct policy *policy;
    RESULT_TRY(authorization_decode(resource->value, resource->name, &policy));
    log_print(LOG_INFO, "ztunnel::state", "handling RBAC update %.*s", (int)resource->name.length,
        (const char *)resource->name.data);
    mesh_change_upsert_policy(feed->change, policy);
    return result_ok();
}

static void remove_address(struct xds_feed *feed, struct bytes name)
{
    discount_identity(feed, name);
    enum mesh_removal removal = mesh_change_remove_address(feed->change, name);
    if (removal == MESH_REMOVAL_UNKNOWN) {
        log_print(LOG_WARN, "ztunnel::state", "tried to remove service, but it was not found: %.*s", (int)name.length,
            (const char *)name.data);
    } else if (removal == MESH_REMOVAL_MALFORMED) {
        log_print(LOG_WARN, "ztunnel::state", "tried to remove a name that is no address: %.*s", (int)name.length,
            (const char *)name.data);
    }
}

static void remove_resource(void *context, int type, struct bytes name)
{
    struct xds_feed *feed = context;
    if (type == TYPE_ADDRESS) {
        remove_address(feed, name);
        return;
    }
    log_print(LOG_INFO, "ztunnel::state", "handling RBAC delete %.*s", (int)name.length, (const char *)name.data);
    mesh_change_remove_policy(feed->change, name);
}

static void commit(void *context, int type)
{
    (void)type;
    struct xds_feed *feed = context;
    if (mesh_change_is_empty(feed->change)) {
        mesh_change_discard(feed->change);
    } else {
        mesh_publication_publish(feed->settings.publication, mesh_change_commit(feed->change));
        feed->settings.on_published(feed->settings.context);
    }
    feed->change = NULL;
    forget_unused_identities(feed);
}

static void abort_change(void *context, int type)
{
    (void)type;
    struct xds_feed *feed = context;
    mesh_change_discard(feed->change);
    feed->change = NULL;
}

static void on_ready(void *context)
{
    struct xds_feed *feed = context;
    feed->settings.on_ready(feed->settings.context);
}

static void count_labelled(struct xds_feed *feed, enum ztunnel_metric family, const char *label, uint64_t amount)
{
    metric_count_labelled(feed->settings.metrics, family, &label, amount);
}

static void on_response(void *context, const char *type_url, size_t value_bytes, size_t rejected_count)
{
    struct xds_feed *feed = context;
    if (value_bytes >= LARGE_RESPONSE_BYTES) {
        timer_arm_after_ms(feed->loop, &feed->trim, TRIM_AFTER_MS);
    }
    double seconds = (double)(clock_monotonic_ns() - feed->begun_ns) / (double)NANOSECONDS_PER_SECOND;
    if (rejected_count > 0) {
        count_labelled(feed, METRIC_XDS_REJECTIONS, type_url, rejected_count);
    }
    if (feed->begun_ns != 0) {
        metric_observe_labelled(feed->settings.metrics, METRIC_XDS_APPLY_DURATION, &type_url, seconds);
        feed->begun_ns = 0;
    }
    count_labelled(context, METRIC_XDS_MESSAGE, type_url, 1);
    count_labelled(context, METRIC_XDS_MESSAGE_BYTES, type_url, value_bytes);
}

static void on_connection(void *context, bool is_up)
{
    const struct xds_feed *feed = context;
    metric_set_labelled(feed->settings.metrics, METRIC_XDS_CONNECTED, NULL, is_up);
}

static void on_termination(void *context, enum delta_termination reason)
{
    count_labelled(context, METRIC_XDS_CONNECTION_TERMINATIONS, delta_termination_name(reason), 1);
}

#define METADATA_MAXIMUM 256

/* ISTIO_METAJSON_<K> (§3.3). Keys and values point into the environment or into `keys`. */
static size_t collect_metadata(const char *prefix, struct node_metadata *metadata, struct arena *keys)
{
    extern char **environ;
    size_t count = 0;
    for (char **entry = environ; *entry != NULL && count < METADATA_MAXIMUM; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || !text_starts_with(*entry, prefix)) {
            continue;
        }
        const char *key = *entry + strlen(prefix);
        metadata[count++] =
            (struct node_metadata){ arena_string_bytes(keys, bytes_of(key, (size_t)(equals - key))), equals + 1 };
    }
    return count;
}

static void encode_node(const struct configuration *configuration, struct writer *out)
{
    struct arena keys = { 0 };
    size_t count = configuration->proxy.metadata_count;
    struct node_metadata *AUTO_FREE metadata = memory_allocate((count + 1) * sizeof *metadata);
    for (size_t i = 0; i < count; i++) {
        metadata[i] =
            (struct node_metadata){ configuration->proxy.metadata[i].key, configuration->proxy.metadata[i].value };
    }
    struct node_metadata json_metadata[METADATA_MAXIMUM];
    const struct node_settings settings = {
        .instance_ip = configuration->instance_ip,
        .pod_name = configuration->pod_name,
        .pod_namespace = configuration->pod_namespace,
        .node_name = configuration->node_name,
        .metadata = metadata,
        .metadata_count = count,
        .json_metadata = json_metadata,
        .json_metadata_count = collect_metadata("ISTIO_METAJSON_", json_metadata, &keys),
    };
    node_encode(&settings, out);
    arena_free(&keys);
}

struct xds_feed *xds_feed_new(struct loop *control, struct buffer_pool *buffers,
    const struct xds_feed_settings *settings, const struct control_plane_settings *control_plane)
{
    struct xds_feed *feed = NEW(struct xds_feed);
    feed->settings = *settings;
    feed->loop = control;
    feed->trim.on_expire = on_trim;
    feed->types[TYPE_ADDRESS] = (struct delta_type){ ADDRESS_TYPE_URL, settings->configuration->xds_on_demand, true };
    feed->types[TYPE_AUTHORIZATION] = (struct delta_type){ AUTHORIZATION_TYPE_URL, false, false };
    feed->local_identities = hash_map_new();
    feed->local_workloads = hash_map_new();
    feed->is_shared = settings->configuration->proxy_mode == PROXY_MODE_SHARED;
    struct writer node = writer_growing();
    encode_node(settings->configuration, &node);
    const struct delta_client_settings client_settings = {
        .control_plane = *control_plane,
        .node = writer_bytes(&node),
        .types = feed->types,
        .type_count = TYPE_COUNT,
        .consumer = { feed, begin, update, remove_resource, commit, abort_change, on_ready, on_response, on_termination,
            on_connection },
    };
    feed->client = delta_client_new(control, buffers, &client_settings);
    writer_free(&node);
    return feed;
}

void xds_feed_start(struct xds_feed *feed)
{
    delta_client_start(feed->client);
}

struct loop *xds_feed_loop(const struct xds_feed *feed)
{
    return feed->loop;
}

struct result xds_feed_demand(struct xds_feed *feed, const char *name, struct delta_waiter *waiter, bool *is_held)
{
    return delta_client_demand(feed->client, TYPE_ADDRESS, bytes_of_string(name), waiter, is_held);
}

void xds_feed_free(struct xds_feed *feed)
{
    if (feed == NULL) {
        return;
    }
    timer_disarm(&feed->trim);
    delta_client_free(feed->client);
    hash_map_free(feed->local_workloads, NULL);
    hash_map_free(feed->local_identities, memory_free);
    memory_free(feed);
}
