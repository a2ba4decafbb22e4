#include "ambard/debug_pages.h"

#include "ambard/metrics.h"
#include "base/clock.h"
#include "base/json_writer.h"
#include "base/memory.h"
#include "base/text.h"
#include "http/http1_server.h"

struct debug_pages {
    struct debug_pages_settings settings;
    struct http1_server *http;    /* 8080 */
    struct http1_server *metrics; /* 15014 */
    uint64_t started_ns;
};

static bool refuse_remote(struct http1_exchange *exchange)
{
    if (ip_is_loopback(&http1_peer(exchange)->ip)) {
        return false;
    }
    http1_respond_text(exchange, 403, "debug pages answer on loopback only\n");
    return true;
}

static void respond_json(struct http1_exchange *exchange, struct writer *out)
{
    http1_respond(exchange, 200, "application/json", writer_bytes(out));
    writer_free(out);
}

static void answer_ready(struct http1_exchange *exchange, void *context)
{
    (void)context;
    /* The port is opened once the folder was read and everything serves. */
    http1_respond_text(exchange, 200, "ready\n");
}

static void dump_resources(const struct debug_pages *pages, enum ambient_resource_type type, struct json_writer *json)
{
    struct ambient_resource_list list = ambient_index_list(pages->settings.index, type);
    json_write_array_begin(json);
    for (size_t i = 0; i < list.count; i++) {
        const struct ambient_resource *resource = list.items[i];
        struct writer body = writer_growing();
        writer_add_base64(&body, resource->body);
        json_write_object_begin(json);
        json_write_key(json, "aliases");
        json_write_array_begin(json);
        for (size_t j = 0; j < resource->alias_count; j++) {
            json_write_string(json, resource->aliases[j]);
        }
        json_write_array_end(json);
        json_write_member_string(json, "message", writer_string(&body));
        json_write_member_string(json, "name", resource->name);
        if (type == AMBIENT_WORKLOAD) {
            json_write_member_string(json, "node", resource->node);
        }
        json_write_member_string(json, "version", resource->version);
        json_write_object_end(json);
        writer_free(&body);
    }
    json_write_array_end(json);
}

static void answer_ambientz(struct http1_exchange *exchange, void *context)
{
    if (refuse_remote(exchange)) {
        return;
    }
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    json_write_object_begin(&json);
    json_write_key(&json, "policies");
    dump_resources(context, AMBIENT_AUTHORIZATION, &json);
    json_write_key(&json, "services");
    dump_resources(context, AMBIENT_SERVICE, &json);
    json_write_key(&json, "workloads");
    dump_resources(context, AMBIENT_WORKLOAD, &json);
    json_write_object_end(&json);
    respond_json(exchange, &out);
}

static void answer_syncz(struct http1_exchange *exchange, void *context)
{
    if (refuse_remote(exchange)) {
        return;
    }
    const struct debug_pages *pages = context;
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    discovery_dump_sync(pages->settings.discovery, &json);
    respond_json(exchange, &out);
}

static void answer_connections(struct http1_exchange *exchange, void *context)
{
    if (refuse_remote(exchange)) {
        return;
    }
    const struct debug_pages *pages = context;
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    discovery_dump_connections(pages->settings.discovery, &json);
    respond_json(exchange, &out);
}

static void refresh_gauges(const struct debug_pages *pages)
{
    struct metric_shard *shard = pages->settings.shard;
    const struct ambient_index *index = pages->settings.index;
    const char *version = AMBAR_VERSION;
    struct metric_series *info = metric_series_get(shard, METRIC_INFO, &version);
    metric_set(info, 1);
    metric_series_put(info);
    ambard_set(shard, METRIC_UPTIME, (int64_t)((clock_monotonic_ns() - pages->started_ns) / NANOSECONDS_PER_SECOND));
    ambard_set(shard, METRIC_SERVICES, (int64_t)ambient_index_list(index, AMBIENT_SERVICE).count);
    ambard_set(shard, METRIC_WORKLOADS, (int64_t)ambient_index_list(index, AMBIENT_WORKLOAD).count);
    ambard_set(shard, METRIC_POLICIES, (int64_t)ambient_index_list(index, AMBIENT_AUTHORIZATION).count);
    ambard_set(shard, METRIC_CONFIG_ERRORS, (int64_t)pages->settings.problems->error_count);
}

static void answer_metrics(struct http1_exchange *exchange, void *context)
{
    const struct debug_pages *pages = context;
    refresh_gauges(pages);
    struct writer out = writer_growing();
    metric_registry_render(pages->settings.metrics, &out);
    http1_respond(exchange, 200, "application/openmetrics-text;charset=utf-8;version=1.0.0", writer_bytes(&out));
    writer_free(&out);
}

static void answer_version(struct http1_exchange *exchange, void *context)
{
    (void)context;
    http1_respond_text(exchange, 200, "ambard " AMBAR_VERSION " (" AMBAR_GIT_REVISION ")\n");
}

static const struct http1_route HTTP_ROUTES[] = {
    { "/ready", answer_ready, 0, false },
    { "/debug/ambientz", answer_ambientz, 0, true },
    { "/debug/syncz", answer_syncz, 0, true },
    { "/debug/connections", answer_connections, 0, true },
};

static const struct http1_route METRICS_ROUTES[] = {
    { "/metrics", answer_metrics, 0, true },
    { "/version", answer_version, 0, false },
};

struct debug_pages *debug_pages_new(struct loop *loop, const struct debug_pages_settings *settings)
{
    struct debug_pages *pages = NEW(struct debug_pages);
    pages->settings = *settings;
    pages->started_ns = clock_monotonic_ns();
    const struct http1_server_settings http = { HTTP_ROUTES, ARRAY_LENGTH(HTTP_ROUTES), pages, 0, "ambard::http" };
    const struct http1_server_settings metrics = { METRICS_ROUTES, ARRAY_LENGTH(METRICS_ROUTES), pages, 0,
        "ambard::metrics" };
    pages->http = http1_server_new(loop, &http);
    pages->metrics = http1_server_new(loop, &metrics);
    return pages;
}

struct result debug_pages_listen(struct debug_pages *pages)
{
    const struct ambard_settings *settings = pages->settings.settings;
    struct socket_address address = { .port = settings->metrics_port };
    if (!ip_parse(settings->listen_address, &address.ip)) {
        return result_fail(
            RESULT_INVALID, "invalid flag --listen %s (expected an IP address)", settings->listen_address);
    }
    RESULT_TRY(result_in(http1_server_listen(pages->metrics, &address, NULL), "metrics port"));
    address.port = settings->http_port;
    return result_in(http1_server_listen(pages->http, &address, NULL), "http port");
}

void debug_pages_free(struct debug_pages *pages)
{
    if (pages != NULL) {
        http1_server_free(pages->http);
        http1_server_free(pages->metrics);
        memory_free(pages);
    }
}
