#include "xds/local_file.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/writer.h"
#include "xds/local_file_internal.h"
#include "xds/yaml_sections.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* More than any mesh this reads; a wrong path (a device, say) must not fill the memory. */
#define PIECE_BYTES ((size_t)64 * 1024) /* of the file, parsed at a time */
#define LOCAL_FILE_MAXIMUM_BYTES (256U * 1024 * 1024)

/* Objects wait here until the whole document is known to be good. */
struct pending_objects {
    void **items;
    size_t count;
    size_t capacity;
};

struct local_file {
    struct pending_objects workloads, services, policies;
};

static void *read_workload(struct yaml_reader *reader, struct fy_node *node)
{
    return local_workload_read(reader, node);
}

static void *read_service(struct yaml_reader *reader, struct fy_node *node)
{
    return local_service_read(reader, node);
}

static void *read_policy(struct yaml_reader *reader, struct fy_node *node)
{
    return local_policy_read(reader, node);
}

static void append(struct pending_objects *objects, void *object)
{
    if (objects->count == objects->capacity) {
        objects->capacity = objects->capacity == 0 ? 16 : 2 * objects->capacity;
        objects->items = memory_resize(objects->items, objects->capacity, sizeof *objects->items);
    }
    objects->items[objects->count++] = object;
}

/* Behind those that are there already. */
static bool read_objects(struct yaml_reader *reader, struct fy_node *node, const char *section,
    void *(*read)(struct yaml_reader *reader, struct fy_node *node), struct pending_objects *objects)
{
    size_t count;
    if (!yaml_sequence(reader, node, &count)) {
        return false;
    }
    void *position = NULL;
    struct fy_node *item;
    while ((item = fy_node_sequence_iterate(node, &position)) != NULL) {
        reader->section = section;
        reader->position = objects->count;
        void *object = read(reader, item);
        arena_free(&reader->arena);
        if (object == NULL) {
            return false;
        }
        append(objects, object);
    }
    reader->section = NULL;
    return true;
}

static bool read_workloads(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    return read_objects(reader, node, "workloads", read_workload, target);
}

static bool read_services(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    return read_objects(reader, node, "services", read_service, target);
}

static bool read_policies(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    return read_objects(reader, node, "policies", read_policy, target);
}

static const struct yaml_key file_keys[] = {
    { "workloads", read_workloads, offsetof(struct local_file, workloads), false },
    { "policies", read_policies, offsetof(struct local_file, policies), false },
    { "services", read_services, offsetof(struct local_file, services), false },
};

static void add_to_change(const struct local_file *file, struct mesh_change *change)
{
    for (size_t i = 0; i < file->workloads.count; i++) {
        mesh_change_upsert_workload(change, file->workloads.items[i]);
    }
    for (size_t i = 0; i < file->services.count; i++) {
        mesh_change_upsert_service(change, file->services.items[i]);
    }
    for (size_t i = 0; i < file->policies.count; i++) {
        mesh_change_upsert_policy(change, file->policies.items[i]);
    }
}

static void release_objects(const struct local_file *file)
{
    for (size_t i = 0; i < file->workloads.count; i++) {
        workload_release(file->workloads.items[i]);
    }
    for (size_t i = 0; i < file->services.count; i++) {
        service_release(file->services.items[i]);
    }
    for (size_t i = 0; i < file->policies.count; i++) {
        policy_release(file->policies.items[i]);
    }
}

static const struct yaml_key *find_key(struct bytes name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(file_keys); i++) {
        if (bytes_equal_string(name, file_keys[i].name)) {
            return &file_keys[i];
        }
    }
    return NULL;
}

/* Whether all of the text can be read piece by piece: known keys, none twice, and only lists in block style. */
static bool is_in_sections(struct bytes text)
{
    struct yaml_sections sections = yaml_sections_of(text);
    struct yaml_piece piece;
    struct bytes seen[ARRAY_LENGTH(file_keys)];
    size_t seen_count = 0;
    enum yaml_sections_event event;
    while ((event = yaml_sections_next(&sections, SIZE_MAX, &piece)) == YAML_SECTIONS_PIECE) {
        for (size_t i = 0; i < seen_count; i++) {
            if (bytes_equal(seen[i], piece.section)) {
                return false;
            }
        }
        if (find_key(piece.section) == NULL) {
            return false;
        }
        seen[seen_count++] = piece.section;
    }
    return event == YAML_SECTIONS_END && seen_count > 0;
}

static void read_pieces(struct yaml_reader *reader, struct bytes text, struct local_file *file)
{
    struct yaml_sections sections = yaml_sections_of(text);
    struct yaml_piece piece;
    bool is_good = true;
    while (is_good && yaml_sections_next(&sections, PIECE_BYTES, &piece) == YAML_SECTIONS_PIECE) {
        const struct yaml_key *key = find_key(piece.section);
        reader->lines_before = piece.lines_before;
        struct fy_document *document = yaml_reader_parse(reader, piece.text);
        is_good = document != NULL && key->read(reader, fy_document_root(document), (char *)file + key->offset);
        if (document != NULL) {
            fy_document_destroy(document);
        }
    }
}

static void read_whole(struct yaml_reader *reader, struct bytes text, struct local_file *file)
{
    struct fy_document *document = yaml_reader_parse(reader, text);
    if (document == NULL) {
        return;
    }
    struct fy_node *root = fy_document_root(document);
    if (!yaml_is_null(root)) {
        (void)yaml_mapping(reader, root, file_keys, ARRAY_LENGTH(file_keys), NULL, file);
    }
    fy_document_destroy(document);
}

struct result local_file_load(
    struct bytes text, const char *source_name, struct mesh_change *change, struct local_file_counts *counts)
{
    struct yaml_reader reader = { .source_name = source_name };
    struct local_file file = { 0 };
    if (is_in_sections(text)) {
        read_pieces(&reader, text, &file);
    } else {
        read_whole(&reader, text, &file);
    }
    if (result_is_ok(&reader.error)) {
        add_to_change(&file, change);
        *counts = (struct local_file_counts){ file.workloads.count, file.policies.count, file.services.count };
    } else {
        release_objects(&file);
    }
    memory_free(file.workloads.items);
    memory_free(file.services.items);
    memory_free(file.policies.items);
    arena_free(&reader.arena);
    return reader.error;
}

static struct result read_all(int file, const char *path, struct writer *out)
{
    for (;;) {
        uint8_t *room = writer_reserve(out, 64 * 1024);
        ssize_t got = read(file, room, 64 * 1024);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return result_system(errno, "LOCAL_XDS_PATH=%s: cannot be read", path);
        }
        if (got == 0) {
            return result_ok();
        }
        out->length += (size_t)got;
        if (out->length > LOCAL_FILE_MAXIMUM_BYTES) {
            return result_fail(RESULT_LIMIT, "LOCAL_XDS_PATH=%s: larger than %u bytes", path, LOCAL_FILE_MAXIMUM_BYTES);
        }
    }
}

static struct result read_file(const char *path, struct writer *out)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return result_system(errno, "LOCAL_XDS_PATH=%s: cannot be opened", path);
    }
    struct result result = read_all(file, path, out);
    close(file);
    return result;
}

struct result local_file_initialise(const char *path, const char *text, struct mesh_change *change)
{
    if (path != NULL && text != NULL) {
        return result_fail(RESULT_INVALID, "only one of LOCAL_XDS_PATH or LOCAL_XDS may be set");
    }
    struct local_file_counts counts = { 0 };
    struct writer contents = writer_growing();
    struct result result = result_ok();
    if (path != NULL) {
        result = read_file(path, &contents);
    }
    if (result_is_ok(&result)) {
        struct bytes document = path != NULL ? writer_bytes(&contents) : bytes_of_string(text != NULL ? text : "");
        result = local_file_load(document, path != NULL ? path : "LOCAL_XDS", change, &counts);
    }
    writer_free(&contents);
    if (result_is_ok(&result)) {
        LOG_EVENT(LOG_INFO, "ztunnel::xds", "local config initialized", LOG_NUMBER("num_workloads", counts.workloads),
            LOG_NUMBER("num_policies", counts.policies));
    }
    return result;
}
