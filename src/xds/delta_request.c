#include "xds/delta_request.h"

#include "base/text.h"
#include "xds/protobuf.h"
#include "xds/version_table.h"

enum {
    REQUEST_NODE = 1,
    REQUEST_TYPE_URL = 2,
    REQUEST_SUBSCRIBE = 3,
    REQUEST_UNSUBSCRIBE = 4,
    REQUEST_INITIAL_VERSIONS = 5,
    REQUEST_NONCE = 6,
    REQUEST_ERROR = 7,
};
#define STATUS_MESSAGE 2

static size_t write_version(struct writer *out, struct writer *entry, struct bytes name, struct bytes version)
{
    size_t before = out->length;
    writer_clear(entry);
    protobuf_add_string(entry, 1, name);
    protobuf_add_string(entry, 2, version);
    protobuf_add_message(out, REQUEST_INITIAL_VERSIONS, writer_bytes(entry));
    return out->length - before;
}

static bool write_held_versions(struct version_table *held, size_t room, struct writer *out)
{
    struct writer encoded = writer_growing();
    struct version_entry entry;
    uint32_t position = 0;
    bool left_out = false;
    while (version_table_next(held, &position, &entry)) {
        /* Tags and lengths take at most 12 bytes. */
        if (entry.name.length + entry.version_bytes + 12 > room) {
            version_table_mark(held, entry.handle);
            left_out = true;
            continue;
        }
        version_table_unmark(held, entry.name);
        room -= write_version(out, &encoded, entry.name, bytes_of(entry.version, entry.version_bytes));
    }
    writer_free(&encoded);
    return left_out;
}

bool delta_first_request_write(const struct delta_first_request *request, struct writer *out)
{
    protobuf_add_message(out, REQUEST_NODE, request->node);
    protobuf_add_string(out, REQUEST_TYPE_URL, bytes_of_string(request->type_url));
    if (request->is_on_demand) {
        /* Both together mean "nothing": without them an empty list would mean everything (wire-protocols §10.3). */
        protobuf_add_string(out, REQUEST_SUBSCRIBE, bytes_of_string("*"));
        protobuf_add_string(out, REQUEST_UNSUBSCRIBE, bytes_of_string("*"));
    }
    struct writer encoded = writer_growing();
    size_t before = out->length;
    for (size_t i = 0; i < request->pending_count; i++) {
        (void)write_version(out, &encoded, request->pending[i], bytes_of("", 0));
    }
    writer_free(&encoded);
    size_t used = out->length - before;
    size_t room = used < DELTA_VERSIONS_MAXIMUM_BYTES ? DELTA_VERSIONS_MAXIMUM_BYTES - used : 0;
    return write_held_versions(request->held, room, out);
}

void delta_acknowledgement_write(struct bytes type_url, struct bytes nonce, struct bytes error, struct writer *out)
{
    protobuf_add_string(out, REQUEST_TYPE_URL, type_url);
    protobuf_add_string(out, REQUEST_NONCE, nonce);
    if (error.length > 0) {
        struct writer status = writer_growing();
        protobuf_add_string(&status, STATUS_MESSAGE, error);
        protobuf_add_message(out, REQUEST_ERROR, writer_bytes(&status));
        writer_free(&status);
    }
}

void delta_subscription_write(const char *type_url, struct bytes name, bool is_subscribed, struct writer *out)
{
    protobuf_add_string(out, REQUEST_TYPE_URL, bytes_of_string(type_url));
    protobuf_add_string(out, is_subscribed ? REQUEST_SUBSCRIBE : REQUEST_UNSUBSCRIBE, name);
}

void delta_status_write(const struct grpc_end *end, struct writer *out)
{
    writer_print(out, "status: %s, message: \"%s\"", grpc_status_name((int)end->status), end->message);
    if (strstr(end->message, "authentication failure") != NULL) {
        writer_add_string(out, " (hint: check the control plane logs for more information)");
    }
    if (end->source != NULL) {
        writer_print(out, ", source: %s", end->source);
        if (text_starts_with(end->source, "dns error")) {
            writer_add_string(out, " (hint: is the DNS server reachable?)");
        }
    }
}

void delta_delay_write(uint64_t delay_ms, struct writer *out)
{
    if (delay_ms < 1000) {
        writer_print(out, "%ums", (unsigned)delay_ms);
        return;
    }
    char text[32];
    size_t length = 0;
    struct writer fixed = writer_fixed(text, sizeof text);
    writer_print(&fixed, "%llu.%03u", (unsigned long long)(delay_ms / 1000), (unsigned)(delay_ms % 1000));
    length = fixed.length;
    while (text[length - 1] == '0') {
        length--;
    }
    length -= text[length - 1] == '.';
    writer_add(out, text, length);
    writer_add_u8(out, 's');
}
