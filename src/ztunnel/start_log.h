/* The lines a run begins with (ztunnel-management §1.5). */
#ifndef AMBAR_ZTUNNEL_START_LOG_H
#define AMBAR_ZTUNNEL_START_LOG_H

#include "ztunnel/configuration.h"

/* Version, descriptor limit (`soft_limit` before it was raised) and the whole configuration. */
void start_log_write(const struct configuration *configuration, uint64_t soft_limit);

#endif
