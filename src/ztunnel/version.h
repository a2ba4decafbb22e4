/* What this build is, for `ztunnel version`, the first log line and /config_dump. */
#ifndef AMBAR_ZTUNNEL_VERSION_H
#define AMBAR_ZTUNNEL_VERSION_H

#include "base/json_writer.h"
#include "ztunnel/configuration.h"

/* version.BuildInfo{...}; `istio_version` may be NULL. */
void version_write(const char *istio_version, struct writer *out);
/* The `version` object; the field that upstream names after its compiler carries ours. */
void version_dump(const struct configuration *configuration, struct json_writer *json);

#endif
