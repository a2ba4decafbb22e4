#include "cni/enrolment_store.h"

#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cni/file.h"
#include "kube/yaml.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#define TARGET "cni::store"
#define STATE_BYTES_MAXIMUM 65536
#define STATE_SUFFIX ".json"

/* Neither part of the name can hold a `_`, so the pair is never ambiguous. */
static char *file_path(const char *directory, const struct enrolment *enrolment, const char *suffix)
{
    return string_format("%s/%s_%s%s", directory, enrolment->namespace_, enrolment->name, suffix);
}

static struct result lock_state(struct enrolment_store *store)
{
    char *AUTO_FREE path = string_format("%s/.lock", store->state_directory);
    store->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock < 0) {
        return result_system(errno, "opening %s", path);
    }
    if (flock(store->lock, LOCK_EX | LOCK_NB) != 0) {
        return result_fail(RESULT_UNAVAILABLE, "%s: another agent uses this state directory", store->state_directory);
    }
    return result_ok();
}

struct result enrolment_store_open(
    struct enrolment_store *store, const char *state_directory, const char *overlay_directory)
{
    *store = (struct enrolment_store){ state_directory, overlay_directory, -1 };
    RESULT_TRY(directory_make(state_directory, 0700));
    if (overlay_directory != NULL) {
        RESULT_TRY(directory_make(overlay_directory, 0755));
    }
    return lock_state(store);
}

void enrolment_store_close(struct enrolment_store *store)
{
    if (store->lock >= 0) {
        (void)close(store->lock);
        store->lock = -1;
    }
}

static struct result parse_state(struct bytes text, struct enrolment *enrolment)
{
    struct yaml_stream stream;
    struct result result = yaml_parse(text, true, &stream);
    if (result_is_ok(&result)) {
        result = stream.count == 1 ? enrolment_from_json(stream.documents[0].root, enrolment)
                                   : result_fail(RESULT_INVALID, "not one JSON object");
    }
    yaml_stream_free(&stream);
    if (result_is_ok(&result) && enrolment->uid == NULL) {
        return result_fail(RESULT_INVALID, "uid: missing");
    }
    return result;
}

static struct result load_file(const char *path, struct enrolment_table *table)
{
    struct writer text = writer_growing();
    struct enrolment *enrolment = enrolment_new();
    struct result result = file_read(path, STATE_BYTES_MAXIMUM, &text);
    if (result_is_ok(&result)) {
        result = parse_state(writer_bytes(&text), enrolment);
    }
    writer_free(&text);
    if (result_is_ok(&result)) {
        enrolment_table_put(table, enrolment);
    } else {
        enrolment_free(enrolment);
    }
    return result;
}

struct result enrolment_store_load(struct enrolment_store *store, struct enrolment_table *table)
{
    const struct dirent *entry;
    DIR *directory = opendir(store->state_directory);
    if (directory == NULL) {
        return result_system(errno, "reading %s", store->state_directory);
    }
    while ((entry = readdir(directory)) != NULL && enrolment_table_count(table) < ENROLMENTS_MAXIMUM) {
        if (entry->d_name[0] == '.' || !text_ends_with(entry->d_name, STATE_SUFFIX)) {
            continue;
        }
        char *AUTO_FREE path = string_format("%s/%s", store->state_directory, entry->d_name);
        struct result result = load_file(path, table);
        if (!result_is_ok(&result)) {
            LOG_EVENT(LOG_ERROR, TARGET, "state file is passed over", LOG_STRING("file", path),
                LOG_STRING("error", result.message));
        }
    }
    (void)closedir(directory);
    return result_ok();
}

struct result enrolment_store_save(struct enrolment_store *store, const struct enrolment *enrolment)
{
    char *AUTO_FREE path = file_path(store->state_directory, enrolment, STATE_SUFFIX);
    struct writer text = writer_growing();
    struct json_writer json = json_writer_of(&text, true);
    json_write_object_begin(&json);
    enrolment_write_members(enrolment, &json);
    json_write_object_end(&json);
    writer_add_string(&text, "\n");
    struct result result = file_replace(path, writer_bytes(&text), 0600);
    writer_free(&text);
    return result;
}

struct result enrolment_store_forget(struct enrolment_store *store, const struct enrolment *enrolment)
{
    char *AUTO_FREE path = file_path(store->state_directory, enrolment, STATE_SUFFIX);
    return file_remove(path);
}

struct result enrolment_store_write_overlay(struct enrolment_store *store, const struct enrolment *enrolment)
{
    if (store->overlay_directory == NULL) {
        return result_ok();
    }
    char *AUTO_FREE path = file_path(store->overlay_directory, enrolment, ".yaml");
    struct writer text = writer_growing();
    /* Quoted, because a pod may be called `null` or `1`. */
    writer_print(&text,
        "# Made by ambar-cni: this pod's traffic is captured. Laid over the Pod of the same name.\n"
        "apiVersion: v1\n"
        "kind: Pod\n"
        "metadata:\n"
        "  name: \"%s\"\n"
        "  namespace: \"%s\"\n"
        "  annotations:\n"
        "    ambient.istio.io/redirection: enabled\n",
        enrolment->name, enrolment->namespace_);
    struct result result = file_replace(path, writer_bytes(&text), 0644);
    writer_free(&text);
    return result;
}

struct result enrolment_store_remove_overlay(struct enrolment_store *store, const struct enrolment *enrolment)
{
    if (store->overlay_directory == NULL) {
        return result_ok();
    }
    char *AUTO_FREE path = file_path(store->overlay_directory, enrolment, ".yaml");
    return file_remove(path);
}
