/* A file of the configuration folder: objects, or problems with a place and a sentence; never both silent. */
#include "kube/object.h"
#include "kube/problem.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_problems problems = { 0 };
    struct kube_read_file file;
    const char *name = size > 0 && data[0] == '{' ? "fuzz.json" : "fuzz.yaml";
    kube_read_file_parse(name, bytes_of(data, size), &file, &problems);
    for (size_t i = 0; i < problems.count; i++) {
        if (problems.items[i].message == NULL || problems.items[i].message[0] == '\0') {
            abort();
        }
    }
    kube_read_file_free(&file);
    kube_problems_free(&problems);
    return 0;
}
