/* Local files: everything is taken or nothing is, with a sentence that names the file. */
#include "xds/local_file.h"

#include <stdlib.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* libfyaml 0.7 loses a buffer of its own on some malformed documents; the file is read once, at start. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mesh_settings settings = { .network = "" };
    struct mesh_version *empty = mesh_version_new(&settings);
    struct mesh_change *change = mesh_change_begin(empty);
    struct local_file_counts counts = { 0 };
    struct result result = local_file_load(bytes_of(data, size), "fuzz.yaml", change, &counts);
    size_t objects = counts.workloads + counts.services + counts.policies;
    expect(mesh_change_is_empty(change) == (objects == 0));
    if (!result_is_ok(&result)) {
        expect(objects == 0);
        expect(strncmp(result.message, "fuzz.yaml:", 10) == 0);
    }
    struct mesh_version *version = mesh_change_commit(change);
    expect(mesh_version_workload_count(version) <= counts.workloads);
    mesh_version_release(version);
    mesh_version_release(empty);
    return 0;
}
