#include "http/http1_request.h"

#include "base/text.h"

#include <strings.h>

#define CHUNK_LINE_MAXIMUM_BYTES 256
#define TRAILERS_MAXIMUM_BYTES 4096

static bool is_token_character(uint8_t character)
{
    if ((character >= '0' && character <= '9') || (character >= 'a' && character <= 'z') ||
        (character >= 'A' && character <= 'Z')) {
        return true;
    }
    return character != 0 && strchr("!#$%&'*+-.^_`|~", character) != NULL;
}

static bool is_token(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (!is_token_character(text.data[i])) {
            return false;
        }
    }
    return text.length > 0;
}

/* Visible characters only: no blank, no control, nothing above ASCII. */
static bool is_target(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f) {
            return false;
        }
    }
    return text.length > 0;
}

static bool is_field_value(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        if ((text.data[i] < ' ' && text.data[i] != '\t') || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* The next line without its CRLF or LF. False when it is not complete. */
static bool take_line(struct bytes *input, struct bytes *line)
{
    const uint8_t *end = input->length > 0 ? memchr(input->data, '\n', input->length) : NULL;
    if (end == NULL) {
        return false;
    }
    size_t length = (size_t)(end - input->data);
    *line = bytes_of(input->data, length > 0 && end[-1] == '\r' ? length - 1 : length);
    *input = bytes_of(end + 1, input->length - length - 1);
    return true;
}

static bool equal_ignoring_case(struct bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && strncasecmp((const char *)bytes.data, text, bytes.length) == 0;
}

static void split_target(struct bytes target, struct http1_head *head)
{
    head->path = target;
    const uint8_t *mark = memchr(target.data, '?', target.length);
    if (mark != NULL) {
        size_t before = (size_t)(mark - target.data);
        head->path.length = before;
        head->query = bytes_of(mark + 1, target.length - before - 1);
    }
}

/* Absolute form ("http://host/path") counts as its path; OPTIONS' asterisk is a path of its own. */
static bool parse_target(struct bytes target, struct http1_head *head)
{
    static const char scheme[] = "http://";
    size_t scheme_length = sizeof scheme - 1;
    if (!is_target(target)) {
        return false;
    }
    if (target.length > scheme_length && strncasecmp((const char *)target.data, scheme, scheme_length) == 0) {
        const uint8_t *slash = memchr(target.data + scheme_length, '/', target.length - scheme_length);
        if (slash == NULL) {
            head->path = bytes_of("/", 1);
            return true;
        }
        target = bytes_of(slash, target.length - (size_t)(slash - target.data));
    }
    split_target(target, head);
    return target.data[0] == '/' || bytes_equal_string(target, "*");
}

static enum http1_parse parse_request_line(struct bytes line, struct http1_head *head)
{
    struct bytes rest = line;
    struct bytes target, version;
    if (!bytes_split(&rest, ' ', &head->method) || !bytes_split(&rest, ' ', &target) ||
        !bytes_split(&rest, ' ', &version) || rest.data != NULL) {
        return HTTP1_BAD;
    }
    if (!is_token(head->method) || !parse_target(target, head)) {
        return HTTP1_BAD;
    }
    head->is_http_1_0 = bytes_equal_string(version, "HTTP/1.0");
    head->keeps_alive = !head->is_http_1_0;
    if (!head->is_http_1_0 && !bytes_equal_string(version, "HTTP/1.1")) {
        return version.length == 8 && memcmp(version.data, "HTTP/", 5) == 0 ? HTTP1_UNSUPPORTED : HTTP1_BAD;
    }
    return HTTP1_DONE;
}

static bool list_contains(struct bytes list, const char *word)
{
    struct bytes item;
    while (bytes_split(&list, ',', &item)) {
        if (equal_ignoring_case(bytes_trim(item), word)) {
            return true;
        }
    }
    return false;
}

/* "gzip", "gzip;q=0.5", not "gzip;q=0". */
static bool accepts_gzip(struct bytes list)
{
    struct bytes item;
    while (bytes_split(&list, ',', &item)) {
        struct bytes coding;
        (void)bytes_split(&item, ';', &coding);
        if (!equal_ignoring_case(bytes_trim(coding), "gzip")) {
            continue;
        }
        struct bytes weight = item.data != NULL ? bytes_trim(item) : bytes_of(NULL, 0);
        bool is_zero = weight.length >= 3 && memcmp(weight.data, "q=0", 3) == 0;
        for (size_t i = 3; is_zero && i < weight.length; i++) {
            is_zero = weight.data[i] == '0' || weight.data[i] == '.';
        }
        return !is_zero;
    }
    return false;
}

/* What the server itself needs to know of a header. */
static enum http1_parse note_header(struct http1_head *head, const struct http1_header *header, bool *has_length)
{
    if (equal_ignoring_case(header->name, "content-length")) {
        uint64_t length;
        if (!bytes_to_u64(header->value, UINT64_MAX / 2, &length) || (*has_length && length != head->content_length)) {
            return HTTP1_BAD;
        }
        *has_length = true;
        head->content_length = length;
    } else if (equal_ignoring_case(header->name, "transfer-encoding")) {
        if (!equal_ignoring_case(header->value, "chunked") || head->is_chunked || head->is_http_1_0) {
            return HTTP1_UNSUPPORTED;
        }
        head->is_chunked = true;
    } else if (equal_ignoring_case(header->name, "connection")) {
        if (list_contains(header->value, "close")) {
            head->keeps_alive = false;
        } else if (head->is_http_1_0 && list_contains(header->value, "keep-alive")) {
            head->keeps_alive = true;
        }
    } else if (equal_ignoring_case(header->name, "expect")) {
        head->expects_continue = equal_ignoring_case(header->value, "100-continue");
    } else if (equal_ignoring_case(header->name, "accept-encoding")) {
        head->accepts_gzip = accepts_gzip(header->value);
    }
    return HTTP1_DONE;
}

static enum http1_parse parse_header(struct bytes line, struct http1_head *head, bool *has_length)
{
    const uint8_t *colon = memchr(line.data, ':', line.length);
    if (colon == NULL || head->header_count >= HTTP1_HEADERS_MAXIMUM) {
        return HTTP1_BAD;
    }
    size_t name_length = (size_t)(colon - line.data);
    struct http1_header header = { bytes_of(line.data, name_length),
        bytes_trim(bytes_of(colon + 1, line.length - name_length - 1)) };
    /* A name is a token: this also refuses folded lines and blanks before the colon (RFC 9112 §5.1, §5.2). */
    if (!is_token(header.name) || !is_field_value(header.value)) {
        return HTTP1_BAD;
    }
    head->headers[head->header_count++] = header;
    return note_header(head, &header, has_length);
}

enum http1_parse http1_head_parse(struct bytes input, struct http1_head *head, size_t *consumed)
{
    struct bytes rest = input;
    struct bytes line;
    bool has_length = false;
    memset(head, 0, sizeof *head);
    if (!take_line(&rest, &line)) {
        return HTTP1_MORE;
    }
    enum http1_parse outcome = parse_request_line(line, head);
    while (outcome == HTTP1_DONE) {
        if (!take_line(&rest, &line)) {
            return HTTP1_MORE;
        }
        if (line.length == 0) {
            *consumed = input.length - rest.length;
            /* A length beside a transfer coding is how requests are smuggled (RFC 9112 §6.1). */
            return has_length && head->is_chunked ? HTTP1_BAD : HTTP1_DONE;
        }
        outcome = parse_header(line, head, &has_length);
    }
    return outcome;
}

const struct http1_header *http1_head_find(const struct http1_head *head, const char *name)
{
    for (size_t i = 0; i < head->header_count; i++) {
        if (equal_ignoring_case(head->headers[i].name, name)) {
            return &head->headers[i];
        }
    }
    return NULL;
}

static int hexadecimal_digit(uint8_t character)
{
    if (character >= '0' && character <= '9') {
        return character - '0';
    }
    if (character >= 'a' && character <= 'f') {
        return character - 'a' + 10;
    }
    if (character >= 'A' && character <= 'F') {
        return character - 'A' + 10;
    }
    return -1;
}

static bool parse_chunk_size(struct bytes line, uint64_t *size)
{
    struct bytes digits;
    (void)bytes_split(&line, ';', &digits);
    digits = bytes_trim(digits);
    *size = 0;
    for (size_t i = 0; i < digits.length; i++) {
        int digit = hexadecimal_digit(digits.data[i]);
        if (digit < 0) {
            return false;
        }
        *size = *size << 4 | (uint64_t)digit;
    }
    return digits.length > 0 && digits.length <= 8;
}

enum http1_parse http1_chunks_next(struct http1_chunks *chunks, struct bytes *input, struct bytes *data)
{
    struct bytes line;
    *data = bytes_of(NULL, 0);
    for (;;) {
        if (chunks->state == HTTP1_CHUNK_DATA) {
            size_t length = input->length < chunks->left ? input->length : (size_t)chunks->left;
            *data = bytes_of(input->data, length);
            *input = bytes_of(length < input->length ? input->data + length : NULL, input->length - length);
            chunks->left -= length;
            if (chunks->left == 0) {
                chunks->state = HTTP1_CHUNK_END;
            }
            return HTTP1_MORE;
        }
        size_t before = input->length;
        if (!take_line(input, &line)) {
            return input->length > CHUNK_LINE_MAXIMUM_BYTES ? HTTP1_BAD : HTTP1_MORE;
        }
        switch (chunks->state) {
        case HTTP1_CHUNK_SIZE:
            if (before - input->length > CHUNK_LINE_MAXIMUM_BYTES || !parse_chunk_size(line, &chunks->left)) {
                return HTTP1_BAD;
            }
            chunks->state = chunks->left > 0 ? HTTP1_CHUNK_DATA : HTTP1_CHUNK_TRAILER;
            break;
        case HTTP1_CHUNK_END:
            if (line.length != 0) {
                return HTTP1_BAD;
            }
            chunks->state = HTTP1_CHUNK_SIZE;
            break;
        default:
            chunks->line_bytes += before - input->length;
            if (line.length == 0) {
                return HTTP1_DONE;
            }
            if (chunks->line_bytes > TRAILERS_MAXIMUM_BYTES) {
                return HTTP1_BAD;
            }
        }
    }
}

static void decode_component(struct bytes text, struct writer *out)
{
    for (size_t i = 0; i < text.length; i++) {
        uint8_t character = text.data[i];
        if (character == '%' && text.length - i > 2) {
            int high = hexadecimal_digit(text.data[i + 1]);
            int low = hexadecimal_digit(text.data[i + 2]);
            if (high >= 0 && low >= 0) {
                character = (uint8_t)(high << 4 | low);
                i += 2;
            }
        } else if (character == '+') {
            character = ' ';
        }
        writer_add_u8(out, character);
    }
}

bool http1_query_find(struct bytes query, const char *name, struct writer *value)
{
    struct bytes pair;
    while (bytes_split(&query, '&', &pair)) {
        struct bytes key;
        (void)bytes_split(&pair, '=', &key);
        uint8_t memory[64];
        struct writer decoded = writer_fixed(memory, sizeof memory);
        decode_component(key, &decoded);
        if (!decoded.has_overflowed && bytes_equal_string(writer_bytes(&decoded), name)) {
            decode_component(pair, value);
            return true;
        }
    }
    return false;
}
