#include "tls/certificate.h"

#include "base/memory.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "base/writer.h"
#include "tls/openssl_error.h"
#include "tls/pem_file.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <time.h>

void certificate_list_append(struct certificate_list *list, struct x509_st *certificate)
{
    openssl_must(X509_up_ref(certificate), "reference a certificate");
    list->items = memory_resize(list->items, list->count + 1, sizeof list->items[0]);
    list->items[list->count++] = certificate;
}

void certificate_list_clear(struct certificate_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        X509_free(list->items[i]);
    }
    memory_free(list->items);
    *list = (struct certificate_list){ NULL, 0 };
}

void certificate_release(struct x509_st *certificate)
{
    X509_free(certificate);
}

struct result certificate_parse_der(struct bytes der, struct x509_st **certificate)
{
    *certificate = NULL;
    if (der.length > CERTIFICATE_PEM_MAXIMUM_BYTES) {
        return result_fail(RESULT_INVALID, "a certificate of %zu bytes is too long", der.length);
    }
    const unsigned char *at = der.data;
    X509 *parsed = der.length == 0 ? NULL : d2i_X509(NULL, &at, (long)der.length);
    if (parsed == NULL) {
        char reason[OPENSSL_REASON_SIZE];
        return result_fail(RESULT_INVALID, "not an X.509 certificate: %s", openssl_error_take(reason));
    }
    if (at != der.data + der.length) {
        X509_free(parsed);
        return result_fail(RESULT_INVALID, "bytes after the end of an X.509 certificate");
    }
    *certificate = parsed;
    return result_ok();
}

/* One block of any kind; `type` is NULL behind the last one. */
struct pem_block {
    char *type;
    char *header;
    unsigned char *data;
    long length;
};

static void pem_block_clear(struct pem_block *block)
{
    OPENSSL_free(block->type);
    OPENSSL_free(block->header);
    OPENSSL_free(block->data);
    *block = (struct pem_block){ 0 };
}

static struct result read_pem_block(BIO *input, struct pem_block *block)
{
    *block = (struct pem_block){ 0 };
    if (PEM_read_bio(input, &block->type, &block->header, &block->data, &block->length)) {
        return result_ok();
    }
    unsigned long code = ERR_peek_last_error();
    *block = (struct pem_block){ 0 };
    if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
        ERR_clear_error();
        return result_ok();
    }
    char reason[OPENSSL_REASON_SIZE];
    return result_fail(RESULT_INVALID, "damaged PEM block: %s", openssl_error_take(reason));
}

static struct result add_pem_block(struct certificate_list *list, const struct pem_block *block)
{
    if (!text_equal(block->type, PEM_STRING_X509)) {
        return result_ok();
    }
    if (list->count == CERTIFICATE_LIST_MAXIMUM) {
        return result_fail(RESULT_INVALID, "more than %d certificates", CERTIFICATE_LIST_MAXIMUM);
    }
    X509 *certificate = NULL;
    RESULT_TRY(certificate_parse_der(bytes_of(block->data, (size_t)block->length), &certificate));
    certificate_list_append(list, certificate);
    X509_free(certificate);
    return result_ok();
}

static struct result add_pem_blocks(struct certificate_list *list, BIO *input)
{
    for (;;) {
        struct pem_block block;
        RESULT_TRY(read_pem_block(input, &block));
        if (block.type == NULL) {
            return result_ok();
        }
        struct result added = add_pem_block(list, &block);
        pem_block_clear(&block);
        RESULT_TRY(added);
    }
}

struct result certificate_list_parse_pem(struct bytes pem, const char *name, struct certificate_list *list)
{
    *list = (struct certificate_list){ NULL, 0 };
    if (pem.length > CERTIFICATE_PEM_MAXIMUM_BYTES) {
        return result_fail(RESULT_INVALID, "%s: more than %d bytes of PEM", name, CERTIFICATE_PEM_MAXIMUM_BYTES);
    }
    ERR_clear_error();
    BIO *input = BIO_new_mem_buf(pem.length == 0 ? "" : (const void *)pem.data, (int)pem.length);
    openssl_must(input != NULL, "read from memory");
    struct result added = add_pem_blocks(list, input);
    BIO_free(input);
    if (result_is_ok(&added) && list->count == 0) {
        added = result_fail(RESULT_INVALID, "no certificate in PEM form");
    }
    if (!result_is_ok(&added)) {
        certificate_list_clear(list);
    }
    return result_in(added, "%s", name);
}

struct result certificate_list_read_file(const char *path, struct certificate_list *list)
{
    *list = (struct certificate_list){ NULL, 0 };
    struct writer text = writer_growing();
    struct result result = pem_file_read(path, &text);
    if (result_is_ok(&result)) {
        result = certificate_list_parse_pem(writer_bytes(&text), path, list);
    }
    writer_free(&text);
    return result;
}

void certificate_write_pem(const struct x509_st *certificate, struct writer *out)
{
    BIO *output = BIO_new(BIO_s_mem());
    openssl_must(output != NULL && PEM_write_bio_X509(output, certificate), "write a certificate");
    char *text = NULL;
    long length = BIO_get_mem_data(output, &text);
    writer_add(out, text, (size_t)length);
    BIO_free(output);
}

void certificate_list_write_pem(const struct certificate_list *list, struct writer *out)
{
    for (size_t i = 0; i < list->count; i++) {
        certificate_write_pem(list->items[i], out);
    }
}

void certificate_write_der(const struct x509_st *certificate, struct writer *out)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    openssl_must(length > 0, "encode a certificate");
    writer_add(out, der, (size_t)length);
    OPENSSL_free(der);
}

static bool seconds_of_time(const ASN1_TIME *time, int64_t *seconds)
{
    struct tm parts;
    if (time == NULL || !ASN1_TIME_to_tm(time, &parts)) {
        ERR_clear_error();
        return false;
    }
    *seconds = (int64_t)timegm(&parts);
    return true;
}

void certificate_validity(const struct x509_st *certificate, int64_t *not_before_s, int64_t *not_after_s)
{
    if (!seconds_of_time(X509_get0_notBefore(certificate), not_before_s) ||
        !seconds_of_time(X509_get0_notAfter(certificate), not_after_s)) {
        *not_before_s = *not_after_s = 0;
    }
}

char *certificate_serial(const struct x509_st *certificate)
{
    BIGNUM *number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(certificate), NULL);
    char *decimal = number == NULL ? NULL : BN_bn2dec(number);
    BN_free(number);
    openssl_must(decimal != NULL, "write a serial number");
    char *copy = string_duplicate(decimal);
    OPENSSL_free(decimal);
    return copy;
}

static void add_name(struct certificate_names *names, const ASN1_STRING *uri)
{
    size_t length = (size_t)ASN1_STRING_length(uri);
    const unsigned char *data = ASN1_STRING_get0_data(uri);
    if (length == 0 || memchr(data, '\0', length) != NULL) {
        return;
    }
    struct certificate_name *name = &names->items[names->count++];
    name->uri = string_duplicate_n((const char *)data, length);
    name->identity = spiffe_identity_parse(bytes_of(data, length));
}

struct certificate_names certificate_names_of(const struct x509_st *certificate)
{
    struct certificate_names names = { NULL, 0 };
    GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (all == NULL) {
        ERR_clear_error();
        return names;
    }
    int count = sk_GENERAL_NAME_num(all);
    count = count > CERTIFICATE_NAMES_MAXIMUM ? CERTIFICATE_NAMES_MAXIMUM : count;
    names.items = memory_allocate_zeroed((size_t)count, sizeof names.items[0]);
    for (int i = 0; i < count; i++) {
        int type;
        const void *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(all, i), &type);
        if (type == GEN_URI) {
            add_name(&names, value);
        }
    }
    GENERAL_NAMES_free(all);
    return names;
}

void certificate_names_clear(struct certificate_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        memory_free(names->items[i].uri);
        spiffe_identity_free(names->items[i].identity);
    }
    memory_free(names->items);
    *names = (struct certificate_names){ NULL, 0 };
}

const struct spiffe_identity *certificate_names_first_identity(const struct certificate_names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].identity != NULL) {
            return names->items[i].identity;
        }
    }
    return NULL;
}
