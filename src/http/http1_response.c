/* Answers: heads, whole bodies, streams, compression. Nothing here closes a connection: handlers are on the stack. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "http/http1_connection.h"

#include <time.h>
#include <zlib.h>

#define GZIP_WINDOW_BITS (15 + 16) /* zlib's way to ask for the gzip format */
#define GZIP_LEVEL 3               /* dumps compress well anyway; the loop must go on */
#define GZIP_LEAST_BYTES 512       /* below it the effort is not worth while */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        { 200, "OK" },
        { 400, "Bad Request" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 413, "Content Too Large" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 503, "Service Unavailable" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Status";
}

/* RFC 9110 §5.6.7, without the locale. */
static void write_date(struct writer *out)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)clock_wall_s();
    struct tm parts;
    gmtime_r(&now, &parts);
    writer_print(out, "date: %.3s, %02d %.3s %04d %02d:%02d:%02d GMT\r\n", days + (ptrdiff_t)parts.tm_wday * 3,
        parts.tm_mday, months + (ptrdiff_t)parts.tm_mon * 3, parts.tm_year + 1900, parts.tm_hour, parts.tm_min,
        parts.tm_sec);
}

static void write_head(struct http1_connection *connection, int status, const char *content_type, bool is_gzip)
{
    struct writer *out = &connection->output;
    writer_print(out, "HTTP/1.1 %d %s\r\n", status, reason_of(status));
    if (content_type != NULL) {
        writer_print(out, "content-type: %s\r\n", content_type);
    }
    if (is_gzip) {
        writer_add_string(out, "content-encoding: gzip\r\n");
    }
    if (connection->exchange.fields.length > 0) {
        writer_add_bytes(out, writer_bytes(&connection->exchange.fields));
    }
    if (!connection->keeps_alive) {
        writer_add_string(out, "connection: close\r\n");
    }
    write_date(out);
}

static bool is_head_request(const struct http1_exchange *exchange)
{
    return text_equal(exchange->method, "HEAD");
}

static bool wants_gzip(const struct http1_exchange *exchange)
{
    return exchange->route != NULL && exchange->route->may_compress && exchange->head.accepts_gzip;
}

static struct z_stream_s *compressor_new(void)
{
    z_stream *compressor = NEW(z_stream);
    if (deflateInit2(compressor, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        memory_free(compressor);
        return NULL;
    }
    return compressor;
}

static void compressor_free(struct z_stream_s *compressor)
{
    if (compressor != NULL) {
        (void)deflateEnd(compressor);
        memory_free(compressor);
    }
}

static void compress_into(struct z_stream_s *compressor, struct bytes piece, int flush, struct writer *out)
{
    memcpy(&compressor->next_in, &piece.data, sizeof piece.data); /* zlib does not say const */
    compressor->avail_in = (uInt)piece.length;
    do {
        uint8_t buffer[16384];
        compressor->next_out = buffer;
        compressor->avail_out = sizeof buffer;
        (void)deflate(compressor, flush);
        writer_add(out, buffer, sizeof buffer - compressor->avail_out);
    } while (compressor->avail_out == 0);
}

static void answered(struct http1_connection *connection)
{
    connection->exchange.is_answered = true;
    if (connection->state != HTTP1_GONE) {
        connection->state = HTTP1_FINISHING;
    }
    loop_defer(connection->server->loop, &connection->settle);
}

static void write_body(struct http1_exchange *exchange, struct bytes body)
{
    struct writer *out = &http1_connection_of(exchange)->output;
    writer_print(out, "content-length: %zu\r\n\r\n", body.length);
    if (!is_head_request(exchange)) {
        writer_add_bytes(out, body);
    }
}

void http1_add_field(struct http1_exchange *exchange, const char *name, const char *value)
{
    writer_print(&exchange->fields, "%s: %s\r\n", name, value);
}

void http1_respond(struct http1_exchange *exchange, int status, const char *content_type, struct bytes body)
{
    struct http1_connection *connection = http1_connection_of(exchange);
    struct z_stream_s *compressor =
        wants_gzip(exchange) && body.length >= GZIP_LEAST_BYTES && body.length <= UINT32_MAX ? compressor_new() : NULL;
    write_head(connection, status, content_type, compressor != NULL);
    if (compressor != NULL) {
        struct writer compressed = writer_growing();
        compress_into(compressor, body, Z_FINISH, &compressed);
        write_body(exchange, writer_bytes(&compressed));
        writer_free(&compressed);
        compressor_free(compressor);
    } else {
        write_body(exchange, body);
    }
    answered(connection);
}

void http1_respond_text(struct http1_exchange *exchange, int status, const char *text)
{
    http1_respond(exchange, status, "text/plain", bytes_of_string(text));
}

void http1_respond_failure(struct http1_exchange *exchange, const struct result *failure)
{
    http1_respond_text(exchange, 500, failure->message);
}

void http1_refuse(struct http1_connection *connection, int status)
{
    connection->keeps_alive = false;
    write_head(connection, status, NULL, false);
    writer_add_string(&connection->output, "content-length: 0\r\n\r\n");
    answered(connection);
}

void http1_stream_begin(
    struct http1_exchange *exchange, int status, const char *content_type, const struct http1_stream_handlers *handlers)
{
    struct http1_connection *connection = http1_connection_of(exchange);
    exchange->is_answered = true;
    exchange->stream = *handlers;
    exchange->is_chunked = !exchange->head.is_http_1_0;
    if (exchange->head.is_http_1_0) {
        connection->keeps_alive = false;
    }
    exchange->compressor = wants_gzip(exchange) ? compressor_new() : NULL;
    write_head(connection, status, content_type, exchange->compressor != NULL);
    writer_add_string(&connection->output, exchange->is_chunked ? "transfer-encoding: chunked\r\n\r\n" : "\r\n");
    if (connection->state == HTTP1_GONE || is_head_request(exchange)) {
        exchange->has_ended_stream = true;
        answered(connection);
        return;
    }
    connection->state = HTTP1_STREAMING;
    loop_defer_bulk(connection->server->loop, &connection->fill);
}

static void write_chunk(struct http1_exchange *exchange, struct bytes piece)
{
    struct writer *out = &http1_connection_of(exchange)->output;
    if (piece.length == 0) {
        return;
    }
    if (exchange->is_chunked) {
        writer_print(out, "%zx\r\n", piece.length);
    }
    writer_add_bytes(out, piece);
    if (exchange->is_chunked) {
        writer_add_string(out, "\r\n");
    }
}

static void write_piece(struct http1_exchange *exchange, struct bytes piece, int flush)
{
    if (exchange->compressor == NULL) {
        write_chunk(exchange, piece);
        return;
    }
    struct writer compressed = writer_growing();
    compress_into(exchange->compressor, piece, flush, &compressed);
    write_chunk(exchange, writer_bytes(&compressed));
    writer_free(&compressed);
}

void http1_stream_write(struct http1_exchange *exchange, struct bytes piece)
{
    if (!exchange->has_ended_stream && piece.length > 0) {
        write_piece(exchange, piece, Z_NO_FLUSH);
    }
}

void http1_stream_end(struct http1_exchange *exchange)
{
    if (exchange->has_ended_stream) {
        return;
    }
    if (exchange->compressor != NULL) {
        write_piece(exchange, bytes_of("", 0), Z_FINISH);
    }
    if (exchange->is_chunked) {
        writer_add_string(&http1_connection_of(exchange)->output, "0\r\n\r\n");
    }
    exchange->has_ended_stream = true;
    answered(http1_connection_of(exchange));
}

void http1_stream_pause(struct http1_exchange *exchange)
{
    exchange->is_paused = true;
}

void http1_stream_resume(struct http1_exchange *exchange)
{
    struct http1_connection *connection = http1_connection_of(exchange);
    if (exchange->is_paused && connection->state == HTTP1_STREAMING) {
        loop_defer_bulk(connection->server->loop, &connection->fill);
    }
    exchange->is_paused = false;
}

void http1_stream_step(struct http1_exchange *exchange)
{
    if (!exchange->has_ended_stream && !exchange->is_paused && exchange->stream.on_writable != NULL) {
        exchange->stream.on_writable(exchange, exchange->stream.context);
    }
}

void http1_exchange_clear(struct http1_exchange *exchange)
{
    compressor_free(exchange->compressor);
    memory_free(exchange->head_memory);
    memory_free(exchange->method);
    memory_free(exchange->path);
    writer_free(&exchange->fields);
    struct http1_stream_handlers stream = exchange->stream;
    memset(exchange, 0, sizeof *exchange);
    if (stream.on_closed != NULL) {
        stream.on_closed(stream.context);
    }
}
