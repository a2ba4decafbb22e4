/* Certificate revocation lists of the process (ztunnel-dataplane §16, CRL): parsed once, immutable, counted; the ones in force are
 * read by every mesh handshake, on any thread, and against them live tunnels are checked again when they change.
 *
 * A certificate is revoked when a list of its issuer, signed by that issuer, names its serial number. Whatever no list
 * speaks of is allowed, and the age of a list does not matter. */
#ifndef AMBAR_TLS_REVOCATION_H
#define AMBAR_TLS_REVOCATION_H

#include "tls/certificate.h"

#define REVOCATION_TEXT_MAXIMUM_BYTES (16u * 1024 * 1024)
#define REVOCATION_LISTS_MAXIMUM 256

struct record_layer;
struct revocation_lists;

/* PEM blocks, of which those that are no CRL are skipped, or one DER; an empty text is a set without any list. */
struct result revocation_lists_parse(struct bytes text, struct revocation_lists **lists);
/* A set without any list: nothing is revoked yet, but chains are kept. */
struct revocation_lists *revocation_lists_none(void);
/* RESULT_NOT_FOUND when there is no such file. */
struct result revocation_lists_read_file(const char *path, struct revocation_lists **lists);
struct revocation_lists *revocation_lists_reference(struct revocation_lists *lists);
void revocation_lists_release(struct revocation_lists *lists); /* NULL is allowed */
size_t revocation_lists_count(const struct revocation_lists *lists);

/* Whether a certificate of a verified chain, leaf first and root last, is revoked. */
bool revocation_lists_revoke(const struct revocation_lists *lists, const struct certificate_list *chain);

/* The lists in force. Putting any into force, once, also makes handshakes keep what the peer showed. Takes over the reference. */
void revocation_put_into_force(struct revocation_lists *lists);
/* A reference; NULL: revocation is off. */
struct revocation_lists *revocation_in_force(void);

/* The verified chain of the peer, kept with its record layer (which must not have one yet) while revocation is on. */
void record_layer_keep_peer(struct record_layer *layer, struct certificate_list *chain); /* takes over its items */

#endif
