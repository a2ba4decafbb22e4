/* XDS_ON_DEMAND: a connection of a worker waits until the control plane has said what an address or a name is (dataplane §4,
 * management §3.4). The question travels to the control thread's xDS client and the answer back; by then the worker reads a model
 * with the resource in it, if there is such a resource. */
#ifndef AMBAR_ZTUNNEL_ADDRESS_DEMAND_H
#define AMBAR_ZTUNNEL_ADDRESS_DEMAND_H

#include "base/result.h"
#include "net/loop.h"

struct demand_trip;
struct worker;

#define ADDRESS_DEMAND_MS 5000 /* as long as for a workload that is not known yet */

/* Embed it, zero it, set on_answer. Worker's thread. */
struct address_demand {
    /* Once, unless cancelled, never from inside start. NULL: answered, look again; else nobody answered. */
    void (*on_answer)(struct address_demand *demand, const struct result *failure);
    struct demand_trip *trip; /* NULL: not waiting */
    struct timer deadline;
};

/* `name`: "network/ip" or "namespace/hostname". */
void address_demand_start(struct address_demand *demand, struct worker *worker, const char *name);
void address_demand_cancel(struct address_demand *demand); /* idempotent */

#endif
