#include "ztunnel/connection_log.h"

#include "ztunnel/pod.h"

#include <stdio.h>

static const struct log_spans *spans_of(const struct pod *pod, const char *name, struct proxy_spans *memory)
{
    snprintf(memory->workload, sizeof memory->workload, "%s/%s", pod->information.namespace_, pod->information.name);
    memory->spans.count = 1;
    memory->spans.spans[0] = (struct log_span){ name, { LOG_DISPLAY("wl", memory->workload) } };
    return &memory->spans;
}

const struct log_spans *pod_spans(const struct pod *pod, struct proxy_spans *memory)
{
    return spans_of(pod, "proxy", memory);
}

const struct log_spans *pod_dns_spans(const struct pod *pod, struct proxy_spans *memory)
{
    return spans_of(pod, "dns_proxy", memory);
}

const struct log_spans *connection_spans(struct connection *connection, struct proxy_spans *memory)
{
    (void)pod_spans(connection->pod, memory);
    struct log_field id = LOG_DISPLAY("id", connection_trace_id(connection));
    if (connection->direction == CONNECTION_OUTBOUND) {
        memory->spans.spans[1] = (struct log_span){ "outbound", { id } };
    } else {
        struct log_field peer = LOG_DISPLAY("peer", socket_address_format(&connection->peer, memory->peer));
        memory->spans.spans[1] = (struct log_span){ "inbound", { id, peer } };
    }
    memory->spans.count = 2;
    return &memory->spans;
}
