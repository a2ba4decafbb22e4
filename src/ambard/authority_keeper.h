/* The CA's own certificate over time: opened or made at start, renewed in the last fifth of its life, read again when the
 * operator's files have changed (control-plane §7.5). Belongs to ambard's loop thread. */
#ifndef AMBAR_AMBARD_AUTHORITY_KEEPER_H
#define AMBAR_AMBARD_AUTHORITY_KEEPER_H

#include "tls/authority.h"

struct authority_keeper;

/* The operator's CA in `ca_directory`, or, when that is NULL, ours in `state_directory`, made at the first start. Both strings
 * must outlive the keeper. */
struct result authority_keeper_open(const char *ca_directory, const char *state_directory, const char *trust_domain,
    int64_t now_s, struct authority_keeper **keeper);
void authority_keeper_free(struct authority_keeper *keeper);

/* Valid until the next authority_keeper_check. */
const struct certificate_authority *authority_keeper_current(const struct authority_keeper *keeper);

/* Looks after it; true when it is another one now. What fails is logged, and the one in use stays. */
bool authority_keeper_check(struct authority_keeper *keeper, int64_t now_s);

#endif
