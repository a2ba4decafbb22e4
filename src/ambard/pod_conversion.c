#include "ambard/pod_conversion.h"

#include "ambard/workload_naming.h"
#include "ambard/workload_reading.h"
#include "base/memory.h"

static bool add_address(struct workload_parts *parts, const char *text)
{
    return ip_parse(text, &parts->addresses[parts->address_count]) && ++parts->address_count > 0;
}

/* False when there is no address yet, or one that is none. */
static bool read_pod_addresses(struct conversion *conversion, const struct kube_pod *pod, struct workload_parts *parts)
{
    size_t count = pod->status.pod_ips.count;
    parts->addresses = arena_allocate(conversion->arena, (count + 1) * sizeof *parts->addresses);
    for (size_t i = 0; i < count; i++) {
        if (!add_address(parts, pod->status.pod_ips.items[i].ip)) {
            return false;
        }
    }
    return count > 0 || add_address(parts, pod->status.pod_ip);
}

static void read_node(const struct conversion *conversion, const struct kube_pod *pod, struct workload_parts *parts)
{
    parts->node = pod->spec.node_name;
    const struct kube_object *node = kube_store_get(conversion->store, KUBE_NODE, "", parts->node);
    if (node != NULL) {
        parts->region = kube_labels_text(&node->metadata.labels, "topology.kubernetes.io/region");
        parts->zone = kube_labels_text(&node->metadata.labels, "topology.kubernetes.io/zone");
        parts->subzone = kube_labels_text(&node->metadata.labels, "topology.istio.io/subzone");
    }
}

static void convert_pod(
    struct conversion *conversion, const struct slice_memberships *memberships, const struct kube_pod *pod)
{
    const struct kube_metadata *metadata = &pod->object.metadata;
    struct workload_parts parts = workload_parts_new(conversion);
    if (kube_pod_is_finished(pod) || !read_pod_addresses(conversion, pod, &parts)) {
        return;
    }
    parts.uid = arena_format(
        conversion->arena, "%s//Pod/%s/%s", conversion->settings->cluster_id, metadata->namespace_, metadata->name);
    parts.name = metadata->name;
    parts.namespace_ = metadata->namespace_;
    parts.service_account = pod->spec.service_account;
    parts.type = WORKLOAD_TYPE_POD;
    parts.workload_name = workload_name_of_pod(pod, conversion->arena);
    parts.canonical_name = workload_canonical_name(&metadata->labels, parts.workload_name);
    parts.canonical_revision = workload_canonical_revision(&metadata->labels);
    parts.is_unhealthy = !kube_pod_is_ready(pod);
    parts.is_host_network = pod->spec.is_host_network;
    parts.waypoint = waypoint_bind_workload(conversion, metadata->namespace_, &metadata->labels).waypoint;
    parts.instance_of = waypoint_of_instance(conversion, metadata->namespace_, &metadata->labels);
    read_node(conversion, pod, &parts);
    workload_read_tunnel(&parts, &metadata->labels, &metadata->annotations);
    workload_read_policies(conversion, &parts, &metadata->labels);
    membership_of_pod(conversion, memberships, pod, &parts);
    workload_emit(conversion, &parts);
}

void pods_convert(struct conversion *conversion, const struct slice_memberships *memberships)
{
    struct kube_object_list list = kube_store_list(conversion->store, KUBE_POD);
    for (size_t i = 0; i < list.count; i++) {
        if (conversion_sees_namespace(conversion, list.items[i]->metadata.namespace_)) {
            convert_pod(conversion, memberships, kube_as_pod(list.items[i]));
        }
    }
}
