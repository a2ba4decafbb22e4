#include "mesh/name_service.h"

#include "base/random.h"
#include "base/text.h"
#include "mesh/index.h"

#include <stdio.h>

#define EXPANSIONS_MAXIMUM 2
#define CANDIDATES_MAXIMUM (1 + EXPANSIONS_MAXIMUM + NAME_SEARCH_MAXIMUM * (1 + EXPANSIONS_MAXIMUM))

/* A name to look up, and whether a search domain was taken off to get it. */
struct candidate {
    char name[NAME_TEXT_MAXIMUM + 1];
    size_t stripped_length; /* of the question's name, what was left of it; 0: nothing was taken off */
};

struct search {
    const struct mesh_version *version;
    const struct name_question *question;
    const char *client_namespace;
    struct candidate candidates[CANDIDATES_MAXIMUM];
    size_t candidate_count;
};

/* Names that get too long are no names, and none is looked up twice. */
static void add_candidate(struct search *search, size_t stripped_length, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_candidate(struct search *search, size_t stripped_length, const char *format, ...)
{
    struct candidate *candidate = &search->candidates[search->candidate_count];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(candidate->name, sizeof candidate->name, format, arguments);
    va_end(arguments);
    if (length < 0 || (size_t)length >= sizeof candidate->name) {
        return;
    }
    for (size_t i = 0; i < search->candidate_count; i++) {
        if (strcmp(search->candidates[i].name, candidate->name) == 0) {
            return;
        }
    }
    candidate->stripped_length = stripped_length;
    search->candidate_count++;
}

static size_t count_labels(const char *name)
{
    size_t labels = 1;
    for (; *name != '\0'; name++) {
        labels += *name == '.';
    }
    return labels;
}

/* The forms of a name that Kubernetes' search domains would make of it (§18.2, E). */
static void add_expansions(struct search *search, size_t stripped_length, const char *name)
{
    const char *domain = search->question->domain;
    const char *namespace_ = search->client_namespace;
    bool ends_in_svc = text_ends_with(name, ".svc");
    switch (count_labels(name)) {
    case 1:
        add_candidate(search, stripped_length, "%s.%s.svc.%s", name, namespace_, domain);
        return;
    case 2:
        add_candidate(search, stripped_length, "%s.svc.%s", name, domain);
        add_candidate(search, stripped_length, "%s.%s.svc.%s", name, namespace_, domain);
        return;
    case 3:
        if (ends_in_svc) {
            add_candidate(search, stripped_length, "%s.%s", name, domain);
        }
        add_candidate(search, stripped_length, "%s.svc.%s", name, domain);
        return;
    case 4:
        if (ends_in_svc) {
            add_candidate(search, stripped_length, "%s.%s", name, domain);
        }
        return;
    default:
        return;
    }
}

/* The length of the name before ".DOMAIN"; 0 when that is not its end. */
static size_t length_before(const char *name, const char *domain)
{
    size_t name_length = strlen(name), domain_length = strlen(domain);
    if (name_length <= domain_length + 1 || strcmp(name + name_length - domain_length, domain) != 0 ||
        name[name_length - domain_length - 1] != '.') {
        return 0;
    }
    return name_length - domain_length - 1;
}

static void list_candidates(struct search *search)
{
    const struct name_question *question = search->question;
    add_candidate(search, 0, "%s", question->name);
    add_expansions(search, 0, question->name);
    for (size_t i = 0; i < question->search_count; i++) {
        size_t length = length_before(question->name, question->search[i]);
        char stripped[NAME_TEXT_MAXIMUM + 1];
        if (length > 0 && length < sizeof stripped) {
            memcpy(stripped, question->name, length);
            stripped[length] = '\0';
            add_candidate(search, length, "%s", stripped);
            add_expansions(search, length, stripped);
        }
    }
}

static bool is_headless_name(const struct search *search, const struct service *service)
{
    size_t length = length_before(service->hostname, search->question->domain);
    return length > 4 && memcmp(service->hostname + length - 4, ".svc", 4) == 0;
}

/* Client's namespace, then canonical, then the preferred namespace, then the first. */
static int rank_of(const struct search *search, const struct service *service)
{
    if (text_equal(service->namespace_, search->client_namespace)) {
        return 3;
    }
    if (service->is_canonical) {
        return 2;
    }
    const char *preferred = search->question->preferred_namespace;
    return preferred != NULL && text_equal(service->namespace_, preferred);
}

static const struct service *find_service(const struct search *search, const char *prefix, const char *hostname)
{
    struct index_key key;
    char name[NAME_TEXT_MAXIMUM + 2];
    snprintf(name, sizeof name, "%s%s", prefix, hostname);
    index_key_begin(&key, INDEX_SERVICE_BY_HOSTNAME);
    index_key_add_text(&key, bytes_of_string(name));
    const struct index_list *list = index_find(search->version->index, &key);
    const struct service *best = NULL;
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        const struct service *service = list->items[i];
        bool is_eligible = (service->vip_count > 0 || is_headless_name(search, service)) &&
                           service_is_visible_to(service, search->client_namespace);
        if (is_eligible && (best == NULL || rank_of(search, service) > rank_of(search, best))) {
            best = service;
        }
    }
    return best;
}

/* The candidate itself, then with more and more leading labels replaced by "*". */
static const struct service *find_candidate(const struct search *search, const char *name, bool *is_wildcard)
{
    const struct service *service = find_service(search, "", name);
    *is_wildcard = false;
    for (const char *rest = strchr(name, '.'); service == NULL && rest != NULL; rest = strchr(rest + 1, '.')) {
        service = find_service(search, "*", rest);
        *is_wildcard = true;
    }
    return service;
}

static void add_address(struct name_finding *finding, const struct ip_address *ip)
{
    if (name_finding_address_count(finding) < NAME_ADDRESSES_MAXIMUM) {
        writer_add(&finding->addresses, ip, sizeof *ip);
    }
}

/* VIPs on the client's network. */
static void add_vips(const struct name_question *question, struct name_finding *finding)
{
    const struct service *service = finding->service;
    for (size_t i = 0; i < service->vip_count; i++) {
        const struct service_vip *vip = &service->vips[i];
        if (vip->ip.family == question->family &&
            strcmp(vip->network, workload_text(question->client, WORKLOAD_NETWORK)) == 0) {
            add_address(finding, &vip->ip);
        }
    }
}

/* A headless service: the first address of each endpoint. */
static void add_endpoints(
    const struct mesh_version *version, const struct name_question *question, struct name_finding *finding)
{
    struct mesh_endpoint_iterator iterator;
    struct mesh_endpoint endpoint;
    mesh_endpoints_begin(version, bytes_of_string(finding->service->key), &iterator);
    while (mesh_endpoints_next(&iterator, &endpoint)) {
        const struct workload *workload = endpoint.workload;
        if (workload == NULL || (!endpoint.is_healthy && !finding->service->allows_unhealthy)) {
            continue;
        }
        size_t i = 0;
        while (i < workload->address_count && workload->addresses[i].family != question->family) {
            i++;
        }
        if (i < workload->address_count) {
            add_address(finding, &workload->addresses[i]);
        }
    }
}

static void shuffle(struct name_finding *finding)
{
    struct ip_address *addresses = (struct ip_address *)(void *)finding->addresses.data;
    for (size_t i = name_finding_address_count(finding); i > 1; i--) {
        size_t other = (size_t)random_below(i);
        struct ip_address moved = addresses[i - 1];
        addresses[i - 1] = addresses[other];
        addresses[other] = moved;
    }
}

static bool is_family_served(const struct name_question *question, const struct service *service)
{
    if (question->family == IP_V6) {
        return !question->is_ipv6_disabled && service->ip_families != FAMILIES_IPV4;
    }
    return service->ip_families != FAMILIES_IPV6;
}

static enum name_outcome collect(
    const struct mesh_version *version, const struct name_question *question, struct name_finding *finding)
{
    if (!is_family_served(question, finding->service)) {
        return NAME_FAMILY_NOT_SERVED;
    }
    if (finding->service->vip_count > 0) {
        add_vips(question, finding);
    } else {
        add_endpoints(version, question, finding);
    }
    shuffle(finding);
    return name_finding_address_count(finding) > 0 ? NAME_FOUND : NAME_WITHOUT_RECORDS;
}

enum name_outcome mesh_find_name(
    const struct mesh_version *version, const struct name_question *question, struct name_finding *finding)
{
    *finding = (struct name_finding){ .addresses = writer_growing() };
    if (question->name[0] == '\0') {
        return NAME_UNKNOWN;
    }
    struct search search = {
        .version = version,
        .question = question,
        .client_namespace = workload_text(question->client, WORKLOAD_NAMESPACE),
    };
    list_candidates(&search);
    for (size_t i = 0; i < search.candidate_count; i++) {
        bool is_wildcard;
        const struct candidate *candidate = &search.candidates[i];
        finding->service = find_candidate(&search, candidate->name, &is_wildcard);
        if (finding->service == NULL) {
            continue;
        }
        if (candidate->stripped_length > 0 && !is_wildcard) {
            memcpy(finding->alias, question->name, candidate->stripped_length);
        }
        return collect(version, question, finding);
    }
    return NAME_UNKNOWN;
}

void name_finding_free(struct name_finding *finding)
{
    writer_free(&finding->addresses);
}
