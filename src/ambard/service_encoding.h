/* The bytes of istio.workload.Address{service} (wire-protocols §2, control-plane §§3.1-3.4). */
#ifndef AMBAR_AMBARD_SERVICE_ENCODING_H
#define AMBAR_AMBARD_SERVICE_ENCODING_H

#include "ambard/service_conversion.h"
#include "ambard/waypoint_binding.h"
#include "base/address.h"

struct service_addresses {
    struct cidr *items; /* host bits cleared; a full prefix is a single address */
    size_t count;
};

struct service_parts {
    const struct mesh_service *service;
    struct service_addresses addresses;
    struct waypoint_binding binding;
    bool is_canonical;
    bool uses_waypoint_for_ingress;
};

struct service_addresses service_cluster_addresses(struct arena *arena, const struct kube_service *service);
struct service_addresses service_entry_addresses(struct arena *arena, const struct kube_service_entry *entry);
bool service_address_is_single(const struct cidr *address);

void service_encode(const struct conversion *conversion, const struct service_parts *parts, struct writer *out);

#endif
