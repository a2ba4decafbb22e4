#include "ztunnel/traffic_labels.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "mesh/baggage.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

static const char *const FLAG_NAMES[] = {
    [RESPONSE_NONE] = "-",
    [RESPONSE_DENY] = "DENY",
    [RESPONSE_CONNECT] = "CONNECT",
    [RESPONSE_TLS_FAILURE] = "TLS_FAILURE",
    [RESPONSE_H2_HANDSHAKE_FAILURE] = "H2_HANDSHAKE_FAILURE",
    [RESPONSE_NETWORK_POLICY] = "NETWORK_POLICY",
    [RESPONSE_IDENTITY_ERROR] = "IDENTITY_ERROR",
    [RESPONSE_CERT_REVOKED] = "CERT_REVOKED",
};

const char *response_flag_name(enum response_flag flag)
{
    return FLAG_NAMES[flag];
}

enum response_flag response_flag_of_error(const char *error)
{
    static const struct {
        const char *prefix;
        enum response_flag flag;
    } TABLE[] = {
        { "tls error", RESPONSE_TLS_FAILURE },
        { "http2 handshake failed", RESPONSE_H2_HANDSHAKE_FAILURE },
        { "h2 failed", RESPONSE_H2_HANDSHAKE_FAILURE },
        { "connection timed out, maybe a NetworkPolicy", RESPONSE_NETWORK_POLICY },
        { "identity error", RESPONSE_IDENTITY_ERROR },
        { "connection closed due to policy", RESPONSE_DENY },
        { "connection closed: peer certificate revoked", RESPONSE_CERT_REVOKED },
        { "connection closed due to connection drain", RESPONSE_NONE },
    };
    for (size_t i = 0; error != NULL && i < ARRAY_LENGTH(TABLE); i++) {
        if (text_starts_with(error, TABLE[i].prefix)) {
            return TABLE[i].flag;
        }
    }
    return RESPONSE_CONNECT;
}

static const char *place_text(char **end, struct bytes text)
{
    char *start = *end;
    if (text.length > 0) {
        memcpy(start, text.data, text.length);
    }
    start[text.length] = '\0';
    *end = start + text.length + 1;
    return start;
}

struct described_peer *described_peer_new(const struct baggage *baggage)
{
    const struct bytes texts[] = { baggage->cluster_id, baggage->namespace_, baggage->workload_name,
        baggage->canonical_name, baggage->canonical_revision, baggage->region, baggage->zone };
    size_t length = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        length += texts[i].length + 1;
    }
    struct described_peer *peer = memory_allocate(sizeof *peer + length);
    char *end = (char *)(peer + 1);
    peer->cluster_id = place_text(&end, baggage->cluster_id);
    peer->namespace_ = place_text(&end, baggage->namespace_);
    peer->workload_name = place_text(&end, baggage->workload_name);
    peer->canonical_name = place_text(&end, baggage->canonical_name);
    peer->canonical_revision = place_text(&end, baggage->canonical_revision);
    peer->region = place_text(&end, baggage->region);
    peer->zone = place_text(&end, baggage->zone);
    return peer;
}

static void fill_source_workload(struct traffic_labels *labels, const struct workload *workload)
{
    labels->values[TRAFFIC_SOURCE_WORKLOAD] = workload_text(workload, WORKLOAD_OWNER_NAME);
    labels->values[TRAFFIC_SOURCE_CANONICAL_SERVICE] = workload_text(workload, WORKLOAD_CANONICAL_NAME);
    labels->values[TRAFFIC_SOURCE_CANONICAL_REVISION] = workload_text(workload, WORKLOAD_CANONICAL_REVISION);
    labels->values[TRAFFIC_SOURCE_WORKLOAD_NAMESPACE] = workload_text(workload, WORKLOAD_NAMESPACE);
    labels->values[TRAFFIC_SOURCE_APP] = workload_text(workload, WORKLOAD_CANONICAL_NAME);
    labels->values[TRAFFIC_SOURCE_VERSION] = workload_text(workload, WORKLOAD_CANONICAL_REVISION);
    labels->values[TRAFFIC_SOURCE_CLUSTER] = workload_text(workload, WORKLOAD_CLUSTER_ID);
    labels->values[TRAFFIC_SOURCE_REGION] = workload_text(workload, WORKLOAD_REGION);
    labels->values[TRAFFIC_SOURCE_ZONE] = workload_text(workload, WORKLOAD_ZONE);
}

/* Derived from baggage, `app` is the workload's name (dataplane §19.4). */
static void fill_described_source(struct traffic_labels *labels, const struct described_peer *peer)
{
    labels->values[TRAFFIC_SOURCE_WORKLOAD] = peer->workload_name;
    labels->values[TRAFFIC_SOURCE_CANONICAL_SERVICE] = peer->canonical_name;
    labels->values[TRAFFIC_SOURCE_CANONICAL_REVISION] = peer->canonical_revision;
    labels->values[TRAFFIC_SOURCE_WORKLOAD_NAMESPACE] = peer->namespace_;
    labels->values[TRAFFIC_SOURCE_APP] = peer->workload_name;
    labels->values[TRAFFIC_SOURCE_VERSION] = peer->canonical_revision;
    labels->values[TRAFFIC_SOURCE_CLUSTER] = peer->cluster_id;
    labels->values[TRAFFIC_SOURCE_REGION] = peer->region;
    labels->values[TRAFFIC_SOURCE_ZONE] = peer->zone;
}

static void fill_destination_workload(struct traffic_labels *labels, const struct workload *workload)
{
    labels->values[TRAFFIC_DESTINATION_WORKLOAD] = workload_text(workload, WORKLOAD_OWNER_NAME);
    labels->values[TRAFFIC_DESTINATION_CANONICAL_SERVICE] = workload_text(workload, WORKLOAD_CANONICAL_NAME);
    labels->values[TRAFFIC_DESTINATION_CANONICAL_REVISION] = workload_text(workload, WORKLOAD_CANONICAL_REVISION);
    labels->values[TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE] = workload_text(workload, WORKLOAD_NAMESPACE);
    labels->values[TRAFFIC_DESTINATION_APP] = workload_text(workload, WORKLOAD_CANONICAL_NAME);
    labels->values[TRAFFIC_DESTINATION_VERSION] = workload_text(workload, WORKLOAD_CANONICAL_REVISION);
    labels->values[TRAFFIC_DESTINATION_CLUSTER] = workload_text(workload, WORKLOAD_CLUSTER_ID);
    labels->values[TRAFFIC_DESTINATION_REGION] = workload_text(workload, WORKLOAD_REGION);
    labels->values[TRAFFIC_DESTINATION_ZONE] = workload_text(workload, WORKLOAD_ZONE);
    struct writer principal = writer_fixed(labels->destination_principal, sizeof labels->destination_principal);
    workload_add_identity(workload, &principal);
    labels->values[TRAFFIC_DESTINATION_PRINCIPAL] = writer_string(&principal);
}

static void fill_described_destination(struct traffic_labels *labels, const struct connection *connection)
{
    const struct described_peer *peer = connection->described_destination;
    labels->values[TRAFFIC_DESTINATION_WORKLOAD] = peer->workload_name;
    labels->values[TRAFFIC_DESTINATION_CANONICAL_SERVICE] = peer->canonical_name;
    labels->values[TRAFFIC_DESTINATION_CANONICAL_REVISION] = peer->canonical_revision;
    labels->values[TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE] = peer->namespace_;
    labels->values[TRAFFIC_DESTINATION_APP] = peer->workload_name;
    labels->values[TRAFFIC_DESTINATION_VERSION] = peer->canonical_revision;
    labels->values[TRAFFIC_DESTINATION_CLUSTER] = peer->cluster_id;
    labels->values[TRAFFIC_DESTINATION_REGION] = peer->region;
    labels->values[TRAFFIC_DESTINATION_ZONE] = peer->zone;
    labels->values[TRAFFIC_DESTINATION_PRINCIPAL] = connection->destination_identity;
}

void traffic_labels_fill(struct traffic_labels *labels, const struct connection *connection, enum response_flag flag)
{
    memset(labels->values, 0, sizeof labels->values);
    bool is_outbound = connection->direction == CONNECTION_OUTBOUND;
    labels->values[TRAFFIC_REPORTER] = is_outbound ? "source" : "destination";
    labels->values[TRAFFIC_REQUEST_PROTOCOL] = "tcp";
    labels->values[TRAFFIC_RESPONSE_FLAGS] = response_flag_name(flag);
    labels->values[TRAFFIC_SECURITY_POLICY] = connection->protocol != CONNECTION_TCP ? "mutual_tls" : "unknown";
    if (connection->source_workload != NULL) {
        fill_source_workload(labels, connection->source_workload);
    } else if (connection->described_source != NULL) {
        fill_described_source(labels, connection->described_source);
    }
    if (connection->source_identity != NULL) {
        labels->values[TRAFFIC_SOURCE_PRINCIPAL] = connection->source_identity->uri;
    }
    if (connection->described_destination != NULL) {
        fill_described_destination(labels, connection);
    } else if (connection->destination_workload != NULL) {
        fill_destination_workload(labels, connection->destination_workload);
    }
    if (connection->service != NULL) {
        labels->values[TRAFFIC_DESTINATION_SERVICE] = connection->service->hostname;
        labels->values[TRAFFIC_DESTINATION_SERVICE_NAMESPACE] = connection->service->namespace_;
        labels->values[TRAFFIC_DESTINATION_SERVICE_NAME] = connection->service->name;
    }
}

void count_on_demand_dns(const struct connection *connection, const char *hostname)
{
    enum { SOURCE_LABELS = TRAFFIC_SOURCE_CLUSTER - TRAFFIC_SOURCE_WORKLOAD + 1 };
    struct traffic_labels labels;
    traffic_labels_fill(&labels, connection, RESPONSE_NONE);
    const char *values[SOURCE_LABELS + 1];
    memcpy(values, &labels.values[TRAFFIC_SOURCE_WORKLOAD], SOURCE_LABELS * sizeof values[0]);
    values[SOURCE_LABELS] = hostname;
    struct metric_shard *shard = connection->pod->worker->metrics;
    struct metric_series *series = metric_series_get(shard, METRIC_ON_DEMAND_DNS, values);
    metric_add(series, 1);
    metric_series_put(series);
}
