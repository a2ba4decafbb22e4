/* `ambard check`. Lines that a person reads and grep finds: FILE:LINE: error|notice|condition: WHAT: ... */
#include "ambard/check.h"

#include "base/writer.h"
#include "kube/folder.h"

static void print_problems(const struct kube_problems *problems, struct writer *out)
{
    for (size_t i = 0; i < problems->count; i++) {
        kube_problem_format(&problems->items[i], out);
        writer_add_string(out, "\n");
    }
}

static void print_condition(const struct ambient_condition *condition, struct writer *out)
{
    const struct kube_object *object = condition->object;
    writer_print(out, "%s:%u: condition: %s %s%s%s: %s %s, %s: %s\n", object->file, object->line,
        kube_kind_name(object->kind), object->metadata.namespace_, object->metadata.namespace_[0] == '\0' ? "" : "/",
        object->metadata.name, condition->type, condition->is_true ? "True" : "False", condition->reason,
        condition->message);
}

static void print_summary(const struct ambient_index *index, const struct kube_store *store, struct writer *out)
{
    writer_print(out, "%zu objects make %zu workloads, %zu services and %zu policies\n", kube_store_count(store),
        ambient_index_list(index, AMBIENT_WORKLOAD).count, ambient_index_list(index, AMBIENT_SERVICE).count,
        ambient_index_list(index, AMBIENT_AUTHORIZATION).count);
}

/* What the objects that are valid amount to. */
static int check_objects(
    const struct kube_store *store, const struct ambient_index_settings *settings, struct writer *out)
{
    struct ambient_index_settings read_only = *settings;
    read_only.is_read_only = true;
    struct ambient_index *index;
    struct ambient_changes changes;
    struct result result = ambient_index_new(&read_only, &index);
    if (!result_is_ok(&result)) {
        writer_print(out, "error: %s\n", result.message);
        return 1;
    }
    result = ambient_index_update(index, store, &changes);
    struct ambient_condition_list conditions = ambient_index_conditions(index);
    for (size_t i = 0; i < conditions.count; i++) {
        print_condition(&conditions.items[i], out);
    }
    print_summary(index, store, out);
    ambient_index_free(index);
    return result_is_ok(&result) ? 0 : 1;
}

int ambard_check(const char *directory, const char *overlay_directory, const struct ambient_index_settings *settings,
    struct writer *out)
{
    struct kube_folder *folder = kube_folder_new(directory, overlay_directory);
    kube_folder_scan(folder);
    const struct kube_problems *problems = kube_folder_problems(folder);
    print_problems(problems, out);
    int status = check_objects(kube_folder_store(folder), settings, out);
    if (problems->error_count > 0) {
        writer_print(out, "%zu error%s: ambard would refuse to start on this folder\n", problems->error_count,
            problems->error_count == 1 ? "" : "s");
        status = 1;
    }
    kube_folder_free(folder);
    return status;
}
