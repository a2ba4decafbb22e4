#include "xds/certificate_slot.h"

#include "base/memory.h"
#include "tls/identity.h"

#include <stdatomic.h>

struct certificate_slot {
    _Atomic uint32_t references;
    _Atomic uint64_t generation;
    struct tls_identity *current; /* the control thread's */
};

struct certificate_slot *certificate_slot_new(void)
{
    struct certificate_slot *slot = NEW(struct certificate_slot);
    atomic_init(&slot->references, 1);
    return slot;
}

struct certificate_slot *certificate_slot_reference(struct certificate_slot *slot)
{
    atomic_fetch_add_explicit(&slot->references, 1, memory_order_relaxed);
    return slot;
}

void certificate_slot_release(struct certificate_slot *slot)
{
    if (slot != NULL && atomic_fetch_sub_explicit(&slot->references, 1, memory_order_acq_rel) == 1) {
        memory_free(slot);
    }
}

void certificate_slot_set(struct certificate_slot *slot, struct tls_identity *certificate)
{
    struct tls_identity *before = slot->current;
    slot->current = certificate;
    atomic_fetch_add_explicit(&slot->generation, 1, memory_order_release);
    tls_identity_release(before);
}

struct tls_identity *certificate_slot_current(const struct certificate_slot *slot)
{
    return slot->current;
}

void certificate_slot_retire(struct certificate_slot *slot)
{
    struct tls_identity *before = slot->current;
    slot->current = NULL;
    atomic_store_explicit(&slot->generation, CERTIFICATE_SLOT_RETIRED, memory_order_release);
    tls_identity_release(before);
    certificate_slot_release(slot);
}

uint64_t certificate_slot_generation(const struct certificate_slot *slot)
{
    return atomic_load_explicit(&slot->generation, memory_order_acquire);
}
