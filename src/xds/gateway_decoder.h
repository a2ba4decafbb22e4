/* The small messages that workloads and services share: GatewayAddress and lists of Port (wire-protocols §2). */
#ifndef AMBAR_XDS_GATEWAY_DECODER_H
#define AMBAR_XDS_GATEWAY_DECODER_H

#include "mesh/gateway_address.h"
#include "xds/resource_decoder.h"

bool gateway_decode(struct resource_decoder *decoder, struct bytes message, struct gateway_spec *gateway);

/* NetworkAddress; without a `length` the prefix is full. */
bool network_address_decode(
    struct resource_decoder *decoder, struct bytes message, struct bytes *network, struct cidr *cidr);

/* Every Port that is field `number` of the message; the array comes from the decoder's arena. Other fields are not
 * looked at. Ports are cut to 16 bits, as the reference does. */
bool ports_decode(struct resource_decoder *decoder, struct bytes message, uint32_t number,
    const struct port_mapping **ports, size_t *count);

#endif
