#include "base/memory.h"
#include "base/text.h"
#include "cmocka_all.h"
#include "proto/discovery.pb-c.h"
#include "proto/well_known.pb-c.h"
#include "proto/workload.pb-c.h"
#include "xds/protobuf.h"
#include "xds/protobuf_stream.h"

/* Vector 1 of wire-protocols §18. */
static const char workload_vector[] =
    "0ac2010a057765622d31120764656661756c741a040a00000528013a037765624a026e3152037765625a066c617465737460026a0377656282"
    "0"
    "12a697374696f2d73797374656d2f697374696f5f636f6e7665727465645f7374617469635f737472696374"
    "92010a4b756265726e65746573"
    "a2011d4b756265726e657465732f2f506f642f64656661756c742f7765622d31b201300a2564656661756c742f7765622e64656661756c742e"
    "7"
    "376632e636c75737465722e6c6f63616c12070a05085010903f";

static size_t from_hexadecimal(const char *text, uint8_t *out, size_t capacity)
{
    size_t length = 0;
    assert_true(text_from_hexadecimal(text, out, capacity, &length));
    return length;
}

static void a_workload_decodes_and_encodes_to_the_same_bytes(void **state)
{
    (void)state;
    uint8_t bytes[512];
    size_t length = from_hexadecimal(workload_vector, bytes, sizeof bytes);
    struct arena arena = { 0 };
    ProtobufCMessage *message;
    struct result decoded =
        protobuf_decode(&istio__workload__address__descriptor, bytes_of(bytes, length), &arena, &message);
    assert_true(result_is_ok(&decoded));
    const Istio__Workload__Address *address = (const Istio__Workload__Address *)message;
    assert_int_equal(address->type_case, ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD);
    assert_string_equal(address->workload->uid, "Kubernetes//Pod/default/web-1");
    assert_string_equal(address->workload->services[0]->key, "default/web.default.svc.cluster.local");
    struct writer again = writer_growing();
    protobuf_encode(message, &again);
    assert_int_equal(again.length, length);
    assert_memory_equal(again.data, bytes, length);
    writer_free(&again);
    arena_free(&arena);
}

static struct result check(const ProtobufCMessageDescriptor *type, const char *hexadecimal)
{
    uint8_t bytes[256];
    return protobuf_check(type, bytes_of(bytes, from_hexadecimal(hexadecimal, bytes, sizeof bytes)));
}

static void malformed_messages_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "08", "0a05", "0aff", "00", "0b", "0c", "0d00", "0900",
        "ffffffffffffffffffff01" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct result outcome = check(&well_known__any__descriptor, bad[i]);
        assert_int_equal(outcome.code, RESULT_INVALID);
    }
}

static void strings_must_be_utf8_without_nul(void **state)
{
    (void)state;
    struct result broken = check(&well_known__any__descriptor, "0a02c328");
    assert_int_equal(broken.code, RESULT_INVALID);
    assert_non_null(strstr(broken.message, "Any.type_url"));
    struct result with_nul = check(&well_known__any__descriptor, "0a03610062");
    assert_int_equal(with_nul.code, RESULT_INVALID);
    struct result as_bytes = check(&well_known__any__descriptor, "1202c328");
    assert_true(result_is_ok(&as_bytes));
}

static void unknown_fields_are_let_through(void **state)
{
    (void)state;
    struct result outcome = check(&well_known__any__descriptor, "fa0102c328a00601");
    assert_true(result_is_ok(&outcome));
}

static void nesting_beyond_the_bound_is_refused(void **state)
{
    (void)state;
    /* Value { list_value { values { ... } } }: two levels a step. */
    for (int steps = 1; steps < 100; steps++) {
        struct writer value = writer_growing();
        for (int i = 0; i < steps; i++) {
            struct writer list = writer_growing();
            protobuf_add_message(&list, 1, writer_bytes(&value));
            writer_clear(&value);
            protobuf_add_message(&value, 6, writer_bytes(&list));
            writer_free(&list);
        }
        struct result outcome = protobuf_check(&well_known__value__descriptor, writer_bytes(&value));
        assert_int_equal(result_is_ok(&outcome), 1 + 2 * steps <= PROTOBUF_MAXIMUM_DEPTH);
        writer_free(&value);
    }
}

static void packed_and_unpacked_numbers_are_both_sound(void **state)
{
    (void)state;
    struct result packed = check(&istio__workload__load_balancing__descriptor, "0a03060102");
    assert_true(result_is_ok(&packed));
    struct result unpacked = check(&istio__workload__load_balancing__descriptor, "080608010802");
    assert_true(result_is_ok(&unpacked));
    struct result cut = check(&istio__workload__load_balancing__descriptor, "0a020680");
    assert_false(result_is_ok(&cut));
}

/* What the stream says, as text; a part of a long field is shown by its last letter. */
static void describe(struct protobuf_stream *stream, struct bytes input, struct writer *out)
{
    struct protobuf_field field;
    bool is_last;
    for (;;) {
        switch (protobuf_stream_next(stream, &input, &field, &is_last)) {
        case PROTOBUF_STREAM_MORE:
            return;
        case PROTOBUF_STREAM_BAD:
            writer_add_string(out, "bad");
            return;
        case PROTOBUF_STREAM_FIELD:
            writer_print(out, "%u=%llu:%.*s ", field.number, (unsigned long long)field.value, (int)field.bytes.length,
                field.bytes.length > 0 ? (const char *)field.bytes.data : "");
            break;
        case PROTOBUF_STREAM_PART:
            writer_add_bytes(out, field.bytes);
            writer_add_string(out, is_last ? " " : "");
        }
    }
}

static void a_stream_gives_the_same_fields_however_it_is_cut(void **state)
{
    (void)state;
    uint8_t bytes[64];
    size_t length = from_hexadecimal("08960112036162631a0a303132333435363738392d01000000310200000000000000"
                                     "120138",
        bytes, sizeof bytes);
    for (size_t cut = 1; cut <= length; cut++) {
        struct protobuf_stream stream = protobuf_stream_of(5);
        struct writer text = writer_growing();
        for (size_t at = 0; at < length; at += cut) {
            describe(&stream, bytes_of(bytes + at, cut < length - at ? cut : length - at), &text);
        }
        assert_string_equal(writer_string(&text), "1=150: 2=3:abc 0123456789 5=1: 6=2: 2=1:8 ");
        assert_true(protobuf_stream_is_between(&stream));
        protobuf_stream_clear(&stream);
        writer_free(&text);
    }
}

static void a_stream_refuses_what_is_no_protobuf(void **state)
{
    (void)state;
    static const char *const bad[] = { "00", "0b", "0c", "ffffffffffffffffffff01", "08ffffffffffffffffff02" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint8_t bytes[64];
        size_t length = from_hexadecimal(bad[i], bytes, sizeof bytes);
        struct protobuf_stream stream = protobuf_stream_of(100);
        struct writer text = writer_growing();
        describe(&stream, bytes_of(bytes, length), &text);
        assert_string_equal(writer_string(&text), "bad");
        protobuf_stream_clear(&stream);
        writer_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(malformed_messages_are_refused),
        cmocka_unit_test(strings_must_be_utf8_without_nul),
        cmocka_unit_test(unknown_fields_are_let_through),
        cmocka_unit_test(nesting_beyond_the_bound_is_refused),
        cmocka_unit_test(packed_and_unpacked_numbers_are_both_sound),
        cmocka_unit_test(a_stream_gives_the_same_fields_however_it_is_cut),
        cmocka_unit_test(a_stream_refuses_what_is_no_protobuf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
