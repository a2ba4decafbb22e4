/* Small files that must be whole or not be there: state, overlays. Blocking; any thread. */
#ifndef AMBAR_CNI_FILE_H
#define AMBAR_CNI_FILE_H

#include "base/bytes.h"
#include "base/result.h"

#include <sys/types.h>

struct writer;

/* Writes beside `path` under a name that begins with a dot, syncs, then renames over it, so that a reader sees the old or the new
 * contents and a crash loses neither. */
struct result file_replace(const char *path, struct bytes contents, mode_t mode);

/* Appends at most `bytes_maximum`; more is RESULT_LIMIT. */
struct result file_read(const char *path, size_t bytes_maximum, struct writer *out);

/* A file that is not there counts as removed. */
struct result file_remove(const char *path);

/* Makes the directory and its parents. An existing one keeps its mode. */
struct result directory_make(const char *path, mode_t mode);

#endif
