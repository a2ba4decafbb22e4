/* GET /config_dump: the whole state of the process as one JSON document (ztunnel-management §7.2). The connections of pods are
 * gathered from their workers before the answer is written. Control thread. */
#ifndef AMBAR_ZTUNNEL_CONFIG_DUMP_H
#define AMBAR_ZTUNNEL_CONFIG_DUMP_H

#include "http/http1_server.h"
#include "mesh/publication.h"
#include "xds/certificate_store.h"
#include "ztunnel/configuration.h"
#include "ztunnel/inpod_manager.h"

struct config_dump_source {
    const struct configuration *configuration;
    struct mesh_publication *publication;
    struct certificate_store *certificates;
    const struct inpod_manager *pods; /* NULL in dedicated mode */
};

/* Answers the exchange, now or when the workers have reported. */
void config_dump_answer(struct http1_exchange *exchange, const struct config_dump_source *source);

#endif
