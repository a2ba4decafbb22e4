#include "mesh/baggage.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

static void add_pair(struct writer *out, bool *is_first, const char *key, const char *value)
{
    if (value[0] == '\0') {
        return;
    }
    writer_add_string(out, *is_first ? "" : ",");
    writer_add_string(out, key);
    writer_add_string(out, "=");
    writer_add_string(out, value);
    *is_first = false;
}

void baggage_format(const struct workload *workload, struct writer *out)
{
    bool is_first = true;
    add_pair(out, &is_first, "k8s.cluster.name", workload_text(workload, WORKLOAD_CLUSTER_ID));
    add_pair(out, &is_first, "k8s.namespace.name", workload_text(workload, WORKLOAD_NAMESPACE));
    if (workload_text(workload, WORKLOAD_OWNER_NAME)[0] != '\0') {
        writer_add_string(out, is_first ? "k8s." : ",k8s.");
        writer_add_string(out, workload_text(workload, WORKLOAD_TYPE));
        writer_add_string(out, ".name=");
        writer_add_string(out, workload_text(workload, WORKLOAD_OWNER_NAME));
        is_first = false;
    }
    add_pair(out, &is_first, "service.name", workload_text(workload, WORKLOAD_CANONICAL_NAME));
    add_pair(out, &is_first, "service.version", workload_text(workload, WORKLOAD_CANONICAL_REVISION));
    add_pair(out, &is_first, "cloud.region", workload_text(workload, WORKLOAD_REGION));
    add_pair(out, &is_first, "cloud.availability_zone", workload_text(workload, WORKLOAD_ZONE));
}

static bool is_visible_ascii(struct bytes value)
{
    for (size_t i = 0; i < value.length; i++) {
        /* What HTTP header values may consist of besides opaque bytes: visible characters, blank and tab. */
        if ((value.data[i] < 0x20 && value.data[i] != '\t') || value.data[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static void take_pair(struct bytes key, struct bytes value, struct baggage *baggage)
{
    static const char *const types[] = { "deployment", "cronjob", "pod", "job" };
    const struct {
        const char *key;
        struct bytes *value;
    } fields[] = {
        { "k8s.cluster.name", &baggage->cluster_id },
        { "k8s.namespace.name", &baggage->namespace_ },
        { "service.name", &baggage->canonical_name },
        { "service.version", &baggage->canonical_revision },
        { "cloud.region", &baggage->region },
        { "cloud.availability_zone", &baggage->zone },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        if (bytes_equal_string(key, fields[i].key)) {
            *fields[i].value = value;
            return;
        }
    }
    for (size_t i = 0; i < ARRAY_LENGTH(types); i++) {
        size_t length = strlen(types[i]);
        if (key.length == length + 9 && memcmp(key.data, "k8s.", 4) == 0 &&
            memcmp(key.data + 4, types[i], length) == 0 && memcmp(key.data + 4 + length, ".name", 5) == 0) {
            baggage->workload_type = bytes_of_string(types[i]);
            baggage->workload_name = value;
            return;
        }
    }
}

bool baggage_parse(struct bytes value, struct baggage *baggage)
{
    if (!is_visible_ascii(value)) {
        *baggage = (struct baggage){ 0 };
        return false;
    }
    struct bytes rest = value;
    struct bytes member;
    while (bytes_split(&rest, ',', &member)) {
        struct bytes after = member;
        struct bytes key;
        struct bytes text;
        /* No trimming and no decoding; what follows a second "=" is lost, as in the reference. */
        if (bytes_split(&after, '=', &key) && bytes_split(&after, '=', &text) && text.length > 0) {
            take_pair(key, text, baggage);
        }
    }
    return true;
}
