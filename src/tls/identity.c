#include "tls/identity.h"

#include "base/memory.h"
#include "tls/context_build.h"
#include "tls/policy.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

struct result tls_identity_new(struct certificate_bundle *bundle, struct tls_identity **identity)
{
    *identity = NULL;
    struct context_plan plan = {
        .allows_tls12 = tls_policy()->allows_tls12,
        .own = bundle,
        .roots = &bundle->roots,
        .peer_certificate = PEER_CERTIFICATE_REQUIRED,
        .is_for_mesh = true,
        .catches_secrets = tls_record_cipher() != NULL,
    };
    SSL_CTX *context = NULL;
    RESULT_TRY(tls_context_build(&plan, &context));
    struct tls_identity *made = NEW(struct tls_identity);
    atomic_init(&made->references, 1);
    made->bundle = certificate_bundle_reference(bundle);
    made->context = context;
    made->roots = chain_digest_of_roots(&bundle->roots);
    made->cipher = tls_record_cipher();
    *identity = made;
    return result_ok();
}

struct tls_identity *tls_identity_reference(struct tls_identity *identity)
{
    atomic_fetch_add_explicit(&identity->references, 1, memory_order_relaxed);
    return identity;
}

void tls_identity_release(struct tls_identity *identity)
{
    if (identity == NULL || atomic_fetch_sub_explicit(&identity->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    SSL_CTX_free(identity->context);
    certificate_bundle_release(identity->bundle);
    memory_free(identity);
}
