/* ztunnel's own pod in shared mode (ztunnel-dataplane §2.4): it answers HBONE in its own network namespace, so that its ports can
 * be reached under its identity. Tried again while its port cannot be bound. Control thread. */
#ifndef AMBAR_ZTUNNEL_OWN_IDENTITY_H
#define AMBAR_ZTUNNEL_OWN_IDENTITY_H

#include "net/network_namespace.h"
#include "ztunnel/configuration.h"
#include "ztunnel/worker.h"

struct own_identity;

/* NULL where POD_NAME, POD_NAMESPACE and SERVICE_ACCOUNT do not all say who we are. */
struct own_identity *own_identity_start(struct loop *control, struct worker *worker);
/* Drains; `on_stopped` is called later, once. */
void own_identity_stop(
    struct own_identity *own, uint64_t deadline_ms, void (*on_stopped)(void *context), void *context);
void own_identity_free(struct own_identity *own); /* after on_stopped, or never started to stop; NULL is allowed */

/* Where nobody else's pod may be served. */
const struct network_namespace *own_identity_namespace(const struct own_identity *own);

#endif
