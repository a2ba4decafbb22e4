/* `dnsResolverCfg` and `dnsResolverOpts` of /config_dump: what /etc/resolv.conf says now, in the shape that readers of the
 * reference's dump know (ztunnel-management §11). */
#ifndef AMBAR_ZTUNNEL_RESOLVER_DUMP_H
#define AMBAR_ZTUNNEL_RESOLVER_DUMP_H

#include "base/json_writer.h"
#include "ztunnel/configuration.h"

void resolver_dump_configuration(const struct configuration *configuration, struct json_writer *json);
void resolver_dump_options(const struct configuration *configuration, struct json_writer *json);

#endif
