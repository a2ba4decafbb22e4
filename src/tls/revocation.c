#include "tls/revocation.h"

#include "base/memory.h"
#include "base/writer.h"
#include "tls/openssl_error.h"
#include "tls/record_layer.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#define PEM_START "-----BEGIN"

struct revocation_lists {
    _Atomic uint32_t references;
    X509_CRL **items;
    size_t count;
};

/* Taken for a moment by each handshake and by each reload. */
static pthread_mutex_t force_lock = PTHREAD_MUTEX_INITIALIZER;
static struct revocation_lists *in_force; /* behind force_lock */

struct revocation_lists *revocation_lists_reference(struct revocation_lists *lists)
{
    atomic_fetch_add_explicit(&lists->references, 1, memory_order_relaxed);
    return lists;
}

void revocation_lists_release(struct revocation_lists *lists)
{
    if (lists == NULL || atomic_fetch_sub_explicit(&lists->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (size_t i = 0; i < lists->count; i++) {
        X509_CRL_free(lists->items[i]);
    }
    memory_free(lists->items);
    memory_free(lists);
}

struct revocation_lists *revocation_lists_none(void)
{
    struct revocation_lists *lists = NEW(struct revocation_lists);
    atomic_init(&lists->references, 1);
    return lists;
}

size_t revocation_lists_count(const struct revocation_lists *lists)
{
    return lists->count;
}

static struct result add_list(struct revocation_lists *lists, struct bytes der)
{
    const unsigned char *at = der.data;
    X509_CRL *list = d2i_X509_CRL(NULL, &at, (long)der.length);
    if (list == NULL || at != der.data + der.length) {
        char reason[OPENSSL_REASON_SIZE];
        X509_CRL_free(list);
        return result_fail(RESULT_INVALID, "not a certificate revocation list: %s", openssl_error_take(reason));
    }
    if (lists->count == REVOCATION_LISTS_MAXIMUM) {
        X509_CRL_free(list);
        return result_fail(RESULT_LIMIT, "more than %d certificate revocation lists", REVOCATION_LISTS_MAXIMUM);
    }
    lists->items = memory_resize(lists->items, lists->count + 1, sizeof *lists->items);
    lists->items[lists->count++] = list;
    return result_ok();
}

static struct result add_pem(struct revocation_lists *lists, struct bytes text)
{
    struct result outcome = result_ok();
    BIO *input = BIO_new_mem_buf(text.data, (int)text.length);
    openssl_must(input != NULL, "read from memory");
    while (result_is_ok(&outcome)) {
        char *name = NULL;
        char *header = NULL;
        unsigned char *der = NULL;
        long length = 0;
        if (PEM_read_bio(input, &name, &header, &der, &length) != 1) {
            bool is_end = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
            char reason[OPENSSL_REASON_SIZE];
            const char *why = openssl_error_take(reason);
            outcome = is_end ? result_ok() : result_fail(RESULT_INVALID, "not PEM: %s", why);
            break;
        }
        if (strcmp(name, PEM_STRING_X509_CRL) == 0) {
            outcome = add_list(lists, bytes_of(der, (size_t)length));
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    BIO_free(input);
    return outcome;
}

static bool is_blank(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (strchr(" \t\r\n", text.data[i]) == NULL || text.data[i] == '\0') {
            return false;
        }
    }
    return true;
}

struct result revocation_lists_parse(struct bytes text, struct revocation_lists **lists)
{
    *lists = NULL;
    if (text.length > REVOCATION_TEXT_MAXIMUM_BYTES) {
        return result_fail(RESULT_LIMIT, "more than %u bytes of revocation lists", REVOCATION_TEXT_MAXIMUM_BYTES);
    }
    struct revocation_lists *parsed = revocation_lists_none();
    struct result outcome = result_ok();
    ERR_clear_error();
    if (!is_blank(text)) {
        bool is_pem = memmem(text.data, text.length, PEM_START, strlen(PEM_START)) != NULL;
        outcome = is_pem ? add_pem(parsed, text) : add_list(parsed, text);
    }
    ERR_clear_error();
    if (!result_is_ok(&outcome)) {
        revocation_lists_release(parsed);
        return outcome;
    }
    *lists = parsed;
    return outcome;
}

static struct result read_text(int descriptor, struct writer *out)
{
    for (;;) {
        uint8_t *room = writer_reserve(out, 65536);
        ssize_t got = read(descriptor, room, 65536);
        if (got == 0) {
            return result_ok();
        }
        if (got < 0 && errno != EINTR) {
            return result_system(errno, "cannot be read");
        }
        out->length += got > 0 ? (size_t)got : 0;
        if (out->length > REVOCATION_TEXT_MAXIMUM_BYTES) {
            return result_fail(RESULT_LIMIT, "larger than %u bytes", REVOCATION_TEXT_MAXIMUM_BYTES);
        }
    }
}

struct result revocation_lists_read_file(const char *path, struct revocation_lists **lists)
{
    *lists = NULL;
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 && errno == ENOENT) {
        return result_fail(RESULT_NOT_FOUND, "%s: no such file", path);
    }
    if (descriptor < 0) {
        return result_system(errno, "%s", path);
    }
    struct writer text = writer_growing();
    struct result outcome = read_text(descriptor, &text);
    close(descriptor);
    if (result_is_ok(&outcome)) {
        outcome = revocation_lists_parse(writer_bytes(&text), lists);
    }
    writer_free(&text);
    return result_in(outcome, "%s", path);
}

/* The signature is looked at last: only for what a list would revoke. */
static bool list_revokes(X509_CRL *list, X509 *certificate, X509 *issuer)
{
    X509_REVOKED *entry = NULL;
    if (X509_NAME_cmp(X509_CRL_get_issuer(list), X509_get_issuer_name(certificate)) != 0 ||
        X509_CRL_get0_by_serial(list, &entry, X509_get_serialNumber(certificate)) != 1) {
        return false;
    }
    EVP_PKEY *key = X509_get0_pubkey(issuer);
    bool is_genuine = key != NULL && X509_CRL_verify(list, key) == 1;
    ERR_clear_error();
    return is_genuine;
}

bool revocation_lists_revoke(const struct revocation_lists *lists, const struct certificate_list *chain)
{
    for (size_t i = 0; i + 1 < chain->count; i++) {
        for (size_t j = 0; j < lists->count; j++) {
            if (list_revokes(lists->items[j], chain->items[i], chain->items[i + 1])) {
                return true;
            }
        }
    }
    return false;
}

void revocation_put_into_force(struct revocation_lists *lists)
{
    pthread_mutex_lock(&force_lock);
    struct revocation_lists *before = in_force;
    in_force = lists;
    pthread_mutex_unlock(&force_lock);
    revocation_lists_release(before);
}

struct revocation_lists *revocation_in_force(void)
{
    pthread_mutex_lock(&force_lock);
    struct revocation_lists *lists = in_force != NULL ? revocation_lists_reference(in_force) : NULL;
    pthread_mutex_unlock(&force_lock);
    return lists;
}

void record_layer_keep_peer(struct record_layer *layer, struct certificate_list *chain)
{
    if (chain->count > 0) {
        layer->peer_chain = NEW(struct certificate_list);
        *layer->peer_chain = *chain;
        *chain = (struct certificate_list){ NULL, 0 };
    }
}

void record_layer_forget_peer(struct record_layer *layer)
{
    if (layer->peer_chain != NULL) {
        certificate_list_clear(layer->peer_chain);
        memory_free(layer->peer_chain);
        layer->peer_chain = NULL;
    }
}
