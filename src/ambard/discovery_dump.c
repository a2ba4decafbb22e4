#include "ambard/discovery_state.h"

#include "base/clock.h"
#include "base/json_writer.h"

void discovery_dump_sync(const struct discovery *discovery, struct json_writer *json)
{
    json_write_array_begin(json);
    LIST_FOR_EACH(link, (struct list *)(uintptr_t)&discovery->streams) {
        const struct discovery_stream *stream = LIST_ENTRY(link, struct discovery_stream, link);
        if (!stream->has_node) {
            continue;
        }
        json_write_object_begin(json);
        json_write_member_string(json, "cluster_id", stream->cluster_id);
        json_write_member_string(json, "proxy", stream->node_id);
        json_write_member_string(json, "istio_version", stream->istio_version);
        json_write_key(json, "resources");
        json_write_object_begin(json);
        for (enum watched_type type = 0; type < WATCH_COUNT; type++) {
            const struct watch *watch = &stream->watches[type];
            if (watch->nonce == NULL) {
                continue;
            }
            char time[40];
            clock_format_rfc3339_s(watch->sent_at_s, time);
            json_write_key(json, DISCOVERY_TYPES[type].url);
            json_write_object_begin(json);
            json_write_member_string(json, "acked", watch->is_acknowledged ? watch->nonce : "");
            json_write_member_string(json, "sent", watch->nonce);
            json_write_member_string(json, "sentTime", time);
            json_write_object_end(json);
        }
        json_write_object_end(json);
        json_write_object_end(json);
    }
    json_write_array_end(json);
}

void discovery_dump_connections(const struct discovery *discovery, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_member_unsigned(json, "totalClients", discovery->stream_count);
    json_write_key(json, "clients");
    json_write_array_begin(json);
    LIST_FOR_EACH(link, (struct list *)(uintptr_t)&discovery->streams) {
        const struct discovery_stream *stream = LIST_ENTRY(link, struct discovery_stream, link);
        char peer[SOCKET_ADDRESS_TEXT_SIZE];
        char time[40];
        clock_format_rfc3339_s(stream->connected_at_s, time);
        json_write_object_begin(json);
        json_write_member_string(json, "address", socket_address_format(grpc_server_call_peer(stream->call), peer));
        json_write_member_string(json, "connectedAt", time);
        json_write_member_string(json, "connectionId", stream->node_id);
        json_write_member_string(json, "node", stream->node_name);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    json_write_object_end(json);
}
