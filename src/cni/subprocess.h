/* Runs one program to its end: fed from memory, heard into memory, inside a network namespace if wanted, never longer than its
 * deadline. Blocks the calling thread. */
#ifndef AMBAR_CNI_SUBPROCESS_H
#define AMBAR_CNI_SUBPROCESS_H

#include "base/bytes.h"
#include "base/result.h"

struct network_namespace;
struct writer;

#define SUBPROCESS_OUTPUT_BYTES_MAXIMUM (1u << 20)

struct subprocess {
    const char *const *arguments;               /* NULL-terminated; the first is an absolute path */
    const struct network_namespace *namespace_; /* NULL: the caller's */
    struct bytes input;                         /* standard input */
    unsigned timeout_ms;                        /* then it is killed */
    struct writer *output; /* standard output and error together; what exceeds the maximum is dropped */
};

/* Fails when the program cannot be started, is killed or exits with anything but 0; the sentence ends with the first line that it
 * wrote. Its environment is empty but for PATH and LC_ALL=C. */
struct result subprocess_run(const struct subprocess *subprocess);

#endif
