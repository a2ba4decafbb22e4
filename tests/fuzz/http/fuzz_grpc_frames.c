/* gRPC messages in DATA, cut anywhere: the same messages come out however the bytes are cut. The first byte says how. */
#include "base/writer.h"
#include "http/grpc.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_all(struct bytes all, size_t cut, struct writer *seen)
{
    struct grpc_frame_reader reader = { .maximum_bytes = 4096 };
    for (size_t at = 0; at < all.length; at += cut) {
        struct bytes input = bytes_of(all.data + at, cut < all.length - at ? cut : all.length - at);
        for (;;) {
            struct bytes part = { 0 };
            bool is_last = false;
            enum grpc_frame_event event = grpc_frame_next(&reader, &input, &part, &is_last);
            if (event == GRPC_FRAME_MORE) {
                assert(input.length == 0);
                break;
            }
            if (event != GRPC_FRAME_PART) {
                writer_print(seen, "!%d", (int)event);
                return;
            }
            writer_add_bytes(seen, part);
            writer_add_string(seen, is_last ? "|" : "");
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct writer whole = writer_growing();
    struct writer cut = writer_growing();
    read_all(bytes_of(data + 1, size - 1), size, &whole);
    read_all(bytes_of(data + 1, size - 1), 1 + data[0] % 16, &cut);
    assert(bytes_equal(writer_bytes(&whole), writer_bytes(&cut)));

    struct writer decoded = writer_growing();
    struct writer encoded = writer_growing();
    struct writer again = writer_growing();
    grpc_message_decode(&decoded, bytes_of(data, size));
    grpc_message_encode(&encoded, writer_string(&decoded));
    grpc_message_decode(&again, writer_bytes(&encoded));
    assert(strcmp(writer_string(&again), writer_string(&decoded)) == 0);
    writer_free(&again);
    writer_free(&encoded);
    writer_free(&decoded);
    writer_free(&cut);
    writer_free(&whole);
    return 0;
}
