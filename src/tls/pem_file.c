#include "tls/pem_file.h"

#include "base/memory.h"
#include "base/writer.h"
#include "tls/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static struct result read_all(int descriptor, const char *path, struct writer *out)
{
    size_t start = out->length;
    /* One allocation for the whole file: no copy of a secret stays behind in the heap. */
    uint8_t *room = writer_reserve(out, CERTIFICATE_PEM_MAXIMUM_BYTES + 1);
    size_t length = 0;
    while (length <= CERTIFICATE_PEM_MAXIMUM_BYTES) {
        ssize_t got = read(descriptor, room + length, CERTIFICATE_PEM_MAXIMUM_BYTES + 1 - length);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return result_system(errno, "%s", path);
        }
        if (got == 0) {
            out->length = start + length;
            return result_ok();
        }
        length += (size_t)got;
    }
    return result_fail(RESULT_INVALID, "%s: more than %d bytes", path, CERTIFICATE_PEM_MAXIMUM_BYTES);
}

struct result pem_file_read(const char *path, struct writer *out)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0 && errno == ENOENT) {
        return result_fail(RESULT_NOT_FOUND, "%s: no such file", path);
    }
    if (descriptor < 0) {
        return result_system(errno, "%s", path);
    }
    struct result read_result = read_all(descriptor, path, out);
    (void)close(descriptor);
    return read_result;
}

static struct result write_all(int descriptor, const char *path, struct bytes contents)
{
    for (size_t done = 0; done < contents.length;) {
        ssize_t put = write(descriptor, contents.data + done, contents.length - done);
        if (put < 0 && errno != EINTR) {
            return result_system(errno, "%s", path);
        }
        done += put < 0 ? 0 : (size_t)put;
    }
    if (fsync(descriptor) != 0) {
        return result_system(errno, "%s", path);
    }
    return result_ok();
}

struct result pem_file_replace(const char *path, struct bytes contents)
{
    char *beside AUTO_FREE = string_format("%s.new", path);
    (void)unlink(beside);
    int descriptor = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
    if (descriptor < 0) {
        return result_system(errno, "%s", beside);
    }
    struct result written = write_all(descriptor, beside, contents);
    if (close(descriptor) != 0 && result_is_ok(&written)) {
        written = result_system(errno, "%s", beside);
    }
    if (result_is_ok(&written) && rename(beside, path) != 0) {
        written = result_system(errno, "%s", path);
    }
    if (!result_is_ok(&written)) {
        (void)unlink(beside);
    }
    return written;
}
