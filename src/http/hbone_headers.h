/* Field blocks: HPACK (RFC 7541) decoded by nghttp2 and encoded by us, the rules of RFC 9113 §8.2-8.5 by us.
 *
 * Our encoder never uses a dynamic table, and neither may the peer's once it has acknowledged our SETTINGS (HEADER_TABLE_SIZE 0):
 * from its next block on both directions are stateless, and no HPACK memory is kept between blocks. Until then the default of
 * 4,096 bytes holds (RFC 9113 §6.5.3). */
#ifndef AMBAR_HTTP_HBONE_HEADERS_H
#define AMBAR_HTTP_HBONE_HEADERS_H

#include "base/writer.h"
#include "http/hbone_session.h"

#include <nghttp2/nghttp2.h>

struct hbone_header_decoder {
    nghttp2_hd_inflater *inflater; /* NULL: made when needed */
    bool is_limit_zero;            /* the peer has acknowledged HEADER_TABLE_SIZE 0 */
    bool is_table_zero;            /* and has said so in a block: nothing to remember */
};

/* A zeroed decoder is ready. */
void hbone_header_decoder_settings_acknowledged(struct hbone_header_decoder *decoder);
void hbone_header_decoder_free(struct hbone_header_decoder *decoder);

enum hbone_pseudo_field {
    HBONE_PSEUDO_METHOD,
    HBONE_PSEUDO_AUTHORITY,
    HBONE_PSEUDO_SCHEME,
    HBONE_PSEUDO_PATH,
    HBONE_PSEUDO_PROTOCOL,
    HBONE_PSEUDO_STATUS,
    HBONE_PSEUDO_COUNT,
};

struct hbone_field_range {
    uint32_t name_at, name_length, value_at, value_length; /* offsets into `text` */
};

/* One block as it arrives, piece by piece. */
struct hbone_header_block {
    struct writer text;
    struct hbone_field_range *ranges;
    size_t count, capacity;
    struct hbone_field_range pseudo[HBONE_PSEUDO_COUNT];
    uint32_t pseudo_seen; /* bit per enum hbone_pseudo_field */
    size_t list_bytes;    /* as SETTINGS_MAX_HEADER_LIST_SIZE counts: name + value + 32 each */
    size_t list_bytes_maximum;
    size_t encoded_bytes;       /* fed so far */
    bool is_oversize;           /* over the limit: decoded on, for the table's sake, but no longer kept */
    const char *malformed;      /* what is wrong with it; NULL: nothing so far */
    struct hbone_field *fields; /* made by hbone_header_block_view */
};

struct hbone_header_block *hbone_header_block_new(size_t list_bytes_maximum);
void hbone_header_block_free(struct hbone_header_block *block); /* NULL is allowed */

/* False: a connection error COMPRESSION_ERROR, the decoder is useless from now on. */
bool hbone_header_decoder_feed(
    struct hbone_header_decoder *decoder, struct hbone_header_block *block, struct bytes fragment, bool is_last);

/* The complete block as request resp. response. False: malformed, `*reason` says why (RFC 9113 §8.1.1). Views are borrowed. */
bool hbone_header_block_request(struct hbone_header_block *block, struct hbone_request *request, const char **reason);
bool hbone_header_block_response(
    struct hbone_header_block *block, int *status, struct hbone_headers *headers, const char **reason);

struct hbone_header_encoder {
    bool has_told_table_size; /* that our table is 0; forgotten whenever the peer's SETTINGS change its limit */
};

/* Appends the encoded block: pseudo fields must come first. Nothing is indexed. */
void hbone_header_encode(
    struct hbone_header_encoder *encoder, const struct hbone_field *fields, size_t count, struct writer *out);

#endif
