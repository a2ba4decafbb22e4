/* The main process tries what it must be able to do and what it must not (issue: hard to break, security). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ztunnel/process_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAS_POSSIBLE 3
#define WAS_REFUSED 4
#define WENT_WRONG 5

/* What became of a process that entered the sandbox and then called `attempt`, which returns its exit status. */
static int outcome_of(int (*attempt)(void))
{
    pid_t child = fork();
    if (child == 0) {
        struct result entered = process_sandbox_enter();
        _exit(result_is_ok(&entered) ? attempt() : WENT_WRONG);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

#define skip_in_sanitized_builds()                                                                                     \
    do {                                                                                                               \
        if (!process_sandbox_is_built()) {                                                                             \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

static void assert_ends_by_sigsys(int (*attempt)(void))
{
    int status = outcome_of(attempt);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
    assert_false(WCOREDUMP(status));
}

static void assert_refused(int (*attempt)(void))
{
    int status = outcome_of(attempt);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), WAS_REFUSED);
}

static int refusal_of(long returned)
{
    return returned < 0 && errno == EPERM ? WAS_REFUSED : WAS_POSSIBLE;
}

static int run_a_program(void)
{
    char *const arguments[] = { (char[]){ "true" }, NULL };
    execv("/bin/true", arguments);
    return WAS_POSSIBLE;
}

static int fork_a_process(void)
{
    return refusal_of(syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL));
}

static int trace_its_parent(void)
{
    (void)ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
    return WAS_POSSIBLE;
}

static int enter_a_namespace(void)
{
    (void)setns(STDIN_FILENO, CLONE_NEWNET);
    return WAS_POSSIBLE;
}

static int leave_its_namespace(void)
{
    (void)unshare(CLONE_NEWUSER);
    return WAS_POSSIBLE;
}

static int mount_something(void)
{
    (void)mount("none", "/mnt", "tmpfs", 0, NULL);
    return WAS_POSSIBLE;
}

static int write_a_file(void)
{
    return refusal_of(open("/tmp/ambar-sandbox", O_WRONLY | O_CREAT, 0600));
}

static int open_a_device_to_write(void)
{
    return refusal_of(open("/dev/null", O_RDWR));
}

static int make_a_raw_socket(void)
{
    return refusal_of(socket(AF_PACKET, SOCK_RAW, 0));
}

static int make_a_crypto_socket(void)
{
    return refusal_of(socket(AF_ALG, SOCK_SEQPACKET, 0));
}

static int map_executable_memory(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return refusal_of(memory == MAP_FAILED ? -1 : 0);
}

static int make_memory_executable(void)
{
    void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? WENT_WRONG : refusal_of(mprotect(memory, 4096, PROT_READ | PROT_EXEC));
}

static int signal_another_process(void)
{
    return refusal_of(kill(getppid(), 0));
}

static int raise_a_limit(void)
{
    const struct rlimit limit = { 0, 0 };
    return refusal_of(setrlimit(RLIMIT_CORE, &limit));
}

static int become_dumpable_again(void)
{
    return refusal_of(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static int make_a_file_in_memory(void)
{
    return refusal_of(memfd_create("x", 0));
}

static int change_a_files_mode(void)
{
    return refusal_of(chmod("/tmp", 01777));
}

static int unlink_a_file(void)
{
    return refusal_of(unlink("/tmp/ambar-no-such-file"));
}

static void what_no_honest_code_calls_ends_the_process(void **state)
{
    (void)state;
    skip_in_sanitized_builds();
    assert_ends_by_sigsys(run_a_program);
    assert_ends_by_sigsys(trace_its_parent);
    assert_ends_by_sigsys(enter_a_namespace);
    assert_ends_by_sigsys(leave_its_namespace);
    assert_ends_by_sigsys(mount_something);
}

static void what_is_not_listed_is_refused(void **state)
{
    (void)state;
    skip_in_sanitized_builds();
    static int (*const attempts[])(void) = { fork_a_process, write_a_file, open_a_device_to_write, make_a_raw_socket,
        make_a_crypto_socket, map_executable_memory, make_memory_executable, signal_another_process, raise_a_limit,
        become_dumpable_again, make_a_file_in_memory, change_a_files_mode, unlink_a_file };
    for (size_t i = 0; i < sizeof attempts / sizeof attempts[0]; i++) {
        assert_refused(attempts[i]);
    }
}

static void *return_argument(void *argument)
{
    (void)pthread_setname_np(pthread_self(), "sandboxed");
    return argument;
}

static int use_threads_names_and_keys(void)
{
    pthread_t thread;
    int mark = 0;
    void *returned = NULL;
    if (pthread_create(&thread, NULL, return_argument, &mark) != 0 || pthread_join(thread, &returned) != 0 ||
        returned != &mark) {
        return WENT_WRONG;
    }
    struct addrinfo *found = NULL;
    if (getaddrinfo("localhost", NULL, NULL, &found) != 0) {
        return WENT_WRONG + 1;
    }
    freeaddrinfo(found);
    uint8_t random[32];
    EVP_PKEY *key = EVP_EC_gen("P-256");
    if (key == NULL || RAND_bytes(random, sizeof random) != 1) {
        return WENT_WRONG + 2;
    }
    EVP_PKEY_free(key);
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    return file >= 0 && read(file, random, sizeof random) > 0 ? WAS_POSSIBLE : WENT_WRONG + 3;
}

static void threads_name_look_ups_keys_and_reading_files_work(void **state)
{
    (void)state;
    int status = outcome_of(use_threads_names_and_keys);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), WAS_POSSIBLE);
}

static int abort_at_once(void)
{
    abort();
}

static void a_crash_leaves_no_core_dump(void **state)
{
    (void)state;
    skip_in_sanitized_builds();
    int status = outcome_of(abort_at_once);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_false(WCOREDUMP(status));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_no_honest_code_calls_ends_the_process),
        cmocka_unit_test(what_is_not_listed_is_refused),
        cmocka_unit_test(threads_name_look_ups_keys_and_reading_files_work),
        cmocka_unit_test(a_crash_leaves_no_core_dump),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
