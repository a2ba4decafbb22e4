/* GET /config_dump: the whole state of the process as one JSON document (ztunnel-management §7.2), streamed: it holds one version
 * of the model and one pointer an item, writes as fast as the reader takes it, and asks workers for connections when it
 * comes to them. Control thread. */
#ifndef AMBAR_ZTUNNEL_CONFIG_DUMP_H
#define AMBAR_ZTUNNEL_CONFIG_DUMP_H

#include "http/http1_server.h"
#include "mesh/publication.h"
#include "xds/certificate_store.h"
#include "ztunnel/configuration.h"
#include "ztunnel/inpod_manager.h"
#include "ztunnel/live_walk.h"

struct config_dump_source {
    const struct configuration *configuration;
    struct mesh_publication *publication;
    struct certificate_store *certificates;
    const struct mesh_version *local; /* what the local file made; NULL: there is none */
    struct live_view *live;
    const struct inpod_manager *pods; /* NULL in dedicated mode */
};

void config_dump_answer(struct http1_exchange *exchange, const struct config_dump_source *source);

#endif
