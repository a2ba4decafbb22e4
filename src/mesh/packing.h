/* Filling one allocation front to back: arrays first (in falling order of alignment), texts last. For the objects of
 * the model, whose size is computed before. */
#ifndef AMBAR_MESH_PACKING_H
#define AMBAR_MESH_PACKING_H

#include "mesh/gateway_address.h"

#include <assert.h>

struct packing {
    uint8_t *at;
    const uint8_t *end;
};

static inline void *packing_take(struct packing *packing, size_t size)
{
    assert(size <= (size_t)(packing->end - packing->at));
    void *taken = packing->at;
    packing->at += size;
    return taken;
}

/* An empty text takes no room. */
static inline size_t packing_text_size(struct bytes text)
{
    return text.length == 0 ? 0 : text.length + 1;
}

static inline const char *packing_text(struct packing *packing, struct bytes text)
{
    if (text.length == 0) {
        return "";
    }
    char *copy = packing_take(packing, text.length + 1);
    memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    return copy;
}

static inline size_t packing_gateway_size(const struct gateway_spec *spec)
{
    return packing_text_size(spec->namespace_) + packing_text_size(spec->hostname) + packing_text_size(spec->network);
}

static inline void packing_gateway(
    struct packing *packing, const struct gateway_spec *spec, struct gateway_address *out)
{
    out->kind = spec->kind;
    out->hbone_mtls_port = spec->hbone_mtls_port;
    out->namespace_ = packing_text(packing, spec->namespace_);
    out->hostname = packing_text(packing, spec->hostname);
    out->network = packing_text(packing, spec->network);
    out->ip = spec->ip;
}

/* Every text of the model passes here once: it must end where it seems to end, and no key may be longer than lookups
 * allow for. */
static inline bool packing_accepts_text(struct bytes text)
{
    return text.length <= MESH_TEXT_MAXIMUM && (text.length == 0 || memchr(text.data, '\0', text.length) == NULL);
}

static inline struct result packing_check_text(const char *field, struct bytes text)
{
    if (packing_accepts_text(text)) {
        return result_ok();
    }
    if (text.length > MESH_TEXT_MAXIMUM) {
        return result_fail(RESULT_LIMIT, "%s is longer than %d bytes", field, MESH_TEXT_MAXIMUM);
    }
    return result_fail(RESULT_INVALID, "%s contains a NUL character", field);
}

static inline struct result packing_check_gateway(const char *field, const struct gateway_spec *spec)
{
    RESULT_TRY(packing_check_text(field, spec->namespace_));
    RESULT_TRY(packing_check_text(field, spec->hostname));
    return packing_check_text(field, spec->network);
}

#endif
