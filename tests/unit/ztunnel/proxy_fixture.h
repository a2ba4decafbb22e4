/* One pod on one worker, on the test's own loop: no thread, no broker's process, no listeners. The mesh has two workloads, "client"
 * (the pod) and "server". Tunnels are session pairs over socket pairs: what the far proxy does with each is the test's to say. */
#ifndef AMBAR_TESTS_UNIT_PROXY_FIXTURE_H
#define AMBAR_TESTS_UNIT_PROXY_FIXTURE_H

#include "unit/http/hbone_peer.h"
#include "unit/mesh/mesh_fixture.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/refusals.h"
#include "ztunnel/worker.h"

#include <netinet/in.h>

#define CLIENT_UID "c/Pod/default/client"
#define SERVER_UID "c/Pod/default/server"
#define IDENTITY "spiffe://cluster.local/ns/default/sa/default"
#define PROXY_TURNS_MAXIMUM 5000

struct proxy_rig {
    struct worker worker;
    struct configuration configuration;
    struct shared_state shared;
    struct pod pod;
};

/* What is added to the current version becomes the next one. */
static UNUSED_HELPER struct mesh_change *proxy_rig_change(struct proxy_rig *rig)
{
    return mesh_change_begin(mesh_publication_read(rig->shared.publication));
}

static UNUSED_HELPER void proxy_rig_publish(struct proxy_rig *rig, struct mesh_change *change)
{
    mesh_publication_publish(rig->shared.publication, mesh_change_commit(change));
    qsbr_reclaim(rig->shared.readers);
    pod_notice_version(&rig->pod, true);
}

static UNUSED_HELPER void proxy_rig_add_pod(struct proxy_rig *rig, const char *uid, const char *ip)
{
    struct mesh_change *change = proxy_rig_change(rig);
    const struct workload_spec spec = pod_spec(uid, ip);
    mesh_change_upsert_workload(change, workload_of(&spec));
    proxy_rig_publish(rig, change);
}

static UNUSED_HELPER struct policy *deny_policy(uint16_t port)
{
    struct policy_builder *builder = policy_builder_new();
    policy_builder_begin_rule(builder);
    policy_builder_begin_clause(builder);
    policy_builder_begin_match(builder);
    policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, port);
    const struct policy_header header = { TEXT("default/no"), TEXT("no"), TEXT("default"), POLICY_NAMESPACE,
        POLICY_DENY, false };
    struct policy *policy;
    struct result made = policy_builder_finish(builder, &header, &policy);
    assert_true(result_is_ok(&made));
    policy_builder_free(builder);
    return policy;
}

static UNUSED_HELPER void proxy_rig_deny_port(struct proxy_rig *rig, uint16_t port)
{
    struct mesh_change *change = proxy_rig_change(rig);
    mesh_change_upsert_policy(change, deny_policy(port));
    proxy_rig_publish(rig, change);
}

static UNUSED_HELPER void proxy_rig_remove_pod(struct proxy_rig *rig, const char *uid)
{
    struct mesh_change *change = proxy_rig_change(rig);
    assert_int_equal(mesh_change_remove_address(change, TEXT(uid)), MESH_REMOVED_WORKLOAD);
    proxy_rig_publish(rig, change);
}

static UNUSED_HELPER void make_shared(struct proxy_rig *rig)
{
    struct shared_state *shared = &rig->shared;
    clearenv();
    struct result read = configuration_read(&rig->configuration);
    assert_string_equal(read.message, "");
    shared->configuration = &rig->configuration;
    shared->limits = limits_resolve(&rig->configuration);
    shared->illegal_ports = (struct illegal_ports){ { 15001, 15006, 15008 }, 3 };
    shared->readers = qsbr_new();
    shared->metrics = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    shared->publication = mesh_publication_new(shared->readers, mesh_version_new(&(struct mesh_settings){ "", NULL }));
    const struct broker_settings broker = {
        .mode = BROKER_NONE, .channel_count = 1, .sockets = { .transparency = TRANSPARENCY_NEVER }
    };
    struct result started = broker_start(&broker, &shared->broker);
    assert_true(result_is_ok(&started));
}

static UNUSED_HELPER void make_worker(struct proxy_rig *rig)
{
    static const char *const REPORTERS[] = { "source", "destination" };
    struct worker *worker = &rig->worker;
    worker->shared = &rig->shared;
    list_initialise(&worker->pods);
    list_initialise(&worker->walks);
    worker->loop = loop_new();
    worker->buffers = buffer_pool_new();
    rig->shared.sources = source_accounts_new();
    worker->metrics = metric_shard_new(rig->shared.metrics);
    worker->broker = broker_client_new(rig->shared.broker, 0, worker->loop);
    for (int i = 0; i < 2; i++) {
        worker->open_sockets_series[i] = metric_series_get(worker->metrics, METRIC_SOCKETS_OPEN, &REPORTERS[i]);
    }
}

static UNUSED_HELPER void make_pod(struct proxy_rig *rig, const struct hbone_pool_opener *opener, void *opener_context)
{
    struct pod *pod = &rig->pod;
    pod->worker = &rig->worker;
    pod->state = POD_RUNNING;
    pod->totals = NEW_LINES(struct pod_totals);
    pod->account.pinned.whole = &rig->worker.pinned;
    pod->information = (struct pod_information){ string_duplicate("uid-1"), string_duplicate("client"),
        string_duplicate("default"), string_duplicate("default") };
    loop_account_initialise(&pod->turns);
    list_initialise(&pod->inbound_tunnels);
    list_initialise(&pod->inner_tunnels);
    list_initialise(&pod->connections);
    list_initialise(&pod->workload_waits);
    list_initialise(&pod->socks5_clients);
    struct hbone_pool_settings settings = hbone_pool_settings_default();
    pod->tunnels = hbone_pool_new(rig->worker.loop, &settings, opener, opener_context);
    list_append(&rig->worker.pods, &pod->link);
}

static UNUSED_HELPER void proxy_rig_begin(
    struct proxy_rig *rig, const struct hbone_pool_opener *opener, void *opener_context)
{
    make_shared(rig);
    make_worker(rig);
    make_pod(rig, opener, opener_context);
}

/* Whatever the test left is cut first. */
static UNUSED_HELPER void proxy_rig_cut(struct proxy_rig *rig)
{
    while (!list_is_empty(&rig->pod.connections)) {
        struct connection *connection = LIST_ENTRY(rig->pod.connections.next, struct connection, link);
        connection->cut(connection, RESPONSE_NONE, "the test is over");
    }
}

static UNUSED_HELPER void proxy_rig_end(struct proxy_rig *rig)
{
    struct pod *pod = &rig->pod;
    proxy_rig_cut(rig);
    hbone_pool_free(pod->tunnels);
    for (int kind = 0; kind < POD_STOCK_COUNT; kind++) {
        socket_stock_free(pod->stocks[kind][0]);
        socket_stock_free(pod->stocks[kind][1]);
    }
    assert_int_equal(rig->worker.live_connections[0] + rig->worker.live_connections[1], 0);
    loop_account_close(rig->worker.loop, &pod->turns);
    pod_information_free(&pod->information);
    memory_free(pod->totals);
    broker_client_free(rig->worker.broker);
    source_accounts_free(rig->shared.sources);
    buffer_pool_free(rig->worker.buffers);
    refusals_free(rig->worker.refusals);
    loop_free(rig->worker.loop);
    broker_stop(rig->shared.broker);
    mesh_publication_free(rig->shared.publication);
    qsbr_free(rig->shared.readers);
    metric_registry_free(rig->shared.metrics);
    configuration_free(&rig->configuration);
}

/* Turns until it is so; the test fails when that takes too long. */
#define TURN_UNTIL(rig_, condition_)                                                                                   \
    do {                                                                                                               \
        bool is_so_ = condition_; /* which may take what it asks for */                                                \
        for (int turns_ = 0; !is_so_ && turns_ < PROXY_TURNS_MAXIMUM; turns_++) {                                      \
            loop_run_once((rig_)->worker.loop, 1);                                                                     \
            is_so_ = condition_;                                                                                       \
        }                                                                                                              \
        if (!is_so_) {                                                                                                 \
            fail_msg("it never came to: %s", #condition_);                                                             \
        }                                                                                                              \
    } while (0)

static UNUSED_HELPER void turn_some(struct proxy_rig *rig)
{
    for (int i = 0; i < 20; i++) {
        loop_run_once(rig->worker.loop, 0);
    }
}

/* Why the last connection that ended badly did; "" when none has. */
static UNUSED_HELPER const char *last_refusal(const struct proxy_rig *rig)
{
    const struct refusals *refusals = rig->worker.refusals;
    return refusals == NULL ? "" : refusals->ring[(refusals->count - 1) % REFUSALS_KEPT].reason;
}

/* An application that listens on the loopback; its port. */
static UNUSED_HELPER uint16_t application_listen(int *listener)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    *listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(*listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(*listener, 8), 0);
    assert_int_equal(getsockname(*listener, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

#endif
