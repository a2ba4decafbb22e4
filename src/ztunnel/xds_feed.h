/* From xDS to the workers: every response becomes one version of the mesh, published once; certificates of local workloads are
 * fetched ahead and forgotten with their last workload (ztunnel-management §§3.5, 5.4). Control thread. */
#ifndef AMBAR_ZTUNNEL_XDS_FEED_H
#define AMBAR_ZTUNNEL_XDS_FEED_H

#include "mesh/publication.h"
#include "telemetry/metric.h"
#include "xds/certificate_store.h"
#include "xds/delta_client.h"
#include "ztunnel/configuration.h"

struct xds_feed;

struct xds_feed_settings {
    const struct configuration *configuration;
    struct mesh_publication *publication;
    struct certificate_store *certificates;
    struct metric_shard *metrics;
    void (*on_published)(void *context); /* a new version is out */
    void (*on_ready)(void *context);     /* every watched type was answered once */
    void *context;
};

/* Does not connect yet. `control_plane` is borrowed for the feed's life. */
struct xds_feed *xds_feed_new(struct loop *control, struct buffer_pool *buffers,
    const struct xds_feed_settings *settings, const struct control_plane_settings *control_plane);
void xds_feed_start(struct xds_feed *feed);
struct loop *xds_feed_loop(const struct xds_feed *feed);
/* XDS_ON_DEMAND: see delta_client_demand. */
struct result xds_feed_demand(struct xds_feed *feed, const char *name, struct delta_waiter *waiter, bool *is_held);
void xds_feed_free(struct xds_feed *feed); /* NULL is allowed */

#endif
