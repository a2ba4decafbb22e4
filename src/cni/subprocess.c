#include "cni/subprocess.h"

#include "base/clock.h"
#include "base/writer.h"
#include "net/network_namespace.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Exit codes of a child that did not become the program; nft and ip use small ones. */
enum child_failure { CHILD_NO_NAMESPACE = 125, CHILD_NO_DESCRIPTORS = 126, CHILD_NO_PROGRAM = 127 };

/* Both ends of what runs: the parent's side of a child. */
struct child {
    pid_t process;
    int process_descriptor;
    int output;
};

static struct result input_file(struct bytes input, int *descriptor)
{
    int file = memfd_create("subprocess-input", MFD_CLOEXEC);
    if (file < 0) {
        return result_system(errno, "memfd_create");
    }
    size_t written = 0;
    while (written < input.length) {
        ssize_t now = write(file, input.data + written, input.length - written);
        if (now < 0) {
            int error = errno;
            (void)close(file);
            return result_system(error, "writing the input of a program");
        }
        written += (size_t)now;
    }
    (void)lseek(file, 0, SEEK_SET);
    *descriptor = file;
    return result_ok();
}

/* In the forked child, so only async-signal-safe calls: other threads may have held locks at the fork. */
static _Noreturn void become_program(const struct subprocess *subprocess, int input, int output)
{
    static char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    static char locale[] = "LC_ALL=C";
    char *const environment[] = { path, locale, NULL };
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_DFL);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (subprocess->namespace_ != NULL && setns(subprocess->namespace_->descriptor, CLONE_NEWNET) != 0) {
        _exit(CHILD_NO_NAMESPACE);
    }
    if (dup2(input, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) {
        _exit(CHILD_NO_DESCRIPTORS);
    }
    (void)syscall(SYS_close_range, 3u, ~0u, 0u);
    char *arguments[32] = { 0 };
    size_t count = 0;
    while (subprocess->arguments[count] != NULL && count + 1 < sizeof arguments / sizeof arguments[0]) {
        memcpy(&arguments[count], &subprocess->arguments[count], sizeof arguments[count]);
        count++;
    }
    if (count > 0) {
        (void)execve(arguments[0], arguments, environment);
    }
    _exit(CHILD_NO_PROGRAM);
}

static struct result start(const struct subprocess *subprocess, struct child *child)
{
    int input;
    int pipe_ends[2];
    RESULT_TRY(input_file(subprocess->input, &input));
    if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
        (void)close(input);
        return result_system(errno, "pipe");
    }
    pid_t process = fork();
    if (process == 0) {
        become_program(subprocess, input, pipe_ends[1]);
    }
    int error = errno;
    (void)close(input);
    (void)close(pipe_ends[1]);
    if (process < 0) {
        (void)close(pipe_ends[0]);
        return result_system(error, "fork");
    }
    (void)fcntl(pipe_ends[0], F_SETFL, O_NONBLOCK);
    *child = (struct child){ process, (int)syscall(SYS_pidfd_open, process, 0), pipe_ends[0] };
    return result_ok();
}

/* False at the end of the output. */
static bool read_output(const struct child *child, struct writer *output)
{
    uint8_t buffer[4096];
    for (;;) {
        ssize_t length = read(child->output, buffer, sizeof buffer);
        if (length <= 0) {
            return length < 0 && (errno == EAGAIN || errno == EINTR);
        }
        if (output->length + (size_t)length <= SUBPROCESS_OUTPUT_BYTES_MAXIMUM) {
            writer_add(output, buffer, (size_t)length);
        }
    }
}

/* Hears the child until it ends. False when it had to be killed. */
static bool attend(const struct child *child, unsigned timeout_ms, struct writer *output)
{
    uint64_t deadline_ns = clock_monotonic_ns() + timeout_ms * NANOSECONDS_PER_MILLISECOND;
    struct pollfd polled[2] = { { .fd = child->process_descriptor, .events = POLLIN },
        { .fd = child->output, .events = POLLIN } };
    for (;;) {
        uint64_t now_ns = clock_monotonic_ns();
        int left_ms = now_ns >= deadline_ns ? 0 : (int)((deadline_ns - now_ns) / NANOSECONDS_PER_MILLISECOND) + 1;
        int ready = poll(polled, 2, left_ms);
        if (ready == 0) {
            (void)kill(child->process, SIGKILL);
            return false;
        }
        if (polled[1].fd >= 0 && polled[1].revents != 0 && !read_output(child, output)) {
            polled[1].fd = -1;
        }
        if (polled[0].revents != 0) {
            (void)read_output(child, output);
            return true;
        }
    }
}

static struct result outcome(const struct subprocess *subprocess, int status)
{
    const char *program = subprocess->arguments[0];
    if (WIFSIGNALED(status)) {
        return result_fail(RESULT_SYSTEM, "%s ended by signal %d", program, WTERMSIG(status));
    }
    int code = WEXITSTATUS(status);
    if (code == 0) {
        return result_ok();
    }
    if (code == CHILD_NO_NAMESPACE) {
        return result_fail(RESULT_SYSTEM, "%s: cannot enter the network namespace", program);
    }
    if (code == CHILD_NO_PROGRAM || code == CHILD_NO_DESCRIPTORS) {
        return result_fail(RESULT_SYSTEM, "%s: cannot be run", program);
    }
    const char *said = writer_string(subprocess->output);
    int first_line = (int)strcspn(said, "\n");
    return result_fail(RESULT_SYSTEM, "%s exited with %d: %.*s", program, code, first_line, said);
}

struct result subprocess_run(const struct subprocess *subprocess)
{
    struct child child;
    int status = 0;
    RESULT_TRY(start(subprocess, &child));
    bool ended_in_time = attend(&child, subprocess->timeout_ms, subprocess->output);
    while (waitpid(child.process, &status, 0) < 0 && errno == EINTR) {
    }
    (void)close(child.output);
    if (child.process_descriptor >= 0) {
        (void)close(child.process_descriptor);
    }
    if (!ended_in_time) {
        return result_fail(
            RESULT_TIMEOUT, "%s did not end within %u ms", subprocess->arguments[0], subprocess->timeout_ms);
    }
    return outcome(subprocess, status);
}
