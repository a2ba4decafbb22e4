#include "http/grpc_client.h"

#include "base/clock.h"
#include "base/memory.h"
#include "http/grpc_call.h"
#include "net/socket.h"
#include "tls/context.h"
#include "tls/record_layer.h"

#include <stdio.h>
#include <unistd.h>

#define STREAM_WINDOW_BYTES (2 * 1024 * 1024)
#define CONNECTION_WINDOW_BYTES (5 * 1024 * 1024)
#define HEADER_LIST_MAXIMUM_BYTES 16384

static const struct socket_settings dial_settings = {
    .transparency = TRANSPARENCY_NEVER,
    .keepalive_is_enabled = true,
    .keepalive_time_s = 300,
    .keepalive_interval_s = 75,
    .keepalive_retries = 9,
};

static void channel_dial(struct grpc_channel *channel);

static void end_calls(struct grpc_channel *channel, const struct result *failure, bool includes_waiting)
{
    const char *source = failure != NULL ? failure->message : "connection closed";
    LIST_FOR_EACH(link, &channel->calls) {
        struct grpc_call *call = LIST_ENTRY(link, struct grpc_call, link);
        /* The status of a stream that lost its connection is what the reference's client reports. */
        if (call->end.was_opened) {
            grpc_call_end_here(call, GRPC_UNKNOWN, "h2 protocol error: error reading a body from connection", source);
        } else if (call->stream_id != 0 || includes_waiting) {
            grpc_call_end_here(call, GRPC_UNAVAILABLE, "error trying to connect", source);
        }
    }
}

static void dial_failed(struct grpc_channel *channel, const struct result *failure)
{
    transport_close(&channel->transport);
    channel->state = GRPC_CHANNEL_IDLE;
    end_calls(channel, failure, true);
}

static void on_connection_over(struct http2_connection *connection, const struct result *failure)
{
    struct grpc_channel *channel = CONTAINER_OF(connection, struct grpc_channel, connection);
    bool was_going_away = channel->is_going_away;
    http2_connection_close(connection);
    channel->state = GRPC_CHANNEL_IDLE;
    channel->is_going_away = false;
    /* Calls that came after a GOAWAY never were on this connection: they get the next one. */
    end_calls(channel, failure, !was_going_away);
    if (!list_is_empty(&channel->calls)) {
        channel_dial(channel);
    }
}

static void on_flushed(struct http2_connection *connection)
{
    grpc_call_notify_writable(CONTAINER_OF(connection, struct grpc_channel, connection));
}

static bool wants_ping(struct http2_connection *connection)
{
    return !list_is_empty(&CONTAINER_OF(connection, struct grpc_channel, connection)->calls);
}

static const struct http2_owner connection_owner = { on_connection_over, on_flushed, wants_ping };

static nghttp2_session *new_session(struct grpc_channel *channel)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return NULL;
    }
    grpc_call_set_session_callbacks(callbacks);
    int error = nghttp2_session_client_new(&session, callbacks, channel);
    nghttp2_session_callbacks_del(callbacks);
    if (error != 0) {
        return NULL;
    }
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_FRAME_SIZE, 16384 },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAXIMUM_BYTES },
    };
    (void)nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, ARRAY_LENGTH(settings));
    (void)nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES);
    return session;
}

static void submit_waiting_calls(struct grpc_channel *channel)
{
    LIST_FOR_EACH(link, &channel->calls) {
        struct grpc_call *call = LIST_ENTRY(link, struct grpc_call, link);
        if (call->stream_id == 0) {
            grpc_call_submit(call);
        }
    }
}

static void on_transport_open(
    struct transport *transport, int descriptor, struct record_layer *layer, const struct result *failure)
{
    struct grpc_channel *channel = CONTAINER_OF(transport, struct grpc_channel, transport);
    if (layer == NULL) {
        dial_failed(channel, failure);
        return;
    }
    transport_close(transport);
    nghttp2_session *session = new_session(channel);
    if (session == NULL) {
        struct result refused = result_fail(RESULT_SYSTEM, "cannot make an HTTP/2 session");
        record_free(layer);
        close(descriptor);
        dial_failed(channel, &refused);
        return;
    }
    struct result started =
        http2_connection_start(&channel->connection, channel->loop, descriptor, layer, session, &connection_owner);
    if (!result_is_ok(&started)) {
        dial_failed(channel, &started);
        return;
    }
    channel->state = GRPC_CHANNEL_OPEN;
    submit_waiting_calls(channel);
}

static void on_connected(struct connector *connector, int descriptor, const struct result *failure);

/* The time left is shared by the addresses left, so that a silent first one does not use it all up. */
static void connect_next(struct grpc_channel *channel)
{
    const struct socket_address *address = &channel->addresses[channel->next_address];
    uint64_t now = loop_now_ns(channel->loop);
    uint64_t left_ms =
        channel->dial_deadline_ns > now ? (channel->dial_deadline_ns - now) / NANOSECONDS_PER_MILLISECOND : 0;
    uint64_t share_ms = left_ms / (channel->address_count - channel->next_address);
    channel->next_address++;
    int descriptor;
    struct result opened =
        socket_open(&dial_settings, (enum ip_family)address->ip.family, SOCKET_KEEPALIVE, &descriptor, NULL);
    if (!result_is_ok(&opened)) {
        dial_failed(channel, &opened);
        return;
    }
    channel->connector.on_result = on_connected;
    connector_start(&channel->connector, channel->loop, descriptor, address, share_ms > 0 ? share_ms : 1);
}

static void on_connected(struct connector *connector, int descriptor, const struct result *failure)
{
    struct grpc_channel *channel = CONTAINER_OF(connector, struct grpc_channel, connector);
    if (failure != NULL) {
        if (channel->next_address < channel->address_count) {
            connect_next(channel);
            return;
        }
        struct result last = result_in(*failure, "tcp connect error");
        dial_failed(channel, &last);
        return;
    }
    struct transport_peer peer = { channel->tls, channel->host, channel->alternative_name };
    channel->transport = (struct transport){ .on_open = on_transport_open };
    transport_open(&channel->transport, channel->loop, channel->pool, descriptor, &peer, channel->connect_timeout_ms);
}

static void on_looked_up(
    void *context, const struct socket_address *addresses, size_t count, const struct result *failure)
{
    struct grpc_channel *channel = context;
    channel->lookup = NULL;
    if (failure != NULL) {
        dial_failed(channel, failure);
        return;
    }
    memcpy(channel->addresses, addresses, count * sizeof *addresses);
    channel->address_count = count;
    channel->next_address = 0;
    connect_next(channel);
}

static void channel_dial(struct grpc_channel *channel)
{
    channel->state = GRPC_CHANNEL_DIALLING;
    channel->dial_deadline_ns = clock_monotonic_ns() + channel->connect_timeout_ms * NANOSECONDS_PER_MILLISECOND;
    channel->lookup = host_lookup_start(channel->loop, channel->host, channel->port, on_looked_up, channel);
}

static void destroy(struct grpc_channel *channel)
{
    deferred_cancel(&channel->tell_ended);
    deferred_cancel(&channel->destroy);
    host_lookup_cancel(channel->lookup);
    connector_cancel(&channel->connector);
    transport_close(&channel->transport);
    http2_connection_close(&channel->connection);
    tls_context_release(channel->tls);
    memory_free(channel->host);
    memory_free(channel->authority);
    memory_free(channel->alternative_name);
    memory_free(channel);
}

static void on_destroy(struct deferred *deferred)
{
    destroy(CONTAINER_OF(deferred, struct grpc_channel, destroy));
}

static void tell_ended(struct deferred *deferred)
{
    struct grpc_channel *channel = CONTAINER_OF(deferred, struct grpc_channel, tell_ended);
    channel->is_telling = true;
    struct list *link;
    while ((link = list_take_first(&channel->ended)) != NULL) {
        struct grpc_call *call = LIST_ENTRY(link, struct grpc_call, link);
        call->end.message = writer_string(&call->status_text);
        call->end.source = call->end_source;
        call->settings.on_end(call, &call->end, call->settings.context);
        grpc_call_free(call);
    }
    channel->is_telling = false;
    if (channel->is_retired && !channel->is_freed) {
        grpc_channel_retire(channel);
    }
}

struct grpc_channel *grpc_channel_new(
    struct loop *loop, struct buffer_pool *pool, const struct grpc_channel_settings *settings)
{
    struct grpc_channel *channel = NEW(struct grpc_channel);
    bool is_v6 = strchr(settings->host, ':') != NULL;
    channel->loop = loop;
    channel->pool = pool;
    channel->host = string_duplicate(settings->host);
    channel->port = settings->port;
    channel->authority = string_format(is_v6 ? "[%s]:%u" : "%s:%u", settings->host, settings->port);
    channel->alternative_name =
        settings->alternative_name != NULL ? string_duplicate(settings->alternative_name) : NULL;
    channel->tls = settings->tls != NULL ? tls_context_reference(settings->tls) : NULL;
    channel->connect_timeout_ms =
        settings->connect_timeout_ms > 0 ? settings->connect_timeout_ms : GRPC_CONNECT_TIMEOUT_MS;
    list_initialise(&channel->calls);
    list_initialise(&channel->ended);
    list_initialise(&channel->tell_ended.link);
    list_initialise(&channel->destroy.link);
    channel->tell_ended.run = tell_ended;
    channel->destroy.run = on_destroy;
    channel->connector.descriptor = -1;
    return channel;
}

struct grpc_call *grpc_call_start(struct grpc_channel *channel, const struct grpc_call_settings *settings)
{
    struct grpc_call *call = grpc_call_new(channel, settings);
    list_append(&channel->calls, &call->link);
    if (channel->state == GRPC_CHANNEL_IDLE) {
        channel_dial(channel);
    } else if (channel->state == GRPC_CHANNEL_OPEN && !channel->is_going_away) {
        grpc_call_submit(call);
    }
    return call;
}

static void cancel_calls(struct list *calls)
{
    struct list *link;
    while ((link = calls->next) != calls) {
        grpc_call_cancel(LIST_ENTRY(link, struct grpc_call, link));
    }
}

void grpc_channel_free(struct grpc_channel *channel)
{
    if (channel == NULL || channel->is_freed) {
        return;
    }
    channel->is_freed = true;
    channel->is_retired = false;
    cancel_calls(&channel->calls);
    cancel_calls(&channel->ended);
    if (channel->is_telling || channel->connection.is_inside) {
        loop_defer(channel->loop, &channel->destroy);
    } else {
        destroy(channel);
    }
}

void grpc_channel_retire(struct grpc_channel *channel)
{
    if (channel == NULL || channel->is_freed) {
        return;
    }
    channel->is_retired = true;
    if (list_is_empty(&channel->calls) && list_is_empty(&channel->ended) && !channel->is_telling) {
        grpc_channel_free(channel);
    }
}
