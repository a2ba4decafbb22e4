/* MeshConfig: the few fields read, and the names of all others, so that a misspelt one is an error. */
#include "kube/mesh_config.h"

#include "kube/kinds.h"
#include "kube/selector.h"

static const struct kube_field rule_fields[] = {
    KUBE_FIELD(struct kube_visibility_rule, namespace_selector, "namespaceSelector", KUBE_FIELD_POINTER,
        .schema = &kube_label_selector_schema),
};
static const struct kube_schema rule_schema = KUBE_SCHEMA(struct kube_visibility_rule, true, rule_fields, NULL);

static const char *const visibilities[] = { "PUBLIC", "NAMESPACE", "NONE", NULL };
static const struct kube_field policy_fields[] = {
    KUBE_FIELD(struct kube_visibility_policy, visibility, "visibility", KUBE_FIELD_CHOICE, .choices = visibilities),
    KUBE_FIELD(struct kube_visibility_policy, rules, "matchingRules", KUBE_FIELD_LIST, .schema = &rule_schema),
};
static const struct kube_schema policy_schema = KUBE_SCHEMA(struct kube_visibility_policy, true, policy_fields, NULL);

static const struct kube_field visibility_fields[] = {
    KUBE_FIELD(struct kube_service_entry_visibility, default_visibility, "defaultVisibility", KUBE_FIELD_CHOICE,
        .choices = visibilities),
    KUBE_FIELD(struct kube_service_entry_visibility, policies, "policies", KUBE_FIELD_LIST, .schema = &policy_schema),
    KUBE_IGNORED("applyToSidecars"),
};
static const struct kube_schema visibility_schema =
    KUBE_SCHEMA(struct kube_service_entry_visibility, true, visibility_fields, NULL);

static const struct kube_field mesh_fields[] = {
    KUBE_FIELD(struct kube_mesh_settings, trust_domain, "trustDomain", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_mesh_settings, root_namespace, "rootNamespace", KUBE_FIELD_STRING),
    KUBE_FIELD(struct kube_mesh_settings, discovery_selectors, "discoverySelectors", KUBE_FIELD_LIST,
        .schema = &kube_label_selector_schema),
    KUBE_FIELD(struct kube_mesh_settings, service_entry_visibility, "serviceEntryVisibility", KUBE_FIELD_POINTER,
        .schema = &visibility_schema),
    KUBE_IGNORED("accessLogEncoding"),
    KUBE_IGNORED("accessLogFile"),
    KUBE_IGNORED("accessLogFormat"),
    KUBE_IGNORED("caCertificates"),
    KUBE_IGNORED("certificates"),
    KUBE_IGNORED("configSources"),
    KUBE_IGNORED("connectTimeout"),
    KUBE_IGNORED("defaultConfig"),
    KUBE_IGNORED("defaultDestinationRuleExportTo"),
    KUBE_IGNORED("defaultHttpRetryPolicy"),
    KUBE_IGNORED("defaultProviders"),
    KUBE_IGNORED("defaultServiceExportTo"),
    KUBE_IGNORED("defaultVirtualServiceExportTo"),
    KUBE_IGNORED("disableEnvoyListenerLog"),
    KUBE_IGNORED("dnsRefreshRate"),
    KUBE_IGNORED("enableAutoMtls"),
    KUBE_IGNORED("enableEnvoyAccessLogService"),
    KUBE_IGNORED("enablePrometheusMerge"),
    KUBE_IGNORED("enableTracing"),
    KUBE_IGNORED("extensionProviders"),
    KUBE_IGNORED("h2UpgradePolicy"),
    KUBE_IGNORED("hboneIdleTimeout"),
    KUBE_IGNORED("inboundClusterStatName"),
    KUBE_IGNORED("inboundTrafficPolicy"),
    KUBE_IGNORED("ingressClass"),
    KUBE_IGNORED("ingressControllerMode"),
    KUBE_IGNORED("ingressSelector"),
    KUBE_IGNORED("ingressService"),
    KUBE_IGNORED("localityLbSetting"),
    KUBE_IGNORED("meshMTLS"),
    KUBE_IGNORED("outboundClusterStatName"),
    KUBE_IGNORED("outboundTrafficPolicy"),
    KUBE_IGNORED("pathNormalization"),
    KUBE_IGNORED("protocolDetectionTimeout"),
    KUBE_IGNORED("proxyHttpPort"),
    KUBE_IGNORED("proxyInboundListenPort"),
    KUBE_IGNORED("proxyListenPort"),
    KUBE_IGNORED("serviceScopeConfigs"),
    KUBE_IGNORED("serviceSettings"),
    KUBE_IGNORED("tcpKeepalive"),
    KUBE_IGNORED("thriftConfig"),
    KUBE_IGNORED("tlsDefaults"),
    KUBE_IGNORED("trustDomainAliases"),
    KUBE_IGNORED("verifyCertificateAtClient"),
};
static const struct kube_schema mesh_schema = KUBE_SCHEMA(struct kube_mesh_settings, true, mesh_fields, NULL);

/* Of a block scalar the first line of its text counts as its line, so that lines inside are counted from there. */
static void decode_mesh_text(struct kube_decode *decode, const struct yaml_node *text, struct kube_mesh_config *config)
{
    struct yaml_stream stream;
    struct result result = yaml_parse(bytes_of_string(config->text), false, &stream);
    decode->line_offset = text->line - 1;
    size_t length = decode->path.length;
    writer_add_string(&decode->path, "data.mesh");
    const struct yaml_node at = { .line = stream.error_line == 0 ? 1 : stream.error_line };
    if (!result_is_ok(&result)) {
        kube_decode_error(decode, &at, "", -1, "is not YAML: %s", result.message);
    } else if (stream.count > 1) {
        kube_decode_error(decode, &at, "", -1, "holds several documents");
    } else if (stream.count == 1 && stream.documents[0].duplicate_key != NULL) {
        const struct yaml_node at_key = { .line = stream.documents[0].duplicate_line };
        kube_decode_error(decode, &at_key, "", -1, "the key %s is there twice", stream.documents[0].duplicate_key);
    } else if (stream.count == 1) {
        kube_decode_value(decode, &mesh_schema, stream.documents[0].root, &config->settings);
    }
    decode->path.length = length;
    decode->line_offset = 0;
    yaml_stream_free(&stream);
}

static void complete(struct kube_decode *decode, const struct yaml_node *node, void *value)
{
    struct kube_mesh_config *config = value;
    config->settings.trust_domain = "";
    config->settings.root_namespace = "";
    if (config->text[0] != '\0') {
        decode_mesh_text(decode, yaml_get(yaml_get(node, "data"), "mesh"), config);
    }
}

static const struct kube_field data_fields[] = {
    KUBE_FIELD(struct kube_mesh_config, text, "mesh", KUBE_FIELD_STRING),
};
static const struct kube_schema data_schema = KUBE_SCHEMA(struct kube_mesh_config, false, data_fields, NULL);

static const struct kube_field config_fields[] = {
    KUBE_OBJECT_FIELDS,
    { .name = "data", .kind = KUBE_FIELD_EMBEDDED, .offset = 0, .schema = &data_schema },
};
const struct kube_schema kube_mesh_config_schema = KUBE_SCHEMA(struct kube_mesh_config, false, config_fields, complete);
