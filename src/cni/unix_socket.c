#include "cni/unix_socket.h"

#include "base/memory.h"
#include "cni/file.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 32

static struct result address_of(const char *path, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    if (path[0] != '/' || strlen(path) >= sizeof address->sun_path) {
        return result_fail(RESULT_INVALID, "socket path %s: not an absolute path of at most %zu bytes", path,
            sizeof address->sun_path - 1);
    }
    memcpy(address->sun_path, path, strlen(path) + 1);
    return result_ok();
}

static struct result make_way(const char *path)
{
    struct stat status;
    const char *slash = strrchr(path, '/');
    if (slash != path) {
        char *AUTO_FREE directory = string_duplicate_n(path, (size_t)(slash - path));
        RESULT_TRY(directory_make(directory, 0755));
    }
    if (lstat(path, &status) != 0) {
        return result_ok();
    }
    if (!S_ISSOCK(status.st_mode)) {
        return result_fail(RESULT_INVALID, "%s: exists and is not a socket", path);
    }
    return file_remove(path);
}

/* 0 or an error number. */
static int bind_and_listen(int descriptor, const struct sockaddr_un *address, mode_t mode)
{
    /* chmod after bind would leave a moment for others. */
    bool has_mode = mode != UNIX_SOCKET_MODE_OF_UMASK;
    mode_t umask_before = has_mode ? umask(0777 & ~mode) : 0;
    int error = bind(descriptor, (const struct sockaddr *)address, sizeof *address) != 0 ? errno : 0;
    if (has_mode) {
        (void)umask(umask_before);
    }
    if (error == 0 && listen(descriptor, BACKLOG) != 0) {
        error = errno;
    }
    return error;
}

struct result unix_listen(const char *path, int type, mode_t mode, int *descriptor)
{
    struct sockaddr_un address;
    RESULT_TRY(address_of(path, &address));
    RESULT_TRY(make_way(path));
    int made = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return result_system(errno, "making socket %s", path);
    }
    int error = bind_and_listen(made, &address, mode);
    if (error != 0) {
        (void)close(made);
        return result_system(error, "listening on %s", path);
    }
    *descriptor = made;
    return result_ok();
}

struct result unix_connect(const char *path, int *descriptor)
{
    struct sockaddr_un address;
    RESULT_TRY(address_of(path, &address));
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (made < 0) {
        return result_system(errno, "making a socket");
    }
    if (connect(made, (const struct sockaddr *)&address, sizeof address) != 0) {
        int error = errno;
        (void)close(made);
        return result_system(error, "connecting to the agent at %s", path);
    }
    *descriptor = made;
    return result_ok();
}
