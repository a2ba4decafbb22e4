#include "tls/certificate_path.h"

#include "tls/openssl_error.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

struct x509_store_st *certificate_store_of(const struct certificate_list *roots)
{
    X509_STORE *store = X509_STORE_new();
    openssl_must(store != NULL, "make a store of roots");
    for (size_t i = 0; i < roots->count; i++) {
        openssl_must(X509_STORE_add_cert(store, roots->items[i]), "add a root"); /* twice the same is no error */
    }
    X509_VERIFY_PARAM *parameters = X509_STORE_get0_param(store);
    X509_VERIFY_PARAM_set_flags(parameters, X509_V_FLAG_PARTIAL_CHAIN);
    /* OpenSSL counts what lies between leaf and root. */
    X509_VERIFY_PARAM_set_depth(parameters, CERTIFICATE_CHAIN_MAXIMUM - 2);
    return store;
}

struct stack_st_X509 *certificate_stack_of(const struct certificate_list *list)
{
    STACK_OF(X509) *stack = sk_X509_new_null();
    openssl_must(stack != NULL, "make a list");
    for (size_t i = 0; i < list->count; i++) {
        openssl_must(sk_X509_push(stack, list->items[i]), "append to a list");
    }
    return stack;
}

struct result certificate_path_check(struct x509_st *leaf, const struct certificate_list *intermediates,
    const struct certificate_list *roots, int64_t now_s)
{
    X509_STORE *store = certificate_store_of(roots);
    STACK_OF(X509) *untrusted = certificate_stack_of(intermediates);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    openssl_must(check != NULL && X509_STORE_CTX_init(check, store, leaf, untrusted), "prepare a verification");
    X509_VERIFY_PARAM_set_time(X509_STORE_CTX_get0_param(check), (time_t)now_s);
    struct result result = result_ok();
    if (X509_verify_cert(check) != 1) {
        result = result_fail(RESULT_INVALID, "the certificate chain does not verify: %s",
            X509_verify_cert_error_string(X509_STORE_CTX_get_error(check)));
    }
    ERR_clear_error();
    X509_STORE_CTX_free(check);
    sk_X509_free(untrusted);
    X509_STORE_free(store);
    return result;
}
