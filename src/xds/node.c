#include "xds/node.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "xds/protobuf.h"

#include <jansson.h>

/* Node { 1 id, 3 metadata }, Struct { 1 fields { 1 key, 2 value } }, Value { 1 null, 2 number, 3 string, 4 bool, 5 struct,
 * 6 list }, ListValue { 1 values } (wire-protocols §§6, 7). */
#define FALLBACK_IP "1.1.1.1"

static void write_value(struct writer *out, const json_t *value);

static void write_entry(struct writer *out, const char *key, const json_t *value)
{
    struct writer entry = writer_growing();
    struct writer encoded = writer_growing();
    write_value(&encoded, value);
    protobuf_add_string(&entry, 1, bytes_of_string(key));
    protobuf_add_message(&entry, 2, writer_bytes(&encoded));
    protobuf_add_message(out, 1, writer_bytes(&entry));
    writer_free(&encoded);
    writer_free(&entry);
}

/* The members in alphabetical order, so that the same settings give the same bytes. */
static void write_struct(struct writer *out, json_t *object)
{
    const char **keys = memory_allocate((json_object_size(object) + 1) * sizeof *keys);
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t at = count++;
        while (at > 0 && strcmp(keys[at - 1], key) > 0) {
            keys[at] = keys[at - 1];
            at--;
        }
        keys[at] = key;
    }
    for (size_t i = 0; i < count; i++) {
        write_entry(out, keys[i], json_object_get(object, keys[i]));
    }
    memory_free(keys);
}

static void write_list(struct writer *out, const json_t *array)
{
    for (size_t i = 0; i < json_array_size(array); i++) {
        struct writer element = writer_growing();
        write_value(&element, json_array_get(array, i));
        protobuf_add_message(out, 1, writer_bytes(&element));
        writer_free(&element);
    }
}

static void write_number(struct writer *out, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    writer_add_u8(out, 2 << 3 | PROTOBUF_FIXED64);
    for (int i = 0; i < 8; i++) {
        writer_add_u8(out, (uint8_t)(bits >> (8 * i)));
    }
}

/* The member of a oneof is written even when it is empty or zero. */
static void write_value(struct writer *out, const json_t *value)
{
    struct writer inner = writer_growing();
    switch (json_typeof(value)) {
    case JSON_STRING:
        protobuf_add_message(out, 3, bytes_of(json_string_value(value), json_string_length(value)));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        write_number(out, json_number_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        writer_add_u8(out, 4 << 3 | PROTOBUF_VARINT);
        writer_add_u8(out, json_is_true(value));
        break;
    case JSON_OBJECT: {
        json_t *object;
        memcpy(&object, &value, sizeof value);
        write_struct(&inner, object);
        protobuf_add_message(out, 5, writer_bytes(&inner));
        break;
    }
    case JSON_ARRAY:
        write_list(&inner, value);
        protobuf_add_message(out, 6, writer_bytes(&inner));
        break;
    default:
        writer_add_u8(out, 1 << 3 | PROTOBUF_VARINT);
        writer_add_u8(out, 0);
    }
    writer_free(&inner);
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

static void set_text(json_t *metadata, const char *key, const char *value)
{
    json_t *text = json_string(or_empty(value));
    if (text == NULL || json_object_set_new(metadata, key, text) != 0) {
        log_print(LOG_WARN, "ztunnel::xds::client", "proxy metadata %s is not UTF-8, left out", key);
    }
}

static json_t *make_metadata(const struct node_settings *settings)
{
    json_t *metadata = json_object();
    set_text(metadata, "NAME", settings->pod_name);
    set_text(metadata, "NAMESPACE", settings->pod_namespace);
    set_text(metadata, "INSTANCE_IPS", settings->instance_ip);
    set_text(metadata, "NODE_NAME", settings->node_name);
    for (size_t i = 0; i < settings->metadata_count; i++) {
        set_text(metadata, settings->metadata[i].key, settings->metadata[i].value);
    }
    for (size_t i = 0; i < settings->json_metadata_count; i++) {
        const struct node_metadata *item = &settings->json_metadata[i];
        json_t *value = json_loads(item->value, JSON_DECODE_ANY, NULL);
        if (value == NULL || json_object_set_new(metadata, item->key, value) != 0) {
            log_print(LOG_WARN, "ztunnel::xds::client", "failed to parse %s=%s", item->key, item->value);
        }
    }
    return metadata;
}

void node_encode(const struct node_settings *settings, struct writer *out)
{
    const char *ip = text_is_empty(settings->instance_ip) ? FALLBACK_IP : settings->instance_ip;
    const char *namespace_ = or_empty(settings->pod_namespace);
    char *AUTO_FREE id = string_format(
        "ztunnel~%s~%s.%s~%s.svc.cluster.local", ip, or_empty(settings->pod_name), namespace_, namespace_);
    protobuf_add_string(out, 1, bytes_of_string(id));
    struct writer fields = writer_growing();
    json_t *metadata = make_metadata(settings);
    write_struct(&fields, metadata);
    json_decref(metadata);
    protobuf_add_message(out, 3, writer_bytes(&fields));
    writer_free(&fields);
}
