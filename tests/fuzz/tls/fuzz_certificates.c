/* Certificates, keys and signing requests from outside, as DER and as PEM: names are read strictly or not at all. */
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/writer.h"
#include "tls/certificate.h"
#include "tls/private_key.h"
#include "tls/signing_request.h"

#include <stdlib.h>

static void read_names(const struct x509_st *certificate)
{
    struct certificate_names names = certificate_names_of(certificate);
    for (size_t i = 0; i < names.count; i++) {
        const struct spiffe_identity *identity = names.items[i].identity;
        if (identity != NULL && strcmp(identity->uri, names.items[i].uri) != 0) {
            abort();
        }
    }
    certificate_names_clear(&names);
    int64_t not_before_s, not_after_s;
    certificate_validity(certificate, &not_before_s, &not_after_s);
    memory_free(certificate_serial(certificate));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes input = bytes_of(data, size);
    struct x509_st *certificate;
    struct result outcome = certificate_parse_der(input, &certificate);
    if (result_is_ok(&outcome)) {
        read_names(certificate);
        certificate_release(certificate);
    }
    struct certificate_list list;
    outcome = certificate_list_parse_pem(input, "fuzz.pem", &list);
    if (result_is_ok(&outcome)) {
        for (size_t i = 0; i < list.count; i++) {
            read_names(list.items[i]);
        }
        certificate_list_clear(&list);
    }
    struct signing_request request;
    outcome = signing_request_parse(input, &request);
    if (result_is_ok(&outcome)) {
        signing_request_clear(&request);
    }
    struct evp_pkey_st *key;
    outcome = private_key_parse_pem(input, "fuzz-key.pem", &key);
    if (result_is_ok(&outcome)) {
        private_key_free(key);
    }
    return 0;
}
