/* What the net layer's tests share: cmocka, connected pairs, a loop run until something holds, namespaces of our own. */
#ifndef AMBAR_TESTS_UNIT_NET_SUPPORT_H
#define AMBAR_TESTS_UNIT_NET_SUPPORT_H

#include "unit/assertions.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/memory.h"
#include "net/loop.h"
#include "net/network_namespace.h"
#include "net/socket.h"

#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SUPPORT_DEADLINE_MS 5000

static inline struct socket_address address_of_text(const char *text)
{
    struct socket_address address;
    assert_true(socket_address_parse(text, &address));
    return address;
}

static inline struct ip_address ip_of_text(const char *text)
{
    struct ip_address ip;
    assert_true(ip_parse(text, &ip));
    return ip;
}

/* A listener with default settings; its address goes to `bound`. */
static inline int listen_at(const char *text, struct socket_address *bound)
{
    static const struct socket_settings settings;
    struct listener_options options = { .address = address_of_text(text) };
    struct listener listener;
    assert_ok(socket_listen(&settings, &options, &listener));
    assert_true(socket_local_address(listener.descriptor, bound));
    return listener.descriptor;
}

static inline void run_loop_until(struct loop *loop, const bool *condition)
{
    uint64_t end_ns = clock_monotonic_ns() + SUPPORT_DEADLINE_MS * NANOSECONDS_PER_MILLISECOND;
    while (!*condition) {
        if (clock_monotonic_ns() > end_ns) {
            fail_msg("nothing happened within %d ms", SUPPORT_DEADLINE_MS);
        }
        loop_run_once(loop, 10);
    }
}

static inline int option_of(int descriptor, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;
    assert_int_equal(getsockopt(descriptor, level, name, &value, &length), 0);
    return value;
}

static inline void raise_loopback(void)
{
    struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP };
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(descriptor, SIOCSIFFLAGS, &request), 0);
    close(descriptor);
}

/* A new network namespace with `lo` up. */
static inline struct network_namespace make_namespace(void)
{
    struct network_namespace home, made;
    assert_ok(network_namespace_open_current(&home));
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    assert_ok(network_namespace_open_current(&made));
    raise_loopback();
    assert_int_equal(setns(home.descriptor, CLONE_NEWNET), 0);
    network_namespace_close(&home);
    return made;
}

static inline void run_command(void *command)
{
    if (system(command) != 0) {
        fail_msg("failed: %s", (const char *)command);
    }
}

/* A shell command inside a namespace. */
static inline void run_command_inside(const struct network_namespace *namespace_, const char *command)
{
    char *copy = string_duplicate(command);
    assert_ok(network_namespace_run(namespace_, NULL, run_command, copy));
    memory_free(copy);
}

#endif
