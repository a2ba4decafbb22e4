#include "base/file_stamp.h"

#include <string.h>
#include <sys/stat.h>

bool file_stamp_take(const char *path, struct file_stamp *stamp)
{
    struct stat status;
    memset(stamp, 0, sizeof *stamp);
    if (stat(path, &status) != 0) {
        return false;
    }
    stamp->device = status.st_dev;
    stamp->inode = status.st_ino;
    stamp->size = status.st_size;
    stamp->modified = status.st_mtim;
    stamp->changed = status.st_ctim;
    return true;
}

static bool times_are_equal(const struct timespec *left, const struct timespec *right)
{
    return left->tv_sec == right->tv_sec && left->tv_nsec == right->tv_nsec;
}

bool file_stamp_equal(const struct file_stamp *left, const struct file_stamp *right)
{
    return left->device == right->device && left->inode == right->inode && left->size == right->size &&
           times_are_equal(&left->modified, &right->modified) && times_are_equal(&left->changed, &right->changed);
}
