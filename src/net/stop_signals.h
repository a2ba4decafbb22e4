/* SIGTERM and SIGINT as events of a loop. Blocked in the calling thread from then on, and so in every thread it makes afterwards. */
#ifndef AMBAR_NET_STOP_SIGNALS_H
#define AMBAR_NET_STOP_SIGNALS_H

#include "net/loop.h"

/* `watch` is zero but for on_ready. */
struct result stop_signals_watch(struct loop *loop, struct io_watch *watch);
/* The next signal that has come, or 0. */
int stop_signals_take(struct io_watch *watch);
/* Also after a watch that failed. */
void stop_signals_unwatch(struct io_watch *watch);

#endif
