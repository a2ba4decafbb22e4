/* YAML text to a store and an index, for the tests of this folder. */
#ifndef TESTS_UNIT_AMBARD_OBJECTS_H
#define TESTS_UNIT_AMBARD_OBJECTS_H

#include "ambard/index.h"
#include "base/memory.h"
#include "base/writer.h"
#include "kube/object.h"
#include "kube/problem.h"
#include "kube/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

/* Fails the test when anything in the text is wrong. */
static inline struct kube_store *store_of(const char *yaml)
{
    struct kube_read_file file;
    struct kube_problems problems = { 0 };
    kube_read_file_parse("test.yaml", bytes_of_string(yaml), &file, &problems);
    for (size_t i = 0; i < problems.count; i++) {
        struct writer line = writer_growing();
        kube_problem_format(&problems.items[i], &line);
        print_message("%s\n", writer_string(&line));
        writer_free(&line);
    }
    assert_int_equal(problems.error_count, 0);
    struct kube_store *store = kube_store_new();
    for (size_t i = 0; i < file.count; i++) {
        kube_store_put(store, file.items[i].object);
    }
    kube_store_sort(store);
    kube_read_file_free(&file);
    kube_problems_free(&problems);
    return store;
}

static inline struct ambient_index *index_new(void)
{
    struct ambient_index *made;
    const struct ambient_index_settings settings = { 0 };
    struct result result = ambient_index_new(&settings, &made);
    assert_true(result_is_ok(&result));
    return made;
}

static inline struct ambient_changes index_apply(struct ambient_index *index_, const char *yaml)
{
    struct kube_store *store = store_of(yaml);
    struct ambient_changes changes;
    struct result result = ambient_index_update(index_, store, &changes);
    assert_true(result_is_ok(&result));
    kube_store_free(store);
    return changes;
}

static inline struct ambient_index *index_of(const char *yaml)
{
    struct ambient_index *made = index_new();
    index_apply(made, yaml);
    return made;
}

/* The body as hexadecimal; the caller frees it. */
static inline char *hexadecimal_of(
    const struct ambient_index *index_, enum ambient_resource_type type, const char *name)
{
    const struct ambient_resource *resource = ambient_index_get(index_, type, name);
    if (resource == NULL) {
        return string_duplicate("(none)");
    }
    struct writer text = writer_growing();
    writer_add_hexadecimal(&text, resource->body);
    return writer_take_string(&text);
}

#define assert_body_equal(index_, type, name, expected)                                                                \
    do {                                                                                                               \
        char *body_ = hexadecimal_of((index_), (type), (name));                                                        \
        assert_string_equal(body_, (expected));                                                                        \
        memory_free(body_);                                                                                            \
    } while (0)

/* "True Accepted: attached to ztunnel"; NULL when the object has no such condition. The caller frees it. */
static inline char *condition_of(const struct ambient_index *index_, const char *object_key, const char *type)
{
    struct ambient_condition_list list = ambient_index_conditions(index_);
    for (size_t i = 0; i < list.count; i++) {
        const struct ambient_condition *condition = &list.items[i];
        if (strcmp(condition->object->key, object_key) == 0 && strcmp(condition->type, type) == 0) {
            return string_format(
                "%s %s: %s", condition->is_true ? "True" : "False", condition->reason, condition->message);
        }
    }
    return NULL;
}

#endif
