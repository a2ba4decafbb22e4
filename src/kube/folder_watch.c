/* inotify with patience. */
#include "kube/folder_watch.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

/* A change is applied within a second even when writing goes on all the time. */
#define QUIET_MS 100
#define PATIENCE_MS 600

#define EVENTS                                                                                                         \
    (IN_CREATE | IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE | IN_ATTRIB | IN_DELETE_SELF |   \
        IN_MOVE_SELF | IN_ONLYDIR)

static void on_expire(struct timer *timer)
{
    struct folder_watch *watch = CONTAINER_OF(timer, struct folder_watch, timer);
    watch->first_event_ns = 0;
    watch->on_due(watch);
}

static void note_event(struct folder_watch *watch)
{
    uint64_t now_ns = loop_now_ns(watch->loop);
    if (watch->first_event_ns == 0) {
        watch->first_event_ns = now_ns;
    }
    uint64_t quiet_ns = now_ns + QUIET_MS * NANOSECONDS_PER_MILLISECOND;
    uint64_t latest_ns = watch->first_event_ns + PATIENCE_MS * NANOSECONDS_PER_MILLISECOND;
    timer_arm_at(watch->loop, &watch->timer, quiet_ns < latest_ns ? quiet_ns : latest_ns);
}

static void on_ready(struct io_watch *io, uint32_t events)
{
    (void)events;
    struct folder_watch *watch = CONTAINER_OF(io, struct folder_watch, inotify);
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t length = read(io->descriptor, buffer, sizeof buffer);
    if (length <= 0) {
        return;
    }
    for (ssize_t at = 0; at < length;) {
        const struct inotify_event *event = (const void *)(buffer + at);
        if ((event->mask & IN_MOVE_SELF) != 0) {
            inotify_rm_watch(io->descriptor, event->wd); /* wherever it is now, it is not ours */
        }
        at += (ssize_t)(sizeof *event + event->len);
    }
    note_event(watch);
}

struct result folder_watch_start(struct folder_watch *watch, struct loop *loop)
{
    int descriptor = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (descriptor < 0) {
        return result_system(errno, "inotify cannot be used");
    }
    watch->inotify.on_ready = on_ready;
    watch->timer.on_expire = on_expire;
    struct result result = loop_watch(loop, &watch->inotify, descriptor, EPOLLIN);
    if (!result_is_ok(&result)) {
        close(descriptor);
        return result;
    }
    watch->loop = loop;
    return result_ok();
}

void folder_watch_stop(struct folder_watch *watch)
{
    if (watch->loop == NULL) {
        return;
    }
    timer_disarm(&watch->timer);
    loop_unwatch(&watch->inotify);
    close(watch->inotify.descriptor);
    watch->loop = NULL;
}

void folder_watch_directory(struct folder_watch *watch, const char *directory)
{
    /* Where this fails (too many watches, gone again) the slow poll does the work. */
    (void)inotify_add_watch(watch->inotify.descriptor, directory, EVENTS);
}

void folder_watch_next(struct folder_watch *watch, uint64_t delay_ms)
{
    if (watch->first_event_ns == 0) {
        timer_arm_after_ms(watch->loop, &watch->timer, delay_ms);
    }
}
