/* `ambard check DIR`: says what ambard would say about a folder, without starting anything. */
#ifndef AMBAR_AMBARD_CHECK_H
#define AMBAR_AMBARD_CHECK_H

#include "ambard/index.h"

struct writer;

/* Reads the folder (and the overlay, which may be NULL) and writes problems, conditions and a summary to `out`, one line each.
 * Returns the exit status: 0 when ambard would start, 1 when it would refuse. `settings->state_directory` is read, never written. */
int ambard_check(const char *directory, const char *overlay_directory, const struct ambient_index_settings *settings,
    struct writer *out);

#endif
