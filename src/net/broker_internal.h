/* What broker_client.c needs of a broker that nobody else does. */
#ifndef AMBAR_NET_BROKER_INTERNAL_H
#define AMBAR_NET_BROKER_INTERNAL_H

#include "net/broker.h"

const struct broker_settings *broker_settings_of(const struct broker *broker);
/* The client's end of a channel; it stays the broker's to close. Meaningless for BROKER_NONE. */
int broker_channel(const struct broker *broker, unsigned channel);

#endif
