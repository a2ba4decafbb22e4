/* Host names of workloads to addresses, on the loop and from memory where possible (ztunnel-dataplane §6.4): A and AAAA side by
 * side through c-ares, with the /etc/resolv.conf and in the network namespace of this process.
 *
 * Answers are kept for their time to live, up to RESOLVER_NAMES_MAXIMUM names; a name without an answer is asked for again after
 * RESOLVER_NEGATIVE_MS. One resolver per loop, on its thread; nothing is shared. */
#ifndef AMBAR_NET_NAME_RESOLVER_H
#define AMBAR_NET_NAME_RESOLVER_H

#include "base/address.h"
#include "net/loop.h"

#define RESOLVER_NAMES_MAXIMUM 4096
#define RESOLVER_ADDRESSES_MAXIMUM 64 /* a name; more are left out */
#define RESOLVER_RUNNING_MAXIMUM 256  /* names asked for at one time; further ones have no answer */
#define RESOLVER_DEADLINE_MS 5000
#define RESOLVER_NEGATIVE_MS 1000
#define RESOLVER_TTL_MAXIMUM_S 86400

struct name_resolver;

struct name_resolver_settings {
    bool is_ipv4_only;
    const char *servers; /* "ADDRESS:PORT,..."; NULL: those of /etc/resolv.conf */
};

/* What a name was found to be. Borrowed for the call. */
struct name_answer {
    const char *hostname;
    const struct ip_address *addresses;
    size_t address_count;
    bool does_exist; /* there was an answer, though perhaps without addresses */
};

/* Somebody who wants to know. Embed it, zero it, set on_answer. */
struct name_lookup {
    /* Once, unless cancelled; may free the object around it, not the resolver. */
    void (*on_answer)(struct name_lookup *lookup, const struct name_answer *answer);
    struct name_resolver *resolver; /* NULL when not waiting */
    struct resolved_entry *entry;
    struct list link;
    struct timer deadline;
};

/* Fails when the system's settings cannot be used. */
struct result name_resolver_new(
    struct loop *loop, const struct name_resolver_settings *settings, struct name_resolver **resolver);
/* Whoever waits is forgotten without an answer. NULL is allowed. */
void name_resolver_free(struct name_resolver *resolver);

/* Calls on_answer, from within when the answer is known already, otherwise within RESOLVER_DEADLINE_MS. */
void name_lookup_start(struct name_lookup *lookup, struct name_resolver *resolver, const char *hostname);
/* Idempotent on a zeroed or finished lookup; no callback. */
void name_lookup_cancel(struct name_lookup *lookup);

/* Names in memory, known or being asked for. */
size_t name_resolver_count(const struct name_resolver *resolver);

#endif
