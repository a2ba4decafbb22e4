#include "tls/certificate_bundle.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/certificate_path.h"
#include "tls/openssl_error.h"

#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdatomic.h>

struct certificate_bundle *certificate_bundle_reference(struct certificate_bundle *bundle)
{
    atomic_fetch_add_explicit(&bundle->references, 1, memory_order_relaxed);
    return bundle;
}

void certificate_bundle_release(struct certificate_bundle *bundle)
{
    if (bundle == NULL || atomic_fetch_sub_explicit(&bundle->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    private_key_free(bundle->key);
    certificate_release(bundle->leaf);
    certificate_list_clear(&bundle->intermediates);
    certificate_list_clear(&bundle->roots);
    certificate_names_clear(&bundle->names);
    memory_free(bundle->serial);
    memory_free(bundle);
}

const struct spiffe_identity *certificate_bundle_identity(const struct certificate_bundle *bundle)
{
    return certificate_names_first_identity(&bundle->names);
}

static bool is_one_of(const struct x509_st *certificate, const struct certificate_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (X509_cmp(certificate, list->items[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* The first certificate is the leaf, the others intermediates. Control planes often repeat the root among these; peers have it
 * already, so it is left out. */
static void take_chain(struct certificate_bundle *bundle, const struct certificate_list *chain)
{
    for (size_t i = 0; i < chain->count; i++) {
        if (bundle->leaf == NULL) {
            openssl_must(X509_up_ref(chain->items[i]), "reference a certificate");
            bundle->leaf = chain->items[i];
        } else if (!is_one_of(chain->items[i], &bundle->roots)) {
            certificate_list_append(&bundle->intermediates, chain->items[i]);
        }
    }
}

static void describe_leaf(struct certificate_bundle *bundle)
{
    certificate_validity(bundle->leaf, &bundle->not_before_s, &bundle->not_after_s);
    bundle->serial = certificate_serial(bundle->leaf);
    bundle->names = certificate_names_of(bundle->leaf);
}

static struct result check_validity(const struct certificate_bundle *bundle, int64_t now_s)
{
    char time_text[40];
    if (now_s < bundle->not_before_s) {
        clock_format_rfc3339_s(bundle->not_before_s, time_text);
        return result_fail(RESULT_INVALID, "the certificate is not valid before %s", time_text);
    }
    if (now_s > bundle->not_after_s) {
        clock_format_rfc3339_s(bundle->not_after_s, time_text);
        return result_fail(RESULT_INVALID, "the certificate expired at %s", time_text);
    }
    return result_ok();
}

static struct result check_material(const struct certificate_bundle *bundle, int64_t now_s)
{
    if (!X509_check_private_key(bundle->leaf, bundle->key)) {
        ERR_clear_error();
        return result_fail(RESULT_INVALID, "the certificate is not for the private key at hand");
    }
    RESULT_TRY(check_validity(bundle, now_s));
    return certificate_path_check(bundle->leaf, &bundle->intermediates, &bundle->roots, now_s);
}

static struct result check_requested_identity(
    const struct certificate_bundle *bundle, const struct certificate_request_answer *answer)
{
    bool is_as_requested = bundle->names.count > 0 && text_equal(bundle->names.items[0].uri, answer->identity);
    if (answer->requires_identity && !is_as_requested) {
        return result_fail(RESULT_INVALID, "did not find expected SAN: %s", answer->identity);
    }
    return result_ok();
}

static struct certificate_bundle *bundle_new(struct evp_pkey_st *key)
{
    struct certificate_bundle *bundle = NEW(struct certificate_bundle);
    atomic_init(&bundle->references, 1);
    bundle->key = private_key_reference(key);
    return bundle;
}

static struct result take_chain_elements(
    struct certificate_bundle *bundle, const struct certificate_request_answer *answer)
{
    for (size_t i = 0; i + 1 < answer->element_count; i++) {
        struct certificate_list chain;
        RESULT_TRY(certificate_list_parse_pem(
            answer->elements[i], i == 0 ? "the certificate" : "an intermediate certificate", &chain));
        take_chain(bundle, &chain);
        certificate_list_clear(&chain);
        if (bundle->intermediates.count > CERTIFICATE_LIST_MAXIMUM) {
            return result_fail(RESULT_INVALID, "more than %d intermediate certificates", CERTIFICATE_LIST_MAXIMUM);
        }
    }
    return result_ok();
}

static struct result fill_from_answer(
    struct certificate_bundle *bundle, const struct certificate_request_answer *answer)
{
    struct result parsed =
        certificate_list_parse_pem(answer->elements[answer->element_count - 1], "the roots", &bundle->roots);
    RESULT_TRY(result_in(parsed, "failed to create CSR: invalid root certificate"));
    RESULT_TRY(take_chain_elements(bundle, answer));
    describe_leaf(bundle);
    RESULT_TRY(check_requested_identity(bundle, answer));
    return result_in(check_material(bundle, answer->now_s), "unusable certificate for %s", answer->identity);
}

static struct result finish(struct certificate_bundle *bundle, struct result filled, struct certificate_bundle **out)
{
    if (!result_is_ok(&filled)) {
        certificate_bundle_release(bundle);
        bundle = NULL;
    }
    *out = bundle;
    return filled;
}

struct result certificate_bundle_from_answer(
    const struct certificate_request_answer *answer, struct certificate_bundle **bundle)
{
    *bundle = NULL;
    if (answer->element_count == 0) {
        return result_fail(RESULT_INVALID, "chain returned from CA is empty for: %s", answer->identity);
    }
    if (answer->element_count == 1) {
        log_print(LOG_WARN, "ztunnel::identity", "no chain certs for: %s", answer->identity);
        return result_fail(
            RESULT_INVALID, "failed to create CSR: invalid root certificate: no root certificate present");
    }
    struct certificate_bundle *filled = bundle_new(answer->key);
    return finish(filled, fill_from_answer(filled, answer), bundle);
}

static struct result fill_from_files(
    struct certificate_bundle *bundle, const char *chain_file, const char *root_file, int64_t now_s)
{
    RESULT_TRY(certificate_list_read_file(root_file, &bundle->roots));
    struct certificate_list chain;
    RESULT_TRY(certificate_list_read_file(chain_file, &chain));
    take_chain(bundle, &chain);
    certificate_list_clear(&chain);
    describe_leaf(bundle);
    return result_in(check_material(bundle, now_s), "%s", chain_file);
}

struct result certificate_bundle_from_files(const char *key_file, const char *chain_file, const char *root_file,
    int64_t now_s, struct certificate_bundle **bundle)
{
    *bundle = NULL;
    struct evp_pkey_st *key = NULL;
    RESULT_TRY(private_key_read_file(key_file, &key));
    struct certificate_bundle *filled = bundle_new(key);
    private_key_free(key);
    return finish(filled, fill_from_files(filled, chain_file, root_file, now_s), bundle);
}
