/* The nftables rules inside a pod's namespace that hand its traffic to the node proxy (cni §7.6): tables istio-ambient-nat,
 * istio-ambient-mangle and, where DNS is captured, istio-ambient-raw of family inet. The rules are one table of text from which the
 * script that applies them and the check of what is in force are both made. */
#ifndef AMBAR_CNI_RULES_H
#define AMBAR_CNI_RULES_H

#include "base/result.h"

#include <stdbool.h>

struct network_namespace;
struct writer;

#define RULES_TIMEOUT_MS 10000

struct rules_choice {
    bool with_ipv6;
    bool with_dns; /* the rules marked D in the contract: DNS goes to the node proxy's port 15053 */
};

/* One transaction that replaces whatever the tables held; one that is not wanted any more goes. */
void rules_write_script(const struct rules_choice *choice, struct writer *out);
/* One transaction after which none of the tables exists, whether or not they did before. */
void rules_write_removal(struct writer *out);

/* Compares `listing`, the output of `nft -s list ruleset inet`, with the rules: the same chains, the same number
 * of rules, in the same order. The failure names the first chain that differs. */
struct result rules_check_listing(const char *listing, const struct rules_choice *choice);

/* Run `nft_path` (an absolute path) inside the namespace and wait for it. */
struct result rules_apply(
    const char *nft_path, const struct network_namespace *namespace_, const struct rules_choice *choice);
struct result rules_verify(
    const char *nft_path, const struct network_namespace *namespace_, const struct rules_choice *choice);
struct result rules_remove(const char *nft_path, const struct network_namespace *namespace_);

#endif
