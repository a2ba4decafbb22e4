/* From the text of one file to the objects in it. */
#include "kube/kinds.h"
#include "kube/object.h"
#include "kube/problem.h"

#include "base/memory.h"
#include "base/text.h"

#define LIST_DEPTH_MAXIMUM 2

struct reader {
    const char *name;
    struct kube_read_file *file;
    struct kube_problems *problems;
    const struct yaml_document *document;
    struct arena texts; /* of one file's messages */
};

static void report(struct reader *reader, enum kube_severity severity, uint32_t line, const char *object,
    const char *field, const char *format, ...) __attribute__((format(printf, 6, 7)));
static void report(struct reader *reader, enum kube_severity severity, uint32_t line, const char *object,
    const char *field, const char *format, ...)
{
    const struct kube_problem where = { severity, reader->name, line, object, field, NULL };
    va_list arguments;
    va_start(arguments, format);
    kube_problems_add_list(reader->problems, &where, format, arguments);
    va_end(arguments);
}

/* `key` and `object` may be NULL. */
static void add_item(struct reader *reader, const char *key, struct kube_object *object)
{
    struct kube_read_file *file = reader->file;
    if (file->count == file->capacity) {
        file->capacity = file->capacity == 0 ? 8 : file->capacity * 2;
        file->items = memory_resize(file->items, file->capacity, sizeof *file->items);
    }
    file->items[file->count++] = (struct kube_read_object){ key == NULL ? NULL : string_duplicate(key), object };
}

/* ---- what an object is ---- */

static const char *text_of(const struct yaml_node *node)
{
    return node != NULL && node->kind == YAML_STRING ? node->text : "";
}

/* RFC 1123: labels of small letters, digits and inner hyphens, joined by dots where `allows_dots`. */
static bool is_dns_name(const char *text, bool allows_dots, size_t maximum)
{
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        bool is_alphanumeric = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');
        bool is_inner = i > 0 && i + 1 < length;
        if (text[i] == '-' && is_inner && text[i - 1] != '.' && text[i + 1] != '.') {
            continue;
        }
        if (text[i] == '.' && is_inner && allows_dots && text[i - 1] != '.') {
            continue;
        }
        if (!is_alphanumeric) {
            return false;
        }
    }
    return length > 0 && length <= maximum;
}

static bool has_version(const struct kube_kind_description *description, const char *version)
{
    for (size_t i = 0; description->versions[i] != NULL; i++) {
        if (strcmp(description->versions[i], version) == 0) {
            return true;
        }
    }
    return false;
}

/* ConfigMaps are many; the mesh's is called `istio` or, of a revision, `istio-<revision>` and has data.mesh. */
static bool is_mesh_config(const struct yaml_node *node)
{
    const char *name = text_of(yaml_get(yaml_get(node, "metadata"), "name"));
    bool has_mesh = yaml_get(yaml_get(node, "data"), "mesh") != NULL;
    return strcmp(name, "istio") == 0 || (text_starts_with(name, "istio-") && has_mesh);
}

/* Istio's kinds that the ambient index does not read. Any other name in these groups is a misspelling. */
static bool is_known_elsewhere(const char *group, const char *kind)
{
    static const char *const security[] = { "RequestAuthentication" };
    static const char *const networking[] = { "VirtualService", "DestinationRule", "Gateway", "Sidecar", "EnvoyFilter",
        "ProxyConfig", "WorkloadGroup" };
    bool is_security = strcmp(group, "security.istio.io") == 0;
    const char *const *names = is_security ? security : networking;
    size_t count = is_security ? ARRAY_LENGTH(security) : ARRAY_LENGTH(networking);
    if (!is_security && strcmp(group, "networking.istio.io") != 0) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], kind) == 0) {
            return true;
        }
    }
    return false;
}

static const struct kube_kind_description *find_kind(const char *group, const char *kind, enum kube_kind *found)
{
    for (int i = 0; i < KUBE_KIND_COUNT; i++) {
        const struct kube_kind_description *description = kube_kind_describe((enum kube_kind)i);
        if (strcmp(description->name, kind) == 0 && strcmp(description->group, group) == 0) {
            *found = (enum kube_kind)i;
            return description;
        }
    }
    return NULL;
}

/* Which of our kinds the document is; NULL when none, which has then been said. */
static const struct kube_kind_description *identify_kind(
    struct reader *reader, const struct yaml_node *node, enum kube_kind *kind)
{
    const char *api_version = text_of(yaml_get(node, "apiVersion"));
    const char *kind_name = text_of(yaml_get(node, "kind"));
    if (api_version[0] == '\0' || kind_name[0] == '\0') {
        const char *missing = kind_name[0] == '\0' ? "kind" : "apiVersion";
        report(reader, KUBE_ERROR, node->line, "", missing, "is required: every object says what it is");
        add_item(reader, NULL, NULL);
        return NULL;
    }
    const char *slash = strchr(api_version, '/');
    const char *group =
        slash == NULL ? "" : arena_string_bytes(&reader->texts, bytes_of(api_version, (size_t)(slash - api_version)));
    const char *version = slash == NULL ? api_version : slash + 1;
    const struct kube_kind_description *description = find_kind(group, kind_name, kind);
    if (description != NULL && *kind == KUBE_MESH_CONFIG && !is_mesh_config(node)) {
        return NULL;
    }
    if (description == NULL && is_known_elsewhere(group, kind_name)) {
        report(reader, KUBE_NOTICE, node->line, "", "kind", "%s of %s is not read here", kind_name, api_version);
        return NULL;
    }
    if (description == NULL || !has_version(description, version)) {
        report(reader, KUBE_ERROR, node->line, "", description == NULL ? "kind" : "apiVersion",
            "%s of %s does not exist", kind_name, api_version);
        add_item(reader, NULL, NULL);
        return NULL;
    }
    return description;
}

/* ---- one object ---- */

/* Kubernetes labels each namespace with its own name. */
static void label_namespace(struct kube_object *object)
{
    struct kube_label own = { "kubernetes.io/metadata.name", object->metadata.name };
    const struct kube_labels labels = { &own, 1 };
    object->metadata.labels = kube_labels_overlay(&object->arena, &object->metadata.labels, &labels);
}

static bool decode_object(struct reader *reader, const struct kube_kind_description *description,
    const struct yaml_node *node, const char *title, struct kube_object *object)
{
    struct kube_decode decode = {
        .arena = &object->arena,
        .problems = reader->problems,
        .file = reader->name,
        .object = title,
        .namespace_ = object->metadata.namespace_,
        .path = writer_growing(),
    };
    bool is_valid = kube_decode_value(&decode, description->schema, node, object);
    writer_free(&decode.path);
    return is_valid;
}

static bool check_names(struct reader *reader, const struct yaml_node *metadata, const char *title, const char *name,
    const char *namespace_)
{
    uint32_t line = metadata == NULL ? 0 : metadata->line;
    const struct yaml_node *at_name = yaml_get(metadata, "name");
    const struct yaml_node *at_namespace = yaml_get(metadata, "namespace");
    if (!is_dns_name(name, true, 253)) {
        report(reader, KUBE_ERROR, at_name == NULL ? line : at_name->line, title, "metadata.name",
            "\"%s\" is no name (%s)", name, "small letters, digits, hyphens and dots");
        return false;
    }
    if (namespace_[0] != '\0' && !is_dns_name(namespace_, false, 63)) {
        report(reader, KUBE_ERROR, at_namespace == NULL ? line : at_namespace->line, title, "metadata.namespace",
            "\"%s\" is no name of a namespace", namespace_);
        return false;
    }
    return true;
}

static bool check_duplicate_key(struct reader *reader, const char *title)
{
    if (reader->document->duplicate_key == NULL) {
        return true;
    }
    report(reader, KUBE_ERROR, reader->document->duplicate_line, title, "", "the key %s is there twice",
        reader->document->duplicate_key);
    return false;
}

static void read_object(struct reader *reader, const struct yaml_node *node)
{
    enum kube_kind kind;
    const struct kube_kind_description *description = identify_kind(reader, node, &kind);
    if (description == NULL) {
        return;
    }
    const struct yaml_node *metadata = yaml_get(node, "metadata");
    const struct yaml_node *name_node = yaml_get(metadata, "name");
    const char *name = text_of(name_node);
    if (name[0] == '\0') {
        report(reader, KUBE_ERROR, name_node != NULL ? name_node->line : node->line, description->name, "metadata.name",
            "is required and must be a string");
        add_item(reader, NULL, NULL);
        return;
    }
    const char *given = text_of(yaml_get(metadata, "namespace"));
    const char *namespace_ = !description->is_namespaced ? "" : given[0] == '\0' ? "default" : given;
    const char *key = arena_format(&reader->texts, "%s/%s/%s", description->name, namespace_, name);
    const char *title = arena_format(
        &reader->texts, "%s %s%s%s", description->name, namespace_, namespace_[0] == '\0' ? "" : "/", name);

    struct kube_object *object = memory_allocate_zeroed(1, description->schema->size);
    object->kind = kind;
    object->references = 1;
    object->metadata.namespace_ = namespace_;
    bool is_valid = check_names(reader, metadata, title, name, namespace_) && check_duplicate_key(reader, title) &&
                    decode_object(reader, description, node, title, object);
    if (!is_valid) {
        kube_object_release(object);
        add_item(reader, key, NULL);
        return;
    }
    object->metadata.namespace_ = arena_string(&object->arena, namespace_);
    object->key = arena_string(&object->arena, key);
    object->file = arena_string(&object->arena, reader->name);
    object->line = node->line;
    object->content_hash = yaml_hash(node);
    if (kind == KUBE_NAMESPACE) {
        label_namespace(object);
    }
    add_item(reader, key, object);
}

/* ---- documents ---- */

static void read_node(struct reader *reader, const struct yaml_node *node, unsigned list_depth)
{
    if (node->kind != YAML_MAPPING) {
        report(
            reader, KUBE_ERROR, node->line, "", "", "an object must be a mapping, not %s", yaml_kind_name(node->kind));
        add_item(reader, NULL, NULL);
        return;
    }
    const struct yaml_node *items = yaml_get(node, "items");
    if (!text_ends_with(text_of(yaml_get(node, "kind")), "List") || items == NULL) {
        read_object(reader, node);
        return;
    }
    if (items->kind != YAML_SEQUENCE || list_depth == LIST_DEPTH_MAXIMUM) {
        report(reader, KUBE_ERROR, items->line, "", "items",
            items->kind != YAML_SEQUENCE ? "must be a list" : "lists in lists in lists are not read");
        add_item(reader, NULL, NULL);
        return;
    }
    for (size_t i = 0; i < items->children.count; i++) {
        read_node(reader, items->children.items[i].value, list_depth + 1);
    }
}

void kube_read_file_parse(
    const char *name, struct bytes text, struct kube_read_file *file, struct kube_problems *problems)
{
    *file = (struct kube_read_file){ 0 };
    struct reader reader = { .name = name, .file = file, .problems = problems };
    struct yaml_stream stream;
    struct result result = yaml_parse(text, text_ends_with(name, ".json"), &stream);
    if (!result_is_ok(&result)) {
        file->is_unreadable = true;
        report(&reader, KUBE_ERROR, stream.error_line, "", "", "%s", result.message);
    }
    for (size_t i = 0; i < stream.count && !file->is_unreadable; i++) {
        reader.document = &stream.documents[i];
        read_node(&reader, stream.documents[i].root, 0);
    }
    yaml_stream_free(&stream);
    arena_free(&reader.texts);
}

void kube_read_file_free(struct kube_read_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        memory_free(file->items[i].key);
        kube_object_release(file->items[i].object);
    }
    memory_free(file->items);
    *file = (struct kube_read_file){ 0 };
}
