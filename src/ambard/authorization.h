/* istio.security.Authorization as a tree in an arena, and its bytes (wire-protocols §3). */
#ifndef AMBAR_AMBARD_AUTHORIZATION_H
#define AMBAR_AMBARD_AUTHORIZATION_H

#include "base/arena.h"
#include "base/writer.h"
#include "kube/labels.h"

enum authorization_scope { AUTHORIZATION_GLOBAL, AUTHORIZATION_NAMESPACE, AUTHORIZATION_WORKLOAD_SELECTOR };
enum authorization_action { AUTHORIZATION_ALLOW, AUTHORIZATION_DENY };

/* The texts are those of the policy; what they mean on the wire is decided when they are written. */
struct authorization_match {
    struct kube_strings namespaces, not_namespaces;
    struct kube_strings principals, not_principals;
    struct kube_strings source_ips, not_source_ips;
    struct kube_strings destination_ips, not_destination_ips;
    struct kube_strings destination_ports, not_destination_ports;
    struct kube_strings service_accounts, not_service_accounts;
};

/* Holds when any of its matches does. */
struct authorization_clause {
    struct authorization_match *matches;
    size_t count;
};

/* Holds when all of its clauses do. */
struct authorization_group {
    struct authorization_clause *clauses;
    size_t count;
};

struct authorization {
    const char *name;
    const char *namespace_;
    enum authorization_scope scope;
    enum authorization_action action;
    struct authorization_group *groups; /* any of them */
    size_t group_count;
};

bool authorization_match_is_empty(const struct authorization_match *match);
/* Whether any group could ever hold: a clause of empty matches alone never does. */
bool authorization_can_fire(const struct authorization *authorization);

void authorization_encode(const struct authorization *authorization, struct writer *out);

#endif
