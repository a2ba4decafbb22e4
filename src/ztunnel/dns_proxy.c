#include "ztunnel/dns_proxy.h"

#include "base/log.h"
#include "base/memory.h"
#include "net/socket.h"
#include "ztunnel/connection_log.h"
#include "ztunnel/dns_stream.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DATAGRAMS_A_TURN 64
#define DATAGRAMS_AT_THE_END 1024 /* more than a receive buffer holds */

/* A query that came in a datagram, and where its answer goes. */
struct datagram_query {
    struct list link; /* endpoint->queries */
    struct dns_query query;
    struct dns_endpoint *endpoint;
    struct sockaddr_storage peer;
    socklen_t peer_length;
};

static void bind_next(struct dns_proxy *proxy);

static struct socket_stock *stock_of(void *context, bool is_stream, enum ip_family family)
{
    struct dns_proxy *proxy = context;
    struct socket_stock **stock = &proxy->stocks[is_stream][family == IP_V6];
    if (*stock == NULL) {
        uint8_t flags = SOCKET_MARKED | (is_stream ? 0 : SOCKET_DATAGRAM);
        *stock = socket_stock_new(proxy->pod->worker->broker, proxy->pod->namespace_handle, family, flags);
    }
    return *stock;
}

struct dns_proxy *dns_proxy_new(struct pod *pod)
{
    const struct configuration *configuration = pod->worker->shared->configuration;
    const char *domain = configuration->cluster_domain;
    struct dns_proxy *proxy = NEW(struct dns_proxy);
    proxy->pod = pod;
    proxy->upstream = (struct dns_upstream){ pod->worker->loop, pod->worker->shared->resolver, stock_of, proxy };
    list_initialise(&proxy->streams);
    list_initialise(&proxy->ended.link);
    if (configuration->proxy_mode == PROXY_MODE_SHARED) {
        proxy->search[0] = string_format("%s.svc.%s", pod->information.namespace_, domain);
        proxy->search[1] = string_format("svc.%s", domain);
        proxy->search[2] = string_duplicate(domain);
    }
    for (int i = 0; i < DNS_ENDPOINTS_MAXIMUM; i++) {
        proxy->endpoints[i].proxy = proxy;
        proxy->endpoints[i].streams.descriptor = -1;
        list_initialise(&proxy->endpoints[i].queries);
    }
    return proxy;
}

void dns_proxy_list_search(const struct dns_proxy *proxy, struct name_question *question)
{
    question->search_count = 0;
    if (proxy->search[0] != NULL) {
        for (size_t i = 0; i < DNS_SEARCH_OF_NAMESPACE; i++) {
            question->search[question->search_count++] = proxy->search[i];
        }
        return;
    }
    const struct resolver_file *resolver = proxy->upstream.resolver;
    for (size_t i = 0; i < resolver->search_count && i < NAME_SEARCH_MAXIMUM; i++) {
        question->search[question->search_count++] = resolver->search[i];
    }
}

static void free_query(struct datagram_query *datagram)
{
    list_remove(&datagram->link);
    memory_free(datagram);
}

static void on_answer(struct dns_query *query, struct bytes answer)
{
    struct datagram_query *datagram = CONTAINER_OF(query, struct datagram_query, query);
    if (answer.length > 0) {
        /* Lost when the client's queue is full, as any datagram may be. */
        (void)sendto(datagram->endpoint->datagrams.descriptor, answer.data, answer.length, MSG_DONTWAIT | MSG_NOSIGNAL,
            (const struct sockaddr *)&datagram->peer, datagram->peer_length);
    }
    free_query(datagram);
}

/* False: nothing more is waiting. */
static bool take_datagram(struct dns_endpoint *endpoint)
{
    uint8_t memory[DNS_QUERY_BYTES_MAXIMUM + 1]; /* one that fills it is too long */
    struct sockaddr_storage peer;
    socklen_t peer_length = sizeof peer;
    ssize_t length = recvfrom(
        endpoint->datagrams.descriptor, memory, sizeof memory, MSG_DONTWAIT, (struct sockaddr *)&peer, &peer_length);
    if (length < 0) {
        return errno == EINTR;
    }
    struct datagram_query *datagram = NEW(struct datagram_query);
    datagram->query.on_answer = on_answer;
    datagram->endpoint = endpoint;
    datagram->peer = peer;
    datagram->peer_length = peer_length;
    list_append(&endpoint->queries, &datagram->link);
    dns_query_start(&datagram->query, endpoint->proxy, bytes_of(memory, (size_t)length), false);
    return true;
}

static void on_datagrams(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct dns_endpoint *endpoint = CONTAINER_OF(watch, struct dns_endpoint, datagrams);
    for (int i = 0; i < DATAGRAMS_A_TURN && take_datagram(endpoint); i++) {
    }
}

static void accept_stream(struct pod *pod, int descriptor, const struct socket_address *peer)
{
    (void)peer;
    dns_stream_accept(pod->dns, descriptor);
}

/* The address of an endpoint; false: there is none. */
static bool endpoint_address(const struct dns_proxy *proxy, unsigned index, struct socket_address *address)
{
    const struct configuration *configuration = proxy->pod->worker->shared->configuration;
    const struct local_address *local = &configuration->dns_proxy_address;
    *address = local->address;
    if (!local->is_localhost) {
        return index == 0;
    }
    if (index == 0) {
        return ip_parse("127.0.0.1", &address->ip);
    }
    return configuration->has_loopback_ipv6 && ip_parse("::1", &address->ip);
}

static void close_endpoint(struct dns_endpoint *endpoint)
{
    proxy_listener_close(&endpoint->streams);
    if (endpoint->datagrams.loop != NULL) {
        int descriptor = endpoint->datagrams.descriptor;
        loop_unwatch(&endpoint->datagrams);
        (void)close(descriptor);
    }
}

static void tell_started(struct dns_proxy *proxy, struct result outcome)
{
    outcome = result_in(outcome, "DNS proxy");
    proxy->on_started(proxy->pod, &outcome);
}

static void log_listening(const struct dns_proxy *proxy)
{
    struct socket_address address;
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    (void)endpoint_address(proxy, proxy->step / 2, &address);
    if (!pod_logs_listeners(proxy->pod)) {
        return;
    }
    POD_DNS_EVENT(proxy->pod, LOG_INFO, "ztunnel::dns", "listener established",
        LOG_DISPLAY("address", socket_address_format(&address, text)), LOG_STRING("component", "dns"),
        LOG_BOOL("transparent", false));
}

static struct result use_socket(struct dns_proxy *proxy, int descriptor)
{
    struct dns_endpoint *endpoint = &proxy->endpoints[proxy->step / 2];
    struct loop *loop = proxy->pod->worker->loop;
    if (proxy->step % 2 == 0) {
        endpoint->datagrams.on_ready = on_datagrams;
        struct result watched = loop_watch(loop, &endpoint->datagrams, descriptor, EPOLLIN);
        if (!result_is_ok(&watched)) {
            (void)close(descriptor);
        }
        return watched;
    }
    endpoint->streams.pod = proxy->pod;
    endpoint->streams.place = POD_LISTENER_COUNT;
    endpoint->streams.accept = accept_stream;
    return proxy_listener_open(&endpoint->streams, loop, descriptor, false);
}

static void on_socket(struct broker_call *call, struct broker_answer *answer)
{
    struct dns_proxy *proxy = CONTAINER_OF(call, struct dns_proxy, call);
    bool is_second = proxy->step / 2 > 0;
    if (answer->result.code == RESULT_NOT_FOUND && is_second) {
        /* The pod has no ::1 (dataplane §3): 127.0.0.1 alone serves it. */
        proxy->step = 2 * DNS_ENDPOINTS_MAXIMUM;
        bind_next(proxy);
        return;
    }
    struct result outcome = answer->result;
    if (result_is_ok(&outcome)) {
        outcome = use_socket(proxy, answer->descriptors[0]);
    }
    if (!result_is_ok(&outcome)) {
        tell_started(proxy, outcome);
        return;
    }
    if (proxy->step % 2 == 1) {
        log_listening(proxy);
    }
    proxy->step++;
    bind_next(proxy);
}

static void bind_next(struct dns_proxy *proxy)
{
    const struct configuration *configuration = proxy->pod->worker->shared->configuration;
    bool is_shared = configuration->proxy_mode == PROXY_MODE_SHARED;
    struct listener_options options = { .flags = is_shared ? SOCKET_MARKED : 0 };
    if (proxy->step >= 2 * DNS_ENDPOINTS_MAXIMUM || !endpoint_address(proxy, proxy->step / 2, &options.address)) {
        tell_started(proxy, result_ok());
        return;
    }
    if (configuration->inpod_port_reuse || !is_shared) {
        options.flags |= SOCKET_REUSES_PORT;
    }
    if (proxy->step % 2 == 0) {
        options.flags |= SOCKET_DATAGRAM;
    }
    proxy->call.on_answer = on_socket;
    broker_make_listener(proxy->pod->worker->broker, &proxy->call, proxy->pod->namespace_handle, &options);
}

void dns_proxy_start(struct dns_proxy *proxy, void (*on_started)(struct pod *pod, const struct result *outcome))
{
    proxy->on_started = on_started;
    bind_next(proxy);
}

static bool has_queries(const struct dns_endpoint *endpoint)
{
    return !list_is_empty(&endpoint->queries);
}

/* A socket goes when nothing is to be answered through it any more. */
static void close_unused_endpoints(struct dns_proxy *proxy)
{
    for (int i = 0; i < DNS_ENDPOINTS_MAXIMUM; i++) {
        if (!has_queries(&proxy->endpoints[i])) {
            close_endpoint(&proxy->endpoints[i]);
        }
    }
}

static void on_ended(struct deferred *deferred)
{
    struct dns_proxy *proxy = CONTAINER_OF(deferred, struct dns_proxy, ended);
    close_unused_endpoints(proxy);
    pod_check_drained(proxy->pod);
}

void dns_proxy_note_end(struct dns_proxy *proxy)
{
    if (proxy->is_draining) {
        proxy->ended.run = on_ended;
        loop_defer(proxy->pod->worker->loop, &proxy->ended);
    }
}

void dns_proxy_note_query(struct dns_proxy *proxy, int change)
{
    proxy->query_count += (unsigned)change;
    proxy->pod->worker->dns_query_count += (unsigned)change;
    if (change < 0) {
        dns_proxy_note_end(proxy);
    }
}

/* New queries go to a successor from now on, where there is one; those that the kernel has queued are still ours, and so are those
 * that come, without a successor, while others are being answered. */
static void yield_endpoint(struct dns_endpoint *endpoint)
{
    if (endpoint->streams.descriptor >= 0) {
        socket_yield_to_successor(endpoint->streams.descriptor);
    }
    proxy_listener_close(&endpoint->streams);
    if (endpoint->datagrams.loop != NULL) {
        socket_yield_to_successor(endpoint->datagrams.descriptor);
        for (int i = 0; i < DATAGRAMS_AT_THE_END && take_datagram(endpoint); i++) {
        }
    }
}

void dns_proxy_drain(struct dns_proxy *proxy)
{
    if (proxy == NULL || proxy->is_draining) {
        return;
    }
    proxy->is_draining = true;
    broker_call_cancel(&proxy->call);
    for (int i = 0; i < DNS_ENDPOINTS_MAXIMUM; i++) {
        yield_endpoint(&proxy->endpoints[i]);
    }
    LIST_FOR_EACH(link, &proxy->streams) {
        dns_stream_drain(link);
    }
    close_unused_endpoints(proxy);
}

void dns_proxy_cut(struct dns_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    while (!list_is_empty(&proxy->streams)) {
        dns_stream_cut(proxy->streams.next);
    }
    for (int i = 0; i < DNS_ENDPOINTS_MAXIMUM; i++) {
        struct list *queries = &proxy->endpoints[i].queries;
        while (!list_is_empty(queries)) {
            struct datagram_query *datagram = LIST_ENTRY(queries->next, struct datagram_query, link);
            dns_query_cancel(&datagram->query);
            free_query(datagram);
        }
    }
}

bool dns_proxy_is_idle(const struct dns_proxy *proxy)
{
    return proxy == NULL ||
           (list_is_empty(&proxy->streams) && !has_queries(&proxy->endpoints[0]) && !has_queries(&proxy->endpoints[1]));
}

void dns_proxy_free(struct dns_proxy *proxy)
{
    if (proxy == NULL) {
        return;
    }
    dns_proxy_cut(proxy);
    broker_call_cancel(&proxy->call);
    deferred_cancel(&proxy->ended);
    for (int i = 0; i < DNS_ENDPOINTS_MAXIMUM; i++) {
        close_endpoint(&proxy->endpoints[i]);
    }
    for (int transport = 0; transport < 2; transport++) {
        socket_stock_free(proxy->stocks[transport][0]);
        socket_stock_free(proxy->stocks[transport][1]);
    }
    for (size_t i = 0; i < DNS_SEARCH_OF_NAMESPACE; i++) {
        memory_free(proxy->search[i]);
    }
    memory_free(proxy);
}
