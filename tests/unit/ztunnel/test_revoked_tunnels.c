#include "cmocka_all.h"

#include "base/memory.h"
#include "telemetry/metric.h"
#include "tls/record_layer.h"
#include "tls/revocation.h"
#include "ztunnel/metrics.h"
#include "ztunnel/revoked_tunnels.h"
#include "ztunnel/worker.h"

struct fixture {
    struct metric_registry *registry;
    struct worker worker;
};

static int setup(void **state)
{
    struct fixture *fixture = NEW_LINES(struct fixture);
    fixture->registry = metric_registry_new(ZTUNNEL_METRICS, METRIC_COUNT);
    fixture->worker.metrics = metric_shard_new(fixture->registry);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    revocation_put_into_force(NULL);
    metric_registry_free(fixture->registry);
    memory_free(fixture);
    return 0;
}

static void a_tunnel_without_its_peers_chain_counts_as_untracked_while_revocation_is_on(void **state)
{
    struct fixture *fixture = *state;
    struct record_layer layer = { .peer_chain = NULL };
    revocation_put_into_force(revocation_lists_none());
    revoked_tunnels_count_untracked(&fixture->worker, &layer, "destination");
    struct writer text = writer_growing();
    metric_registry_render(fixture->registry, &text);
    assert_non_null(
        strstr(writer_string(&text), "\nistio_crl_untracked_connections_total{reporter=\"destination\"} 1\n"));
    writer_free(&text);
}

static void a_tunnel_whose_peers_chain_is_kept_is_tracked(void **state)
{
    struct fixture *fixture = *state;
    struct certificate_list chain = { NULL, 0 };
    struct record_layer layer = { .peer_chain = &chain };
    revocation_put_into_force(revocation_lists_none());
    revoked_tunnels_count_untracked(&fixture->worker, &layer, "source");
    assert_int_equal(metric_total(fixture->registry, METRIC_CRL_UNTRACKED), 0);
}

static void nothing_is_untracked_while_revocation_is_off(void **state)
{
    struct fixture *fixture = *state;
    struct record_layer layer = { .peer_chain = NULL };
    revoked_tunnels_count_untracked(&fixture->worker, &layer, "source");
    assert_int_equal(metric_total(fixture->registry, METRIC_CRL_UNTRACKED), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_tunnel_without_its_peers_chain_counts_as_untracked_while_revocation_is_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_tunnel_whose_peers_chain_is_kept_is_tracked, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_untracked_while_revocation_is_off, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
