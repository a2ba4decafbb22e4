#include "cni/file.h"

#include "base/memory.h"
#include "base/writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int descriptor, struct bytes contents)
{
    size_t written = 0;
    while (written < contents.length) {
        ssize_t now = write(descriptor, contents.data + written, contents.length - written);
        if (now < 0 && errno != EINTR) {
            return errno;
        }
        written += now > 0 ? (size_t)now : 0;
    }
    return 0;
}

/* 0 or an error number. */
static int write_new(const char *path, struct bytes contents, mode_t mode)
{
    int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, mode);
    if (descriptor < 0) {
        return errno;
    }
    int error = fchmod(descriptor, mode) != 0 ? errno : write_all(descriptor, contents);
    if (error == 0 && fsync(descriptor) != 0) {
        error = errno;
    }
    (void)close(descriptor);
    return error;
}

/* The rename itself must reach the disk, too. */
static void sync_directory(const char *path, size_t length)
{
    char *AUTO_FREE directory = length == 0 ? string_duplicate(".") : string_duplicate_n(path, length);
    int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor >= 0) {
        (void)fsync(descriptor);
        (void)close(descriptor);
    }
}

struct result file_replace(const char *path, struct bytes contents, mode_t mode)
{
    const char *slash = strrchr(path, '/');
    size_t directory_length = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    char *AUTO_FREE temporary =
        string_format("%.*s.%s.%d", (int)directory_length, path, path + directory_length, (int)getpid());
    int error = write_new(temporary, contents, mode);
    if (error == 0 && rename(temporary, path) != 0) {
        error = errno;
    }
    if (error != 0) {
        (void)unlink(temporary);
        return result_system(error, "writing %s", path);
    }
    sync_directory(path, directory_length);
    return result_ok();
}

static struct result read_open(int descriptor, const char *path, size_t bytes_maximum, struct writer *out)
{
    uint8_t buffer[4096];
    size_t total = 0;
    for (;;) {
        ssize_t length = read(descriptor, buffer, sizeof buffer);
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length < 0) {
            return result_system(errno, "reading %s", path);
        }
        if (length == 0) {
            return result_ok();
        }
        total += (size_t)length;
        if (total > bytes_maximum) {
            return result_fail(RESULT_LIMIT, "%s: larger than %zu bytes", path, bytes_maximum);
        }
        writer_add(out, buffer, (size_t)length);
    }
}

struct result file_read(const char *path, size_t bytes_maximum, struct writer *out)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
        return result_system(errno, "reading %s", path);
    }
    struct result result = read_open(descriptor, path, bytes_maximum, out);
    (void)close(descriptor);
    return result;
}

struct result file_remove(const char *path)
{
    return unlink(path) == 0 || errno == ENOENT ? result_ok() : result_system(errno, "removing %s", path);
}

struct result directory_make(const char *path, mode_t mode)
{
    char *AUTO_FREE partial = string_duplicate(path);
    for (char *slash = strchr(partial + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(partial, 0755); /* an error shows at the last step */
        *slash = '/';
    }
    if (mkdir(partial, mode) == 0 || errno == EEXIST) {
        struct stat status;
        if (stat(partial, &status) == 0 && S_ISDIR(status.st_mode)) {
            return result_ok();
        }
        return result_fail(RESULT_INVALID, "%s: not a directory", path);
    }
    return result_system(errno, "making directory %s", path);
}
