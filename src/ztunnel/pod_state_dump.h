/* The `workloadState` of /config_dump (ztunnel-management §7.3): each pod of the node with its connections, which are asked for
 * pod by pod when its turn comes. Control thread. */
#ifndef AMBAR_ZTUNNEL_POD_STATE_DUMP_H
#define AMBAR_ZTUNNEL_POD_STATE_DUMP_H

#include "base/json_writer.h"
#include "ztunnel/inpod_manager.h"
#include "ztunnel/live_walk.h"

struct pod_state_dump;

/* Takes down which pods there are. `on_ready` is called after POD_STATE_WAITS. */
struct pod_state_dump *pod_state_dump_new(
    const struct inpod_manager *pods, struct live_view *live, void (*on_ready)(void *context), void *context);

enum pod_state_progress { POD_STATE_WRITTEN, POD_STATE_WAITS, POD_STATE_OVER };
/* Writes the next piece into the object of pods that the caller has begun. */
enum pod_state_progress pod_state_dump_write(struct pod_state_dump *dump, struct json_writer *json);

void pod_state_dump_free(struct pod_state_dump *dump); /* NULL is allowed */

#endif
