#include "net/stop_signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct result stop_signals_watch(struct loop *loop, struct io_watch *watch)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    int descriptor = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (descriptor < 0) {
        return result_system(errno, "signalfd");
    }
    struct result watched = loop_watch(loop, watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        close(descriptor);
    }
    return watched;
}

int stop_signals_take(struct io_watch *watch)
{
    struct signalfd_siginfo information;
    ssize_t length = read(watch->descriptor, &information, sizeof information);
    return length == (ssize_t)sizeof information ? (int)information.ssi_signo : 0;
}

void stop_signals_unwatch(struct io_watch *watch)
{
    if (watch->loop != NULL) {
        loop_unwatch(watch);
        close(watch->descriptor);
    }
}
