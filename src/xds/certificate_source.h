/* Where certificates come from: the control plane's CA, files, or a test authority, behind one interface. Control thread. */
#ifndef AMBAR_XDS_CERTIFICATE_SOURCE_H
#define AMBAR_XDS_CERTIFICATE_SOURCE_H

#include "base/result.h"

#include <stddef.h>

struct certificate_source;
struct loop;
struct tls_identity;

/* One certificate being fetched. Embedded by whoever asks; stays in place until on_done or cancel. */
struct certificate_fetch {
    const char *identity; /* SPIFFE URI, borrowed */
    /* Once, never from inside fetch. On success the caller takes over the reference to `certificate`; else it is NULL. */
    void (*on_done)(struct certificate_fetch *fetch, struct tls_identity *certificate, const struct result *failure);
    void *source_data; /* the source's own */
};

struct certificate_source {
    void (*fetch)(struct certificate_source *source, struct certificate_fetch *fetch);
    void (*cancel)(struct certificate_source *source, struct certificate_fetch *fetch); /* no on_done afterwards */
    void (*free)(struct certificate_source *source);                                    /* no fetch may be running */
};

static inline void certificate_source_free(struct certificate_source *source)
{
    if (source != NULL) {
        source->free(source);
    }
}

/* The same certificate for every identity, read from files at each fetch: key, chain and roots as PEM. */
struct certificate_source *certificate_files_new(
    struct loop *loop, const char *key_file, const char *chain_file, const char *root_file);

#endif
