/* Vectors 1 to 4 of wire-protocols §18, and the rejects of ztunnel-management §3.4. */
#include "unit/mesh/mesh_fixture.h"

#include "base/text.h"
#include "xds/address_codec.h"

static struct decoded_address decode(const char *hexadecimal)
{
    uint8_t raw[1024];
    size_t length;
    struct decoded_address decoded;
    assert_true(text_from_hexadecimal(hexadecimal, raw, sizeof raw, &length));
    struct result result = address_decode(bytes_of(raw, length), &decoded);
    assert_string_equal(result.message, "");
    return decoded;
}

static void assert_rejected(const char *hexadecimal, const char *reason)
{
    uint8_t raw[1024];
    size_t length;
    struct decoded_address decoded;
    assert_true(text_from_hexadecimal(hexadecimal, raw, sizeof raw, &length));
    struct result result = address_decode(bytes_of(raw, length), &decoded);
    assert_string_equal(result.message, reason);
    assert_null(decoded.workload);
    assert_null(decoded.service);
}

static void assert_text(const struct workload *workload, enum workload_text text, const char *expected)
{
    assert_string_equal(workload_text(workload, text), expected);
}

#define VECTOR_1                                                                                                       \
    "0ac2010a057765622d31120764656661756c741a040a00000528013a037765624a026e3152037765625a066c617465737460026a03776562" \
    "82012a697374696f2d73797374656d2f697374696f5f636f6e7665727465645f7374617469635f73747269637492010a4b756265726e65"   \
    "746573a2011d4b756265726e657465732f2f506f642f64656661756c742f7765622d31b201300a2564656661756c742f7765622e646566"   \
    "61756c742e7376632e636c75737465722e6c6f63616c12070a05085010903f"

static void vector_1_is_a_pod(void **state)
{
    (void)state;
    struct workload *workload = decode(VECTOR_1).workload;
    uint16_t target;
    assert_non_null(workload);
    assert_text(workload, WORKLOAD_UID, "Kubernetes//Pod/default/web-1");
    assert_text(workload, WORKLOAD_NAME, "web-1");
    assert_text(workload, WORKLOAD_NAMESPACE, "default");
    assert_text(workload, WORKLOAD_SERVICE_ACCOUNT, "web");
    assert_text(workload, WORKLOAD_NODE, "n1");
    assert_text(workload, WORKLOAD_CANONICAL_NAME, "web");
    assert_text(workload, WORKLOAD_CANONICAL_REVISION, "latest");
    assert_text(workload, WORKLOAD_TYPE, "pod");
    assert_text(workload, WORKLOAD_OWNER_NAME, "web");
    assert_text(workload, WORKLOAD_CLUSTER_ID, "Kubernetes");
    assert_text(workload, WORKLOAD_TRUST_DOMAIN, "cluster.local");
    assert_int_equal(workload->protocol, WORKLOAD_HBONE);
    assert_int_equal(workload->capacity, 1);
    assert_true(workload->is_healthy);
    struct ip_address ip = ip_of("10.0.0.5");
    assert_true(workload_has_address(workload, &ip));
    assert_int_equal(workload->policy_count, 1);
    assert_string_equal(workload->policy_keys[0], "istio-system/istio_converted_static_strict");
    const struct workload_service *service =
        workload_find_service(workload, TEXT("default/web.default.svc.cluster.local"));
    assert_non_null(service);
    assert_true(port_mapping_find(service->ports, service->port_count, 80, &target));
    assert_int_equal(target, 8080);
    workload_release(workload);
}

static void vector_2_is_a_service_with_a_waypoint(void **state)
{
    (void)state;
    struct service *service =
        decode("12700a03776562120764656661756c741a1d7765622e64656661756c742e7376632e636c7573746572"
               "2e6c6f63616c220612040a60000a2a07085010903f18013a2c0a270a0764656661756c74121c77702e"
               "64656661756c742e7376632e636c75737465722e6c6f63616c18a07548015801")
            .service;
    uint16_t target;
    assert_non_null(service);
    assert_string_equal(service->key, "default/web.default.svc.cluster.local");
    assert_string_equal(service->name, "web");
    assert_int_equal(service->vip_count, 1);
    struct ip_address ip = ip_of("10.96.0.10");
    assert_true(ip_equal(&service->vips[0].ip, &ip));
    assert_true(service_find_port(service, 80, &target));
    assert_int_equal(target, 8080);
    assert_int_equal(service->waypoint->kind, GATEWAY_HOSTNAME);
    assert_string_equal(service->waypoint->namespace_, "default");
    assert_string_equal(service->waypoint->hostname, "wp.default.svc.cluster.local");
    assert_int_equal(service->waypoint->hbone_mtls_port, 15008);
    assert_int_equal(service->ip_families, FAMILIES_IPV4);
    assert_true(service->is_canonical);
    assert_false(service->has_load_balancing);
    service_release(service);
}

static void vector_3_has_the_rare_fields_of_a_workload(void **state)
{
    (void)state;
    struct workload *workload = decode(
        "0a6912016422046e657432280170018801019a0111120c0a046e6574321204c0a8000118a075a2011b6e6574322f53706c6974486f"
        "72697a6f6e576f726b6c6f61642f67b2010b0a03642f7312040a020850ba0105080110f075c201060a017212017ac80101da010208"
        "03")
                                    .workload;
    uint16_t target;
    assert_non_null(workload);
    assert_text(workload, WORKLOAD_UID, "net2/SplitHorizonWorkload/g");
    assert_text(workload, WORKLOAD_NAMESPACE, "d");
    assert_text(workload, WORKLOAD_NETWORK, "net2");
    assert_text(workload, WORKLOAD_SERVICE_ACCOUNT, "default");
    assert_text(workload, WORKLOAD_TYPE, "deployment");
    assert_text(workload, WORKLOAD_REGION, "r");
    assert_text(workload, WORKLOAD_ZONE, "z");
    assert_int_equal(workload->address_count, 0);
    assert_true(workload->has_native_tunnel);
    assert_false(workload->is_healthy);
    assert_int_equal(workload->network_gateway->kind, GATEWAY_ADDRESS);
    assert_string_equal(workload->network_gateway->network, "net2");
    struct ip_address ip = ip_of("192.168.0.1");
    assert_true(ip_equal(&workload->network_gateway->ip, &ip));
    assert_int_equal(workload->network_gateway->hbone_mtls_port, 15008);
    const struct workload_service *service = workload_find_service(workload, TEXT("d/s"));
    assert_true(port_mapping_find(service->ports, service->port_count, 80, &target));
    assert_int_equal(target, 0);
    assert_true(workload->has_application_tunnel);
    assert_int_equal(workload->tunnel_protocol, TUNNEL_PROXY);
    assert_int_equal(workload->application_tunnel_port, 15088);
    assert_int_equal(workload->network_mode, WORKLOAD_HOST_NETWORK);
    assert_int_equal(workload->capacity, 3);
    workload_release(workload);
}

static void vector_4_has_the_rare_fields_of_a_service(void **state)
{
    (void)state;
    struct service *service =
        decode("12311201641a0168220b0a016e12040a000000181842090a03060102100218016a0f0a0b120612040a00"
               "000918a075100a7001")
            .service;
    assert_non_null(service);
    assert_string_equal(service->key, "d/h");
    assert_int_equal(service->vip_count, 0);
    assert_int_equal(service->cidr_vip_count, 1);
    assert_string_equal(service->cidr_vips[0].network, "n");
    assert_int_equal(service->cidr_vips[0].cidr.prefix_bits, 24);
    assert_int_equal(service->scope_count, 3);
    assert_int_equal(service->scopes[0], SCOPE_NETWORK);
    assert_int_equal(service->scopes[1], SCOPE_REGION);
    assert_int_equal(service->scopes[2], SCOPE_ZONE);
    assert_int_equal(service->mode, BALANCE_FAILOVER);
    assert_true(service->allows_unhealthy);
    assert_int_equal(service->weighted_waypoint_count, 1);
    assert_int_equal(service->weighted_waypoints[0].weight, 10);
    assert_int_equal(service->weighted_waypoints[0].destination.hbone_mtls_port, 15008);
    assert_true(service->is_namespace_private);
    service_release(service);
}

static void unpacked_preferences_are_accepted_too(void **state)
{
    (void)state;
    struct service *service = decode("1208420608060801"
                                     "1001")
                                  .service;
    assert_int_equal(service->scope_count, 2);
    assert_int_equal(service->mode, BALANCE_STRICT);
    service_release(service);
}

static void unknown_fields_are_skipped(void **state)
{
    (void)state;
    /* Field 100 as varint, fixed64, bytes, fixed32, around the uid; and in the Address itself. */
    struct workload *workload = decode("0a1da006ffff03a1060102030405060708a2060178a50601020304a2010175a00601").workload;
    assert_text(workload, WORKLOAD_UID, "u");
    workload_release(workload);
}

static void lenient_enums_fall_back(void **state)
{
    (void)state;
    struct workload *workload = decode("0a026063").workload; /* workload_type 99 */
    assert_text(workload, WORKLOAD_TYPE, "deployment");
    workload_release(workload);
    struct service *service = decode("12027063").service; /* visibility 99 */
    assert_false(service->is_namespace_private);
    service_release(service);
}

static void rejects_say_why(void **state)
{
    (void)state;
    assert_rejected("", "unknown address type");
    assert_rejected("0a051a030a0000", "failed to parse address, had 3 bytes");
    assert_rejected("12022200", "failed to parse address, had 0 bytes");
    assert_rejected("0a022802", "unknown enum: unsupported tunnel protocol: legacy istio mtls");
    assert_rejected("0a022803", "decode error: unknown enumeration value 3");
    assert_rejected("0a03880102", "decode error: unknown enumeration value 2"); /* status */
    assert_rejected("0a03c80102", "decode error: unknown enumeration value 2"); /* network_mode */
    assert_rejected("12024804", "decode error: unknown enumeration value 4");   /* ip_families */
    assert_rejected("120542030a0100", "unknown enum: invalid target");
    assert_rejected("120542030a0107", "decode error: unknown enumeration value 7");
    assert_rejected("120442021004", "decode error: unknown enumeration value 4");
    assert_rejected("120442021802", "decode error: unknown enumeration value 2");
}

static void gateways_keys_and_cidrs_are_checked(void **state)
{
    (void)state;
    assert_rejected("0a05420318a075", "nonempty gateway address is missing address");
    assert_rejected("0a024200", "nonempty gateway address is missing address");
    assert_rejected("0a08b201050a03776562", "failed to parse namespaced hostname: web");
    assert_rejected("120a220812040a0000001821", "invalid cidr: 10.0.0.0/33");
}

static void malformed_bytes_are_a_decode_error(void **state)
{
    (void)state;
    assert_rejected("0a05", "decode: Address is malformed or cut short");
    assert_rejected("0a020a05", "decode: Workload is malformed or cut short");
    assert_rejected("0a030a01ff", "decode: Workload.name: not UTF-8");
    assert_rejected("0a030a0100", "name contains a NUL character");
    assert_rejected("0a020801", "decode: Workload.name: invalid wire type 0");
    assert_rejected("0a0c0bffffffffffffffffffff01", "decode: Workload is malformed or cut short");
}

static void every_truncation_of_a_vector_is_survived(void **state)
{
    (void)state;
    uint8_t raw[256];
    size_t length;
    assert_true(text_from_hexadecimal(VECTOR_1, raw, sizeof raw, &length));
    for (size_t cut = 0; cut < length; cut++) {
        uint8_t *copy = memory_allocate(cut);
        struct decoded_address decoded;
        memcpy(copy, raw, cut);
        struct result result = address_decode(bytes_of(copy, cut), &decoded);
        assert_false(result_is_ok(&result));
        memory_free(copy);
    }
    for (size_t cut = 3; cut < length; cut++) {
        struct workload *workload = NULL;
        struct result result = workload_decode(bytes_of(raw + 3, cut - 3), &workload);
        assert_int_equal(result_is_ok(&result), workload != NULL);
        workload_release(workload);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_1_is_a_pod),
        cmocka_unit_test(vector_2_is_a_service_with_a_waypoint),
        cmocka_unit_test(vector_3_has_the_rare_fields_of_a_workload),
        cmocka_unit_test(vector_4_has_the_rare_fields_of_a_service),
        cmocka_unit_test(unpacked_preferences_are_accepted_too),
        cmocka_unit_test(unknown_fields_are_skipped),
        cmocka_unit_test(lenient_enums_fall_back),
        cmocka_unit_test(rejects_say_why),
        cmocka_unit_test(gateways_keys_and_cidrs_are_checked),
        cmocka_unit_test(malformed_bytes_are_a_decode_error),
        cmocka_unit_test(every_truncation_of_a_vector_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
