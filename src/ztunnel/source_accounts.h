/* What one source address (a pod that opens inbound tunnels) makes us do for nothing, over all its tunnels, whichever workers they are
 * on: handshakes under way, and streams that it resets before we could answer ("rapid reset"). A bounded table; the address used longest
 * ago is forgotten. Any thread: under a lock, which is taken for a new tunnel and for a stream that came to nothing, never for traffic. */
#ifndef AMBAR_ZTUNNEL_SOURCE_ACCOUNTS_H
#define AMBAR_ZTUNNEL_SOURCE_ACCOUNTS_H

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOURCE_HANDSHAKES_MAXIMUM 512
#define SOURCE_RESETS_MAXIMUM 4000
#define SOURCE_RESETS_A_SECOND 1000 /* come back to a source */
#define SOURCE_ACCOUNTS_MAXIMUM 4096

struct source_accounts;

struct source_accounts *source_accounts_new(void);
void source_accounts_free(struct source_accounts *accounts); /* NULL is allowed */

/* False: it has too many under way. True must be followed by _end_handshake once. */
bool source_accounts_begin_handshake(struct source_accounts *accounts, const struct ip_address *source);
void source_accounts_end_handshake(struct source_accounts *accounts, const struct ip_address *source);

/* False when it has used up its resets; it is then barred until half of them have come back. */
bool source_accounts_spend_reset(struct source_accounts *accounts, const struct ip_address *source, uint64_t now_ns);
bool source_accounts_is_barred(struct source_accounts *accounts, const struct ip_address *source, uint64_t now_ns);

size_t source_accounts_count(struct source_accounts *accounts);

#endif
