/* Connections as telemetry sees them, made without a proxy around them. */
#ifndef AMBAR_TESTS_UNIT_TELEMETRY_FIXTURE_H
#define AMBAR_TESTS_UNIT_TELEMETRY_FIXTURE_H

#include "cmocka_all.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "mesh/service.h"
#include "mesh/workload.h"
#include "ztunnel/connection.h"

#include <string.h>

static inline struct bytes telemetry_text(const char *text)
{
    return bytes_of_string(text);
}

static inline struct workload *telemetry_workload(const char *name, const char *owner)
{
    struct workload_spec spec = workload_spec_initial();
    spec.texts[WORKLOAD_UID] = telemetry_text("Kubernetes//Pod/shop/x");
    spec.texts[WORKLOAD_NAME] = telemetry_text(name);
    spec.texts[WORKLOAD_NAMESPACE] = telemetry_text("shop");
    spec.texts[WORKLOAD_TRUST_DOMAIN] = telemetry_text("cluster.local");
    spec.texts[WORKLOAD_SERVICE_ACCOUNT] = telemetry_text(owner);
    spec.texts[WORKLOAD_OWNER_NAME] = telemetry_text(owner);
    spec.texts[WORKLOAD_CANONICAL_NAME] = telemetry_text(owner);
    spec.texts[WORKLOAD_CANONICAL_REVISION] = telemetry_text("v1");
    spec.texts[WORKLOAD_CLUSTER_ID] = telemetry_text("Kubernetes");
    spec.texts[WORKLOAD_REGION] = telemetry_text("eu");
    struct workload *workload;
    struct result result = workload_new(&spec, &workload);
    assert_true(result_is_ok(&result));
    return workload;
}

static inline struct socket_address telemetry_address(const char *text)
{
    struct socket_address address;
    assert_true(socket_address_parse(text, &address));
    return address;
}

/* An outbound HBONE connection from curl-1 to web-1, not counted anywhere. */
static inline struct connection telemetry_connection(void)
{
    return (struct connection){
        .direction = CONNECTION_OUTBOUND,
        .protocol = CONNECTION_HBONE,
        .peer = telemetry_address("10.0.1.5:41234"),
        .destination = telemetry_address("10.0.2.9:15008"),
        .authority = telemetry_address("10.0.2.9:8080"),
        .source_workload = telemetry_workload("curl-1", "curl"),
        .destination_workload = telemetry_workload("web-1", "web"),
        .source_identity = spiffe_identity_parse(telemetry_text("spiffe://cluster.local/ns/shop/sa/curl")),
        .received_bytes = 80,
        .sent_bytes = 512,
    };
}

static inline void telemetry_connection_free(struct connection *connection)
{
    workload_release(connection->source_workload);
    workload_release(connection->destination_workload);
    spiffe_identity_free(connection->source_identity);
    memory_free(connection->error);
}

#endif
