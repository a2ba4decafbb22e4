/* How this ztunnel reaches its control plane: XDS_ADDRESS, CA_ADDRESS and what goes with them, made into the settings of the
 * xDS and CA clients (ztunnel-management §§1.2, 3.1). */
#ifndef AMBAR_ZTUNNEL_CONTROL_TARGET_H
#define AMBAR_ZTUNNEL_CONTROL_TARGET_H

#include "base/arena.h"
#include "xds/control_plane.h"
#include "ztunnel/configuration.h"

enum control_target { CONTROL_TARGET_XDS, CONTROL_TARGET_CA };

/* What XDS_ROOT_CA and CA_ROOT_CA may be: a path, SYSTEM, or PEM. */
enum root_kind { ROOT_FILE, ROOT_SYSTEM, ROOT_INLINE };
enum root_kind root_kind_of(const char *root);

/* Texts live in `arena`. The sentence of a failure names the variable. */
struct result control_target_settings(const struct configuration *configuration, enum control_target target,
    struct arena *arena, struct control_plane_settings *settings);

/* XDS_HEADER_* and CA_HEADER_* of the environment, whether or not their control plane is asked (§1). */
struct result control_target_check_headers(void);

#endif
