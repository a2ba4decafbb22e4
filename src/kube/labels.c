/* Labels and selectors. */
#include "kube/labels.h"

#include "base/memory.h"

const char *kube_labels_get(const struct kube_labels *labels, const char *key)
{
    size_t low = 0;
    size_t high = labels->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(labels->items[middle].key, key);
        if (order == 0) {
            return labels->items[middle].value;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const char *kube_labels_text(const struct kube_labels *labels, const char *key)
{
    const char *value = kube_labels_get(labels, key);
    return value == NULL ? "" : value;
}

struct kube_labels kube_labels_overlay(
    struct arena *arena, const struct kube_labels *lower, const struct kube_labels *upper)
{
    struct kube_labels merged = { arena_allocate(arena, (lower->count + upper->count) * sizeof *merged.items), 0 };
    size_t low = 0;
    size_t up = 0;
    while (low < lower->count || up < upper->count) {
        int order = low == lower->count  ? 1
                    : up == upper->count ? -1
                                         : strcmp(lower->items[low].key, upper->items[up].key);
        merged.items[merged.count++] = order < 0 ? lower->items[low] : upper->items[up];
        low += order <= 0;
        up += order >= 0;
    }
    return merged;
}

bool kube_labels_match(const struct kube_labels *wanted, const struct kube_labels *labels)
{
    for (size_t i = 0; i < wanted->count; i++) {
        const char *value = kube_labels_get(labels, wanted->items[i].key);
        if (value == NULL || strcmp(value, wanted->items[i].value) != 0) {
            return false;
        }
    }
    return true;
}

static bool expression_holds(const struct kube_selector_expression *expression, const struct kube_labels *labels)
{
    const char *value = kube_labels_get(labels, expression->key);
    bool is_listed = false;
    for (size_t i = 0; value != NULL && i < expression->values.count; i++) {
        is_listed = is_listed || strcmp(expression->values.items[i], value) == 0;
    }
    switch ((enum kube_selector_operator)expression->operator_) {
    case KUBE_SELECTOR_IN:
        return is_listed;
    case KUBE_SELECTOR_NOT_IN:
        return !is_listed;
    case KUBE_SELECTOR_EXISTS:
        return value != NULL;
    case KUBE_SELECTOR_DOES_NOT_EXIST:
        return value == NULL;
    }
    return false;
}

bool kube_selector_matches(const struct kube_selector *selector, const struct kube_labels *labels)
{
    for (size_t i = 0; i < selector->match_expressions.count; i++) {
        if (!expression_holds(&selector->match_expressions.items[i], labels)) {
            return false;
        }
    }
    return kube_labels_match(&selector->match_labels, labels);
}

bool kube_parse_bool(const char *text, bool *value)
{
    static const char *const words[] = { "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false",
        "False" };
    for (size_t i = 0; i < ARRAY_LENGTH(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *value = i < ARRAY_LENGTH(words) / 2;
            return true;
        }
    }
    return false;
}
