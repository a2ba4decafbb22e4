#include "ztunnel/metrics_server.h"

#include "base/list.h"
#include "base/memory.h"
#include "base/text.h"
#include "http/http1_server.h"
#include "net/loop.h"
#include "ztunnel/configuration.h"
#include "ztunnel/control_listener.h"
#include "ztunnel/worker.h"

#define PIECE_BYTES (48u * 1024)
#define WORKERS_DEADLINE_MS 200  /* a worker that is stuck shall not hide it by making the scrape fail */
#define SCRAPE_DEADLINE_MS 30000 /* gone label sets are kept for as long as a scrape lasts */

struct metrics_server {
    struct loop *loop;
    const struct metrics_source *source;
    struct http1_server *http;
    struct list scrapes;
};

struct scrape {
    struct list link;
    struct metrics_server *server;
    struct http1_exchange *exchange; /* NULL: answered, or the client has gone */
    struct metric_scrape *text;
    struct posted posted; /* by the last worker to its control thread */
    _Atomic unsigned workers_left;
    bool has_begun;  /* the answer, which may be given up before the last worker is heard of */
    bool is_sampled; /* `posted` has run: no worker knows this object any more */
    struct timer deadline;
};

static void free_if_over(struct scrape *scrape)
{
    if (scrape->exchange != NULL || !scrape->is_sampled) {
        return;
    }
    timer_disarm(&scrape->deadline);
    list_remove(&scrape->link);
    metric_scrape_free(scrape->text);
    memory_free(scrape);
}

static void on_closed(void *context)
{
    struct scrape *scrape = context;
    scrape->exchange = NULL;
    metric_scrape_free(scrape->text);
    scrape->text = NULL;
    free_if_over(scrape);
}

static void on_writable(struct http1_exchange *exchange, void *context)
{
    struct scrape *scrape = context;
    if (scrape->text == NULL) {
        http1_stream_end(exchange); /* too slow: without "# EOF" the scraper knows */
        return;
    }
    struct writer piece = writer_growing();
    bool has_more = metric_scrape_next(scrape->text, PIECE_BYTES, &piece);
    http1_stream_write(exchange, writer_bytes(&piece));
    writer_free(&piece);
    if (!has_more) {
        http1_stream_end(exchange);
    }
}

static void on_too_slow(struct timer *timer)
{
    struct scrape *scrape = CONTAINER_OF(timer, struct scrape, deadline);
    metric_scrape_free(scrape->text);
    scrape->text = NULL;
}

bool metrics_accepts_openmetrics(const char *accept)
{
    struct bytes rest = bytes_of_string(accept != NULL ? accept : "");
    struct bytes item, type;
    while (bytes_split(&rest, ',', &item)) {
        (void)bytes_split(&item, ';', &type);
        if (bytes_equal_string(bytes_trim(type), "application/openmetrics-text")) {
            return true;
        }
    }
    return false;
}

static void begin_answer(struct scrape *scrape)
{
    if (scrape->has_begun || scrape->exchange == NULL) {
        return; /* the deadline came first */
    }
    scrape->has_begun = true;
    const struct metrics_source *source = scrape->server->source;
    metrics_sample_control(source);
    scrape->text = metric_scrape_new(source->registry);
    scrape->deadline.on_expire = on_too_slow;
    timer_arm_after_ms(scrape->server->loop, &scrape->deadline, SCRAPE_DEADLINE_MS);
    char *accept = http1_header(scrape->exchange, "accept");
    const struct http1_stream_handlers handlers = { on_writable, on_closed, scrape };
    http1_stream_begin(scrape->exchange, 200,
        metrics_accepts_openmetrics(accept) ? "application/openmetrics-text;charset=utf-8;version=1.0.0"
                                            : "text/plain; charset=utf-8",
        &handlers);
    memory_free(accept);
}

static void on_workers_late(struct timer *timer)
{
    begin_answer(CONTAINER_OF(timer, struct scrape, deadline));
}

static void on_sampled(struct posted *posted)
{
    struct scrape *scrape = CONTAINER_OF(posted, struct scrape, posted);
    scrape->is_sampled = true;
    begin_answer(scrape);
    free_if_over(scrape);
}

static void sample_worker(struct worker *worker, void *context)
{
    struct scrape *scrape = context;
    metrics_sample_worker(worker);
    if (atomic_fetch_sub_explicit(&scrape->workers_left, 1, memory_order_acq_rel) == 1) {
        loop_post(scrape->server->loop, &scrape->posted);
    }
}

static void answer(struct http1_exchange *exchange, void *context)
{
    struct metrics_server *server = context;
    struct scrape *scrape = NEW(struct scrape);
    scrape->server = server;
    scrape->exchange = exchange;
    scrape->posted.run = on_sampled;
    list_append(&server->scrapes, &scrape->link);
    size_t workers = server->source->worker_count;
    if (workers == 0) {
        on_sampled(&scrape->posted);
        return;
    }
    atomic_store_explicit(&scrape->workers_left, (unsigned)workers, memory_order_release);
    scrape->deadline.on_expire = on_workers_late;
    timer_arm_after_ms(server->loop, &scrape->deadline, WORKERS_DEADLINE_MS);
    for (size_t i = 0; i < workers; i++) {
        worker_run(&server->source->workers[i], sample_worker, scrape);
    }
}

static const struct http1_route ROUTES[] = {
    { "/metrics", answer, 0, true },
    { "/stats/prometheus", answer, 0, true },
};

struct metrics_server *metrics_server_new(struct loop *control, const struct metrics_source *source)
{
    struct metrics_server *server = NEW(struct metrics_server);
    server->loop = control;
    server->source = source;
    list_initialise(&server->scrapes);
    const struct http1_server_settings settings = { ROUTES, ARRAY_LENGTH(ROUTES), server, 0, "ztunnel::metrics" };
    server->http = http1_server_new(control, &settings);
    return server;
}

struct result metrics_server_listen(struct metrics_server *server)
{
    const struct configuration *configuration = server->source->configuration;
    const struct socket_address any = { .ip.family = configuration->ipv6_enabled ? IP_V6 : IP_V4,
        .port = configuration->metrics_port };
    return result_in(control_listener_open(server->http, &any, "stats"), "metrics port");
}

void metrics_server_free(struct metrics_server *server)
{
    if (server == NULL) {
        return;
    }
    http1_server_free(server->http);
    LIST_FOR_EACH(link, &server->scrapes) {
        /* No stream of its own yet, or a worker that stopped before it answered. */
        struct scrape *scrape = LIST_ENTRY(link, struct scrape, link);
        scrape->exchange = NULL;
        scrape->is_sampled = true;
        free_if_over(scrape);
    }
    memory_free(server);
}
