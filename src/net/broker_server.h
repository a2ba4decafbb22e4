/* The broker process itself: waits for requests on its channels and does them, one at a time, until all its clients are gone.
 * It never trusts a request, never waits for a client that does not read, and allocates nothing after it has started. */
#ifndef AMBAR_NET_BROKER_SERVER_H
#define AMBAR_NET_BROKER_SERVER_H

#include "net/broker.h"

/* Checks that the work can be done, locks the process in, says so (or why not) on channel 0, serves, and exits. `channels` are
 * the broker's ends, one a client thread. The process has nothing else open that matters. */
_Noreturn void broker_server_run(const struct broker_settings *settings, const int *channels);

#endif
