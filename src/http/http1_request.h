/* HTTP/1.1 requests as bytes: the head, bodies by length or in chunks (RFC 9112), query parameters (the form encoding). Pure. */
#ifndef AMBAR_HTTP_HTTP1_REQUEST_H
#define AMBAR_HTTP_HTTP1_REQUEST_H

#include "base/bytes.h"
#include "base/writer.h"

#define HTTP1_HEADERS_MAXIMUM 64

struct http1_header {
    struct bytes name;
    struct bytes value; /* without the blanks around it */
};

/* Everything points into the parsed input. */
struct http1_head {
    struct bytes method;
    struct bytes path;  /* of the target, as sent */
    struct bytes query; /* after '?'; data is NULL when there is none */
    bool is_http_1_0;
    bool keeps_alive;
    bool is_chunked;
    bool expects_continue;
    bool accepts_gzip;
    uint64_t content_length;
    struct http1_header headers[HTTP1_HEADERS_MAXIMUM];
    size_t header_count;
};

enum http1_parse {
    HTTP1_MORE,        /* the input is a beginning */
    HTTP1_DONE,        /* `*consumed` bytes were it */
    HTTP1_BAD,         /* 400 */
    HTTP1_UNSUPPORTED, /* 501: a transfer coding other than chunked; or 505: another version */
};

enum http1_parse http1_head_parse(struct bytes input, struct http1_head *head, size_t *consumed);

/* The first header of this name (given in lower case), or NULL. */
const struct http1_header *http1_head_find(const struct http1_head *head, const char *name);

/* Decodes a chunked body step by step. Zero it. */
struct http1_chunks {
    enum { HTTP1_CHUNK_SIZE, HTTP1_CHUNK_DATA, HTTP1_CHUNK_END, HTTP1_CHUNK_TRAILER } state;
    uint64_t left;
    size_t line_bytes; /* of the size line or the trailers so far */
};
/* Takes from the front of `*input`; `*data` is a piece of the body (perhaps empty). HTTP1_MORE: call again with more. */
enum http1_parse http1_chunks_next(struct http1_chunks *chunks, struct bytes *input, struct bytes *data);

/* The decoded value of a parameter of `query`: '+' is a blank, %XX a byte. False when absent. A parameter without '=' has the
 * empty value. Malformed escapes stand for themselves. */
bool http1_query_find(struct bytes query, const char *name, struct writer *value);

#endif
