#include "base/memory.h"
#include "cmocka_all.h"
#include "http/grpc.h"
#include "http/grpc_queue.h"

static enum grpc_frame_event next(
    struct grpc_frame_reader *reader, struct bytes *input, struct writer *message, bool *is_last)
{
    struct bytes part = { 0 };
    enum grpc_frame_event event = grpc_frame_next(reader, input, &part, is_last);
    if (event == GRPC_FRAME_PART) {
        writer_add_bytes(message, part);
    }
    return event;
}

static void messages_are_found_however_the_bytes_are_cut(void **state)
{
    (void)state;
    static const uint8_t bytes[] = { 0, 0, 0, 0, 2, 'h', 'i', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x' };
    for (size_t cut = 1; cut <= sizeof bytes; cut++) {
        struct grpc_frame_reader reader = { .maximum_bytes = 10 };
        struct writer message = writer_growing();
        struct writer all = writer_growing();
        for (size_t at = 0; at < sizeof bytes; at += cut) {
            struct bytes input = bytes_of(bytes + at, cut < sizeof bytes - at ? cut : sizeof bytes - at);
            bool is_last;
            enum grpc_frame_event event;
            while ((event = next(&reader, &input, &message, &is_last)) == GRPC_FRAME_PART) {
                if (is_last) {
                    writer_print(&all, "[%s]", writer_string(&message));
                    writer_clear(&message);
                }
            }
            assert_int_equal(event, GRPC_FRAME_MORE);
        }
        assert_string_equal(writer_string(&all), "[hi][][x]");
        assert_true(grpc_frame_is_between(&reader));
        writer_free(&message);
        writer_free(&all);
    }
}

static enum grpc_frame_event first_event(const char *header)
{
    struct grpc_frame_reader reader = { .maximum_bytes = 100 };
    struct bytes input = bytes_of(header, GRPC_FRAME_HEADER_BYTES);
    struct bytes part;
    bool is_last;
    return grpc_frame_next(&reader, &input, &part, &is_last);
}

static void a_message_over_the_bound_is_refused_at_its_header(void **state)
{
    (void)state;
    assert_int_equal(first_event("\0\0\0\0\x65"), GRPC_FRAME_TOO_LARGE);
    assert_int_equal(first_event("\0\xff\xff\xff\xff"), GRPC_FRAME_TOO_LARGE);
    assert_int_equal(first_event("\0\0\0\0\x64"), GRPC_FRAME_MORE);
}

static void compressed_and_unknown_flags_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(first_event("\1\0\0\0\1"), GRPC_FRAME_COMPRESSED);
    assert_int_equal(first_event("\2\0\0\0\1"), GRPC_FRAME_INVALID);
}

static void status_text_survives_its_percent_encoding(void **state)
{
    (void)state;
    struct writer encoded = writer_growing();
    struct writer decoded = writer_growing();
    grpc_message_encode(&encoded, "50% of \"café\"\n");
    assert_string_equal(writer_string(&encoded), "50%25 of \"caf%C3%A9\"%0A");
    grpc_message_decode(&decoded, writer_bytes(&encoded));
    assert_string_equal(writer_string(&decoded), "50% of \"café\"\n");
    writer_free(&encoded);
    writer_free(&decoded);
}

static void a_stray_percent_sign_stands_for_itself(void **state)
{
    (void)state;
    struct writer decoded = writer_growing();
    grpc_message_decode(&decoded, bytes_of_string("%zz 100% %4"));
    assert_string_equal(writer_string(&decoded), "%zz 100% %4");
    writer_free(&decoded);
}

static void bare_http_answers_map_as_the_specification_says(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_of_http(400), GRPC_INTERNAL);
    assert_int_equal(grpc_status_of_http(401), GRPC_UNAUTHENTICATED);
    assert_int_equal(grpc_status_of_http(403), GRPC_PERMISSION_DENIED);
    assert_int_equal(grpc_status_of_http(404), GRPC_UNIMPLEMENTED);
    assert_int_equal(grpc_status_of_http(503), GRPC_UNAVAILABLE);
    assert_int_equal(grpc_status_of_http(500), GRPC_UNKNOWN);
}

static void a_status_that_is_no_known_number_is_unknown(void **state)
{
    (void)state;
    assert_int_equal(grpc_status_parse(bytes_of_string("16")), GRPC_UNAUTHENTICATED);
    assert_int_equal(grpc_status_parse(bytes_of_string("17")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(bytes_of_string("-1")), GRPC_UNKNOWN);
    assert_int_equal(grpc_status_parse(bytes_of_string("")), GRPC_UNKNOWN);
    assert_string_equal(grpc_status_name(99), "Unknown");
}

static void the_queue_frames_and_hands_out_in_any_portion(void **state)
{
    (void)state;
    for (size_t portion = 1; portion < 20; portion++) {
        struct grpc_queue queue;
        grpc_queue_initialise(&queue);
        grpc_queue_add(&queue, bytes_of_string("hi"));
        grpc_queue_add(&queue, bytes_of("", 0));
        struct writer taken = writer_growing();
        writer_add_string(&taken, "x");
        grpc_queue_add_taking(&queue, &taken);
        assert_int_equal(taken.length, 0);
        assert_int_equal(queue.bytes, 18);
        struct writer all = writer_growing();
        uint8_t buffer[32];
        size_t length;
        while ((length = grpc_queue_read(&queue, buffer, portion)) > 0) {
            writer_add(&all, buffer, length);
        }
        assert_int_equal(all.length, 18);
        assert_memory_equal(all.data, "\0\0\0\0\2hi\0\0\0\0\0\0\0\0\0\1x", 18);
        assert_int_equal(queue.bytes, 0);
        writer_free(&all);
        writer_free(&taken);
        grpc_queue_clear(&queue);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_found_however_the_bytes_are_cut),
        cmocka_unit_test(a_message_over_the_bound_is_refused_at_its_header),
        cmocka_unit_test(compressed_and_unknown_flags_are_told_apart),
        cmocka_unit_test(status_text_survives_its_percent_encoding),
        cmocka_unit_test(a_stray_percent_sign_stands_for_itself),
        cmocka_unit_test(bare_http_answers_map_as_the_specification_says),
        cmocka_unit_test(a_status_that_is_no_known_number_is_unknown),
        cmocka_unit_test(the_queue_frames_and_hands_out_in_any_portion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
