/* The running control plane: folder, index, CA, workload API, metrics and debug pages on one loop. */
#ifndef AMBAR_AMBARD_DAEMON_H
#define AMBAR_AMBARD_DAEMON_H

#include "ambard/settings.h"

/* Runs until SIGTERM or SIGINT. Refuses to start, with one sentence, when the folder has no good state; the problems have been
 * printed to standard error by then. */
struct result daemon_run(const struct ambard_settings *settings);

#endif
