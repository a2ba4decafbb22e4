/* The process: what is started in which order, what starts what, and how it ends (ztunnel-management §2). Control thread. */
#ifndef AMBAR_ZTUNNEL_APPLICATION_H
#define AMBAR_ZTUNNEL_APPLICATION_H

#include "ztunnel/configuration.h"

/* Runs until it is told to end (SIGTERM, SIGINT, POST /quitquitquit) and has drained. A failure at start is one sentence. */
struct result application_run(const struct configuration *configuration);

#endif
