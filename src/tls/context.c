#include "tls/context.h"

#include "base/memory.h"
#include "tls/context_build.h"
#include "tls/policy.h"

#include <openssl/ssl.h>
#include <stdatomic.h>

static struct result context_new(
    const struct context_plan *plan, struct certificate_bundle *bundle, struct tls_context **context)
{
    SSL_CTX *built = NULL;
    RESULT_TRY(tls_context_build(plan, &built));
    struct tls_context *made = NEW(struct tls_context);
    atomic_init(&made->references, 1);
    made->context = built;
    made->bundle = bundle == NULL ? NULL : certificate_bundle_reference(bundle);
    *context = made;
    return result_ok();
}

static struct result read_trust(const struct tls_client_trust *trust, struct certificate_list *roots)
{
    if (trust->root_file != NULL) {
        return certificate_list_read_file(trust->root_file, roots);
    }
    if (trust->root_pem.length > 0) {
        return certificate_list_parse_pem(trust->root_pem, "the trusted roots", roots);
    }
    return result_ok();
}

struct result tls_context_new_client(const struct tls_client_trust *trust, struct tls_context **context)
{
    *context = NULL;
    struct certificate_list roots = { NULL, 0 };
    RESULT_TRY(read_trust(trust, &roots));
    struct context_plan plan = {
        .allows_tls12 = trust->allows_tls12 || tls_policy()->allows_tls12,
        .roots = roots.count > 0 ? &roots : NULL,
        .peer_certificate = PEER_CERTIFICATE_REQUIRED,
    };
    struct result result = context_new(&plan, NULL, context);
    certificate_list_clear(&roots);
    return result;
}

struct result tls_context_new_server(struct certificate_bundle *bundle, struct tls_context **context)
{
    *context = NULL;
    struct context_plan plan = {
        .allows_tls12 = true,
        .own = bundle,
        .roots = &bundle->roots,
        .peer_certificate = PEER_CERTIFICATE_IF_GIVEN,
    };
    return context_new(&plan, bundle, context);
}

struct tls_context *tls_context_reference(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->references, 1, memory_order_relaxed);
    return context;
}

void tls_context_release(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub_explicit(&context->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    SSL_CTX_free(context->context);
    certificate_bundle_release(context->bundle);
    memory_free(context);
}
