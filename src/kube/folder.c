/* From the files of the folder and of the overlay to the objects in force. */
#include "kube/folder.h"

#include "base/hash_map.h"
#include "base/memory.h"
#include "base/writer.h"
#include "kube/folder_source.h"
#include "kube/folder_watch.h"

#define POLL_MS 10000
#define POLL_SYMBOLIC_LINKS_MS 700
#define POLL_UNSETTLED_MS 100

struct kube_folder {
    struct folder_source base;
    struct folder_source overlay;  /* its directory is NULL when there is none */
    struct kube_store *base_store; /* the folder's objects in force, without the overlay: the last good state */
    struct kube_store *store;
    struct kube_problems problems;
    uint64_t fingerprint; /* of what is in force and of the problems */
    bool has_scanned;
    struct folder_watch watch;
    void (*on_change)(void *context);
    void *context;
};

struct kube_folder *kube_folder_new(const char *directory, const char *overlay_directory)
{
    struct kube_folder *folder = NEW(struct kube_folder);
    folder_source_initialise(&folder->base, directory);
    if (overlay_directory != NULL) {
        folder_source_initialise(&folder->overlay, overlay_directory);
    }
    folder->base_store = kube_store_new();
    folder->store = kube_store_new();
    return folder;
}

void kube_folder_free(struct kube_folder *folder)
{
    if (folder == NULL) {
        return;
    }
    folder_watch_stop(&folder->watch);
    folder_source_free(&folder->base);
    folder_source_free(&folder->overlay);
    kube_store_free(folder->base_store);
    kube_store_free(folder->store);
    kube_problems_free(&folder->problems);
    memory_free(folder);
}

/* ---- files to objects ---- */

/* Two definitions of one object: said at the second, and the one that was in force wins, or else the first. */
static const struct kube_object *choose_duplicate(struct kube_folder *folder, const struct kube_object *first,
    const struct kube_object *second, const struct kube_object *in_force)
{
    bool was_second =
        in_force != NULL && strcmp(in_force->file, second->file) == 0 && strcmp(in_force->file, first->file) != 0;
    const struct kube_object *loser = was_second ? first : second;
    const struct kube_object *winner = was_second ? second : first;
    char *AUTO_FREE title = string_format("%s %s%s%s", kube_kind_name(loser->kind), loser->metadata.namespace_,
        loser->metadata.namespace_[0] == '\0' ? "" : "/", loser->metadata.name);
    const struct kube_problem where = { KUBE_ERROR, loser->file, loser->line, title, "metadata.name", NULL };
    kube_problems_add(&folder->problems, &where, "is defined twice: %s:%u has it too, and that one stays in force",
        winner->file, winner->line);
    return winner;
}

static void collect_file(struct kube_folder *folder, const struct folder_file *file, const struct kube_store *previous,
    struct kube_store *next)
{
    kube_problems_append(&folder->problems, &file->problems);
    for (size_t i = 0; i < file->content.count; i++) {
        const struct kube_read_object *item = &file->content.items[i];
        if (item->key == NULL) {
            continue;
        }
        const struct kube_object *in_force = previous == NULL ? NULL : kube_store_find(previous, item->key);
        /* Invalid, and not known from this file: perhaps it moved here from another. */
        const struct kube_object *object = item->object != NULL ? item->object : in_force;
        const struct kube_object *other = object == NULL ? NULL : kube_store_find(next, item->key);
        if (other != NULL && other != object) {
            object = choose_duplicate(folder, other, object, in_force);
        }
        if (object != NULL) {
            kube_store_put(next, object);
        }
    }
}

static struct kube_store *collect_source(
    struct kube_folder *folder, const struct folder_source *source, const struct kube_store *previous)
{
    struct kube_store *next = kube_store_new();
    kube_problems_append(&folder->problems, &source->problems);
    size_t count;
    struct folder_file **files = folder_source_files(source, &count);
    for (size_t i = 0; i < count; i++) {
        collect_file(folder, files[i], previous, next);
    }
    memory_free(files);
    kube_store_sort(next);
    return next;
}

static struct kube_store *lay_over(const struct kube_store *base, const struct kube_store *overlay)
{
    struct kube_store *merged = kube_store_new();
    for (int kind = 0; kind < KUBE_KIND_COUNT; kind++) {
        struct kube_object_list list = kube_store_list(base, (enum kube_kind)kind);
        for (size_t i = 0; i < list.count; i++) {
            const struct kube_object *upper = overlay == NULL ? NULL : kube_store_find(overlay, list.items[i]->key);
            if (upper == NULL) {
                kube_store_put(merged, list.items[i]);
                continue;
            }
            struct kube_object *both = kube_object_overlay(list.items[i], upper);
            kube_store_put(merged, both);
            kube_object_release(both);
        }
    }
    kube_store_sort(merged);
    return merged;
}

/* ---- what is in force ---- */

static uint64_t fingerprint_of(const struct kube_store *store, const struct kube_problems *problems)
{
    struct writer text = writer_growing();
    for (int kind = 0; kind < KUBE_KIND_COUNT; kind++) {
        struct kube_object_list list = kube_store_list(store, (enum kube_kind)kind);
        for (size_t i = 0; i < list.count; i++) {
            writer_add_string(&text, list.items[i]->key);
            writer_add_u64(&text, list.items[i]->content_hash);
        }
    }
    for (size_t i = 0; i < problems->count; i++) {
        kube_problem_format(&problems->items[i], &text);
    }
    uint64_t fingerprint = hash_bytes(writer_bytes(&text));
    writer_free(&text);
    return fingerprint;
}

static bool collect(struct kube_folder *folder)
{
    kube_problems_clear(&folder->problems);
    struct kube_store *base = collect_source(folder, &folder->base, folder->base_store);
    struct kube_store *overlay =
        folder->overlay.directory == NULL ? NULL : collect_source(folder, &folder->overlay, NULL);
    struct kube_store *store = lay_over(base, overlay);
    kube_store_free(overlay);
    kube_store_free(folder->base_store);
    kube_store_free(folder->store);
    folder->base_store = base;
    folder->store = store;
    uint64_t before = folder->fingerprint;
    folder->fingerprint = fingerprint_of(store, &folder->problems);
    return folder->fingerprint != before;
}

static bool scan(struct kube_folder *folder, bool is_patient)
{
    bool has_changed = folder_source_scan(&folder->base, is_patient);
    if (folder->overlay.directory != NULL) {
        has_changed = folder_source_scan(&folder->overlay, is_patient) || has_changed;
    }
    if (!has_changed && folder->has_scanned) {
        return false;
    }
    folder->has_scanned = true;
    return collect(folder);
}

bool kube_folder_scan(struct kube_folder *folder)
{
    return scan(folder, false);
}

const struct kube_store *kube_folder_store(const struct kube_folder *folder)
{
    return folder->store;
}

const struct kube_problems *kube_folder_problems(const struct kube_folder *folder)
{
    return &folder->problems;
}

/* ---- watching ---- */

static void watch_directories(struct kube_folder *folder, const struct folder_source *source)
{
    for (size_t i = 0; i < source->directory_count; i++) {
        folder_watch_directory(&folder->watch, source->directories[i]);
    }
}

static void plan_next_scan(struct kube_folder *folder)
{
    const struct folder_source *sources[] = { &folder->base, &folder->overlay };
    uint64_t delay_ms = POLL_MS;
    for (size_t i = 0; i < ARRAY_LENGTH(sources); i++) {
        if (sources[i]->directory == NULL) {
            continue;
        }
        watch_directories(folder, sources[i]);
        bool is_hard_to_watch = sources[i]->has_symbolic_links || sources[i]->problems.count > 0;
        if (is_hard_to_watch && delay_ms > POLL_SYMBOLIC_LINKS_MS) {
            delay_ms = POLL_SYMBOLIC_LINKS_MS;
        }
        if (sources[i]->wants_rescan) {
            delay_ms = POLL_UNSETTLED_MS;
        }
    }
    folder_watch_next(&folder->watch, delay_ms);
}

static void on_due(struct folder_watch *watch)
{
    struct kube_folder *folder = CONTAINER_OF(watch, struct kube_folder, watch);
    bool has_changed = scan(folder, true);
    plan_next_scan(folder);
    if (has_changed) {
        folder->on_change(folder->context);
    }
}

struct result kube_folder_watch(
    struct kube_folder *folder, struct loop *loop, void (*on_change)(void *context), void *context)
{
    folder->on_change = on_change;
    folder->context = context;
    folder->watch.on_due = on_due;
    RESULT_TRY(folder_watch_start(&folder->watch, loop));
    watch_directories(folder, &folder->base);
    if (folder->overlay.directory != NULL) {
        watch_directories(folder, &folder->overlay);
    }
    /* What changed between the last scan and now. */
    folder_watch_next(&folder->watch, 0);
    return result_ok();
}
