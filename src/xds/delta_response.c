#include "xds/delta_response.h"

#include "base/text.h"
#include "xds/delta_client.h"
#include "xds/version_table.h"

#define SMALL_FIELD_MAXIMUM_BYTES 4096

enum { RESPONSE_RESOURCES = 2, RESPONSE_TYPE_URL = 4, RESPONSE_NONCE = 5, RESPONSE_REMOVED = 6 };
enum { RESOURCE_VERSION = 1, RESOURCE_PAYLOAD = 2, RESOURCE_NAME = 3, RESOURCE_ALIAS = 4 };
enum { ANY_TYPE_URL = 1, ANY_VALUE = 2 };

struct delta_response delta_response_of(
    void (*on_resource)(void *context, const struct delta_wire_resource *resource), void *context)
{
    return (struct delta_response){
        .on_resource = on_resource,
        .context = context,
        .fields = protobuf_stream_of(DELTA_RESOURCE_MAXIMUM_BYTES),
        .large = protobuf_stream_of(SMALL_FIELD_MAXIMUM_BYTES),
        .large_name = writer_growing(),
        .type_url = writer_growing(),
        .nonce = writer_growing(),
        .removed = writer_growing(),
    };
}

void delta_response_clear(struct delta_response *response)
{
    protobuf_stream_clear(&response->fields);
    protobuf_stream_clear(&response->large);
    writer_free(&response->large_name);
    writer_free(&response->type_url);
    writer_free(&response->nonce);
    writer_free(&response->removed);
}

static struct result malformed(const char *what)
{
    return result_fail(RESULT_INVALID, "failed to decode Protobuf message: %s", what);
}

static bool parse_any(struct bytes any, struct delta_wire_resource *resource)
{
    struct cursor cursor = cursor_of(any);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.wire == PROTOBUF_BYTES && field.number == ANY_TYPE_URL) {
            resource->type_url = field.bytes;
        } else if (field.wire == PROTOBUF_BYTES && field.number == ANY_VALUE) {
            resource->value = field.bytes;
        }
    }
    resource->has_payload = true;
    return !cursor.has_failed;
}

static struct result take_resource(struct delta_response *response, struct bytes bytes)
{
    struct delta_wire_resource resource = { .message = bytes };
    struct cursor cursor = cursor_of(bytes);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.wire != PROTOBUF_BYTES) {
            continue;
        }
        if (field.number == RESOURCE_VERSION) {
            resource.version = field.bytes;
        } else if (field.number == RESOURCE_NAME) {
            resource.name = field.bytes;
        } else if (field.number == RESOURCE_PAYLOAD && !parse_any(field.bytes, &resource)) {
            return malformed("Resource.resource");
        }
    }
    if (cursor.has_failed) {
        return malformed("Resource");
    }
    if (!bytes_is_utf8(resource.name) || !bytes_is_utf8(resource.version)) {
        return malformed("Resource: invalid string value: data is not UTF-8 encoded");
    }
    response->on_resource(response->context, &resource);
    return result_ok();
}

/* A resource over the bound is skipped; its name is kept so that it can be refused by name. */
static struct result take_large_part(struct delta_response *response, struct bytes part, bool is_last_part)
{
    if (!response->is_in_large) {
        response->is_in_large = true;
        protobuf_stream_clear(&response->large);
        response->large = protobuf_stream_of(SMALL_FIELD_MAXIMUM_BYTES);
        writer_clear(&response->large_name);
    }
    struct protobuf_field field;
    bool is_last;
    enum protobuf_stream_event event;
    while ((event = protobuf_stream_next(&response->large, &part, &field, &is_last)) != PROTOBUF_STREAM_MORE) {
        if (event == PROTOBUF_STREAM_BAD) {
            return malformed("Resource");
        }
        if (event == PROTOBUF_STREAM_FIELD && field.number == RESOURCE_NAME && field.wire == PROTOBUF_BYTES) {
            writer_clear(&response->large_name);
            writer_add_bytes(&response->large_name, field.bytes);
        }
    }
    if (!is_last_part) {
        return result_ok();
    }
    response->is_in_large = false;
    if (!protobuf_stream_is_between(&response->large)) {
        return malformed("Resource: ends inside a field");
    }
    const struct delta_wire_resource resource = {
        .name = writer_bytes(&response->large_name), .has_payload = true, .is_too_large = true
    };
    response->on_resource(response->context, &resource);
    return result_ok();
}

static struct result keep_text(struct writer *text, struct bytes bytes)
{
    if (bytes.length > SMALL_FIELD_MAXIMUM_BYTES || !bytes_is_utf8(bytes)) {
        return malformed("DeltaDiscoveryResponse: type_url or nonce is not a short UTF-8 text");
    }
    writer_clear(text);
    writer_add_bytes(text, bytes);
    return result_ok();
}

static struct result take_removed(struct delta_response *response, struct bytes name)
{
    if (response->removed.length + name.length > DELTA_REMOVED_MAXIMUM_BYTES) {
        return result_fail(RESULT_LIMIT, "a response removes names of more than %u bytes", DELTA_REMOVED_MAXIMUM_BYTES);
    }
    if (!bytes_is_utf8(name)) {
        return malformed("removed_resources: invalid string value: data is not UTF-8 encoded");
    }
    /* Nothing we hold has a longer name. */
    if (name.length > 0 && name.length <= RESOURCE_NAME_MAXIMUM_BYTES) {
        writer_add_varint(&response->removed, name.length);
        writer_add_bytes(&response->removed, name);
    }
    return result_ok();
}

static struct result take_field(struct delta_response *response, const struct protobuf_field *field)
{
    if (field->wire != PROTOBUF_BYTES) {
        return result_ok();
    }
    switch (field->number) {
    case RESPONSE_RESOURCES:
        return take_resource(response, field->bytes);
    case RESPONSE_TYPE_URL:
        return keep_text(&response->type_url, field->bytes);
    case RESPONSE_NONCE:
        return keep_text(&response->nonce, field->bytes);
    case RESPONSE_REMOVED:
        return take_removed(response, field->bytes);
    default:
        return result_ok();
    }
}

struct result delta_response_feed(struct delta_response *response, struct bytes piece)
{
    struct protobuf_field field;
    bool is_last;
    for (;;) {
        switch (protobuf_stream_next(&response->fields, &piece, &field, &is_last)) {
        case PROTOBUF_STREAM_MORE:
            return result_ok();
        case PROTOBUF_STREAM_BAD:
            return malformed("DeltaDiscoveryResponse");
        case PROTOBUF_STREAM_FIELD:
            RESULT_TRY(take_field(response, &field));
            break;
        case PROTOBUF_STREAM_PART:
            if (field.number == RESPONSE_RESOURCES) {
                RESULT_TRY(take_large_part(response, field.bytes, is_last));
            }
            break;
        }
    }
}

struct result delta_response_end(const struct delta_response *response)
{
    return protobuf_stream_is_between(&response->fields) ? result_ok()
                                                         : malformed("DeltaDiscoveryResponse: ends inside a field");
}

bool delta_wire_resource_next_alias(struct cursor *cursor, struct bytes *alias)
{
    struct protobuf_field field;
    while (protobuf_next_field(cursor, &field)) {
        if (field.number == RESOURCE_ALIAS && field.wire == PROTOBUF_BYTES) {
            *alias = field.bytes;
            return true;
        }
    }
    return false;
}

bool delta_response_next_removed(struct cursor *cursor, struct bytes *name)
{
    if (cursor_is_at_end(cursor)) {
        return false;
    }
    *name = cursor_take(cursor, (size_t)cursor_varint(cursor));
    return !cursor->has_failed;
}
