/* What the texts of a question mean: addresses, uids and the many forms of a name. */
#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/explanation_internal.h"

static bool is_called(const struct workload *workload, const char *name, const char *namespace_)
{
    return text_equal(workload_text(workload, WORKLOAD_NAME), name) &&
           (namespace_ == NULL || text_equal(workload_text(workload, WORKLOAD_NAMESPACE), namespace_));
}

/* `*count` tells how many there are of that name. */
static const struct workload *find_by_name(
    const struct mesh_version *version, const char *name, const char *namespace_, size_t *count)
{
    struct persistent_map_iterator iterator;
    const struct workload *found = NULL;
    mesh_workloads_begin(version, &iterator);
    for (const struct workload *workload; (workload = mesh_workloads_next(&iterator)) != NULL;) {
        if (is_called(workload, name, namespace_)) {
            found = found == NULL ? workload : found;
            (*count)++;
        }
    }
    return found;
}

/* "namespace/name", "name.namespace", "name". */
static const struct workload *find_workload(const struct mesh_version *version, const char *text, size_t *count)
{
    *count = 0;
    const struct workload *by_uid = mesh_workload_by_uid(version, bytes_of_string(text));
    if (by_uid != NULL) {
        *count = 1;
        return by_uid;
    }
    const char *slash = strchr(text, '/');
    if (slash != NULL) {
        char *AUTO_FREE namespace_ = string_duplicate_n(text, (size_t)(slash - text));
        return find_by_name(version, slash + 1, namespace_, count);
    }
    const struct workload *found = find_by_name(version, text, NULL, count);
    const char *dot = strrchr(text, '.');
    if (found != NULL || dot == NULL) {
        return found;
    }
    char *AUTO_FREE name = string_duplicate_n(text, (size_t)(dot - text));
    return find_by_name(version, name, dot + 1, count);
}

static struct result ambiguous(const char *text, size_t count)
{
    return result_fail(RESULT_INVALID,
        "%zu workloads are called %s: say NAMESPACE/NAME, an address or a uid (`ambarctl workloads` lists them)", count,
        text);
}

struct result explanation_find_source(struct explanation *explanation)
{
    const struct explanation_request *request = explanation->request;
    struct ip_address ip;
    if (ip_parse(request->source, &ip)) {
        explanation->source_address = ip;
        explanation->source = mesh_workload_by_address(request->version, mesh_version_network(request->version), &ip);
        return result_ok();
    }
    size_t count;
    explanation->source = find_workload(request->version, request->source, &count);
    if (count > 1) {
        return ambiguous(request->source, count);
    }
    if (explanation->source == NULL) {
        return result_fail(RESULT_NOT_FOUND, "no workload is called %s in the model of this ztunnel", request->source);
    }
    return result_ok();
}

/* A service by its hostname, or by a short form of it as an application would say it. */
static const struct service *find_service(const struct explanation *explanation, const char *name)
{
    const struct explanation_request *request = explanation->request;
    const char *namespace_ =
        explanation->source != NULL ? workload_text(explanation->source, WORKLOAD_NAMESPACE) : NULL;
    const struct service *service = mesh_service_by_key(request->version, bytes_of_string(name));
    const char *domain = request->cluster_domain;
    char *forms[] = { string_duplicate(name),
        namespace_ != NULL ? string_format("%s.%s.svc.%s", name, namespace_, domain) : NULL,
        string_format("%s.svc.%s", name, domain), string_format("%s.%s", name, domain) };
    for (size_t i = 0; i < ARRAY_LENGTH(forms); i++) {
        if (service == NULL && forms[i] != NULL) {
            service = mesh_service_by_hostname(request->version, bytes_of_string(forms[i]), namespace_);
        }
        memory_free(forms[i]);
    }
    return service;
}

static enum ip_family wanted_family(const struct explanation *explanation)
{
    return explanation->source_address.family == IP_V6 ? IP_V6 : IP_V4;
}

static const struct ip_address *pick_address(const struct ip_address *addresses, size_t count, enum ip_family family)
{
    for (size_t i = 0; i < count; i++) {
        if (addresses[i].family == family) {
            return &addresses[i];
        }
    }
    return count > 0 ? &addresses[0] : NULL;
}

/* The address that an application would get for the service's name: a virtual one, else (headless) an endpoint's. */
static struct result use_service(struct explanation *explanation, const struct service *service)
{
    const char *network = mesh_version_network(explanation->request->version);
    const struct ip_address *found = NULL;
    explanation->named_service = service;
    for (size_t i = 0; i < service->vip_count; i++) {
        bool is_ours = text_equal(service->vips[i].network, network);
        bool is_better = found == NULL || (found->family != wanted_family(explanation) &&
                                              service->vips[i].ip.family == wanted_family(explanation));
        found = is_ours && is_better ? &service->vips[i].ip : found;
    }
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint endpoint;
    mesh_endpoints_begin(explanation->request->version, bytes_of_string(service->key), &iterator);
    while (found == NULL && mesh_endpoints_next(&iterator, &endpoint)) {
        found = endpoint.workload != NULL ? pick_address(endpoint.workload->addresses, endpoint.workload->address_count,
                                                wanted_family(explanation))
                                          : NULL;
    }
    if (found == NULL) {
        return result_fail(
            RESULT_NOT_FOUND, "service %s has neither a virtual address nor an endpoint with an address", service->key);
    }
    explanation->target.ip = *found;
    return result_ok();
}

static struct result use_workload(struct explanation *explanation, const char *name)
{
    size_t count;
    const struct workload *workload = find_workload(explanation->request->version, name, &count);
    if (count > 1) {
        return ambiguous(name, count);
    }
    if (workload == NULL) {
        return result_fail(
            RESULT_NOT_FOUND, "neither a service nor a workload is called %s in the model of this ztunnel", name);
    }
    const struct ip_address *address =
        pick_address(workload->addresses, workload->address_count, wanted_family(explanation));
    if (address == NULL) {
        return result_fail(RESULT_NOT_FOUND, "workload %s has no address", workload_text(workload, WORKLOAD_UID));
    }
    explanation->named_workload = workload;
    explanation->target.ip = *address;
    return result_ok();
}

struct result explanation_find_target(struct explanation *explanation)
{
    const char *text = explanation->request->destination;
    if (socket_address_parse(text, &explanation->target)) {
        return result_ok();
    }
    const char *colon = strrchr(text, ':');
    uint64_t port;
    if (colon == NULL || colon == text || !text_to_u64(colon + 1, UINT16_MAX, &port) || port == 0) {
        return result_fail(RESULT_INVALID, "invalid destination %s; expected HOST:PORT", text);
    }
    explanation->target.port = (uint16_t)port;
    char *AUTO_FREE name = string_duplicate_n(text, (size_t)(colon - text));
    const struct service *service = find_service(explanation, name);
    return service != NULL ? use_service(explanation, service) : use_workload(explanation, name);
}
