#include "ztunnel/proxy_configuration.h"

#include "base/memory.h"
#include "base/text.h"
#include "xds/yaml_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define METADATA_PREFIX "ISTIO_META_"
#define METADATA_MAXIMUM 1024
#define MESH_FILE_MAXIMUM_BYTES (1024 * 1024)

static struct proxy_metadata *find(const struct proxy_configuration *configuration, const char *key, size_t *position)
{
    size_t at = 0;
    while (at < configuration->metadata_count && strcmp(configuration->metadata[at].key, key) < 0) {
        at++;
    }
    *position = at;
    bool is_there = at < configuration->metadata_count && strcmp(configuration->metadata[at].key, key) == 0;
    return is_there ? &configuration->metadata[at] : NULL;
}

static bool set_metadata(struct proxy_configuration *configuration, const char *key, const char *value)
{
    size_t position;
    struct proxy_metadata *existing = find(configuration, key, &position);
    if (existing != NULL) {
        memory_free(existing->value);
        existing->value = string_duplicate(value);
        return true;
    }
    if (configuration->metadata_count == METADATA_MAXIMUM) {
        return false;
    }
    configuration->metadata =
        memory_resize(configuration->metadata, configuration->metadata_count + 1, sizeof *configuration->metadata);
    memmove(&configuration->metadata[position + 1], &configuration->metadata[position],
        (configuration->metadata_count - position) * sizeof *configuration->metadata);
    configuration->metadata[position] = (struct proxy_metadata){ string_duplicate(key), string_duplicate(value) };
    configuration->metadata_count++;
    return true;
}

const char *proxy_configuration_metadata(const struct proxy_configuration *configuration, const char *key)
{
    size_t position;
    const struct proxy_metadata *entry = find(configuration, key, &position);
    return entry != NULL ? entry->value : NULL;
}

static bool read_discovery_address(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct proxy_configuration *configuration = target;
    struct bytes text;
    if (!yaml_text(reader, node, &text)) {
        return false;
    }
    memory_free(configuration->discovery_address);
    configuration->discovery_address = string_duplicate((const char *)text.data);
    return true;
}

static bool read_admin_port(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct proxy_configuration *configuration = target;
    configuration->has_admin_port = true;
    return yaml_port(reader, node, &configuration->admin_port);
}

static bool read_stats_port(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct proxy_configuration *configuration = target;
    configuration->has_stats_port = true;
    return yaml_port(reader, node, &configuration->stats_port);
}

static bool read_concurrency(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct proxy_configuration *configuration = target;
    configuration->has_concurrency = true;
    return yaml_port(reader, node, &configuration->concurrency);
}

/* Keys lose a leading ISTIO_META_: mesh configurations are written with and without it. */
static bool read_metadata(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    struct proxy_configuration *configuration = target;
    size_t count;
    if (!yaml_pairs(reader, node, &count)) {
        return false;
    }
    void *position = NULL;
    struct fy_node_pair *pair;
    while ((pair = fy_node_mapping_iterate(node, &position)) != NULL) {
        struct bytes key;
        struct bytes value;
        if (!yaml_text(reader, fy_node_pair_key(pair), &key) || !yaml_text(reader, fy_node_pair_value(pair), &value)) {
            return false;
        }
        const char *name = (const char *)key.data;
        if (text_starts_with(name, METADATA_PREFIX)) {
            name += strlen(METADATA_PREFIX);
        }
        if (!set_metadata(configuration, name, (const char *)value.data)) {
            return yaml_fail(reader, node, "more than %d entries in proxyMetadata", METADATA_MAXIMUM);
        }
    }
    return true;
}

static const struct yaml_key PROXY_KEYS[] = {
    { "discoveryAddress", read_discovery_address, 0, false },
    { "proxyAdminPort", read_admin_port, 0, false },
    { "statsPort", read_stats_port, 0, false },
    { "concurrency", read_concurrency, 0, false },
    { "proxyMetadata", read_metadata, 0, true },
};

static bool read_proxy(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    return yaml_mapping(reader, node, PROXY_KEYS, ARRAY_LENGTH(PROXY_KEYS), yaml_ignore_key, target);
}

static const struct yaml_key MESH_KEYS[] = { { "defaultConfig", read_proxy, 0, false } };

static bool read_mesh(struct yaml_reader *reader, struct fy_node *node, void *target)
{
    return yaml_mapping(reader, node, MESH_KEYS, ARRAY_LENGTH(MESH_KEYS), yaml_ignore_key, target);
}

static struct result read_text(
    const char *source_name, struct bytes text, yaml_read *read, struct proxy_configuration *configuration)
{
    struct yaml_reader reader = { .source_name = source_name };
    struct fy_document *document = yaml_reader_parse(&reader, text);
    if (document != NULL) {
        if (yaml_resolve_aliases(&reader, document)) {
            (void)read(&reader, fy_document_root(document), configuration);
        }
        fy_document_destroy(document);
    }
    arena_free(&reader.arena);
    return reader.error;
}

/* The whole file; one byte more than may be is enough to see that it is too large. */
static struct result read_file(int descriptor, char *text, size_t capacity, size_t *length)
{
    *length = 0;
    for (;;) {
        ssize_t count = read(descriptor, text + *length, capacity - *length);
        if (count == 0) {
            return result_ok();
        }
        if (count < 0 && errno != EINTR) {
            return result_system(errno, "cannot be read");
        }
        *length += count > 0 ? (size_t)count : 0;
        if (*length == capacity) {
            return result_fail(RESULT_LIMIT, "larger than %d bytes", MESH_FILE_MAXIMUM_BYTES);
        }
    }
}

static struct result read_mesh_file(const char *path, struct proxy_configuration *configuration)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return errno == ENOENT || errno == ENOTDIR ? result_ok() : result_system(errno, "cannot be opened");
    }
    size_t capacity = MESH_FILE_MAXIMUM_BYTES + 1;
    char *AUTO_FREE text = memory_allocate(capacity);
    size_t length;
    struct result outcome = read_file(descriptor, text, capacity, &length);
    close(descriptor);
    RESULT_TRY(outcome);
    return read_text("mesh config", bytes_of(text, length), read_mesh, configuration);
}

static struct result add_environment(struct proxy_configuration *configuration)
{
    extern char **environ;
    for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
        const char *equals = strchr(*entry, '=');
        if (equals == NULL || !text_starts_with(*entry, METADATA_PREFIX)) {
            continue;
        }
        const char *key = *entry + strlen(METADATA_PREFIX);
        char *AUTO_FREE name = string_duplicate_n(key, (size_t)(equals - key));
        if (!set_metadata(configuration, name, equals + 1)) {
            return result_fail(RESULT_LIMIT, "invalid env var " METADATA_PREFIX "%s (more than %d entries of metadata)",
                name, METADATA_MAXIMUM);
        }
    }
    return result_ok();
}

struct result proxy_configuration_read(const char *mesh_file_path, struct proxy_configuration *configuration)
{
    *configuration = (struct proxy_configuration){ 0 };
    struct result outcome = read_mesh_file(mesh_file_path, configuration);
    if (!result_is_ok(&outcome)) {
        return result_fail(outcome.code, "failed parsing mesh config file %s: %s", mesh_file_path, outcome.message);
    }
    const char *text = getenv("PROXY_CONFIG");
    if (!text_is_empty(text)) {
        outcome = read_text("PROXY_CONFIG", bytes_of_string(text), read_proxy, configuration);
        if (!result_is_ok(&outcome)) {
            return result_fail(outcome.code, "failed parsing proxy config env: %s", outcome.message);
        }
    }
    return add_environment(configuration);
}

void proxy_configuration_free(struct proxy_configuration *configuration)
{
    for (size_t i = 0; i < configuration->metadata_count; i++) {
        memory_free(configuration->metadata[i].key);
        memory_free(configuration->metadata[i].value);
    }
    memory_free(configuration->metadata);
    memory_free(configuration->discovery_address);
    *configuration = (struct proxy_configuration){ 0 };
}
