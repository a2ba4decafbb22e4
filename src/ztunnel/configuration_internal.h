/* Shared by the files that make up the configuration: its table, what follows from it, its checks and its dump. */
#ifndef AMBAR_ZTUNNEL_CONFIGURATION_INTERNAL_H
#define AMBAR_ZTUNNEL_CONFIGURATION_INTERNAL_H

#include "ztunnel/configuration.h"

#define DEFAULT_TOKEN_PATH "./var/run/secrets/tokens/istio-token"

extern const struct option CONFIGURATION_OPTIONS[];
extern const size_t CONFIGURATION_OPTION_COUNT;

/* Kubernetes puts ADMIN_PORT=tcp://10.0.0.1:80 into a pod's environment when a service there is called "admin"; such a
 * link is no setting of ours. */
void configuration_forget_service_links(void);
/* Defaults that depend on other settings, and values that are made of several. */
struct result configuration_derive(struct configuration *configuration);
/* Refuses what contradicts itself or is not available. */
struct result configuration_check(const struct configuration *configuration);

#endif
