/* What is wrong with the configuration, for people: a file, a line, the field at fault and a sentence.
 *
 * An error keeps the object (or the file) it names out of force; a notice only informs. The list owns its texts. For one thread. */
#ifndef AMBAR_KUBE_PROBLEM_H
#define AMBAR_KUBE_PROBLEM_H

#include "base/arena.h"

#include <stdarg.h>

struct writer;

enum kube_severity { KUBE_NOTICE, KUBE_ERROR };

struct kube_problem {
    enum kube_severity severity;
    const char *file;    /* as it was given: DIR/name.yaml */
    uint32_t line;       /* 1-based; 0 when the whole file is meant */
    const char *object;  /* "AuthorizationPolicy shop/allow-web", or "" when it could not be told */
    const char *field;   /* "spec.rules[0].from[0].source.ipBlocks[1]", or "" */
    const char *message; /* a sentence without a final period */
};

struct kube_problems {
    struct kube_problem *items;
    size_t count;
    size_t capacity;
    size_t error_count;
    struct arena texts;
};

/* Beyond this many the rest is counted in one last line: a broken generator must not fill the memory. */
#define KUBE_PROBLEMS_MAXIMUM 1000

/* A zeroed list is empty and ready. */
void kube_problems_free(struct kube_problems *problems);
void kube_problems_clear(struct kube_problems *problems);

/* Copies every text of `where`; its message is ignored. */
void kube_problems_add(struct kube_problems *problems, const struct kube_problem *where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void kube_problems_add_list(struct kube_problems *problems, const struct kube_problem *where, const char *format,
    va_list arguments) __attribute__((format(printf, 3, 0)));
void kube_problems_append(struct kube_problems *problems, const struct kube_problems *more);

/* "shop/policies.yaml:12: error: AuthorizationPolicy shop/allow-web: spec.action: ..." without a newline. */
void kube_problem_format(const struct kube_problem *problem, struct writer *out);

#endif
