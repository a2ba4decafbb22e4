/* istio.workload.Address: bytes -> workload or service (wire-protocols §§1, 2; rejects of ztunnel-management §3.4,
 * defaults of §3.5). Walks the bytes once with a cursor, without a tree in between. */
#ifndef AMBAR_XDS_ADDRESS_CODEC_H
#define AMBAR_XDS_ADDRESS_CODEC_H

#include "mesh/service.h"
#include "mesh/workload.h"

/* Exactly one is set, and owned by the caller. */
struct decoded_address {
    struct workload *workload;
    struct service *service;
};

/* The message of a failure is the reason of a NACK, without the resource's name. Thread-safe. */
struct result address_decode(struct bytes message, struct decoded_address *decoded);

/* The bare istio.workload.Workload, for the Workload type URL. */
struct result workload_decode(struct bytes message, struct workload **workload);

/* The bare istio.workload.Service. */
struct result service_decode(struct bytes message, struct service **service);

#endif
