#include "net/host_lookup.h"

#include "base/memory.h"
#include "net/loop.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

struct host_lookup {
    struct loop *loop;
    struct posted posted;
    void (*done)(void *context, const struct socket_address *addresses, size_t count, const struct result *failure);
    void *context;
    bool is_cancelled; /* under `handing_over` */
    char *host;
    uint16_t port;
    struct socket_address addresses[HOST_LOOKUP_ADDRESSES_MAXIMUM];
    size_t count;
    struct result failure;
};

static _Atomic int running;

/* Between a thread that is done and a caller that cancels: once cancelled, a loop is not touched any more. */
static pthread_mutex_t handing_over = PTHREAD_MUTEX_INITIALIZER;

static void free_lookup(struct host_lookup *lookup)
{
    memory_free(lookup->host);
    memory_free(lookup);
}

static void deliver(struct posted *posted)
{
    struct host_lookup *lookup = CONTAINER_OF(posted, struct host_lookup, posted);
    /* The thread may still be waking the loop, which may be freed any time after this. */
    pthread_mutex_lock(&handing_over);
    pthread_mutex_unlock(&handing_over);
    if (!lookup->is_cancelled) {
        lookup->done(lookup->context, lookup->addresses, lookup->count,
            result_is_ok(&lookup->failure) ? NULL : &lookup->failure);
    }
    free_lookup(lookup);
}

static void ask(struct host_lookup *lookup)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
    struct addrinfo *found = NULL;
    int error = getaddrinfo(lookup->host, NULL, &hints, &found);
    if (error != 0) {
        lookup->failure = result_fail(RESULT_UNAVAILABLE, "dns error: failed to lookup address information for %s: %s",
            lookup->host, gai_strerror(error));
        return;
    }
    for (struct addrinfo *entry = found; entry != NULL && lookup->count < HOST_LOOKUP_ADDRESSES_MAXIMUM;
         entry = entry->ai_next) {
        struct socket_address *address = &lookup->addresses[lookup->count];
        if (socket_address_from_kernel(entry->ai_addr, entry->ai_addrlen, address)) {
            address->port = lookup->port;
            lookup->count++;
        }
    }
    freeaddrinfo(found);
    if (lookup->count == 0) {
        lookup->failure = result_fail(RESULT_UNAVAILABLE, "dns error: %s has no address", lookup->host);
    }
}

static void *lookup_thread(void *argument)
{
    struct host_lookup *lookup = argument;
    ask(lookup);
    atomic_fetch_sub(&running, 1);
    pthread_mutex_lock(&handing_over);
    bool is_cancelled = lookup->is_cancelled;
    if (!is_cancelled) {
        loop_post(lookup->loop, &lookup->posted);
    }
    pthread_mutex_unlock(&handing_over);
    if (is_cancelled) {
        free_lookup(lookup);
    }
    return NULL;
}

/* Signals stay with the program's own threads. */
static int start_thread(struct host_lookup *lookup)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_t thread;
    int error = pthread_create(&thread, &attributes, lookup_thread, lookup);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

struct host_lookup *host_lookup_start(struct loop *loop, const char *host, uint16_t port,
    void (*done)(void *context, const struct socket_address *addresses, size_t count, const struct result *failure),
    void *context)
{
    struct host_lookup *lookup = NEW(struct host_lookup);
    lookup->loop = loop;
    lookup->posted.run = deliver;
    lookup->done = done;
    lookup->context = context;
    lookup->host = string_duplicate(host);
    lookup->port = port;
    lookup->failure = result_ok();
    struct ip_address ip;
    if (ip_parse(host, &ip)) {
        lookup->addresses[0] = (struct socket_address){ ip, port };
        lookup->count = 1;
        loop_post(loop, &lookup->posted);
        return lookup;
    }
    if (atomic_fetch_add(&running, 1) >= HOST_LOOKUP_RUNNING_MAXIMUM) {
        atomic_fetch_sub(&running, 1);
        lookup->failure = result_fail(
            RESULT_LIMIT, "dns error: %d lookups are still running, %s waits", HOST_LOOKUP_RUNNING_MAXIMUM, host);
        loop_post(loop, &lookup->posted);
        return lookup;
    }
    int error = start_thread(lookup);
    if (error != 0) {
        atomic_fetch_sub(&running, 1);
        lookup->failure = result_system(error, "dns error: cannot start a thread to look up %s", host);
        loop_post(loop, &lookup->posted);
    }
    return lookup;
}

void host_lookup_cancel(struct host_lookup *lookup)
{
    if (lookup == NULL) {
        return;
    }
    pthread_mutex_lock(&handing_over);
    lookup->is_cancelled = true;
    pthread_mutex_unlock(&handing_over);
}
