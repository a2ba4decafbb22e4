/* Any bytes as a file of the folder: the first byte chooses YAML or JSON. */
#include "base/memory.h"
#include "base/writer.h"
#include "kube/object.h"
#include "kube/problem.h"
#include "kube/store.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct kube_read_file file;
    struct kube_problems problems = { 0 };
    kube_read_file_parse(data[0] == '{' ? "f.json" : "f.yaml",
        bytes_of(data + (data[0] != '{'), size - (data[0] != '{')), &file, &problems);
    struct kube_store *store = kube_store_new();
    for (size_t i = 0; i < file.count; i++) {
        if (file.items[i].object != NULL) {
            kube_store_put(store, file.items[i].object);
        }
    }
    kube_store_sort(store);
    struct writer text = writer_growing();
    for (size_t i = 0; i < problems.count; i++) {
        kube_problem_format(&problems.items[i], &text);
    }
    /* What is in force is valid: an overlay of an object over itself changes nothing but its hash. */
    for (int kind = 0; kind < KUBE_KIND_COUNT; kind++) {
        struct kube_object_list list = kube_store_list(store, (enum kube_kind)kind);
        for (size_t i = 0; i < list.count; i++) {
            struct kube_object *both = kube_object_overlay(list.items[i], list.items[i]);
            if (both->metadata.labels.count != list.items[i]->metadata.labels.count) {
                abort();
            }
            kube_object_release(both);
        }
    }
    writer_free(&text);
    kube_store_free(store);
    kube_read_file_free(&file);
    kube_problems_free(&problems);
    return 0;
}
