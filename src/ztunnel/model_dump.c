#include "ztunnel/model_dump.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

/* A text that is shown only when it is not empty. */
static void member_if_set(struct json_writer *json, const char *key, const char *text)
{
    if (text[0] != '\0') {
        json_write_member_string(json, key, text);
    }
}

static void dump_ip(struct json_writer *json, const struct ip_address *ip)
{
    char text[IP_TEXT_SIZE];
    json_write_string(json, ip_format(ip, text));
}

struct port_member {
    char key[8];
    uint16_t target;
};

static int compare_port_members(const void *left, const void *right)
{
    return strcmp(((const struct port_member *)left)->key, ((const struct port_member *)right)->key);
}

/* Keys of an object are sorted as texts: "443" comes before "80". */
static void dump_ports(struct json_writer *json, const struct port_mapping *ports, size_t count)
{
    struct port_member *AUTO_FREE members = memory_allocate_zeroed(count + 1, sizeof *members);
    for (size_t i = 0; i < count; i++) {
        snprintf(members[i].key, sizeof members[i].key, "%u", ports[i].service_port);
        members[i].target = ports[i].target_port;
    }
    if (count > 1) {
        qsort(members, count, sizeof *members, compare_port_members);
    }
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_member_unsigned(json, members[i].key, members[i].target);
    }
    json_write_object_end(json);
}

void dump_gateway(const struct gateway_address *gateway, struct json_writer *json)
{
    if (gateway == NULL) {
        json_write_null(json);
        return;
    }
    struct writer destination = writer_growing();
    if (gateway->kind == GATEWAY_HOSTNAME) {
        writer_print(&destination, "%s/%s", gateway->namespace_, gateway->hostname);
    } else {
        char text[IP_TEXT_SIZE];
        writer_print(&destination, "%s/%s", gateway->network, ip_format(&gateway->ip, text));
    }
    json_write_object_begin(json);
    json_write_member_string(json, "destination", writer_string(&destination));
    json_write_member_unsigned(json, "hboneMtlsPort", gateway->hbone_mtls_port);
    json_write_object_end(json);
    writer_free(&destination);
}

static void dump_application_tunnel(struct json_writer *json, const struct workload *workload)
{
    json_write_key(json, "applicationTunnel");
    json_write_object_begin(json);
    json_write_key(json, "port");
    if (workload->application_tunnel_port != 0) {
        json_write_unsigned(json, workload->application_tunnel_port);
    } else {
        json_write_null(json);
    }
    json_write_member_string(json, "protocol", workload->tunnel_protocol == TUNNEL_PROXY ? "PROXY" : "NONE");
    json_write_object_end(json);
}

static void dump_locality(struct json_writer *json, const struct workload *workload)
{
    const char *region = workload_text(workload, WORKLOAD_REGION);
    const char *zone = workload_text(workload, WORKLOAD_ZONE);
    const char *subzone = workload_text(workload, WORKLOAD_SUBZONE);
    if (region[0] == '\0' && zone[0] == '\0' && subzone[0] == '\0') {
        return;
    }
    json_write_key(json, "locality");
    json_write_object_begin(json);
    json_write_member_string(json, "region", region);
    json_write_member_string(json, "subzone", subzone);
    json_write_member_string(json, "zone", zone);
    json_write_object_end(json);
}

static void dump_texts(struct json_writer *json, const char *key, const char *const *texts, size_t count)
{
    json_write_key(json, key);
    json_write_array_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_string(json, texts[i]);
    }
    json_write_array_end(json);
}

static void dump_service_names(struct json_writer *json, const struct workload *workload)
{
    if (workload->service_count == 0) {
        return;
    }
    json_write_key(json, "services");
    json_write_array_begin(json);
    for (size_t i = 0; i < workload->service_count; i++) {
        json_write_string(json, workload->services[i].key);
    }
    json_write_array_end(json);
}

static int compare_services(const void *left, const void *right)
{
    const struct workload_service *left_service = left;
    const struct workload_service *right_service = right;
    return strcmp(left_service->key, right_service->key);
}

/* As a local file has them: each with its ports. */
static void dump_service_ports(struct json_writer *json, const struct workload *workload)
{
    size_t count = workload->service_count;
    struct workload_service *AUTO_FREE sorted = memory_allocate_zeroed(count + 1, sizeof *sorted);
    if (count > 0) {
        memcpy(sorted, workload->services, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare_services);
    }
    json_write_key(json, "services");
    json_write_object_begin(json);
    for (size_t i = 0; i < count; i++) {
        json_write_key(json, sorted[i].key);
        dump_ports(json, sorted[i].ports, sorted[i].port_count);
    }
    json_write_object_end(json);
}

typedef void services_dumper(struct json_writer *json, const struct workload *workload);

/* Keys in alphabetical order, as all of the dump. */
static void dump_workload_with(
    const struct workload *workload, services_dumper *dump_services, struct json_writer *json)
{
    json_write_object_begin(json);
    if (workload->has_application_tunnel) {
        dump_application_tunnel(json, workload);
    }
    if (workload->policy_count > 0) {
        dump_texts(json, "authorizationPolicies", workload->policy_keys, workload->policy_count);
    }
    member_if_set(json, "canonicalName", workload_text(workload, WORKLOAD_CANONICAL_NAME));
    member_if_set(json, "canonicalRevision", workload_text(workload, WORKLOAD_CANONICAL_REVISION));
    json_write_member_unsigned(json, "capacity", workload->capacity);
    json_write_member_string(json, "clusterId", workload_text(workload, WORKLOAD_CLUSTER_ID));
    member_if_set(json, "hostname", workload_text(workload, WORKLOAD_HOSTNAME));
    dump_locality(json, workload);
    json_write_member_string(json, "name", workload_text(workload, WORKLOAD_NAME));
    json_write_member_string(json, "namespace", workload_text(workload, WORKLOAD_NAMESPACE));
    if (workload->has_native_tunnel) {
        json_write_member_bool(json, "nativeTunnel", true);
    }
    member_if_set(json, "network", workload_text(workload, WORKLOAD_NETWORK));
    if (workload->network_gateway != NULL) {
        json_write_key(json, "networkGateway");
        dump_gateway(workload->network_gateway, json);
    }
    json_write_member_string(
        json, "networkMode", workload->network_mode == WORKLOAD_HOST_NETWORK ? "HostNetwork" : "Standard");
    member_if_set(json, "node", workload_text(workload, WORKLOAD_NODE));
    json_write_member_string(json, "protocol", workload->protocol == WORKLOAD_HBONE ? "HBONE" : "TCP");
    member_if_set(json, "serviceAccount", workload_text(workload, WORKLOAD_SERVICE_ACCOUNT));
    dump_services(json, workload);
    json_write_member_string(json, "status", workload->is_healthy ? "Healthy" : "Unhealthy");
    member_if_set(json, "trustDomain", workload_text(workload, WORKLOAD_TRUST_DOMAIN));
    member_if_set(json, "uid", workload_text(workload, WORKLOAD_UID));
    if (workload->waypoint != NULL) {
        json_write_key(json, "waypoint");
        dump_gateway(workload->waypoint, json);
    }
    json_write_key(json, "workloadIps");
    json_write_array_begin(json);
    for (size_t i = 0; i < workload->address_count; i++) {
        dump_ip(json, &workload->addresses[i]);
    }
    json_write_array_end(json);
    member_if_set(json, "workloadName", workload_text(workload, WORKLOAD_OWNER_NAME));
    member_if_set(json, "workloadType", workload_text(workload, WORKLOAD_TYPE));
    json_write_object_end(json);
}

void dump_workload(const struct workload *workload, struct json_writer *json)
{
    dump_workload_with(workload, dump_service_names, json);
}

void dump_local_workload(const struct workload *workload, struct json_writer *json)
{
    dump_workload_with(workload, dump_service_ports, json);
}

void dump_endpoint(const struct mesh_endpoint *endpoint, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_key(json, "port");
    dump_ports(json, endpoint->ports, endpoint->port_count);
    json_write_member_string(json, "status", endpoint->is_healthy ? "Healthy" : "Unhealthy");
    json_write_member_string(json, "workloadUid", endpoint->workload_uid);
    json_write_object_end(json);
}

static int compare_listed_endpoints(const void *left, const void *right)
{
    return strcmp(
        ((const struct service_endpoint *)left)->workload_uid, ((const struct service_endpoint *)right)->workload_uid);
}

void dump_listed_endpoints(const struct service *service, struct json_writer *json)
{
    size_t count = service->endpoint_count;
    struct service_endpoint *AUTO_FREE sorted = memory_allocate_zeroed(count + 1, sizeof *sorted);
    if (count > 0) {
        memcpy(sorted, service->endpoints, count * sizeof *sorted);
        qsort(sorted, count, sizeof *sorted, compare_listed_endpoints);
    }
    for (size_t i = 0; i < count; i++) {
        const struct mesh_endpoint endpoint = { sorted[i].workload_uid, NULL, sorted[i].ports, sorted[i].port_count,
            sorted[i].is_healthy };
        json_write_key(json, endpoint.workload_uid);
        dump_endpoint(&endpoint, json);
    }
}

static void dump_load_balancer(const struct service *service, struct json_writer *json)
{
    static const char *const SCOPES[] = { "", "Region", "Zone", "Subzone", "Node", "Cluster", "Network" };
    static const char *const MODES[] = { "Standard", "Strict", "Failover", "Passthrough" };
    json_write_key(json, "loadBalancer");
    json_write_object_begin(json);
    json_write_member_string(json, "healthPolicy", service->allows_unhealthy ? "AllowAll" : "OnlyHealthy");
    json_write_member_string(json, "mode", MODES[service->mode]);
    json_write_key(json, "routingPreferences");
    json_write_array_begin(json);
    for (size_t i = 0; i < service->scope_count; i++) {
        json_write_string(json, SCOPES[service->scopes[i]]);
    }
    json_write_array_end(json);
    json_write_object_end(json);
}

static void dump_vips(const struct service *service, struct json_writer *json)
{
    json_write_key(json, "vips");
    json_write_array_begin(json);
    for (size_t i = 0; i < service->vip_count; i++) {
        char ip[IP_TEXT_SIZE];
        char *text = string_format("%s/%s", service->vips[i].network, ip_format(&service->vips[i].ip, ip));
        json_write_string(json, text);
        memory_free(text);
    }
    json_write_array_end(json);
}

static void dump_cidr_vips(const struct service *service, struct json_writer *json)
{
    json_write_key(json, "cidrVips");
    json_write_array_begin(json);
    for (size_t i = 0; i < service->cidr_vip_count; i++) {
        char cidr[50];
        json_write_object_begin(json);
        json_write_member_string(json, "cidr", cidr_format(&service->cidr_vips[i].cidr, cidr));
        json_write_member_string(json, "network", service->cidr_vips[i].network);
        json_write_object_end(json);
    }
    json_write_array_end(json);
}

static void dump_weighted_waypoints(const struct service *service, struct json_writer *json)
{
    json_write_key(json, "weightedWaypoints");
    json_write_array_begin(json);
    for (size_t i = 0; i < service->weighted_waypoint_count; i++) {
        json_write_object_begin(json);
        json_write_key(json, "destination");
        dump_gateway(&service->weighted_waypoints[i].destination, json);
        json_write_member_unsigned(json, "weight", service->weighted_waypoints[i].weight);
        json_write_object_end(json);
    }
    json_write_array_end(json);
}

void dump_service_begin(const struct service *service, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_member_bool(json, "canonical", service->is_canonical);
    if (service->cidr_vip_count > 0) {
        dump_cidr_vips(service, json);
    }
    json_write_key(json, "endpoints");
    json_write_object_begin(json);
}

void dump_service_end(const struct service *service, struct json_writer *json)
{
    static const char *const FAMILIES[] = { "", "IPv4", "IPv6", "Dual" };
    json_write_object_end(json);
    json_write_member_string(json, "hostname", service->hostname);
    member_if_set(json, "ipFamilies", FAMILIES[service->ip_families]);
    if (service->has_load_balancing) {
        dump_load_balancer(service, json);
    }
    json_write_member_string(json, "name", service->name);
    json_write_member_string(json, "namespace", service->namespace_);
    json_write_key(json, "ports");
    dump_ports(json, service->ports, service->port_count);
    dump_texts(json, "subjectAltNames", service->subject_alt_names, service->subject_alt_name_count);
    dump_vips(service, json);
    json_write_member_string(json, "visibility", service->is_namespace_private ? "Namespace" : "Public");
    if (service->waypoint != NULL) {
        json_write_key(json, "waypoint");
        dump_gateway(service->waypoint, json);
    }
    if (service->weighted_waypoint_count > 0) {
        dump_weighted_waypoints(service, json);
    }
    json_write_object_end(json);
}

static void dump_policy_text(const union policy_value *value, struct json_writer *json)
{
    static const char *const KINDS[] = { "Exact", "Prefix", "Suffix", "Presence" };
    json_write_object_begin(json);
    json_write_key(json, KINDS[value->text.kind]);
    if (value->text.kind == POLICY_PRESENCE) {
        json_write_array_begin(json);
        json_write_array_end(json);
    } else {
        json_write_string(json, value->text.text);
    }
    json_write_object_end(json);
}

static void dump_policy_value(enum policy_field field, const union policy_value *value, struct json_writer *json)
{
    char cidr[50];
    switch (field) {
    case POLICY_NAMESPACES:
    case POLICY_NOT_NAMESPACES:
    case POLICY_PRINCIPALS:
    case POLICY_NOT_PRINCIPALS:
        dump_policy_text(value, json);
        return;
    case POLICY_SOURCE_IPS:
    case POLICY_NOT_SOURCE_IPS:
    case POLICY_DESTINATION_IPS:
    case POLICY_NOT_DESTINATION_IPS:
        json_write_string(json, cidr_format(&value->cidr, cidr));
        return;
    case POLICY_DESTINATION_PORTS:
    case POLICY_NOT_DESTINATION_PORTS:
        json_write_unsigned(json, value->port);
        return;
    case POLICY_SERVICE_ACCOUNTS:
    case POLICY_NOT_SERVICE_ACCOUNTS:
        json_write_object_begin(json);
        json_write_member_string(json, "namespace", value->account.namespace_);
        json_write_member_string(json, "serviceAccount", value->account.service_account);
        json_write_object_end(json);
        return;
    case POLICY_FIELD_END:
        return;
    }
}

/* The fields in the alphabetical order of their keys. */
static const struct {
    const char *key;
    enum policy_field field;
} KEYS[] = {
    { "destinationIps", POLICY_DESTINATION_IPS },
    { "destinationPorts", POLICY_DESTINATION_PORTS },
    { "namespaces", POLICY_NAMESPACES },
    { "notDestinationIps", POLICY_NOT_DESTINATION_IPS },
    { "notDestinationPorts", POLICY_NOT_DESTINATION_PORTS },
    { "notNamespaces", POLICY_NOT_NAMESPACES },
    { "notPrincipals", POLICY_NOT_PRINCIPALS },
    { "notServiceAccounts", POLICY_NOT_SERVICE_ACCOUNTS },
    { "notSourceIps", POLICY_NOT_SOURCE_IPS },
    { "principals", POLICY_PRINCIPALS },
    { "serviceAccounts", POLICY_SERVICE_ACCOUNTS },
    { "sourceIps", POLICY_SOURCE_IPS },
};

const char *policy_field_key(enum policy_field field)
{
    for (size_t i = 0; i < ARRAY_LENGTH(KEYS); i++) {
        if (KEYS[i].field == field) {
            return KEYS[i].key;
        }
    }
    return "";
}

void dump_policy_list(
    const struct policy *policy, const struct policy_match *match, enum policy_field field, struct json_writer *json)
{
    const struct policy_range *list = &match->lists[field - 1];
    json_write_array_begin(json);
    for (uint32_t i = 0; i < list->count; i++) {
        dump_policy_value(field, &policy->values[list->first + i], json);
    }
    json_write_array_end(json);
}

static void dump_match(const struct policy *policy, const struct policy_match *match, struct json_writer *json)
{
    json_write_object_begin(json);
    for (size_t i = 0; i < ARRAY_LENGTH(KEYS); i++) {
        if (match->lists[KEYS[i].field - 1].count > 0) {
            json_write_key(json, KEYS[i].key);
            dump_policy_list(policy, match, KEYS[i].field, json);
        }
    }
    json_write_object_end(json);
}

static void dump_clause(const struct policy *policy, const struct policy_range *clause, struct json_writer *json)
{
    json_write_array_begin(json);
    for (uint32_t i = 0; i < clause->count; i++) {
        dump_match(policy, &policy->matches[clause->first + i], json);
    }
    json_write_array_end(json);
}

void dump_policy(const struct policy *policy, struct json_writer *json)
{
    static const char *const SCOPES[] = { "Global", "Namespace", "WorkloadSelector" };
    json_write_object_begin(json);
    json_write_member_string(json, "action", policy->action == POLICY_DENY ? "Deny" : "Allow");
    json_write_member_bool(json, "dryRun", policy->is_dry_run);
    json_write_member_string(json, "name", policy->name);
    json_write_member_string(json, "namespace", policy->namespace_);
    json_write_key(json, "rules");
    json_write_array_begin(json);
    for (uint32_t i = 0; i < policy->rule_count; i++) {
        json_write_array_begin(json);
        const struct policy_range *rule = &policy->rules[i];
        for (uint32_t j = 0; j < rule->count; j++) {
            dump_clause(policy, &policy->clauses[rule->first + j], json);
        }
        json_write_array_end(json);
    }
    json_write_array_end(json);
    json_write_member_string(json, "scope", SCOPES[policy->scope]);
    json_write_object_end(json);
}
