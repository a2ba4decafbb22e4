/* Listing a directory, reading its changed files, keeping the last good state of each. */
#include "kube/folder_source.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "kube/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIRECTORY_DEPTH_MAXIMUM 16
#define BEING_WRITTEN_NS (60 * (int64_t)NANOSECONDS_PER_MILLISECOND)
#define POSTPONED_MAXIMUM 5

void folder_source_initialise(struct folder_source *source, const char *directory)
{
    *source = (struct folder_source){ .directory = string_duplicate(directory), .files = hash_map_new() };
}

static void file_free(void *value)
{
    struct folder_file *file = value;
    memory_free(file->path);
    kube_read_file_free(&file->content);
    kube_problems_free(&file->problems);
    memory_free(file);
}

static void forget_directories(struct folder_source *source)
{
    for (size_t i = 0; i < source->directory_count; i++) {
        memory_free(source->directories[i]);
    }
    source->directory_count = 0;
}

void folder_source_free(struct folder_source *source)
{
    if (source->directory == NULL) {
        return;
    }
    forget_directories(source);
    memory_free(source->directories);
    hash_map_free(source->files, file_free);
    kube_problems_free(&source->problems);
    memory_free(source->directory);
    *source = (struct folder_source){ 0 };
}

static void report(struct kube_problems *problems, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void report(struct kube_problems *problems, const char *path, const char *format, ...)
{
    const struct kube_problem where = { .severity = KUBE_ERROR, .file = path };
    va_list arguments;
    va_start(arguments, format);
    kube_problems_add_list(problems, &where, format, arguments);
    va_end(arguments);
}

/* ---- one file ---- */

static struct hash_map *keys_of(const struct kube_read_file *content)
{
    struct hash_map *keys = hash_map_new();
    for (size_t i = 0; i < content->count; i++) {
        if (content->items[i].key != NULL) {
            hash_map_put(keys, bytes_of_string(content->items[i].key), &content->items[i]);
        }
    }
    return keys;
}

static void append_kept(struct kube_read_file *content, const struct kube_read_object *kept)
{
    if (content->count == content->capacity) {
        content->capacity = content->capacity == 0 ? 8 : content->capacity * 2;
        content->items = memory_resize(content->items, content->capacity, sizeof *content->items);
    }
    content->items[content->count++] =
        (struct kube_read_object){ string_duplicate(kept->key), kube_object_reference(kept->object) };
}

/* Invalid objects stay as they were. A document that does not say which object it is may be any of those that are
 * missing, and in a file that cannot be read every one may still be meant: those stay too. */
static void keep_last_good(struct kube_read_file *fresh, const struct kube_read_file *previous)
{
    bool may_hide_objects = fresh->is_unreadable;
    struct hash_map *previous_keys = keys_of(previous);
    for (size_t i = 0; i < fresh->count; i++) {
        struct kube_read_object *item = &fresh->items[i];
        may_hide_objects = may_hide_objects || item->key == NULL;
        if (item->key != NULL && item->object == NULL) {
            const struct kube_read_object *good = hash_map_get(previous_keys, bytes_of_string(item->key));
            item->object = good == NULL || good->object == NULL ? NULL : kube_object_reference(good->object);
        }
    }
    hash_map_free(previous_keys, NULL);
    if (!may_hide_objects) {
        return;
    }
    struct hash_map *fresh_keys = keys_of(fresh);
    for (size_t i = 0; i < previous->count; i++) {
        const struct kube_read_object *item = &previous->items[i];
        if (item->object != NULL && hash_map_get(fresh_keys, bytes_of_string(item->key)) == NULL) {
            append_kept(fresh, item);
        }
    }
    hash_map_free(fresh_keys, NULL);
}

static void set_identity(struct folder_file *file, const struct stat *status)
{
    file->identity.device = status->st_dev;
    file->identity.inode = status->st_ino;
    file->identity.size = (uint64_t)status->st_size;
    file->identity.modified_ns =
        (int64_t)status->st_mtim.tv_sec * (int64_t)NANOSECONDS_PER_SECOND + status->st_mtim.tv_nsec;
}

static bool has_identity(const struct folder_file *file, const struct stat *status)
{
    struct folder_file now = { 0 };
    set_identity(&now, status);
    return now.identity.device == file->identity.device && now.identity.inode == file->identity.inode &&
           now.identity.size == file->identity.size && now.identity.modified_ns == file->identity.modified_ns;
}

static bool was_written_just_now(const struct stat *status)
{
    struct folder_file now = { 0 };
    set_identity(&now, status);
    int64_t age_ns = clock_wall_ns() - now.identity.modified_ns;
    return age_ns >= 0 && age_ns < BEING_WRITTEN_NS;
}

static struct result read_descriptor(int descriptor, size_t size, struct writer *text)
{
    while (text->length <= KUBE_FILE_BYTES_MAXIMUM) {
        size_t room = size > text->length ? size - text->length + 1 : 4096;
        uint8_t *at = writer_reserve(text, room);
        ssize_t got = read(descriptor, at, room);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return result_system(errno, "could not be read");
        }
        if (got == 0) {
            return result_ok();
        }
        text->length += (size_t)got;
    }
    return result_fail(RESULT_LIMIT, "larger than %u bytes", KUBE_FILE_BYTES_MAXIMUM);
}

static struct result read_text(const char *path, const struct stat *status, struct writer *text)
{
    if ((uint64_t)status->st_size > KUBE_FILE_BYTES_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "larger than %u bytes", KUBE_FILE_BYTES_MAXIMUM);
    }
    /* It was a regular file a moment ago; should it be a pipe by now, do not wait for a writer. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return result_system(errno, "could not be opened");
    }
    struct result result = read_descriptor(descriptor, (size_t)status->st_size, text);
    close(descriptor);
    return result;
}

static void read_changed_file(struct folder_source *source, struct folder_file *file, const struct stat *status)
{
    struct kube_read_file fresh = { 0 };
    struct writer text = writer_growing();
    kube_problems_clear(&file->problems);
    struct result result = read_text(file->path, status, &text);
    if (result_is_ok(&result)) {
        kube_read_file_parse(file->path, writer_bytes(&text), &fresh, &file->problems);
    } else {
        fresh.is_unreadable = true;
        report(&file->problems, file->path, "%s", result.message);
    }
    writer_free(&text);
    keep_last_good(&fresh, &file->content);
    kube_read_file_free(&file->content);
    file->content = fresh;

    /* Two writes within one tick of the file system's clock look alike: what is this young is read once more. */
    struct stat now;
    bool is_settled = stat(file->path, &now) == 0 && !was_written_just_now(&now);
    set_identity(file, status);
    if (!is_settled) {
        file->identity.modified_ns = 0;
        source->wants_rescan = true;
    }
}

/* True when it was read. */
static bool visit_file(struct folder_source *source, const char *path, const struct stat *status, bool is_patient)
{
    struct folder_file *file = hash_map_get(source->files, bytes_of_string(path));
    if (file == NULL) {
        if (hash_map_count(source->files) == KUBE_FILES_MAXIMUM) {
            report(&source->problems, path, "too many files; this one is not read");
            return false;
        }
        file = NEW(struct folder_file);
        file->path = string_duplicate(path);
        hash_map_put(source->files, bytes_of_string(path), file);
    }
    file->is_listed = true;
    if (has_identity(file, status)) {
        return false;
    }
    if (is_patient && was_written_just_now(status) && file->postponed < POSTPONED_MAXIMUM) {
        file->postponed++;
        source->wants_rescan = true;
        return false;
    }
    file->postponed = 0;
    read_changed_file(source, file, status);
    return true;
}

/* ---- the directory ---- */

struct visit {
    struct folder_source *source;
    bool is_patient;
    bool has_changed;
    struct stat ancestors[DIRECTORY_DEPTH_MAXIMUM];
};

static bool is_configuration(const char *name)
{
    return text_ends_with(name, ".yaml") || text_ends_with(name, ".yml") || text_ends_with(name, ".json");
}

static void remember_directory(struct folder_source *source, const char *path)
{
    if (source->directory_count == source->directory_capacity) {
        source->directory_capacity = source->directory_capacity == 0 ? 8 : source->directory_capacity * 2;
        source->directories = memory_resize(source->directories, source->directory_capacity, sizeof(char *));
    }
    source->directories[source->directory_count++] = string_duplicate(path);
}

/* What was read below a directory that cannot be listed now stays. */
static void keep_files_below(struct folder_source *source, const char *directory)
{
    size_t length = strlen(directory);
    size_t position = 0;
    void *value;
    struct bytes key;
    while (hash_map_next(source->files, &position, &key, &value)) {
        struct folder_file *file = value;
        bool is_below = strncmp(file->path, directory, length) == 0 && file->path[length] == '/';
        file->is_listed = file->is_listed || is_below;
    }
}

static void visit_directory(struct visit *visit, const char *path, size_t depth);

static void visit_entry(struct visit *visit, const char *directory, const char *name, size_t depth)
{
    char *AUTO_FREE path = string_format("%s/%s", directory, name);
    struct stat status;
    if (lstat(path, &status) != 0) {
        return; /* gone since it was listed */
    }
    if (S_ISLNK(status.st_mode)) {
        visit->source->has_symbolic_links = true;
        if (stat(path, &status) != 0) {
            if (is_configuration(name)) {
                report(&visit->source->problems, path, "is a symbolic link to nothing");
                keep_files_below(visit->source, directory);
            }
            return;
        }
    }
    if (S_ISDIR(status.st_mode)) {
        visit_directory(visit, path, depth + 1);
    } else if (S_ISREG(status.st_mode) && is_configuration(name)) {
        visit->has_changed = visit_file(visit->source, path, &status, visit->is_patient) || visit->has_changed;
    }
}

static bool is_circle(const struct visit *visit, const struct stat *status, size_t depth)
{
    for (size_t i = 0; i < depth; i++) {
        if (visit->ancestors[i].st_dev == status->st_dev && visit->ancestors[i].st_ino == status->st_ino) {
            return true;
        }
    }
    return false;
}

static void visit_directory(struct visit *visit, const char *path, size_t depth)
{
    if (depth == DIRECTORY_DEPTH_MAXIMUM) {
        report(&visit->source->problems, path, "nested too deeply; this directory is not read");
        return;
    }
    if (stat(path, &visit->ancestors[depth]) == 0 && is_circle(visit, &visit->ancestors[depth], depth)) {
        return;
    }
    DIR *stream = opendir(path);
    if (stream == NULL) {
        struct result result = result_system(errno, "this directory cannot be read");
        report(&visit->source->problems, path, "%s", result.message);
        keep_files_below(visit->source, path);
        return;
    }
    remember_directory(visit->source, path);
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (entry->d_name[0] != '.') { /* hidden: ..data of a ConfigMap volume, editors' swap and lock files */
            visit_entry(visit, path, entry->d_name, depth);
        }
    }
    closedir(stream);
}

static bool forget_missing_files(struct folder_source *source)
{
    bool has_changed = false;
    size_t position = 0;
    void *value;
    struct bytes key;
    while (hash_map_next(source->files, &position, &key, &value)) {
        struct folder_file *file = value;
        if (!file->is_listed) {
            hash_map_remove(source->files, key);
            file_free(file);
            has_changed = true;
        }
    }
    return has_changed;
}

bool folder_source_scan(struct folder_source *source, bool is_patient)
{
    size_t position = 0;
    void *value;
    struct bytes key;
    while (hash_map_next(source->files, &position, &key, &value)) {
        ((struct folder_file *)value)->is_listed = false;
    }
    size_t problems_before = source->problems.count;
    kube_problems_clear(&source->problems);
    forget_directories(source);
    source->wants_rescan = false;
    struct stat status;
    source->has_symbolic_links = lstat(source->directory, &status) != 0 || S_ISLNK(status.st_mode);

    struct visit *visit = NEW(struct visit);
    visit->source = source;
    visit->is_patient = is_patient;
    visit_directory(visit, source->directory, 0);
    bool has_changed = visit->has_changed;
    memory_free(visit);
    has_changed = forget_missing_files(source) || has_changed;
    return has_changed || problems_before + source->problems.count > 0;
}

static int compare_paths(const void *left, const void *right)
{
    return strcmp((*(const struct folder_file *const *)left)->path, (*(const struct folder_file *const *)right)->path);
}

struct folder_file **folder_source_files(const struct folder_source *source, size_t *count)
{
    struct folder_file **files = memory_allocate((hash_map_count(source->files) + 1) * sizeof *files);
    size_t position = 0;
    void *value;
    struct bytes key;
    *count = 0;
    while (hash_map_next(source->files, &position, &key, &value)) {
        files[(*count)++] = value;
    }
    qsort(files, *count, sizeof(struct folder_file *), compare_paths);
    return files;
}
