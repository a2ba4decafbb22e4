#include "ambard/workload_reading.h"

#include "ambard/peer_authentication.h"
#include "ambard/policy_conversion.h"
#include "base/text.h"

void workload_read_tunnel(
    struct workload_parts *parts, const struct kube_labels *labels, const struct kube_labels *annotations)
{
    struct bytes rest = bytes_of_string(kube_labels_text(labels, "networking.istio.io/tunnel"));
    struct bytes piece;
    while (bytes_split(&rest, ',', &piece)) {
        parts->is_native_tunnel = parts->is_native_tunnel || bytes_equal_string(bytes_trim(piece), "http");
    }
    bool is_redirected = strcmp(kube_labels_text(annotations, "ambient.istio.io/redirection"), "enabled") == 0;
    parts->tunnel = is_redirected || parts->is_native_tunnel ? WORKLOAD_TUNNEL_HBONE : WORKLOAD_TUNNEL_NONE;
}

void workload_read_policies(
    struct conversion *conversion, struct workload_parts *parts, const struct kube_labels *labels)
{
    struct kube_strings selected = policies_of_workload(conversion, parts->namespace_, labels);
    struct kube_strings peer = peer_authentication_of_workload(conversion, parts->namespace_, labels);
    parts->policies = (struct kube_strings){
        arena_allocate(conversion->arena, (selected.count + peer.count) * sizeof *parts->policies.items), 0
    };
    for (size_t i = 0; i < selected.count; i++) {
        parts->policies.items[parts->policies.count++] = selected.items[i];
    }
    for (size_t i = 0; i < peer.count; i++) {
        parts->policies.items[parts->policies.count++] = peer.items[i];
    }
}
