/* One identity's certificates as /config_dump shows them (ztunnel-management §7.3). */
#ifndef AMBAR_ZTUNNEL_CERTIFICATE_DUMP_H
#define AMBAR_ZTUNNEL_CERTIFICATE_DUMP_H

#include "xds/certificate_store.h"

/* For certificate_store_visit; `json` is a struct json_writer within an array. */
void certificate_dump(const struct certificate_view *view, void *json);
/* "Available", "Initializing" or "Unavailable: {error}", owned by the caller. */
char *certificate_state_text(const struct certificate_view *view);

#endif
