#include "base/memory.h"
#include "base/text.h"
#include "cmocka_all.h"
#include "xds/delta_request.h"
#include "xds/node.h"
#include "xds/version_table.h"

#include <stdio.h>

#define ADDRESS "type.googleapis.com/istio.workload.Address"
#define AUTHORIZATION "type.googleapis.com/istio.security.Authorization"

static void assert_hexadecimal(const struct writer *bytes, const char *expected)
{
    struct writer text = writer_growing();
    writer_add_hexadecimal(&text, writer_bytes(bytes));
    assert_string_equal(writer_string(&text), expected);
    writer_free(&text);
}

/* Vector 9 of wire-protocols §18, with the NODE_NAME and INSTANCE_IPS that ztunnel always sends added. */
static void the_node_carries_its_id_and_metadata(void **state)
{
    (void)state;
    const struct node_settings settings = {
        .instance_ip = "10.0.0.1", .pod_name = "zt", .pod_namespace = "istio-system"
    };
    struct writer node = writer_growing();
    node_encode(&settings, &node);
    assert_memory_equal(node.data, "\x0a\x3fztunnel~10.0.0.1~zt.istio-system~istio-system.svc.cluster.local\x1a", 66);
    assert_non_null(memmem(node.data, node.length, "\x0a\x0c\x0a\x04NAME\x12\x04\x1a\x02zt", 14));
    assert_non_null(memmem(node.data, node.length, "\x0a\x1b\x0a\x09NAMESPACE\x12\x0e\x1a\x0cistio-system", 29));
    /* An empty value is written all the same: a member of a oneof. */
    assert_non_null(memmem(node.data, node.length, "\x0a\x09NODE_NAME\x12\x02\x1a\x00", 15));
    writer_free(&node);
}

static void json_metadata_overrides_and_bad_json_is_skipped(void **state)
{
    (void)state;
    const struct node_metadata metadata[] = { { "CLUSTER_ID", "c1" }, { "LABELS", "text" } };
    const struct node_metadata json[] = { { "LABELS", "{\"a\":[true,null,1]}" }, { "BAD", "{" } };
    const struct node_settings settings = {
        .metadata = metadata, .metadata_count = 2, .json_metadata = json, .json_metadata_count = 2
    };
    struct writer node = writer_growing();
    node_encode(&settings, &node);
    assert_non_null(memmem(node.data, node.length, "ztunnel~1.1.1.1~.~.svc.cluster.local", 36));
    assert_non_null(memmem(node.data, node.length,
        "\x0a\x0a"
        "CLUSTER_ID\x12\x04\x1a\x02"
        "c1",
        18));
    /* { a: [true, null, 1] } as Value, Struct, entry, Value, ListValue. */
    static const uint8_t labels[] = { 0x2a, 0x1c, 0x0a, 0x1a, 0x0a, 0x01, 'a', 0x12, 0x15, 0x32, 0x13, 0x0a, 0x02, 0x20,
        0x01, 0x0a, 0x02, 0x08, 0x00, 0x0a, 0x09, 0x11, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f };
    assert_non_null(memmem(node.data, node.length, labels, sizeof labels));
    assert_null(memmem(node.data, node.length, "BAD", 3));
    writer_free(&node);
}

static void the_first_wildcard_request_is_the_references(void **state)
{
    (void)state;
    struct version_table *held = version_table_new();
    const struct delta_first_request request = { .node = bytes_of("\x0a\x01x", 3), .type_url = ADDRESS, .held = held };
    struct writer out = writer_growing();
    assert_false(delta_first_request_write(&request, &out));
    assert_hexadecimal(
        &out, "0a030a0178122a747970652e676f6f676c65617069732e636f6d2f697374696f2e776f726b6c6f61642e41646472657373");
    writer_free(&out);
    version_table_free(held);
}

static void an_on_demand_reconnect_is_the_references(void **state)
{
    (void)state;
    struct version_table *held = version_table_new();
    (void)version_table_put(held, bytes_of_string("a"), bytes_of_string("9f"), 0);
    const struct delta_first_request request = {
        .node = bytes_of("\x0a\x01x", 3), .type_url = ADDRESS, .is_on_demand = true, .held = held
    };
    struct writer out = writer_growing();
    assert_false(delta_first_request_write(&request, &out));
    assert_hexadecimal(&out, "0a030a0178122a747970652e676f6f676c65617069732e636f6d2f697374696f2e776f726b6c6f61642e41646"
                             "4726573731a012a22012a2a07"
                             "0a016112023966");
    writer_free(&out);
    version_table_free(held);
}

static void acknowledgements_are_the_references(void **state)
{
    (void)state;
    struct writer out = writer_growing();
    delta_acknowledgement_write(bytes_of_string(AUTHORIZATION), bytes_of_string("n1"), bytes_of("", 0), &out);
#define ACK                                                                                                            \
    "1230747970652e676f6f676c65617069732e636f6d2f697374696f2e73656375726974792e417574686f72697a6174696f6e32026e31"
    assert_hexadecimal(&out, ACK);
    writer_clear(&out);
    delta_acknowledgement_write(
        bytes_of_string(AUTHORIZATION), bytes_of_string("n1"), bytes_of_string("ns/p: unknown enum: x"), &out);
    assert_hexadecimal(&out, ACK "3a1712156e732f703a20756e6b6e6f776e20656e756d3a2078");
    writer_free(&out);
}

static void what_does_not_fit_is_left_out_and_marked(void **state)
{
    (void)state;
    struct version_table *held = version_table_new();
    size_t count = 100000;
    for (size_t i = 0; i < count; i++) {
        char name[80];
        snprintf(name, sizeof name, "Kubernetes//Pod/a-namespace-of-some-length/pod-%zu", i);
        (void)version_table_put(held, bytes_of_string(name), bytes_of_string("b98fc29277397031"), 0);
    }
    const struct delta_first_request request = { .node = bytes_of("\x0a\x01x", 3), .type_url = ADDRESS, .held = held };
    struct writer out = writer_growing();
    assert_true(delta_first_request_write(&request, &out));
    assert_true(out.length < 4u * 1024 * 1024 && out.length > 3u * 1024 * 1024);
    size_t marked = 0;
    uint32_t position = 0;
    struct version_entry entry;
    while (version_table_next(held, &position, &entry)) {
        marked += entry.is_marked;
    }
    assert_true(marked > 0 && marked < count);
    writer_free(&out);
    version_table_free(held);
}

static void assert_delay(uint64_t delay_ms, const char *expected)
{
    struct writer out = writer_growing();
    delta_delay_write(delay_ms, &out);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void delays_read_like_the_references(void **state)
{
    (void)state;
    assert_delay(20, "20ms");
    assert_delay(1000, "1s");
    assert_delay(1280, "1.28s");
    assert_delay(10240, "10.24s");
    assert_delay(15000, "15s");
}

static void a_status_reads_like_the_references(void **state)
{
    (void)state;
    struct writer out = writer_growing();
    const struct grpc_end refused = { .status = GRPC_UNAUTHENTICATED, .message = "authentication failure" };
    delta_status_write(&refused, &out);
    assert_string_equal(writer_string(&out), "status: Unauthenticated, message: \"authentication failure\" (hint: "
                                             "check the control plane logs for more information)");
    writer_clear(&out);
    const struct grpc_end unknown = { .status = GRPC_UNAVAILABLE, .message = "", .source = "dns error: x" };
    delta_status_write(&unknown, &out);
    assert_string_equal(writer_string(&out),
        "status: Unavailable, message: \"\", source: dns error: x (hint: is the DNS server reachable?)");
    writer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_node_carries_its_id_and_metadata),
        cmocka_unit_test(json_metadata_overrides_and_bad_json_is_skipped),
        cmocka_unit_test(the_first_wildcard_request_is_the_references),
        cmocka_unit_test(an_on_demand_reconnect_is_the_references),
        cmocka_unit_test(acknowledgements_are_the_references),
        cmocka_unit_test(what_does_not_fit_is_left_out_and_marked),
        cmocka_unit_test(delays_read_like_the_references),
        cmocka_unit_test(a_status_reads_like_the_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
