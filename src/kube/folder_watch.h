/* Says when a set of directories should be looked at again: inotify, let settle for a moment, and a slow poll for
 * what inotify does not see. For the loop's thread. */
#ifndef AMBAR_KUBE_FOLDER_WATCH_H
#define AMBAR_KUBE_FOLDER_WATCH_H

#include "base/result.h"
#include "net/loop.h"

struct folder_watch {
    void (*on_due)(struct folder_watch *watch); /* look again; then folder_watch_next */
    struct loop *loop;                          /* NULL: not watching */
    struct io_watch inotify;
    struct timer timer;
    uint64_t first_event_ns; /* of those not yet looked at; 0: none */
};

struct result folder_watch_start(struct folder_watch *watch, struct loop *loop);
void folder_watch_stop(struct folder_watch *watch); /* idempotent */

/* Idempotent for one directory. */
void folder_watch_directory(struct folder_watch *watch, const char *directory);

/* When to look again should nothing happen. */
void folder_watch_next(struct folder_watch *watch, uint64_t delay_ms);

#endif
