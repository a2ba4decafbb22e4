/* What tells one content of a file from another, without reading it: through links, so that a mounted ConfigMap whose link was
 * exchanged is another file. Any thread. */
#ifndef AMBAR_BASE_FILE_STAMP_H
#define AMBAR_BASE_FILE_STAMP_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct file_stamp {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified, changed;
};

/* False, and a zero stamp, when there is no such file. */
bool file_stamp_take(const char *path, struct file_stamp *stamp);
bool file_stamp_equal(const struct file_stamp *left, const struct file_stamp *right);

#endif
