/* Schemas of selectors. */
#include "kube/selector.h"

static void validate_match_labels(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_workload_selector *selector = value;
    const char *field = yaml_get(node, "labels") != NULL ? "labels" : "matchLabels";
    for (size_t i = 0; i < selector->match_labels.count; i++) {
        const struct kube_label *label = &selector->match_labels.items[i];
        if (label->key[0] == '\0') {
            kube_decode_error(decode, node, field, -1, "a label must have a name");
        }
        if (strchr(label->key, '*') != NULL || strchr(label->value, '*') != NULL) {
            kube_decode_error(
                decode, node, field, -1, "wildcards are not understood here: %s: %s", label->key, label->value);
        }
    }
}

static const struct kube_field workload_selector_fields[] = {
    KUBE_FIELD(struct kube_workload_selector, match_labels, "matchLabels", KUBE_FIELD_STRING_MAP),
};
const struct kube_schema kube_workload_selector_schema =
    KUBE_SCHEMA(struct kube_workload_selector, true, workload_selector_fields, validate_match_labels);

static const struct kube_field service_entry_selector_fields[] = {
    KUBE_FIELD(struct kube_workload_selector, match_labels, "labels", KUBE_FIELD_STRING_MAP),
};
const struct kube_schema kube_service_entry_selector_schema =
    KUBE_SCHEMA(struct kube_workload_selector, true, service_entry_selector_fields, validate_match_labels);

static void validate_expression(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    const struct kube_selector_expression *expression = value;
    bool takes_values = expression->operator_ == KUBE_SELECTOR_IN || expression->operator_ == KUBE_SELECTOR_NOT_IN;
    if (takes_values != (expression->values.count > 0)) {
        kube_decode_error(decode, node, "values", -1,
            takes_values ? "must name at least one value for this operator" : "must be empty for this operator");
    }
}

static const char *const operators[] = { "In", "NotIn", "Exists", "DoesNotExist", NULL };
static const struct kube_field expression_fields[] = {
    KUBE_FIELD(struct kube_selector_expression, key, "key", KUBE_FIELD_STRING, .is_required = true),
    KUBE_FIELD(struct kube_selector_expression, operator_, "operator", KUBE_FIELD_CHOICE, .choices = operators,
        .is_required = true),
    KUBE_FIELD(struct kube_selector_expression, values, "values", KUBE_FIELD_STRINGS),
};
static const struct kube_schema expression_schema =
    KUBE_SCHEMA(struct kube_selector_expression, false, expression_fields, validate_expression);

static const struct kube_field label_selector_fields[] = {
    KUBE_FIELD(struct kube_selector, match_labels, "matchLabels", KUBE_FIELD_STRING_MAP),
    KUBE_FIELD(
        struct kube_selector, match_expressions, "matchExpressions", KUBE_FIELD_LIST, .schema = &expression_schema),
};
const struct kube_schema kube_label_selector_schema =
    KUBE_SCHEMA(struct kube_selector, false, label_selector_fields, NULL);
