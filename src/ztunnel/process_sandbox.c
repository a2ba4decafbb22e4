#include "ztunnel/process_sandbox.h"

#include "base/memory.h"
#include "base/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sockios.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONDITIONS_MAXIMUM 2
#define CALLS(...) (const int[]){ __VA_ARGS__ }, sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int)

/* Calls allowed whatever their arguments are. */
static const struct {
    const char *why;
    const int *calls;
    size_t count;
} ALLOWED[] = {
    { "connections: bytes in and out",
        CALLS(SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(recvmsg), SCMP_SYS(sendmsg),
            SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto), SCMP_SYS(splice),
            SCMP_SYS(tee), SCMP_SYS(pipe2)) },
    { "connections: made, accepted, asked, ended",
        CALLS(SCMP_SYS(accept), SCMP_SYS(accept4), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(listen),
            SCMP_SYS(shutdown), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
            SCMP_SYS(setsockopt), SCMP_SYS(close), SCMP_SYS(fcntl), SCMP_SYS(dup)) },
    { "event loops, timers, signals by descriptor",
        CALLS(SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
            SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(signalfd4), SCMP_SYS(timerfd_create),
            SCMP_SYS(timerfd_settime), SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(select), SCMP_SYS(pselect6)) },
    { "time", CALLS(SCMP_SYS(clock_gettime), SCMP_SYS(clock_getres), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
                  SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrusage), SCMP_SYS(times)) },
    { "memory that is not executed", CALLS(SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(mlock),
                                         SCMP_SYS(mlock2), SCMP_SYS(munlock), SCMP_SYS(brk)) },
    { "threads, their locks and their ends",
        CALLS(SCMP_SYS(futex), SCMP_SYS(set_robust_list), SCMP_SYS(rseq), SCMP_SYS(set_tid_address),
            SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(sched_setaffinity), SCMP_SYS(getcpu),
            SCMP_SYS(membarrier), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(restart_syscall)) },
    { "signals to itself, and the profiler's timer",
        CALLS(SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigtimedwait),
            SCMP_SYS(sigaltstack), SCMP_SYS(timer_create), SCMP_SYS(timer_settime), SCMP_SYS(timer_delete),
            SCMP_SYS(timer_getoverrun), SCMP_SYS(setitimer)) },
    { "settings, tokens, certificates: files read and watched",
        CALLS(SCMP_SYS(fstat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(lseek),
            SCMP_SYS(pread64), SCMP_SYS(getdents64), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(access),
            SCMP_SYS(faccessat), SCMP_SYS(faccessat2), SCMP_SYS(fstatfs), SCMP_SYS(statfs), SCMP_SYS(getcwd),
            SCMP_SYS(fadvise64), SCMP_SYS(inotify_init1), SCMP_SYS(inotify_add_watch), SCMP_SYS(inotify_rm_watch)) },
    { "who and where it is; entropy",
        CALLS(SCMP_SYS(getpid), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid),
            SCMP_SYS(getegid), SCMP_SYS(uname), SCMP_SYS(sysinfo), SCMP_SYS(getrlimit), SCMP_SYS(getrandom)) },
    { "the broker's end: its process descriptor was made before, no other process can be named",
        CALLS(SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(pidfd_send_signal)) },
};

/* Calls allowed while their arguments fit: (value of `argument` & mask) == value, all conditions of a line. A call with several
 * lines is allowed by any of them. */
static const struct {
    const char *why;
    int call;
    struct {
        unsigned argument;
        uint64_t mask, value;
    } conditions[CONDITIONS_MAXIMUM]; /* a mask of 0 is none */
} RESTRICTED[] = {
    { "a thread of this process, never a process", SCMP_SYS(clone), { { 0, CLONE_THREAD, CLONE_THREAD } } },
    { "a thread's name", SCMP_SYS(prctl), { { 0, UINT32_MAX, PR_SET_NAME } } },
    { "names of memory areas, where the C library gives them", SCMP_SYS(prctl), { { 0, UINT32_MAX, 0x53564d41 } } },
    { "limits are read, never set", SCMP_SYS(prlimit64), { { 2, UINT64_MAX, 0 } } },
    { "files are read, never written or made", SCMP_SYS(openat), { { 2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY } } },
    { "the same, where there is the old call", SCMP_SYS(open), { { 1, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY } } },
    { "connections over IPv4", SCMP_SYS(socket), { { 0, UINT32_MAX, AF_INET } } },
    { "connections over IPv6", SCMP_SYS(socket), { { 0, UINT32_MAX, AF_INET6 } } },
    { "the node agent", SCMP_SYS(socket), { { 0, UINT32_MAX, AF_UNIX } } },
    { "the near end of an inner tunnel", SCMP_SYS(socketpair), { { 0, UINT32_MAX, AF_UNIX } } },
    { "the resolver asks for the machine's addresses", SCMP_SYS(socket), { { 0, UINT32_MAX, AF_NETLINK } } },
    { "memory that is not executed", SCMP_SYS(mmap), { { 2, PROT_EXEC, 0 } } },
    { "a library's text, from its file", SCMP_SYS(mmap),
        { { 2, PROT_EXEC | PROT_WRITE, PROT_EXEC }, { 3, MAP_ANONYMOUS, 0 } } },
    { "memory that is not executed", SCMP_SYS(mprotect), { { 2, PROT_EXEC, 0 } } },
    { "bytes that wait to be read", SCMP_SYS(ioctl), { { 1, UINT32_MAX, FIONREAD } } },
    { "bytes not yet acknowledged", SCMP_SYS(ioctl), { { 1, UINT32_MAX, SIOCOUTQ } } },
    { "bytes not yet sent", SCMP_SYS(ioctl), { { 1, UINT32_MAX, SIOCOUTQNSD } } },
    { "whether an output is a terminal", SCMP_SYS(ioctl), { { 1, UINT32_MAX, TCGETS } } },
    { "a socket that does not block", SCMP_SYS(ioctl), { { 1, UINT32_MAX, FIONBIO } } },
    { "whether a descriptor is a network namespace", SCMP_SYS(ioctl), { { 1, UINT32_MAX, NS_GET_NSTYPE } } },
};

/* A call that this machine does not have has a negative number. */
static int add_rule(
    scmp_filter_ctx filter, uint32_t action, int call, const struct scmp_arg_cmp *conditions, unsigned count)
{
    return call < 0 ? 0 : seccomp_rule_add_array(filter, action, call, count, conditions);
}

/* Its own threads may be signalled: the profiler, and abort. */
static int add_own_signals(scmp_filter_ctx filter)
{
    const struct scmp_arg_cmp own = { .arg = 0, .op = SCMP_CMP_EQ, .datum_a = (scmp_datum_t)getpid() };
    return add_rule(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), &own, 1);
}

/* Whoever calls these is not our code: the process ends at once, and its end says why. */
static const int FATAL[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(bpf),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(kexec_load),
    SCMP_SYS(capset),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(keyctl),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
};

static int add_allowed(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t group = 0; group < ARRAY_LENGTH(ALLOWED); group++) {
        for (size_t i = 0; i < ALLOWED[group].count && error == 0; i++) {
            error = add_rule(filter, SCMP_ACT_ALLOW, ALLOWED[group].calls[i], NULL, 0);
        }
    }
    return error;
}

static int add_restricted(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(RESTRICTED) && error == 0; i++) {
        struct scmp_arg_cmp conditions[CONDITIONS_MAXIMUM];
        unsigned count = 0;
        for (size_t j = 0; j < CONDITIONS_MAXIMUM && RESTRICTED[i].conditions[j].mask != 0; j++) {
            conditions[count++] = (struct scmp_arg_cmp){ .arg = RESTRICTED[i].conditions[j].argument,
                .op = SCMP_CMP_MASKED_EQ,
                .datum_a = RESTRICTED[i].conditions[j].mask,
                .datum_b = RESTRICTED[i].conditions[j].value };
        }
        error = add_rule(filter, SCMP_ACT_ALLOW, RESTRICTED[i].call, conditions, count);
    }
    return error;
}

static int add_fatal(scmp_filter_ctx filter)
{
    int error = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(FATAL) && error == 0; i++) {
        error = add_rule(filter, SCMP_ACT_KILL_PROCESS, FATAL[i], NULL, 0);
    }
    /* The C library then makes its threads by clone, whose flags can be seen; clone3's are behind a pointer. */
    return error != 0 ? error : add_rule(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), NULL, 0);
}

static int build_filter(scmp_filter_ctx filter)
{
    /* Threads gain nothing by speculation against each other here, and the switch would slow all of them down. */
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    if (error == 0 || error == -EOPNOTSUPP) {
        /* A tree instead of a chain; the kernel remembers the calls that are allowed anyway. */
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    }
    error = error != 0 ? error : add_allowed(filter);
    error = error != 0 ? error : add_restricted(filter);
    error = error != 0 ? error : add_own_signals(filter);
    return error != 0 ? error : add_fatal(filter);
}

static struct result filter_system_calls(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (filter == NULL) {
        return result_fail(RESULT_SYSTEM, "cannot make the system call filter");
    }
    int error = build_filter(filter);
    error = error != 0 ? error : seccomp_load(filter);
    seccomp_release(filter);
    return error == 0 ? result_ok() : result_system(-error, "cannot filter the system calls of this process");
}

bool process_sandbox_is_built(void)
{
    return !IS_SANITIZED;
}

struct result process_sandbox_enter(void)
{
    if (IS_SANITIZED) {
        return result_ok();
    }
    static const struct rlimit none = { 0, 0 };
    /* The second also where core dumps go to a program, which no limit stops. */
    if (setrlimit(RLIMIT_CORE, &none) != 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return result_system(errno, "cannot keep this process from being dumped");
    }
    return filter_system_calls();
}
