#include "net/broker_sandbox.h"

#include "base/memory.h"
#include "base/sanitizer.h"

#include <cap-ng.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define WANTED_MAXIMUM 4

static struct result forbid_new_privileges(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return result_system(errno, "cannot give up gaining privileges");
    }
    return result_ok();
}

struct result broker_sandbox_narrow_capabilities(const unsigned *wanted, size_t count)
{
    bool has[WANTED_MAXIMUM] = { false };
    if (capng_get_caps_process() != 0) {
        return result_fail(RESULT_SYSTEM, "cannot read the capabilities of the process");
    }
    for (size_t i = 0; i < count && i < WANTED_MAXIMUM; i++) {
        has[i] = capng_have_capability(CAPNG_PERMITTED, wanted[i]) == 1;
    }
    capng_clear(CAPNG_SELECT_BOTH);
    for (size_t i = 0; i < count && i < WANTED_MAXIMUM; i++) {
        if (has[i]) {
            (void)capng_update(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, wanted[i]);
        }
    }
    /* Without CAP_SETPCAP the bounding set stays, which no_new_privs makes harmless. */
    if (capng_apply(CAPNG_SELECT_BOTH) != 0 && capng_apply(CAPNG_SELECT_CAPS) != 0) {
        return result_fail(RESULT_SYSTEM, "cannot reduce the capabilities of the process");
    }
    return forbid_new_privileges();
}

struct result broker_sandbox_keep_capabilities(enum broker_mode mode)
{
    static const unsigned wanted[] = { CAP_NET_ADMIN, CAP_SYS_ADMIN };
    return broker_sandbox_narrow_capabilities(wanted, mode == BROKER_ALL_NAMESPACES ? 2 : 1);
}

struct result broker_sandbox_drop_capabilities(void)
{
    capng_clear(CAPNG_SELECT_BOTH);
    /* As above; what counts is checked below. */
    (void)capng_apply(CAPNG_SELECT_BOTH);
    (void)capng_apply(CAPNG_SELECT_CAPS);
    if (capng_get_caps_process() != 0 || capng_have_capabilities(CAPNG_SELECT_CAPS) != CAPNG_NONE) {
        return result_fail(RESULT_SYSTEM, "cannot drop the capabilities of the process");
    }
    return forbid_new_privileges();
}

/* Calls allowed whatever their arguments are. What the broker needs for its work: */
static const int work_calls[] = {
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendmsg),
    SCMP_SYS(close),
    SCMP_SYS(setsockopt),
    SCMP_SYS(bind),
    SCMP_SYS(listen),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fstatfs),
    SCMP_SYS(read),
    SCMP_SYS(exit_group),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(clock_gettime),
};

/* and what the run-time libraries of the sanitizers do beside it. */
static const int sanitizer_calls[] = {
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mprotect),
    SCMP_SYS(madvise),
    SCMP_SYS(futex),
    SCMP_SYS(sched_yield),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(write),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(brk),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(fcntl),
};

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int error = 0;
    for (size_t i = 0; i < count && error == 0; i++) {
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    }
    return error;
}

/* Calls allowed while one argument has one value. */
static const struct {
    int call;
    unsigned argument;
    uint64_t value;
    bool is_for_namespaces;
} restricted_calls[] = {
    { SCMP_SYS(socket), 0, AF_INET, false }, { SCMP_SYS(socket), 0, AF_INET6, false },
    { SCMP_SYS(write), 0, STDERR_FILENO, false }, /* the last words of a process that aborts */
    { SCMP_SYS(setns), 1, CLONE_NEWNET, true }, { SCMP_SYS(ioctl), 1, NS_GET_NSTYPE, true },
    { SCMP_SYS(openat), 2, O_RDONLY | O_CLOEXEC, true }, /* a namespace's disable_ipv6 */
};

/* The kernel takes the lower half of the register for an int, and what a caller leaves in the other is nobody's promise. */
static struct scmp_arg_cmp int_is(unsigned argument, uint64_t value)
{
    return (struct scmp_arg_cmp){ .arg = argument, .op = SCMP_CMP_MASKED_EQ, .datum_a = UINT32_MAX, .datum_b = value };
}

static int allow_restricted(scmp_filter_ctx filter, enum broker_mode mode)
{
    int error = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(restricted_calls) && error == 0; i++) {
        const struct scmp_arg_cmp comparison = int_is(restricted_calls[i].argument, restricted_calls[i].value);
        if (!restricted_calls[i].is_for_namespaces || mode == BROKER_ALL_NAMESPACES) {
            error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, restricted_calls[i].call, 1, &comparison);
        }
    }
    return error;
}

/* NETLINK_ROUTE and no other family of netlink: limits of a pod's `lo` (big_tcp.c). */
static int allow_route_netlink(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp comparisons[] = {
        int_is(0, AF_NETLINK),
        int_is(2, NETLINK_ROUTE),
    };
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), ARRAY_LENGTH(comparisons), comparisons);
}

struct result broker_sandbox_filter_system_calls(const struct broker_settings *settings)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (filter == NULL) {
        return result_fail(RESULT_SYSTEM, "cannot make the broker's system call filter");
    }
    int error = allow_all(filter, work_calls, ARRAY_LENGTH(work_calls));
    if (error == 0 && IS_SANITIZED) {
        error = allow_all(filter, sanitizer_calls, ARRAY_LENGTH(sanitizer_calls));
    }
    error = error != 0 ? error : allow_restricted(filter, settings->mode);
    if (error == 0 && settings->mode == BROKER_ALL_NAMESPACES && settings->raises_big_tcp) {
        error = allow_route_netlink(filter);
    }
    error = error != 0 ? error : seccomp_load(filter);
    seccomp_release(filter);
    if (error != 0) {
        return result_system(-error, "cannot filter the broker's system calls");
    }
    return result_ok();
}
