/* WorkloadEntry: its tables. */
#include "kube/workload_entry.h"

#include "kube/kinds.h"

#include "base/text.h"

static void validate_spec(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_workload_entry_spec *spec = value;
    if (spec->address[0] == '\0' && spec->network[0] == '\0') {
        kube_decode_error(decode, node, "address", -1, "is required where no network is named");
    }
    if (text_starts_with(spec->address, "unix://")) {
        kube_decode_error(decode, node, "address", -1, "a unix socket cannot be in an ambient mesh");
    }
    if (strpbrk(spec->address, " */") != NULL) {
        kube_decode_error(decode, node, "address", -1, "\"%s\" is neither an IP address nor a hostname", spec->address);
    }
}

static const struct kube_field spec_fields[] = {
    KUBE_FIELD(struct kube_workload_entry_spec, address, "address", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_workload_entry_spec, network, "network", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_workload_entry_spec, locality, "locality", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_workload_entry_spec, service_account, "serviceAccount", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_workload_entry_spec, ports, "ports", KUBE_FIELD_NUMBER_MAP, .minimum = 1, .maximum = 65535),
    KUBE_FIELD(struct kube_workload_entry_spec, labels, "labels", KUBE_FIELD_STRING_MAP),
    KUBE_FIELD(struct kube_workload_entry_spec, weight, "weight", KUBE_FIELD_NUMBER),
};
const struct kube_schema kube_workload_entry_spec_schema =
    KUBE_SCHEMA(struct kube_workload_entry_spec, true, spec_fields, validate_spec);

static void complete(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    (void)node;
    struct kube_workload_entry *entry = value;
    entry->labels = kube_labels_overlay(decode->arena, &entry->spec.labels, &entry->object.metadata.labels);
}

static const struct kube_field entry_fields[] = {
    KUBE_OBJECT_FIELDS,
    KUBE_FIELD(
        struct kube_workload_entry, spec, "spec", KUBE_FIELD_EMBEDDED, .schema = &kube_workload_entry_spec_schema),
    KUBE_IGNORED("status"),
};
const struct kube_schema kube_workload_entry_schema =
    KUBE_SCHEMA(struct kube_workload_entry, true, entry_fields, complete);

uint32_t kube_workload_entry_port(const struct kube_workload_entry_spec *spec, const char *name, uint32_t fallback)
{
    for (size_t i = 0; i < spec->ports.count; i++) {
        if (strcmp(spec->ports.items[i].key, name) == 0) {
            return spec->ports.items[i].value;
        }
    }
    return fallback;
}
