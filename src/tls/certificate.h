/* X.509 certificates as the mesh reads them: PEM and DER, SPIFFE names, validity, serial (wire-protocols §14).
 *
 * A certificate is immutable and counted by OpenSSL; the struct is a small value that holds one reference. Any thread. */
#ifndef AMBAR_TLS_CERTIFICATE_H
#define AMBAR_TLS_CERTIFICATE_H

#include "base/bytes.h"
#include "base/result.h"

#include <stdint.h>

struct spiffe_identity;
struct writer;
struct x509_st; /* X509 */

#define CERTIFICATE_PEM_MAXIMUM_BYTES (1024 * 1024) /* a file or one element of the CA's answer */
#define CERTIFICATE_LIST_MAXIMUM 256                /* certificates in one bundle */
#define CERTIFICATE_CHAIN_MAXIMUM 8                 /* certificates a peer may send, and a verified path may have */
#define CERTIFICATE_NAMES_MAXIMUM 64                /* subject alternative names that are looked at */

struct certificate_list {
    struct x509_st **items; /* each with one reference of the list */
    size_t count;
};

/* Every CERTIFICATE block of a PEM text; other blocks are skipped. No block at all, a block that does not decode and a bound
 * exceeded fail; the sentence begins with `name`. The list is empty after a failure. */
struct result certificate_list_parse_pem(struct bytes pem, const char *name, struct certificate_list *list);
struct result certificate_list_read_file(const char *path, struct certificate_list *list);
void certificate_list_append(
    struct certificate_list *list, struct x509_st *certificate); /* takes a reference of its own */
void certificate_list_clear(struct certificate_list *list);

struct result certificate_parse_der(struct bytes der, struct x509_st **certificate);
void certificate_release(struct x509_st *certificate); /* NULL is allowed */

void certificate_write_pem(const struct x509_st *certificate, struct writer *out);
void certificate_write_der(const struct x509_st *certificate, struct writer *out);
void certificate_list_write_pem(const struct certificate_list *list, struct writer *out);

/* Seconds since 1970; times that do not parse are 0 and 0 (never valid). */
void certificate_validity(const struct x509_st *certificate, int64_t *not_before_s, int64_t *not_after_s);

/* The serial number in decimal; the caller frees it. */
char *certificate_serial(const struct x509_st *certificate);

/* The URI names of the subjectAltName, in order, as they are: at most CERTIFICATE_NAMES_MAXIMUM. Those that are no SPIFFE
 * identity of the mesh have identity NULL. Names with a NUL inside are left out. */
struct certificate_name {
    char *uri;
    struct spiffe_identity *identity;
};
struct certificate_names {
    struct certificate_name *items;
    size_t count;
};
struct certificate_names certificate_names_of(const struct x509_st *certificate);
void certificate_names_clear(struct certificate_names *names);
/* The first identity that parses; borrowed; NULL: none. */
const struct spiffe_identity *certificate_names_first_identity(const struct certificate_names *names);

#endif
