#include "ambard/certificate_service.h"

#include "ambard/metrics.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "proto/ca.pb-c.h"
#include "tls/signing_request.h"
#include "xds/protobuf.h"

#include <stdio.h>

#define CERTIFICATE_TARGET "ambard::ca"

const char CERTIFICATE_SERVICE_PATH[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

struct certificate_service {
    struct certificate_service_settings settings;
};

/* One request while it is answered. */
struct issuance {
    struct grpc_server_call *call;
    struct token_claims caller;
    const Istio__V1__Auth__IstioCertificateRequest *request;
    char identity[1024]; /* the URI that will be certified */
};

struct certificate_service *certificate_service_new(const struct certificate_service_settings *settings)
{
    struct certificate_service *service = NEW(struct certificate_service);
    service->settings = *settings;
    return service;
}

void certificate_service_free(struct certificate_service *service)
{
    memory_free(service);
}

/* The caller learns the kind of refusal, the log and the counters learn why. */
static void refuse(const struct certificate_service *service, const struct issuance *issuance,
    enum ambard_metric family, enum grpc_status status, const char *message, const char *reason)
{
    char peer[SOCKET_ADDRESS_TEXT_SIZE];
    static struct log_limit limit;
    uint64_t dropped;
    metric_count(service->settings.metrics, family, 1);
    if (log_limit_allows(&limit, 10, &dropped)) {
        LOG_EVENT(LOG_WARN, CERTIFICATE_TARGET, "certificate refused",
            LOG_DISPLAY("peer", socket_address_format(grpc_server_call_peer(issuance->call), peer)),
            LOG_STRING("node", issuance->caller.node), LOG_STRING("account", issuance->caller.service_account),
            LOG_STRING("identity", issuance->identity[0] != '\0' ? issuance->identity : NULL),
            LOG_STRING("reason", reason), LOG_NUMBER("dropped", dropped));
    }
    grpc_server_call_finish(issuance->call, status, message);
}

static const char *impersonated_identity(const Istio__V1__Auth__IstioCertificateRequest *request)
{
    const WellKnown__Struct *metadata = request->metadata;
    for (size_t i = 0; metadata != NULL && i < metadata->n_fields; i++) {
        const WellKnown__Struct__FieldsEntry *entry = metadata->fields[i];
        if (entry->value != NULL && strcmp(entry->key, "ImpersonatedIdentity") == 0 &&
            entry->value->kind_case == WELL_KNOWN__VALUE__KIND_STRING_VALUE) {
            return entry->value->string_value;
        }
    }
    return "";
}

static bool may_impersonate(const struct certificate_service *service, const struct token_claims *caller)
{
    char *account AUTO_FREE = string_format("%s/%s", caller->namespace_, caller->service_account);
    for (size_t i = 0; i < service->settings.trusted_count; i++) {
        if (strcmp(service->settings.trusted_accounts[i], account) == 0) {
            return true;
        }
    }
    return false;
}

/* §7.3; the trust domain must be ours besides, as no other could be verified by anybody. */
static struct result check_impersonation(
    const struct certificate_service *service, struct issuance *issuance, const char *uri)
{
    struct spiffe_parts parts;
    if (!may_impersonate(service, &issuance->caller)) {
        return result_fail(RESULT_DENIED, "%s/%s is not in CA_TRUSTED_NODE_ACCOUNTS", issuance->caller.namespace_,
            issuance->caller.service_account);
    }
    if (strlen(uri) >= sizeof issuance->identity || !spiffe_parse(bytes_of_string(uri), &parts)) {
        return result_fail(RESULT_DENIED, "not a SPIFFE identity of the mesh");
    }
    const char *trust_domain = ambient_index_trust_domain(service->settings.index);
    if (!bytes_equal_string(parts.trust_domain, trust_domain)) {
        return result_fail(RESULT_DENIED, "the identity is not of trust domain %s", trust_domain);
    }
    char *namespace_ AUTO_FREE = string_duplicate_n((const char *)parts.namespace_.data, parts.namespace_.length);
    char *account AUTO_FREE =
        string_duplicate_n((const char *)parts.service_account.data, parts.service_account.length);
    if (!ambient_index_identity_is_on_node(service->settings.index, namespace_, account, issuance->caller.node)) {
        return result_fail(
            RESULT_DENIED, "no workload of %s/%s on node %s", namespace_, account, issuance->caller.node);
    }
    return result_ok();
}

static bool choose_identity(const struct certificate_service *service, struct issuance *issuance)
{
    const char *impersonated = impersonated_identity(issuance->request);
    if (impersonated[0] == '\0') {
        snprintf(issuance->identity, sizeof issuance->identity, "spiffe://%s/ns/%s/sa/%s",
            ambient_index_trust_domain(service->settings.index), issuance->caller.namespace_,
            issuance->caller.service_account);
        return true;
    }
    snprintf(issuance->identity, sizeof issuance->identity, "%s", impersonated);
    struct result checked = check_impersonation(service, issuance, impersonated);
    if (!result_is_ok(&checked)) {
        refuse(service, issuance, METRIC_IDENTITY_ERRORS, GRPC_UNAUTHENTICATED,
            "request impersonation authentication failure", checked.message);
        return false;
    }
    return true;
}

static void respond(
    const struct certificate_service *service, const struct issuance *issuance, const struct issued_chain *chain)
{
    struct writer message = writer_growing();
    for (size_t i = 0; i < chain->count; i++) {
        protobuf_add_string(&message, 1, bytes_of_string(chain->elements[i]));
    }
    metric_count(service->settings.metrics, METRIC_CERTIFICATES_ISSUED, 1);
    LOG_EVENT(LOG_INFO, CERTIFICATE_TARGET, "certificate issued", LOG_STRING("identity", issuance->identity),
        LOG_STRING("node", issuance->caller.node));
    grpc_server_call_respond(issuance->call, writer_bytes(&message));
    writer_free(&message);
}

static void fail_signing(const struct certificate_service *service, const struct issuance *issuance, const char *label,
    enum grpc_status status, const char *detail)
{
    char *message AUTO_FREE = string_format("CSR signing error (%s)", detail);
    ambard_count(service->settings.metrics, METRIC_CSR_SIGNING_ERRORS, label);
    log_print(LOG_WARN, CERTIFICATE_TARGET, "%s for %s on node %s", message, issuance->identity, issuance->caller.node);
    grpc_server_call_finish(issuance->call, status, message);
}

static void sign(const struct certificate_service *service, struct issuance *issuance)
{
    int64_t lifetime_s = issuance->request->validity_duration;
    if (lifetime_s <= 0) {
        lifetime_s = service->settings.default_lifetime_s;
    }
    if (lifetime_s > service->settings.maximum_lifetime_s) {
        char *detail AUTO_FREE = string_format("requested TTL %llds is greater than the max allowed TTL %llds",
            (long long)lifetime_s, (long long)service->settings.maximum_lifetime_s);
        fail_signing(service, issuance, "TTL_ERROR", GRPC_INVALID_ARGUMENT, detail);
        return;
    }
    struct signing_request csr;
    struct result parsed = signing_request_parse(bytes_of_string(issuance->request->csr), &csr);
    if (!result_is_ok(&parsed)) {
        metric_count(service->settings.metrics, METRIC_CSR_PARSING_ERRORS, 1);
        fail_signing(service, issuance, "CSR_ERROR", GRPC_INVALID_ARGUMENT, parsed.message);
        return;
    }
    const char *const names[] = { issuance->identity };
    const struct leaf_request leaf = { csr.public_key, csr.has_common_name, names, 1, lifetime_s, clock_wall_s() };
    struct issued_chain chain = { 0 };
    struct result issued =
        certificate_authority_issue(authority_keeper_current(service->settings.authority), &leaf, &chain);
    if (result_is_ok(&issued)) {
        respond(service, issuance, &chain);
        issued_chain_clear(&chain);
    } else {
        fail_signing(service, issuance, "CERT_GEN_ERROR", GRPC_INTERNAL, issued.message);
    }
    signing_request_clear(&csr);
}

void certificate_service_on_message(
    struct certificate_service *service, struct grpc_server_call *call, struct bytes message)
{
    struct issuance issuance = { .call = call };
    struct arena arena = { 0 };
    ProtobufCMessage *decoded = NULL;
    metric_count(service->settings.metrics, METRIC_CSRS, 1);
    struct result caller = grpc_server_call_is_encrypted(call)
                               ? caller_authenticate(service->settings.callers, call, &issuance.caller)
                               : result_fail(RESULT_DENIED, "certificates are issued on the encrypted port only");
    if (!result_is_ok(&caller)) {
        refuse(service, &issuance, METRIC_AUTHENTICATION_FAILURES, GRPC_UNAUTHENTICATED, "request authenticate failure",
            caller.message);
        return;
    }
    struct result parsed =
        protobuf_decode(&istio__v1__auth__istio_certificate_request__descriptor, message, &arena, &decoded);
    if (!result_is_ok(&parsed)) {
        metric_count(service->settings.metrics, METRIC_CSR_PARSING_ERRORS, 1);
        grpc_server_call_finish(call, GRPC_INVALID_ARGUMENT, parsed.message);
    } else {
        issuance.request = (const Istio__V1__Auth__IstioCertificateRequest *)(const void *)decoded;
        if (choose_identity(service, &issuance)) {
            sign(service, &issuance);
        }
    }
    token_claims_clear(&issuance.caller);
    arena_free(&arena);
}
