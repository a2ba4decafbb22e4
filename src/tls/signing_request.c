#include "tls/signing_request.h"

#include "base/writer.h"
#include "tls/openssl_error.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

static GENERAL_NAMES *uri_name(const char *uri)
{
    GENERAL_NAMES *names = GENERAL_NAMES_new();
    GENERAL_NAME *name = GENERAL_NAME_new();
    ASN1_IA5STRING *text = ASN1_IA5STRING_new();
    openssl_must(names != NULL && name != NULL && text != NULL && ASN1_STRING_set(text, uri, -1) &&
                     sk_GENERAL_NAME_push(names, name),
        "name a URI");
    GENERAL_NAME_set0_value(name, GEN_URI, text);
    return names;
}

static void request_uri(X509_REQ *request, const char *uri)
{
    GENERAL_NAMES *names = uri_name(uri);
    X509_EXTENSION *extension = X509V3_EXT_i2d(NID_subject_alt_name, 1, names);
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    openssl_must(extension != NULL && extensions != NULL && sk_X509_EXTENSION_push(extensions, extension) &&
                     X509_REQ_add_extensions(request, extensions),
        "request a subject alternative name");
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    GENERAL_NAMES_free(names);
}

void signing_request_write(struct evp_pkey_st *key, const char *uri, struct writer *pem)
{
    X509_REQ *request = X509_REQ_new();
    BIO *output = BIO_new(BIO_s_mem());
    openssl_must(request != NULL && output != NULL, "make a signing request");
    openssl_must(X509_REQ_set_version(request, X509_REQ_VERSION_1) && X509_REQ_set_pubkey(request, key),
        "fill a signing request");
    request_uri(request, uri);
    openssl_must(X509_REQ_sign(request, key, EVP_sha256()) > 0, "sign a signing request");
    openssl_must(PEM_write_bio_X509_REQ(output, request), "write a signing request");
    char *text = NULL;
    long length = BIO_get_mem_data(output, &text);
    writer_add(pem, text, (size_t)length);
    BIO_free(output);
    X509_REQ_free(request);
}

static X509_REQ *read_pem(struct bytes pem)
{
    if (pem.length == 0 || pem.length > SIGNING_REQUEST_MAXIMUM_BYTES) {
        return NULL;
    }
    BIO *input = BIO_new_mem_buf(pem.data, (int)pem.length);
    openssl_must(input != NULL, "read from memory");
    X509_REQ *request = PEM_read_bio_X509_REQ(input, NULL, NULL, NULL);
    BIO_free(input);
    ERR_clear_error();
    return request;
}

static struct result check_request(X509_REQ *parsed, struct signing_request *request)
{
    EVP_PKEY *key = X509_REQ_get0_pubkey(parsed);
    if (key == NULL) {
        ERR_clear_error();
        return result_fail(RESULT_INVALID, "certificate signing request has a public key of an unknown kind");
    }
    if (X509_REQ_verify(parsed, key) != 1) {
        ERR_clear_error();
        return result_fail(RESULT_INVALID, "CSR signature check failed");
    }
    request->public_key = private_key_reference(key);
    request->has_common_name = X509_NAME_get_index_by_NID(X509_REQ_get_subject_name(parsed), NID_commonName, -1) >= 0;
    return result_ok();
}

struct result signing_request_parse(struct bytes pem, struct signing_request *request)
{
    *request = (struct signing_request){ NULL, false };
    X509_REQ *parsed = read_pem(pem);
    if (parsed == NULL) {
        return result_fail(RESULT_INVALID, "certificate signing request is not properly encoded");
    }
    struct result checked = check_request(parsed, request);
    X509_REQ_free(parsed);
    return checked;
}

void signing_request_clear(struct signing_request *request)
{
    private_key_free(request->public_key);
    *request = (struct signing_request){ NULL, false };
}
