/* Service. */
#ifndef AMBAR_KUBE_SERVICE_H
#define AMBAR_KUBE_SERVICE_H

#include "kube/object.h"
#include "kube/pod.h"
#include "kube/schema.h"

struct kube_service_port {
    const char *name;
    const char *app_protocol;
    uint32_t port;
    struct kube_int_or_string target_port; /* neither: the port itself */
    int protocol;                          /* enum kube_protocol */
};

enum kube_traffic_distribution {
    KUBE_DISTRIBUTION_ANY,
    KUBE_DISTRIBUTION_PREFER_CLOSE,
    KUBE_DISTRIBUTION_PREFER_SAME_ZONE,
    KUBE_DISTRIBUTION_PREFER_SAME_NODE,
};

struct kube_service {
    struct kube_object object;
    struct {
        int type;                        /* enum kube_service_type */
        const char *cluster_ip;          /* "", "None" or an address */
        struct kube_strings cluster_ips; /* each "None" or an address */
        struct {
            struct kube_service_port *items;
            size_t count;
        } ports;
        struct kube_labels selector;
        struct kube_strings ip_families; /* "IPv4", "IPv6" */
        int internal_traffic_policy;     /* enum kube_internal_traffic_policy */
        int traffic_distribution;        /* enum kube_traffic_distribution */
        bool publishes_not_ready_addresses;
    } spec;
};

enum kube_service_type {
    KUBE_SERVICE_CLUSTER_IP,
    KUBE_SERVICE_NODE_PORT,
    KUBE_SERVICE_LOAD_BALANCER,
    KUBE_SERVICE_EXTERNAL_NAME
};
enum kube_internal_traffic_policy { KUBE_INTERNAL_TRAFFIC_CLUSTER, KUBE_INTERNAL_TRAFFIC_LOCAL };

static inline const struct kube_service *kube_as_service(const struct kube_object *object)
{
    assert(object->kind == KUBE_SERVICE);
    return (const struct kube_service *)object;
}

#endif
