/* The conditions istiod would write into objects' status (control-plane §§4.3, 5.3). Here they are printed. */
#ifndef AMBAR_AMBARD_CONDITION_H
#define AMBAR_AMBARD_CONDITION_H

#include "base/bytes.h"

struct kube_object;

struct ambient_condition {
    const struct kube_object *object; /* borrowed from the store */
    const char *type;                 /* "ZtunnelAccepted", "istio.io/WaypointBound", ... */
    bool is_true;
    const char *reason;
    const char *message;
};

struct ambient_condition_list {
    const struct ambient_condition *items;
    size_t count;
};

#endif
