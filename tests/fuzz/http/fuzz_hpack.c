/* Field blocks from outside, in pieces: the same verdict and the same fields as nghttp2 gives for the whole block, before and after
 * our table size of 0 was acknowledged. Input: one byte of options, then blocks of one length byte and as many bytes. */
#include "base/memory.h"
#include "http/hbone_headers.h"

#include <stdlib.h>

#define FIELD_OVERHEAD_BYTES 32
#define LIST_BYTES_MAXIMUM 2048

struct tally {
    size_t list_bytes;
    size_t fields;
};

static bool inflate_whole(nghttp2_hd_inflater *inflater, struct bytes block, struct tally *tally)
{
    static const uint8_t nothing[1];
    const uint8_t *at = block.length > 0 ? block.data : nothing;
    size_t left = block.length;
    for (;;) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(inflater, &field, &flags, at, left, 1);
        if (used < 0) {
            return false;
        }
        at += used;
        left -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            tally->fields++;
            tally->list_bytes += field.namelen + field.valuelen + FIELD_OVERHEAD_BYTES;
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            nghttp2_hd_inflate_end_headers(inflater);
            return true;
        }
    }
}

static bool feed_in_pieces(
    struct hbone_header_decoder *decoder, struct hbone_header_block *block, struct bytes bytes, size_t piece)
{
    while (bytes.length > 0) {
        size_t length = bytes.length < piece ? bytes.length : piece;
        if (!hbone_header_decoder_feed(decoder, block, bytes_of(bytes.data, length), false)) {
            return false;
        }
        bytes = bytes_of(bytes.data + length, bytes.length - length);
    }
    return hbone_header_decoder_feed(decoder, block, bytes_of(NULL, 0), true);
}

static void demand(bool is_true)
{
    if (!is_true) {
        abort();
    }
}

/* What is accepted as a request must survive our own encoder. */
static void check_round_trip(const struct hbone_request *request)
{
    struct hbone_header_encoder encoder = { 0 };
    struct writer encoded = writer_growing();
    hbone_header_encode(&encoder, request->headers.fields, request->headers.count, &encoded);
    struct hbone_header_decoder decoder = { 0 };
    hbone_header_decoder_settings_acknowledged(&decoder);
    struct hbone_header_block *block = hbone_header_block_new(SIZE_MAX);
    demand(feed_in_pieces(&decoder, block, writer_bytes(&encoded), 7));
    demand(block->count == request->headers.count && block->malformed == NULL);
    hbone_header_block_free(block);
    hbone_header_decoder_free(&decoder);
    writer_free(&encoded);
}

static bool compare_block(
    struct hbone_header_decoder *decoder, nghttp2_hd_inflater *oracle, struct bytes bytes, size_t piece)
{
    struct tally tally = { 0, 0 };
    struct hbone_header_block *block = hbone_header_block_new(LIST_BYTES_MAXIMUM);
    bool is_accepted = feed_in_pieces(decoder, block, bytes, piece);
    demand(is_accepted == inflate_whole(oracle, bytes, &tally));
    if (is_accepted) {
        struct hbone_request request;
        struct hbone_headers headers;
        const char *reason;
        int status;
        demand(block->list_bytes == tally.list_bytes);
        demand(block->is_oversize == (tally.list_bytes > LIST_BYTES_MAXIMUM));
        if (!block->is_oversize && hbone_header_block_request(block, &request, &reason)) {
            check_round_trip(&request);
        }
        (void)hbone_header_block_response(block, &status, &headers, &reason);
    }
    hbone_header_block_free(block);
    return is_accepted;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct hbone_header_decoder decoder = { 0 };
    nghttp2_hd_inflater *oracle;
    demand(nghttp2_hd_inflate_new(&oracle) == 0);
    size_t piece = 1 + data[0] % 16;
    size_t blocks_before_acknowledgement = data[0] / 16;
    size_t at = 1;
    bool is_accepted = true;
    for (size_t block = 0; at < size && is_accepted; block++) {
        if (block == blocks_before_acknowledgement) {
            hbone_header_decoder_settings_acknowledged(&decoder);
            demand(nghttp2_hd_inflate_change_table_size(oracle, 0) == 0);
        }
        size_t length = data[at++];
        length = length < size - at ? length : size - at;
        is_accepted = compare_block(&decoder, oracle, bytes_of(data + at, length), piece);
        at += length;
    }
    hbone_header_decoder_free(&decoder);
    nghttp2_hd_inflate_del(oracle);
    return 0;
}
