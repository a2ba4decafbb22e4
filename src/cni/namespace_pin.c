#include "cni/namespace_pin.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

static char *pin_path(const char *directory, const char *uid)
{
    return string_format("%s/%s", directory, uid);
}

static bool is_pinned(const char *path, const struct network_namespace *namespace_)
{
    struct network_namespace present;
    struct result result = network_namespace_open(path, &present);
    bool is_same = result_is_ok(&result) && network_namespace_equal(&present, namespace_);
    network_namespace_close(&present);
    return is_same;
}

struct result namespace_pin_make(const char *directory, const char *uid, const struct network_namespace *namespace_)
{
    char *AUTO_FREE path = pin_path(directory, uid);
    char source[64];
    if (is_pinned(path, namespace_)) {
        return result_ok();
    }
    namespace_pin_remove(directory, uid);
    int descriptor = open(path, O_RDONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
    if (descriptor < 0) {
        return result_system(errno, "making %s", path);
    }
    (void)close(descriptor);
    (void)snprintf(source, sizeof source, "/proc/self/fd/%d", namespace_->descriptor);
    if (mount(source, path, NULL, MS_BIND, NULL) != 0) {
        int error = errno;
        (void)unlink(path);
        return result_system(error, "mounting the network namespace at %s", path);
    }
    return result_ok();
}

struct result namespace_pin_open(const char *directory, const char *uid, struct network_namespace *namespace_)
{
    char *AUTO_FREE path = pin_path(directory, uid);
    return network_namespace_open(path, namespace_);
}

void namespace_pin_remove(const char *directory, const char *uid)
{
    char *AUTO_FREE path = pin_path(directory, uid);
    while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {
    }
    (void)unlink(path);
}
