/* Gateways of other networks (control-plane §8): Gateways of class istio-remote that stand for a network's HBONE entrance. Each of
 * their addresses is a workload, and every workload of that network is told where the entrance is. */
#ifndef AMBAR_AMBARD_NETWORK_GATEWAY_H
#define AMBAR_AMBARD_NETWORK_GATEWAY_H

#include "ambard/conversion.h"
#include "base/bytes.h"

struct network_gateway_table;

struct network_gateway_table *network_gateway_table_new(struct conversion *conversion);
void network_gateway_table_free(struct network_gateway_table *table);

/* The serialized GatewayAddress of a network's first gateway; data NULL: it has none. */
struct bytes network_gateway_address(const struct conversion *conversion, const char *network);

/* Emits the gateways' own workloads. */
void network_gateways_convert(struct conversion *conversion);

#endif
