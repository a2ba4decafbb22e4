#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "tls/identity.h"
#include "xds/certificate_source.h"

struct certificate_files {
    struct certificate_source source;
    struct loop *loop;
    char *key_file, *chain_file, *root_file;
};

/* The files are read at once; the answer comes at the end of the turn. */
struct file_fetch {
    struct certificate_files *files;
    struct certificate_fetch *fetch;
    struct deferred read;
};

static struct result read_identity(const struct certificate_files *files, struct tls_identity **certificate)
{
    struct certificate_bundle *bundle;
    RESULT_TRY(
        certificate_bundle_from_files(files->key_file, files->chain_file, files->root_file, clock_wall_s(), &bundle));
    struct result made = tls_identity_new(bundle, certificate);
    certificate_bundle_release(bundle);
    return made;
}

static void answer(struct deferred *deferred)
{
    struct file_fetch *reading = CONTAINER_OF(deferred, struct file_fetch, read);
    struct certificate_fetch *fetch = reading->fetch;
    struct tls_identity *certificate = NULL;
    struct result outcome = read_identity(reading->files, &certificate);
    memory_free(reading);
    fetch->source_data = NULL;
    fetch->on_done(fetch, certificate, result_is_ok(&outcome) ? NULL : &outcome);
}

static void begin_fetch(struct certificate_source *source, struct certificate_fetch *fetch)
{
    struct file_fetch *reading = NEW(struct file_fetch);
    reading->files = CONTAINER_OF(source, struct certificate_files, source);
    reading->fetch = fetch;
    reading->read.run = answer;
    list_initialise(&reading->read.link);
    fetch->source_data = reading;
    loop_defer(reading->files->loop, &reading->read);
}

static void cancel_fetch(struct certificate_source *source, struct certificate_fetch *fetch)
{
    (void)source;
    struct file_fetch *reading = fetch->source_data;
    if (reading != NULL) {
        deferred_cancel(&reading->read);
        memory_free(reading);
        fetch->source_data = NULL;
    }
}

static void free_files(struct certificate_source *source)
{
    struct certificate_files *files = CONTAINER_OF(source, struct certificate_files, source);
    memory_free(files->key_file);
    memory_free(files->chain_file);
    memory_free(files->root_file);
    memory_free(files);
}

struct certificate_source *certificate_files_new(
    struct loop *loop, const char *key_file, const char *chain_file, const char *root_file)
{
    struct certificate_files *files = NEW(struct certificate_files);
    files->source = (struct certificate_source){ begin_fetch, cancel_fetch, free_files };
    files->loop = loop;
    files->key_file = string_duplicate(key_file);
    files->chain_file = string_duplicate(chain_file);
    files->root_file = string_duplicate(root_file);
    return &files->source;
}
