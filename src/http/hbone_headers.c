#include "http/hbone_headers.h"

#include "base/memory.h"

#include <stdlib.h>

#define FIELD_OVERHEAD_BYTES 32 /* RFC 9113 §6.5.2 */
#define STATIC_STATUS_200 8     /* its place in the static table, the first with the name :status */

static const char *const pseudo_names[HBONE_PSEUDO_COUNT] = {
    [HBONE_PSEUDO_METHOD] = ":method",
    [HBONE_PSEUDO_AUTHORITY] = ":authority",
    [HBONE_PSEUDO_SCHEME] = ":scheme",
    [HBONE_PSEUDO_PATH] = ":path",
    [HBONE_PSEUDO_PROTOCOL] = ":protocol",
    [HBONE_PSEUDO_STATUS] = ":status",
};

/* RFC 9113 §8.2.2. */
static const char *const connection_specific[] = { "connection", "proxy-connection", "keep-alive", "transfer-encoding",
    "upgrade" };

struct bytes hbone_headers_find(const struct hbone_headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (bytes_equal_string(headers->fields[i].name, name)) {
            return headers->fields[i].value;
        }
    }
    return (struct bytes){ NULL, 0 };
}

/* nghttp2 fails only for want of memory here. */
static void abort_without_memory(int nghttp2_result)
{
    if (nghttp2_result < 0) {
        abort();
    }
}

struct hbone_header_block *hbone_header_block_new(size_t list_bytes_maximum)
{
    struct hbone_header_block *block = NEW(struct hbone_header_block);
    block->text = writer_growing();
    block->list_bytes_maximum = list_bytes_maximum;
    return block;
}

void hbone_header_block_free(struct hbone_header_block *block)
{
    if (block == NULL) {
        return;
    }
    writer_free(&block->text);
    memory_free(block->ranges);
    memory_free(block->fields);
    memory_free(block);
}

/* RFC 9113 §8.2.1: lower-case names; no NUL, CR, LF and no surrounding blanks in values. */
static bool is_name_character(uint8_t character)
{
    return character > 0x20 && character < 0x7f && character != ':' && !(character >= 'A' && character <= 'Z');
}

static bool is_valid_name(struct bytes name)
{
    for (size_t i = 0; i < name.length; i++) {
        if (!is_name_character(name.data[i])) {
            return false;
        }
    }
    return name.length > 0;
}

static bool is_blank(uint8_t character)
{
    return character == ' ' || character == '\t';
}

static bool is_valid_value(struct bytes value)
{
    for (size_t i = 0; i < value.length; i++) {
        uint8_t character = value.data[i];
        if (character == '\0' || character == '\r' || character == '\n') {
            return false;
        }
    }
    return value.length == 0 || !(is_blank(value.data[0]) || is_blank(value.data[value.length - 1]));
}

static const char *check_regular_field(struct bytes name, struct bytes value)
{
    if (!is_valid_name(name)) {
        return "a field name with characters that RFC 9113 forbids";
    }
    for (size_t i = 0; i < ARRAY_LENGTH(connection_specific); i++) {
        if (bytes_equal_string(name, connection_specific[i])) {
            return "a connection-specific field";
        }
    }
    if (bytes_equal_string(name, "te") && !bytes_equal_string(value, "trailers")) {
        return "a te field other than trailers";
    }
    return NULL;
}

static struct hbone_field_range keep_text(struct hbone_header_block *block, struct bytes name, struct bytes value)
{
    struct hbone_field_range range = { .name_at = (uint32_t)block->text.length, .name_length = (uint32_t)name.length };
    writer_add_bytes(&block->text, name);
    range.value_at = (uint32_t)block->text.length;
    range.value_length = (uint32_t)value.length;
    writer_add_bytes(&block->text, value);
    return range;
}

static void add_regular_field(struct hbone_header_block *block, struct bytes name, struct bytes value)
{
    if (block->malformed == NULL) {
        block->malformed = check_regular_field(name, value);
    }
    if (block->count == block->capacity) {
        block->capacity = block->capacity == 0 ? 8 : block->capacity * 2;
        block->ranges = memory_resize(block->ranges, block->capacity, sizeof *block->ranges);
    }
    block->ranges[block->count++] = keep_text(block, name, value);
}

static const char *check_pseudo_field(const struct hbone_header_block *block, int which)
{
    if (which == HBONE_PSEUDO_COUNT) {
        return "an unknown pseudo field";
    }
    if (block->count > 0) {
        return "a pseudo field after a regular field";
    }
    return (block->pseudo_seen & 1U << which) != 0 ? "a repeated pseudo field" : NULL;
}

static void add_pseudo_field(struct hbone_header_block *block, struct bytes name, struct bytes value)
{
    int which = 0;
    while (which < HBONE_PSEUDO_COUNT && !bytes_equal_string(name, pseudo_names[which])) {
        which++;
    }
    const char *fault = check_pseudo_field(block, which);
    if (fault != NULL) {
        block->malformed = block->malformed != NULL ? block->malformed : fault;
        return;
    }
    block->pseudo_seen |= 1U << which;
    block->pseudo[which] = keep_text(block, name, value);
}

static void add_field(struct hbone_header_block *block, struct bytes name, struct bytes value)
{
    block->list_bytes += name.length + value.length + FIELD_OVERHEAD_BYTES;
    if (block->list_bytes > block->list_bytes_maximum) {
        block->is_oversize = true;
        return;
    }
    if (!is_valid_value(value) && block->malformed == NULL) {
        block->malformed = "a field value with characters that RFC 9113 forbids";
    }
    if (name.length > 0 && name.data[0] == ':') {
        add_pseudo_field(block, name, value);
    } else {
        add_regular_field(block, name, value);
    }
}

/* The inflater as the peer's encoder expects it: new ones stand at 4,096 bytes. */
static nghttp2_hd_inflater *inflater_of(struct hbone_header_decoder *decoder)
{
    if (decoder->inflater != NULL) {
        return decoder->inflater;
    }
    abort_without_memory(nghttp2_hd_inflate_new(&decoder->inflater));
    if (decoder->is_limit_zero) {
        abort_without_memory(nghttp2_hd_inflate_change_table_size(decoder->inflater, 0));
    }
    if (decoder->is_table_zero) {
        /* The table size update that the peer has sent in an earlier block. */
        static const uint8_t table_size_zero[] = { 0x20 };
        nghttp2_nv field;
        int flags = 0;
        (void)nghttp2_hd_inflate_hd2(decoder->inflater, &field, &flags, table_size_zero, 1, 0);
    }
    return decoder->inflater;
}

void hbone_header_decoder_settings_acknowledged(struct hbone_header_decoder *decoder)
{
    if (decoder->is_limit_zero) {
        return;
    }
    decoder->is_limit_zero = true;
    if (decoder->inflater != NULL) {
        abort_without_memory(nghttp2_hd_inflate_change_table_size(decoder->inflater, 0));
    }
}

void hbone_header_decoder_free(struct hbone_header_decoder *decoder)
{
    if (decoder->inflater != NULL) {
        nghttp2_hd_inflate_del(decoder->inflater);
        decoder->inflater = NULL;
    }
}

static void finish_block(struct hbone_header_decoder *decoder)
{
    nghttp2_hd_inflate_end_headers(decoder->inflater);
    if (decoder->is_limit_zero) {
        /* The block was conformant, so it began with the update to 0. */
        decoder->is_table_zero = true;
        hbone_header_decoder_free(decoder);
    }
}

bool hbone_header_decoder_feed(
    struct hbone_header_decoder *decoder, struct hbone_header_block *block, struct bytes fragment, bool is_last)
{
    static const uint8_t nothing[1];
    nghttp2_hd_inflater *inflater = inflater_of(decoder);
    const uint8_t *at = fragment.length > 0 ? fragment.data : nothing;
    size_t left = fragment.length;
    block->encoded_bytes += fragment.length;
    for (;;) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(inflater, &field, &flags, at, left, is_last);
        if (used == NGHTTP2_ERR_NOMEM) {
            abort();
        }
        if (used < 0) {
            return false;
        }
        at += used;
        left -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            add_field(block, bytes_of(field.name, field.namelen), bytes_of(field.value, field.valuelen));
            continue;
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            finish_block(decoder);
            return true;
        }
        if (left == 0) {
            return true;
        }
    }
}

static struct bytes text_at(const struct hbone_header_block *block, uint32_t at, uint32_t length)
{
    return bytes_of(block->text.data + at, length);
}

static struct hbone_headers view_fields(struct hbone_header_block *block)
{
    memory_free(block->fields);
    block->fields = memory_allocate_zeroed(block->count, sizeof *block->fields);
    for (size_t i = 0; i < block->count; i++) {
        const struct hbone_field_range *range = &block->ranges[i];
        block->fields[i].name = text_at(block, range->name_at, range->name_length);
        block->fields[i].value = text_at(block, range->value_at, range->value_length);
    }
    return (struct hbone_headers){ block->fields, block->count };
}

static bool has_pseudo(const struct hbone_header_block *block, enum hbone_pseudo_field which)
{
    return (block->pseudo_seen & 1U << which) != 0;
}

static struct bytes pseudo_value(const struct hbone_header_block *block, enum hbone_pseudo_field which)
{
    return has_pseudo(block, which) ? text_at(block, block->pseudo[which].value_at, block->pseudo[which].value_length)
                                    : (struct bytes){ NULL, 0 };
}

/* RFC 9113 §8.3.1 and §8.5. Extended CONNECT (RFC 8441) is never announced, so :protocol is malformed. */
static const char *check_request(const struct hbone_header_block *block)
{
    if (block->malformed != NULL) {
        return block->malformed;
    }
    if (!has_pseudo(block, HBONE_PSEUDO_METHOD) || pseudo_value(block, HBONE_PSEUDO_METHOD).length == 0) {
        return "a request without :method";
    }
    if (has_pseudo(block, HBONE_PSEUDO_STATUS)) {
        return "a request with :status";
    }
    if (has_pseudo(block, HBONE_PSEUDO_PROTOCOL)) {
        return "a request with :protocol, which was not offered";
    }
    bool has_scheme = has_pseudo(block, HBONE_PSEUDO_SCHEME);
    bool has_path = has_pseudo(block, HBONE_PSEUDO_PATH);
    if (!bytes_equal_string(pseudo_value(block, HBONE_PSEUDO_METHOD), "CONNECT")) {
        return has_scheme && has_path ? NULL : "a request without :scheme or :path";
    }
    if (has_scheme || has_path) {
        return "a CONNECT with :scheme or :path";
    }
    return has_pseudo(block, HBONE_PSEUDO_AUTHORITY) ? NULL : "a CONNECT without :authority";
}

bool hbone_header_block_request(struct hbone_header_block *block, struct hbone_request *request, const char **reason)
{
    *reason = check_request(block);
    if (*reason != NULL) {
        return false;
    }
    request->method = pseudo_value(block, HBONE_PSEUDO_METHOD);
    request->authority = pseudo_value(block, HBONE_PSEUDO_AUTHORITY);
    request->headers = view_fields(block);
    return true;
}

/* RFC 9113 §8.3.2; RFC 9110 §15: three digits, the first from 1 to 5. */
static int parse_status(struct bytes text)
{
    int status = 0;
    for (size_t i = 0; i < text.length && i < 3; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return 0;
        }
        status = status * 10 + (text.data[i] - '0');
    }
    return text.length == 3 && status >= 100 && status <= 599 ? status : 0;
}

bool hbone_header_block_response(
    struct hbone_header_block *block, int *status, struct hbone_headers *headers, const char **reason)
{
    *status = parse_status(pseudo_value(block, HBONE_PSEUDO_STATUS));
    if (block->malformed != NULL) {
        *reason = block->malformed;
        return false;
    }
    if (*status == 0 || block->pseudo_seen != 1U << HBONE_PSEUDO_STATUS) {
        *reason = "a response without exactly one valid :status";
        return false;
    }
    *headers = view_fields(block);
    return true;
}

/* RFC 7541 §5.1, §5.2: the length in seven bits or more, then the text. Huffman coding would save 60 bytes of a CONNECT, for a
 * microsecond on either side. */
static void add_text(struct writer *out, struct bytes text)
{
    const size_t prefix_maximum = 127;
    if (text.length < prefix_maximum) {
        writer_add_u8(out, (uint8_t)text.length);
    } else {
        writer_add_u8(out, (uint8_t)prefix_maximum);
        writer_add_varint(out, text.length - prefix_maximum);
    }
    writer_add_bytes(out, text);
}

/* Places in the static table (RFC 7541, appendix A) of the names that HBONE knows there; 0: none. */
static uint8_t static_name(struct bytes name)
{
    return bytes_equal_string(name, ":authority") ? 1
           : bytes_equal_string(name, ":method")  ? 2
           : bytes_equal_string(name, ":status")  ? STATIC_STATUS_200
                                                  : 0;
}

/* §6.2.2: a literal without indexing; §6.1 for the most frequent answer. */
static void add_literal(struct writer *out, const struct hbone_field *field)
{
    uint8_t place = static_name(field->name);
    if (place == STATIC_STATUS_200 && bytes_equal_string(field->value, "200")) {
        writer_add_u8(out, 0x80 | STATIC_STATUS_200);
        return;
    }
    writer_add_u8(out, place);
    if (place == 0) {
        add_text(out, field->name);
    }
    add_text(out, field->value);
}

void hbone_header_encode(
    struct hbone_header_encoder *encoder, const struct hbone_field *fields, size_t count, struct writer *out)
{
    if (!encoder->has_told_table_size) {
        writer_add_u8(out, 0x20); /* §6.3: the update to table size 0, of which the peer needs to hear once */
        encoder->has_told_table_size = true;
    }
    for (size_t i = 0; i < count; i++) {
        add_literal(out, &fields[i]);
    }
}
