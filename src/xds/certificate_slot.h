/* What the store and the workers' caches share of one identity: the current certificate, which only the control thread reads
 * and replaces, and a generation that tells a worker, without a lock, that its own reference is out of date. */
#ifndef AMBAR_XDS_CERTIFICATE_SLOT_H
#define AMBAR_XDS_CERTIFICATE_SLOT_H

#include <stdbool.h>
#include <stdint.h>

struct certificate_slot;
struct certificate_store;
struct loop;
struct tls_identity;

struct certificate_slot *certificate_slot_new(void);                                /* with one reference */
struct certificate_slot *certificate_slot_reference(struct certificate_slot *slot); /* any thread */
void certificate_slot_release(struct certificate_slot *slot);                       /* any thread; NULL is allowed */

/* Control thread. The slot takes over the reference; NULL: there is none (any more). */
void certificate_slot_set(struct certificate_slot *slot, struct tls_identity *certificate);
struct tls_identity *certificate_slot_current(const struct certificate_slot *slot); /* borrowed */
/* The store is done with it: gives back the certificate and the store's reference. */
void certificate_slot_retire(struct certificate_slot *slot);

/* Any thread. Goes up with every change; the last one leaves it at CERTIFICATE_SLOT_RETIRED. */
#define CERTIFICATE_SLOT_RETIRED UINT64_MAX
uint64_t certificate_slot_generation(const struct certificate_slot *slot);

/* For the caches; control thread. The slot of a known identity, referenced; NULL: unknown. */
struct certificate_slot *certificate_store_slot(struct certificate_store *store, const char *identity);
struct loop *certificate_store_loop(struct certificate_store *store);

#endif
