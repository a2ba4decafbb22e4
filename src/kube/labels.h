/* Labels, annotations and other maps of strings; label selectors. Borrowed memory: they live in an object's arena. */
#ifndef AMBAR_KUBE_LABELS_H
#define AMBAR_KUBE_LABELS_H

#include "base/arena.h"

struct kube_label {
    const char *key;
    const char *value;
};

/* Sorted by key, keys unique. */
struct kube_labels {
    struct kube_label *items;
    size_t count;
};

struct kube_strings {
    const char **items;
    size_t count;
};

/* NULL when absent. */
const char *kube_labels_get(const struct kube_labels *labels, const char *key);
/* "" when absent. */
const char *kube_labels_text(const struct kube_labels *labels, const char *key);
/* The union; where both have a key, `upper` wins. Texts stay borrowed. */
struct kube_labels kube_labels_overlay(
    struct arena *arena, const struct kube_labels *lower, const struct kube_labels *upper);
/* Every pair of `wanted` is in `labels`; an empty `wanted` matches everything. */
bool kube_labels_match(const struct kube_labels *wanted, const struct kube_labels *labels);

enum kube_selector_operator {
    KUBE_SELECTOR_IN,
    KUBE_SELECTOR_NOT_IN,
    KUBE_SELECTOR_EXISTS,
    KUBE_SELECTOR_DOES_NOT_EXIST
};

struct kube_selector_expression {
    const char *key;
    int operator_; /* enum kube_selector_operator */
    struct kube_strings values;
};

/* matchLabels and matchExpressions, all of which must hold. */
struct kube_selector {
    struct kube_labels match_labels;
    struct {
        struct kube_selector_expression *items;
        size_t count;
    } match_expressions;
};

bool kube_selector_matches(const struct kube_selector *selector, const struct kube_labels *labels);

/* Go's strconv.ParseBool, which steering labels are read with: 1 t T TRUE true True and 0 f F FALSE false False. */
bool kube_parse_bool(const char *text, bool *value);

#endif
