/* Pod. */
#ifndef AMBAR_KUBE_POD_H
#define AMBAR_KUBE_POD_H

#include "kube/object.h"

#include <assert.h>

struct kube_container_port {
    const char *name;
    uint32_t container_port;
    int protocol; /* enum kube_protocol */
};

struct kube_container {
    const char *restart_policy; /* of an init container: "Always" makes it a sidecar */
    struct {
        struct kube_container_port *items;
        size_t count;
    } ports;
};

struct kube_container_list {
    struct kube_container *items;
    size_t count;
};

enum kube_protocol { KUBE_PROTOCOL_TCP, KUBE_PROTOCOL_UDP, KUBE_PROTOCOL_SCTP };

enum kube_pod_phase {
    KUBE_POD_PHASE_UNSET,
    KUBE_POD_PENDING,
    KUBE_POD_RUNNING,
    KUBE_POD_SUCCEEDED,
    KUBE_POD_FAILED,
    KUBE_POD_PHASE_UNKNOWN
};

struct kube_pod_condition {
    const char *type;
    const char *status; /* "True", "False", "Unknown" */
};

struct kube_pod_ip {
    const char *ip; /* a valid address */
};

struct kube_pod {
    struct kube_object object;
    struct {
        const char *node_name;
        const char *service_account; /* never empty: Kubernetes fills in "default" */
        const char *deprecated_service_account;
        bool is_host_network;
        struct kube_container_list containers;
        struct kube_container_list init_containers;
    } spec;
    struct {
        int phase; /* enum kube_pod_phase */
        const char *pod_ip;
        struct {
            struct kube_pod_ip *items;
            size_t count;
        } pod_ips;
        struct {
            struct kube_pod_condition *items;
            size_t count;
        } conditions;
    } status;
};

static inline const struct kube_pod *kube_as_pod(const struct kube_object *object)
{
    assert(object->kind == KUBE_POD);
    return (const struct kube_pod *)object;
}

bool kube_pod_is_ready(const struct kube_pod *pod); /* condition Ready is True, and it is not being deleted */
/* Phase Failed or Succeeded: it runs nothing any more. */
bool kube_pod_is_finished(const struct kube_pod *pod);
/* The container port of that name (containers, then sidecar init containers), TCP only; 0 when there is none. */
uint16_t kube_pod_named_port(const struct kube_pod *pod, const char *name);

extern const char *const kube_protocol_names[];

#endif
