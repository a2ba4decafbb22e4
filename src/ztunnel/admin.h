/* The admin port (15000, loopback) (ztunnel-management §7). Control thread. */
#ifndef AMBAR_ZTUNNEL_ADMIN_H
#define AMBAR_ZTUNNEL_ADMIN_H

#include "net/loop.h"
#include "ztunnel/config_dump.h"

struct admin;

struct admin_settings {
    struct config_dump_source source;
    void (*on_quit)(void *context); /* POST /quitquitquit */
    void *context;
};

struct admin *admin_new(struct loop *control, const struct admin_settings *settings);
struct result admin_listen(struct admin *admin);
/* What the dumps show is there only after start. `local` (what a local file made) may be NULL. */
void admin_set_state(struct admin *admin, struct live_view *live, const struct mesh_version *local);
void admin_set_pods(struct admin *admin, const struct inpod_manager *pods);
void admin_free(struct admin *admin);

#endif
