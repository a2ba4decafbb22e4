#include "ztunnel/dns_query.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "mesh/name_service.h"
#include "ztunnel/dns_proxy.h"
#include "ztunnel/metrics.h"
#include "ztunnel/worker.h"

#include <ctype.h>
#include <stdio.h>

/* One more (+1) or fewer (-1) that waits for upstream. */
static void count_forwarded(struct dns_query *query, int change)
{
    struct worker *worker = query->proxy->pod->worker;
    query->is_forwarded = change > 0;
    worker->dns_forwarded_count += (unsigned)change;
    metric_set_labelled(worker->metrics, METRIC_DNS_PENDING, NULL, worker->dns_forwarded_count);
}

static void release(struct dns_query *query)
{
    query->is_running = false;
    if (query->is_forwarded) {
        count_forwarded(query, -1);
    }
    workload_wait_cancel(&query->wait);
    dns_forward_cancel(&query->forward);
    if (query->client != NULL) {
        workload_release(query->client);
        query->client = NULL;
    }
    writer_free(&query->message);
    dns_proxy_note_query(query->proxy, -1);
}

void dns_query_cancel(struct dns_query *query)
{
    if (query->is_running) {
        release(query);
    }
}

static void finish(struct dns_query *query, struct bytes answer)
{
    release(query);
    query->on_answer(query, answer);
}

static void finish_with_error(struct dns_query *query, enum dns_code code)
{
    uint8_t memory[DNS_HEADER_BYTES + DNS_NAME_BYTES_MAXIMUM + 4];
    struct writer out = writer_fixed(memory, sizeof memory);
    dns_error_write(&query->request, code, &out);
    finish(query, writer_bytes(&out));
}

static void log_query(const struct dns_query *query, const char *result, size_t endpoints)
{
    if (!log_is_enabled(LOG_DEBUG, "dns")) {
        return;
    }
    char name[DNS_NAME_TEXT_SIZE];
    char domain[sizeof name + 1];
    char type[16];
    (void)dns_name_text(query->request.question.name, name);
    snprintf(domain, sizeof domain, "%s.", name);
    snprintf(type, sizeof type, "%s", dns_type_name(query->request.question.type));
    for (char *at = type; *at != '\0'; at++) {
        *at = (char)toupper((unsigned char)*at);
    }
    const struct workload *client = query->client;
    LOG_EVENT(LOG_DEBUG, "dns", NULL, LOG_STRING("src.workload", workload_text(client, WORKLOAD_NAME)),
        LOG_STRING("src.namespace", workload_text(client, WORKLOAD_NAMESPACE)), LOG_STRING("query", type),
        LOG_STRING("domain", domain), LOG_STRING("result", result), LOG_NUMBER("endpoints", endpoints));
}

struct dns_labels {
    const char *values[DNS_LABEL_COUNT];
};

static struct dns_labels labels_of(const struct dns_query *query)
{
    return (struct dns_labels){ {
        [DNS_QUERY_TYPE] = dns_type_name(query->request.question.type),
        [DNS_PROTOCOL] = query->is_stream ? "tcp" : "udp",
        [DNS_SOURCE_CANONICAL_SERVICE] = workload_text(query->client, WORKLOAD_CANONICAL_NAME),
        [DNS_SOURCE_CANONICAL_REVISION] = workload_text(query->client, WORKLOAD_CANONICAL_REVISION),
    } };
}

static void count(const struct dns_query *query, enum ztunnel_metric family)
{
    struct dns_labels labels = labels_of(query);
    metric_count_labelled(query->proxy->pod->worker->metrics, family, labels.values, 1);
}

static void fail_forwarding(struct dns_query *query, const char *reason)
{
    char text[sizeof(struct result) + 32];
    snprintf(text, sizeof text, "forwarding failed (%s)", reason);
    count(query, METRIC_DNS_UPSTREAM_FAILURES);
    log_query(query, text, 0);
    finish_with_error(query, DNS_SERVER_FAILURE);
}

static void on_forwarded(struct dns_forward *forward, struct bytes answer, const struct result *failure)
{
    struct dns_query *query = CONTAINER_OF(forward, struct dns_query, forward);
    struct worker *worker = query->proxy->pod->worker;
    struct dns_labels labels = labels_of(query);
    double seconds = (double)(clock_monotonic_ns() - query->forwarded_ns) / (double)NANOSECONDS_PER_SECOND;
    metric_observe_labelled(worker->metrics, METRIC_DNS_UPSTREAM_DURATION, labels.values, seconds);
    if (failure != NULL) {
        fail_forwarding(query, failure->message);
    } else {
        log_query(query, "forwarded", 0);
        finish(query, answer);
    }
}

static void forward_upstream(struct dns_query *query)
{
    count(query, METRIC_DNS_UPSTREAM_REQUESTS);
    if (query->is_over_bound) {
        fail_forwarding(query, "too many queries are under way");
        return;
    }
    count_forwarded(query, 1);
    query->forwarded_ns = clock_monotonic_ns();
    query->forward.on_done = on_forwarded;
    dns_forward_start(
        &query->forward, &query->proxy->upstream, query->is_stream, writer_bytes(&query->message), &query->request);
}

static void answer_from_mesh(struct dns_query *query, enum name_outcome outcome, const struct name_finding *finding)
{
    static const char *const RESULTS[] = {
        [NAME_FOUND] = "success",
        [NAME_WITHOUT_RECORDS] = "no records",
        [NAME_FAMILY_NOT_SERVED] = "service does not support this record type",
    };
    const struct dns_answer answer = {
        .alias = finding->alias[0] != '\0' && outcome == NAME_FOUND ? finding->alias : NULL,
        .addresses = name_finding_addresses(finding),
        .address_count = name_finding_address_count(finding),
        .ttl_s = DNS_ANSWER_TTL_S,
    };
    size_t limit_bytes = query->is_stream ? DNS_MESSAGE_BYTES_MAXIMUM : dns_request_udp_bytes(&query->request);
    struct writer out = writer_growing();
    dns_answer_write(&query->request, &answer, limit_bytes, &out);
    log_query(query, RESULTS[outcome], answer.address_count);
    finish(query, writer_bytes(&out));
    writer_free(&out);
}

static void find_name(struct dns_query *query)
{
    const struct dns_proxy *proxy = query->proxy;
    const struct configuration *configuration = proxy->pod->worker->shared->configuration;
    char name[DNS_NAME_TEXT_SIZE];
    (void)dns_name_text(query->request.question.name, name);
    struct name_question question = {
        .name = name,
        .family = query->request.question.type == DNS_TYPE_AAAA ? IP_V6 : IP_V4,
        .client = query->client,
        .domain = configuration->cluster_domain,
        .preferred_namespace = configuration->preferred_service_namespace,
        .is_ipv6_disabled = !configuration->ipv6_enabled,
    };
    dns_proxy_list_search(proxy, &question);
    struct name_finding finding;
    enum name_outcome outcome = mesh_find_name(worker_version(proxy->pod->worker), &question, &finding);
    if (outcome == NAME_UNKNOWN) {
        forward_upstream(query);
    } else {
        answer_from_mesh(query, outcome, &finding);
    }
    name_finding_free(&finding);
}

static void on_workload(struct workload_wait *wait, const struct workload *workload)
{
    struct dns_query *query = CONTAINER_OF(wait, struct dns_query, wait);
    if (workload == NULL) {
        finish_with_error(query, DNS_SERVER_FAILURE);
        return;
    }
    query->client = workload_reference(workload);
    count(query, METRIC_DNS_REQUESTS);
    if (query->request.question.type == DNS_TYPE_A || query->request.question.type == DNS_TYPE_AAAA) {
        find_name(query);
    } else {
        forward_upstream(query);
    }
}

void dns_query_start(struct dns_query *query, struct dns_proxy *proxy, struct bytes message, bool is_stream)
{
    enum dns_code code = DNS_NO_ERROR;
    query->proxy = proxy;
    query->is_stream = is_stream;
    query->is_running = true;
    query->message = writer_growing();
    writer_add_bytes(&query->message, message);
    query->is_over_bound = proxy->query_count >= DNS_QUERIES_OF_POD_MAXIMUM ||
                           proxy->pod->worker->dns_query_count >= DNS_QUERIES_OF_WORKER_MAXIMUM;
    dns_proxy_note_query(proxy, 1);
    switch (dns_request_read(writer_bytes(&query->message), &query->request, &code)) {
    case DNS_IGNORED:
        finish(query, (struct bytes){ 0 });
        return;
    case DNS_BAD:
        finish_with_error(query, code);
        return;
    case DNS_READ:
        break;
    }
    /* Names of the mesh are answered at once, however many others wait. */
    if (query->is_over_bound && pod_workload(proxy->pod) == NULL) {
        finish_with_error(query, DNS_SERVER_FAILURE);
        return;
    }
    query->wait.on_workload = on_workload;
    workload_wait_start(&query->wait, proxy->pod);
}
