#include "ztunnel/admin_page.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "ztunnel/admin_page_parts.h"
#include "ztunnel/connection_view.h"
#include "ztunnel/html.h"
#include "ztunnel/pod.h"
#include "ztunnel/refusals.h"
#include "ztunnel/traffic_labels.h"
#include "ztunnel/worker.h"

#include <stdio.h>

#define CONNECTIONS_SHOWN 500

/* One page under way: parts that are written at once, and walks through the workers in between. */
struct admin_page {
    struct http1_exchange *exchange;
    struct config_dump_source source;
    struct mesh_version *version;
    struct live_walk *walk;
    struct writer out;
    struct page_counts counts;
    size_t part;
    bool has_piece;
    char nonce[33];
    char *refresh; /* NULL: no */
};

static void count_worker(struct worker *worker, struct json_writer *json)
{
    const struct page_counts counts = { .refusals = worker->refusals != NULL ? worker->refusals->count : 0 };
    writer_add(json->out, &counts, sizeof counts);
}

static void count_pod(struct pod *pod, struct json_writer *json)
{
    struct page_counts counts = { .connections = pod->account.connections,
        .tunnels_out = hbone_pool_statistics(pod->tunnels).tunnels };
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        counts.tunnels_in++;
    }
    writer_add(json->out, &counts, sizeof counts);
}

static void write_refusals(struct worker *worker, struct json_writer *json)
{
    struct writer *out = json->out;
    const struct refusals *refusals = worker->refusals;
    uint64_t kept = refusals == NULL ? 0 : refusals->count < REFUSALS_KEPT ? refusals->count : REFUSALS_KEPT;
    for (uint64_t i = 0; i < kept; i++) {
        const struct refusal *refusal = &refusals->ring[(refusals->count - 1 - i) % REFUSALS_KEPT];
        char text[SOCKET_ADDRESS_TEXT_SIZE];
        char time[40];
        clock_format_rfc3339(refusal->at_ns, 3, time);
        char *AUTO_FREE why =
            string_format("%s  %s", response_flag_name((enum response_flag)refusal->flag), refusal->events);
        writer_add_string(out, "<tr>");
        char *AUTO_FREE short_time = string_duplicate_n(time + 5, strlen(time) - 6); /* without year and zone */
        html_add_cell_of(out, "a", short_time, time);
        html_add_pair_cell(out, "r bad", refusal->reason, why);
        html_add_pair_cell(out, "a", socket_address_format(&refusal->source, text), refusal->source_identity);
        html_add_pair_cell(out, "a", socket_address_format(&refusal->destination, text), refusal->destination_identity);
        html_add_cell(out, refusal->pod, NULL);
        html_add_cell(out, refusal->is_outbound ? "outbound" : "inbound", NULL);
        writer_add_string(out, "</tr>\n");
    }
}

/* A workload by name, its address below; or the address alone. */
static void add_end_cell(struct writer *out, const struct workload *workload, const struct socket_address *address)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    socket_address_format(address, text);
    if (workload == NULL) {
        html_add_pair_cell(out, "a", text, NULL);
        return;
    }
    char *AUTO_FREE name =
        string_format("%s/%s", workload_text(workload, WORKLOAD_NAMESPACE), workload_text(workload, WORKLOAD_NAME));
    html_add_pair_cell(out, "", name, text);
}

static void write_connection(const struct connection *connection, struct json_writer *json)
{
    struct writer *out = json->out;
    char human[32];
    uint64_t age_ns = clock_monotonic_ns() - connection->stage_ns[STAGE_ACCEPTED];
    const char *state = connection_state_text(connection);
    writer_add_string(out, "<tr>");
    html_add_cell(out, connection->direction == CONNECTION_OUTBOUND ? "outbound" : "inbound", NULL);
    add_end_cell(out, connection->source_workload, &connection->peer);
    add_end_cell(out, connection->destination_workload, &connection->dialled);
    html_add_cell(out, connection->service != NULL ? connection->service->key : NULL, NULL);
    bool is_plain = connection->protocol == CONNECTION_TCP;
    html_add_cell_of(out, is_plain ? "warn" : "good", is_plain ? "plain" : "mTLS", NULL);
    html_add_cell_of(out, text_equal(state, "established") ? NULL : "warn", state, NULL);
    html_add_number_cell(out, human_bytes(connection->received_bytes, human), connection->received_bytes);
    html_add_number_cell(out, human_bytes(connection->sent_bytes, human), connection->sent_bytes);
    html_add_number_cell(out, human_duration(age_ns, human), age_ns / 1000);
    writer_add_string(out, "</tr>\n");
}

static void write_tunnel(const struct tunnel_view *tunnel, const struct pod *pod, void *context)
{
    struct writer *out = context;
    bool is_outbound = text_equal(tunnel->direction, "outbound");
    char *AUTO_FREE pod_name = string_format("%s/%s", pod->information.namespace_, pod->information.name);
    char human[32];
    writer_add_string(out, "<tr>");
    html_add_cell(out, tunnel->direction, NULL);
    html_add_cell(out, pod_name, NULL);
    html_add_cell_of(out, "a", tunnel->peer, NULL);
    html_add_cell_of(out, "a", is_outbound ? tunnel->destination_identity : tunnel->source_identity, NULL);
    html_add_number_cell(out, NULL, tunnel->streams);
    html_add_number_cell(out, NULL, tunnel->streams_total);
    html_add_number_cell(out, human_bytes(tunnel->bytes_received, human), tunnel->bytes_received);
    html_add_number_cell(out, human_bytes(tunnel->bytes_sent, human), tunnel->bytes_sent);
    html_add_number_cell(out, human_bytes(tunnel->pinned_bytes, human), tunnel->pinned_bytes);
    html_add_number_cell(out, tunnel->round_trip_us > 0 ? human_duration(tunnel->round_trip_us * 1000, human) : "",
        tunnel->round_trip_us);
    html_add_cell_of(out,
        tunnel->is_stalled    ? "bad"
        : tunnel->is_draining ? "warn"
                              : "good",
        tunnel->is_stalled    ? "stalled"
        : tunnel->is_draining ? "draining"
                              : "open",
        NULL);
    writer_add_string(out, "</tr>\n");
}

static void write_tunnels(struct pod *pod, struct json_writer *json)
{
    pod_visit_tunnels(pod, write_tunnel, json->out);
}

static const char *const REFUSAL_COLUMNS[] = { "Time", "Reason, flag and last events", "From", "To", "Pod",
    "Direction" };
static const char *const CONNECTION_COLUMNS[] = { "Direction", "From", "To", "Service", "Protection", "State", "In",
    "Out", "Age" };
static const char *const TUNNEL_COLUMNS[] = { "Direction", "Pod", "Peer", "Peer identity", "Streams", "Total", "In",
    "Out", "Pinned", "Round trip", "State" };

/* A part is a table filled by a walk, the first walk (which counts), or text. */
struct page_part {
    struct live_rows rows; /* all NULL: `write` is the part */
    const char *id, *title, *note, *sorted_by;
    const char *const *columns;
    size_t column_count;
    void (*write)(struct admin_page *page);
};

static void write_summary(struct admin_page *page)
{
    page_write_head(&page->out, &page->source, page->nonce, page->refresh);
    page_write_summary(&page->out, &page->source, page->version, &page->counts);
}

static void write_rest(struct admin_page *page)
{
    page_write_certificates(&page->out, &page->source);
    page_write_pods(&page->out, &page->source);
    page_write_policies(&page->out, page->version);
    page_write_foot(&page->out, page->nonce);
}

static const struct page_part PARTS[] = {
    { .rows = { .of_worker = count_worker, .of_pod = count_pod } },
    { .write = write_summary },
    { { .of_worker = write_refusals }, "refusals", "Failed connections", "the last 64 of each worker, the newest first",
        "-1", REFUSAL_COLUMNS, ARRAY_LENGTH(REFUSAL_COLUMNS), NULL },
    { { .of_connection = write_connection }, "connections", "Connections",
        "live; 500 are shown at most, /debug/connections has all", "-9", CONNECTION_COLUMNS,
        ARRAY_LENGTH(CONNECTION_COLUMNS), NULL },
    { { .of_pod = write_tunnels }, "tunnels", "Tunnels", "mutual TLS between proxies, shared by connections", "-5",
        TUNNEL_COLUMNS, ARRAY_LENGTH(TUNNEL_COLUMNS), NULL },
    { .write = write_rest },
};

static void add_counts(struct admin_page *page, struct bytes piece)
{
    for (size_t at = 0; at + sizeof(struct page_counts) <= piece.length; at += sizeof(struct page_counts)) {
        struct page_counts counts;
        memcpy(&counts, piece.data + at, sizeof counts);
        page->counts.connections += counts.connections;
        page->counts.tunnels_out += counts.tunnels_out;
        page->counts.tunnels_in += counts.tunnels_in;
        page->counts.refusals += counts.refusals;
    }
}

static void on_piece(void *context)
{
    struct admin_page *page = context;
    page->has_piece = true;
    http1_stream_resume(page->exchange);
}

static void begin_walk(struct admin_page *page, const struct page_part *part)
{
    const struct live_walk_settings settings = { .rows = &part->rows,
        .direction = LIVE_ANY_DIRECTION,
        .maximum = CONNECTIONS_SHOWN,
        .on_piece = on_piece,
        .context = page };
    page->walk = live_walk_new(page->source.live, &settings);
    if (part->columns != NULL) {
        page_begin_table(
            &page->out, part->id, part->title, part->note, part->sorted_by, part->columns, part->column_count);
    }
}

/* True when the walk of this part is over. */
static bool take_piece(struct admin_page *page, const struct page_part *part)
{
    struct json_writer unused = json_writer_of(&page->out, false);
    struct bytes piece;
    bool is_over = live_walk_take(page->walk, &unused, &piece);
    page->has_piece = false;
    if (part->columns == NULL) {
        add_counts(page, piece);
    } else if (piece.length > 0) {
        writer_add_bytes(&page->out, piece);
    }
    if (!is_over) {
        return false;
    }
    if (part->columns != NULL) {
        page_end_table(&page->out);
    }
    live_walk_free(page->walk);
    page->walk = NULL;
    return true;
}

/* True when the part is complete; else it waits for a worker. */
static bool go_on(struct admin_page *page, const struct page_part *part)
{
    if (part->write != NULL) {
        part->write(page);
        return true;
    }
    if (page->walk == NULL) {
        begin_walk(page, part);
    } else if (page->has_piece && take_piece(page, part)) {
        return true;
    }
    const struct json_writer unused = json_writer_of(&page->out, false);
    live_walk_next(page->walk, &unused);
    return false;
}

static void on_writable(struct http1_exchange *exchange, void *context)
{
    struct admin_page *page = context;
    bool is_complete = go_on(page, &PARTS[page->part]);
    page->part += is_complete;
    http1_stream_write(exchange, writer_bytes(&page->out));
    writer_clear(&page->out);
    if (page->part == ARRAY_LENGTH(PARTS)) {
        http1_stream_end(exchange);
    } else if (!is_complete) {
        http1_stream_pause(exchange);
    }
}

static void on_closed(void *context)
{
    struct admin_page *page = context;
    live_walk_free(page->walk);
    mesh_version_release(page->version);
    writer_free(&page->out);
    memory_free(page->refresh);
    memory_free(page);
}

/* `refresh=N`: reload every N seconds. */
static char *read_refresh(struct http1_exchange *exchange)
{
    char *AUTO_FREE text = http1_query(exchange, "refresh");
    uint64_t seconds;
    bool is_number = text != NULL && text_to_u64(text, 3600, &seconds) && seconds > 0;
    return is_number ? string_format("%llu", (unsigned long long)seconds) : NULL;
}

static void make_nonce(char nonce[static 33])
{
    uint64_t numbers[2];
    random_bytes(numbers, sizeof numbers);
    snprintf(nonce, 33, "%016llx%016llx", (unsigned long long)numbers[0], (unsigned long long)numbers[1]);
}

static void protect(struct http1_exchange *exchange, const char *nonce)
{
    char *AUTO_FREE policy = string_format("default-src 'none'; script-src 'nonce-%s'; style-src 'nonce-%s'; "
                                           "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        nonce, nonce);
    http1_add_field(exchange, "content-security-policy", policy);
    http1_add_field(exchange, "x-content-type-options", "nosniff");
    http1_add_field(exchange, "referrer-policy", "no-referrer");
    http1_add_field(exchange, "cache-control", "no-store");
}

void admin_page_answer(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    struct admin_page *page = NEW(struct admin_page);
    page->exchange = exchange;
    page->source = *source;
    page->version = mesh_publication_reference(source->publication);
    page->refresh = read_refresh(exchange);
    make_nonce(page->nonce);
    protect(exchange, page->nonce);
    const struct http1_stream_handlers handlers = { on_writable, on_closed, page };
    http1_stream_begin(exchange, 200, "text/html; charset=utf-8", &handlers);
}
