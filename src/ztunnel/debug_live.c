#include "ztunnel/debug_live.h"

#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/connection_view.h"
#include "ztunnel/refusals.h"

/* One answer under way. */
struct debug_live {
    struct http1_exchange *exchange;
    struct writer out;
    struct json_writer json;
    struct live_walk *walk;
    size_t limit; /* 0: rows that are not connections */
    bool is_begun, has_piece;
};

bool debug_read_limit(struct http1_exchange *exchange, size_t *limit)
{
    *limit = DEBUG_LIMIT_DEFAULT;
    char *AUTO_FREE text = http1_query(exchange, "limit");
    uint64_t value;
    if (text == NULL) {
        return true;
    }
    if (!text_to_u64(text, DEBUG_LIMIT_MAXIMUM, &value) || value == 0) {
        http1_respond_text(exchange, 400, "invalid limit value; expected 1-1000000\n");
        return false;
    }
    *limit = (size_t)value;
    return true;
}

static void write_end(struct debug_live *answer)
{
    json_write_array_end(&answer->json);
    if (answer->limit > 0) {
        size_t shown = live_walk_connections(answer->walk);
        json_write_member_bool(&answer->json, "isTruncated", shown >= answer->limit);
        json_write_member_unsigned(&answer->json, "shown", shown);
    }
    json_write_object_end(&answer->json);
}

static void on_writable(struct http1_exchange *exchange, void *context)
{
    struct debug_live *answer = context;
    bool is_over = false;
    if (answer->has_piece) {
        struct bytes piece;
        is_over = live_walk_take(answer->walk, &answer->json, &piece);
        http1_stream_write(exchange, piece);
        answer->has_piece = false;
    }
    if (is_over) {
        write_end(answer);
        http1_stream_write(exchange, writer_bytes(&answer->out));
        http1_stream_end(exchange);
        return;
    }
    live_walk_next(answer->walk, &answer->json);
    http1_stream_pause(exchange);
}

static void on_piece(void *context)
{
    struct debug_live *answer = context;
    answer->has_piece = true;
    http1_stream_resume(answer->exchange);
}

static void on_closed(void *context)
{
    struct debug_live *answer = context;
    live_walk_free(answer->walk);
    writer_free(&answer->out);
    memory_free(answer);
}

static void start(struct http1_exchange *exchange, struct live_view *live, const char *key,
    const struct live_rows *rows, size_t limit)
{
    struct debug_live *answer = NEW(struct debug_live);
    char *AUTO_FREE uid = http1_query(exchange, "uid");
    const struct live_walk_settings settings = { .rows = rows,
        .uid = uid,
        .direction = LIVE_ANY_DIRECTION,
        .maximum = limit,
        .on_piece = on_piece,
        .context = answer };
    answer->exchange = exchange;
    answer->limit = limit;
    answer->json = json_writer_of(&answer->out, true);
    answer->walk = live_walk_new(live, &settings);
    const struct http1_stream_handlers handlers = { on_writable, on_closed, answer };
    http1_stream_begin(exchange, 200, "application/json", &handlers);
    json_write_object_begin(&answer->json);
    json_write_key(&answer->json, key);
    json_write_array_begin(&answer->json);
    http1_stream_write(exchange, writer_bytes(&answer->out));
    writer_clear(&answer->out);
}

void debug_answer_connections(struct http1_exchange *exchange, struct live_view *live)
{
    static const struct live_rows ROWS = { .of_connection = connection_view };
    size_t limit;
    if (debug_read_limit(exchange, &limit)) {
        start(exchange, live, "connections", &ROWS, limit);
    }
}

void debug_answer_tunnels(struct http1_exchange *exchange, struct live_view *live)
{
    static const struct live_rows ROWS = { .of_pod = pod_tunnels_view };
    start(exchange, live, "tunnels", &ROWS, 0);
}

void debug_answer_refusals(struct http1_exchange *exchange, struct live_view *live)
{
    static const struct live_rows ROWS = { .of_worker = refusals_dump };
    start(exchange, live, "refusals", &ROWS, 0);
}
