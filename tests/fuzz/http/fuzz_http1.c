/* HTTP/1.1 heads, chunked bodies and queries: never past the input, always to a verdict. */
#include "http/http1_request.h"

#include <stdlib.h>

static void read_chunks(struct bytes input)
{
    struct http1_chunks chunks = { 0 };
    for (int turn = 0; turn < 100000; turn++) {
        size_t before = input.length;
        struct bytes data;
        enum http1_parse verdict = http1_chunks_next(&chunks, &input, &data);
        if (verdict != HTTP1_MORE || (input.length == before && data.length == 0)) {
            return;
        }
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct http1_head head;
    size_t consumed = 0;
    if (http1_head_parse(input, &head, &consumed) == HTTP1_DONE) {
        if (consumed > size || head.header_count > HTTP1_HEADERS_MAXIMUM) {
            abort();
        }
        struct writer value = writer_growing();
        (void)http1_query_find(head.query, "level", &value);
        writer_free(&value);
        (void)http1_head_find(&head, "accept");
    }
    read_chunks(input);
    return 0;
}
