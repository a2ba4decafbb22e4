#include "ambard/service_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TAIL "zt.istio-system~istio-system.svc.cluster.local"

static void assert_refused(const char *id, const char *instance_ips, const char *sentence)
{
    struct result checked = service_node_check(id, instance_ips);
    assert_int_equal(checked.code, RESULT_INVALID);
    assert_non_null(strstr(checked.message, sentence));
}

static void assert_taken(const char *id, const char *instance_ips)
{
    struct result checked = service_node_check(id, instance_ips);
    assert_true(result_is_ok(&checked));
}

static void an_id_has_four_parts(void **state)
{
    (void)state;
    assert_taken("ztunnel~10.0.0.1~" TAIL, "");
    assert_refused("", "", "missing parts in the service node");
    assert_refused("ztunnel~10.0.0.1~zt.istio-system", "",
        "missing parts in the service node \"ztunnel~10.0.0.1~zt.istio-system\"");
    assert_refused("ztunnel~10.0.0.1~" TAIL "~more", "", "missing parts in the service node");
}

static void only_types_that_take_part_are_known(void **state)
{
    (void)state;
    assert_taken("waypoint~10.0.0.1~" TAIL, "");
    assert_taken("agentgateway~::1~" TAIL, "");
    assert_refused("ingress~10.0.0.1~" TAIL, "", "invalid node type");
    assert_refused("~10.0.0.1~" TAIL, "", "invalid node type");
}

static void an_address_stands_in_the_metadata_or_in_the_id(void **state)
{
    (void)state;
    assert_taken("ztunnel~~" TAIL, "10.0.0.1,fd00::1");
    assert_taken("ztunnel~10.0.0.1~" TAIL, "10.0.0.2,nonsense");
    assert_refused("ztunnel~~" TAIL, "", "no valid IP address in the service node id or metadata");
    assert_refused("ztunnel~pod~" TAIL, "10.0.0.2,nonsense", "no valid IP address in the service node id or metadata");
}

static void a_node_names_its_workload(void **state)
{
    (void)state;
    assert_refused("ztunnel~10.0.0.1~~istio-system.svc.cluster.local", "", "missing workload id in the service node");
}

static void a_long_id_is_cut_in_the_sentence(void **state)
{
    (void)state;
    char id[1000];
    memset(id, 'x', sizeof id - 1);
    id[sizeof id - 1] = '\0';
    assert_refused(id, "", "missing parts in the service node \"xxxx");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_has_four_parts),
        cmocka_unit_test(only_types_that_take_part_are_known),
        cmocka_unit_test(an_address_stands_in_the_metadata_or_in_the_id),
        cmocka_unit_test(a_node_names_its_workload),
        cmocka_unit_test(a_long_id_is_cut_in_the_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
