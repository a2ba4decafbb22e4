/* Log lines about a connection, within the spans of ztunnel-management §9: `proxy{wl=ns/name}:outbound{id=…}` or
 * `:inbound{id=… peer=…}`. The access log, which has none, is access_log.h. */
#ifndef AMBAR_ZTUNNEL_CONNECTION_LOG_H
#define AMBAR_ZTUNNEL_CONNECTION_LOG_H

#include "base/log.h"
#include "ztunnel/connection.h"

#define SPAN_WORKLOAD_TEXT_SIZE 320 /* namespace and name, 63 and 253 */

struct proxy_spans {
    struct log_spans spans;
    char workload[SPAN_WORKLOAD_TEXT_SIZE];
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
};

/* The proxy of a pod alone. */
const struct log_spans *pod_spans(const struct pod *pod, struct proxy_spans *memory);
/* Its DNS proxy alone: `dns_proxy{wl=ns/name}`. What is said of a single query stands in no span. */
const struct log_spans *pod_dns_spans(const struct pod *pod, struct proxy_spans *memory);
/* With the connection; gives it a trace id if it has none. */
const struct log_spans *connection_spans(struct connection *connection, struct proxy_spans *memory);

/* LOG_EVENT within them. */
#define POD_EVENT(pod_, level_, target_, message_, ...)                                                                \
    LOG_EVENT_IN(pod_spans((pod_), &(struct proxy_spans){ 0 }), level_, target_, message_, __VA_ARGS__)
#define POD_DNS_EVENT(pod_, level_, target_, message_, ...)                                                            \
    LOG_EVENT_IN(pod_dns_spans((pod_), &(struct proxy_spans){ 0 }), level_, target_, message_, __VA_ARGS__)
#define CONNECTION_EVENT(connection_, level_, target_, message_, ...)                                                  \
    LOG_EVENT_IN(connection_spans((connection_), &(struct proxy_spans){ 0 }), level_, target_, message_, __VA_ARGS__)

#endif
