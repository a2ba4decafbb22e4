/* The metrics of this program: every family once, in the order in which they are printed (ztunnel-management §8). */
#ifndef AMBAR_ZTUNNEL_METRICS_H
#define AMBAR_ZTUNNEL_METRICS_H

#include "telemetry/metric.h"

enum ztunnel_metric {
    METRIC_PROCESS_OPEN_FDS,
    METRIC_PROCESS_MAX_FDS,
    METRIC_BUILD,
    METRIC_XDS_CONNECTION_TERMINATIONS,
    METRIC_XDS_MESSAGE,
    METRIC_XDS_MESSAGE_BYTES,
    METRIC_CONNECTIONS_OPENED,
    METRIC_CONNECTIONS_CLOSED,
    METRIC_RECEIVED_BYTES,
    METRIC_SENT_BYTES,
    METRIC_ON_DEMAND_DNS,
    METRIC_CONNECTIONS_FAILED,
    METRIC_SOCKETS_OPEN,
    METRIC_CRL_REJECTIONS, /* label: reporter */
    METRIC_CRL_UNTRACKED,  /* label: reporter */
    METRIC_DNS_REQUESTS,   /* the DNS families' labels: enum dns_label */
    METRIC_DNS_UPSTREAM_REQUESTS,
    METRIC_DNS_UPSTREAM_FAILURES,
    METRIC_DNS_UPSTREAM_DURATION,
    METRIC_ACTIVE_PROXIES,
    METRIC_PENDING_PROXIES,
    METRIC_PROXIES_STARTED,
    METRIC_PROXIES_STOPPED,
    /* Ours. `role` is "client" or "server", `reporter` "source" or "destination". */
    METRIC_TUNNELS_OPENED,     /* role */
    METRIC_TUNNELS_CLOSED,     /* role */
    METRIC_TUNNELS_OPEN,       /* gauge, role */
    METRIC_STREAMS_OPEN,       /* gauge, role */
    METRIC_TUNNEL_WAITERS,     /* gauge: connections waiting for a tunnel */
    METRIC_TUNNEL_RETRIES,     /* CONNECTs sent again on another tunnel */
    METRIC_HANDSHAKES,         /* role */
    METRIC_HANDSHAKE_FAILURES, /* role */
    METRIC_HANDSHAKES_PENDING, /* gauge, role */
    METRIC_HANDSHAKE_DURATION, /* histogram, role */
    METRIC_KEY_UPDATES,        /* role */
    METRIC_RECORD_PROBLEMS,    /* role, reason: enum record_problem */
    METRIC_TLS_ENGINE,         /* gauge 1, engine, cipher */
    METRIC_EARLY_DENIALS,      /* reporter */
    METRIC_LIMIT_REFUSALS,     /* limit: the bound that refused a connection, a stream or a request */
    METRIC_LIMITS,             /* gauge, limit: what the bound is */
    METRIC_UNKNOWN_POLICIES,
    METRIC_PINNED_BYTES,             /* gauge */
    METRIC_PINNED_LARGEST_BYTES,     /* gauge */
    METRIC_BUFFER_LENT_BYTES,        /* gauge */
    METRIC_BUFFER_STOCK_BYTES,       /* gauge */
    METRIC_CONNECTIONS_LIVE,         /* gauge, reporter */
    METRIC_CONNECTIONS_HANDED_OVER,  /* to another worker, ztunnel/pod_spread.h */
    METRIC_VERSION_TURN,             /* histogram: a worker's time for one new version of the model */
    METRIC_MODEL_RESOURCES,          /* gauge, kind: workload, service, policy */
    METRIC_XDS_CONNECTED,            /* gauge 0/1 */
    METRIC_XDS_REJECTIONS,           /* url: resources refused, each with its reason in the NACK */
    METRIC_XDS_APPLY_DURATION,       /* histogram, url: decoding and publishing one response */
    METRIC_CERTIFICATE_REQUESTS,     /* result: success, or what failed */
    METRIC_CERTIFICATES_HELD,        /* gauge, state */
    METRIC_CERTIFICATE_EARLIEST_END, /* gauge: Unix time in seconds */
    METRIC_ROOT_RELOADS,             /* kind: root, crl; result: success, failure */
    METRIC_DNS_PENDING,              /* gauge: queries waiting for upstream */
    METRIC_UNENROLLED_PODS,          /* gauge, reason: pods whose capture could not be proven */
    METRIC_LOG_LINES_DROPPED,        /* reason: queue, rate */
    METRIC_LOG_QUEUED_BYTES,         /* gauge */
    METRIC_LABEL_SETS,               /* gauge: held, of all families and threads */
    METRIC_LABEL_SETS_OVER_CAP,      /* family: gets answered with the `other` series */
    METRIC_COUNT,
};

/* The labels of the connection families, in output order (§8.1). */
enum traffic_label {
    TRAFFIC_REPORTER,
    TRAFFIC_SOURCE_WORKLOAD,
    TRAFFIC_SOURCE_CANONICAL_SERVICE,
    TRAFFIC_SOURCE_CANONICAL_REVISION,
    TRAFFIC_SOURCE_WORKLOAD_NAMESPACE,
    TRAFFIC_SOURCE_PRINCIPAL,
    TRAFFIC_SOURCE_APP,
    TRAFFIC_SOURCE_VERSION,
    TRAFFIC_SOURCE_CLUSTER,
    TRAFFIC_DESTINATION_SERVICE,
    TRAFFIC_DESTINATION_SERVICE_NAMESPACE,
    TRAFFIC_DESTINATION_SERVICE_NAME,
    TRAFFIC_DESTINATION_WORKLOAD,
    TRAFFIC_DESTINATION_CANONICAL_SERVICE,
    TRAFFIC_DESTINATION_CANONICAL_REVISION,
    TRAFFIC_DESTINATION_WORKLOAD_NAMESPACE,
    TRAFFIC_DESTINATION_PRINCIPAL,
    TRAFFIC_DESTINATION_APP,
    TRAFFIC_DESTINATION_VERSION,
    TRAFFIC_DESTINATION_CLUSTER,
    TRAFFIC_REQUEST_PROTOCOL,
    TRAFFIC_RESPONSE_FLAGS,
    TRAFFIC_SECURITY_POLICY,
    TRAFFIC_SOURCE_REGION,
    TRAFFIC_SOURCE_ZONE,
    TRAFFIC_DESTINATION_REGION,
    TRAFFIC_DESTINATION_ZONE,
    TRAFFIC_LABEL_COUNT,
};

/* The labels of the DNS families, in output order. */
enum dns_label {
    DNS_QUERY_TYPE, /* lower-case: "a" */
    DNS_PROTOCOL,   /* "udp", "tcp" */
    DNS_SOURCE_CANONICAL_SERVICE,
    DNS_SOURCE_CANONICAL_REVISION,
    DNS_LABEL_COUNT,
};

/* The labels of METRIC_ON_DEMAND_DNS, in output order. */
enum on_demand_label {
    ON_DEMAND_SOURCE_WORKLOAD,
    ON_DEMAND_SOURCE_CANONICAL_SERVICE,
    ON_DEMAND_SOURCE_CANONICAL_REVISION,
    ON_DEMAND_SOURCE_WORKLOAD_NAMESPACE,
    ON_DEMAND_SOURCE_PRINCIPAL,
    ON_DEMAND_SOURCE_APP,
    ON_DEMAND_SOURCE_VERSION,
    ON_DEMAND_SOURCE_CLUSTER,
    ON_DEMAND_HOSTNAME,
    ON_DEMAND_LABEL_COUNT,
};

extern const struct metric_family ZTUNNEL_METRICS[METRIC_COUNT];

#endif
