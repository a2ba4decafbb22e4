#include "net/acceptor.h"

#include "base/memory.h"
#include "net/socket.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define PAUSE_MS 100 /* after an error that will not go away at once: no descriptors, no memory */

static void on_acceptable(struct io_watch *watch, uint32_t events)
{
    (void)events;
    struct acceptor *acceptor = CONTAINER_OF(watch, struct acceptor, watch);
    for (int i = 0; i < acceptor->accepts_a_turn; i++) {
        struct socket_address peer;
        int descriptor = socket_accept(watch->descriptor, &peer);
        if (descriptor >= 0) {
            acceptor->on_accept(acceptor, descriptor, &peer);
            continue;
        }
        if (descriptor == -EMFILE || descriptor == -ENFILE || descriptor == -ENOBUFS || descriptor == -ENOMEM) {
            loop_watch_for(watch, 0);
            timer_arm_after_ms(acceptor->loop, &acceptor->pause, PAUSE_MS);
        }
        return;
    }
}

static void on_pause_over(struct timer *timer)
{
    loop_watch_for(&CONTAINER_OF(timer, struct acceptor, pause)->watch, EPOLLIN);
}

struct result acceptor_open(struct acceptor *acceptor, struct loop *loop, int descriptor)
{
    acceptor->loop = loop;
    acceptor->watch.on_ready = on_acceptable;
    acceptor->pause.on_expire = on_pause_over;
    struct result watched = loop_watch(loop, &acceptor->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        close(descriptor);
    }
    return watched;
}

void acceptor_close(struct acceptor *acceptor)
{
    timer_disarm(&acceptor->pause);
    loop_unwatch(&acceptor->watch);
    close(acceptor->watch.descriptor);
}
