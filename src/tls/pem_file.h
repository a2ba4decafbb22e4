/* Small text files with keys and certificates: read within a bound, replaced whole. Inside tls only. */
#ifndef AMBAR_TLS_PEM_FILE_H
#define AMBAR_TLS_PEM_FILE_H

#include "base/bytes.h"
#include "base/result.h"

struct writer;

/* Appends the whole file. RESULT_NOT_FOUND when it does not exist; the sentence names it. The writer may hold a secret. */
struct result pem_file_read(const char *path, struct writer *out);

/* Replaces or makes the file with mode 0600: written beside it, synchronised, renamed. */
struct result pem_file_replace(const char *path, struct bytes contents);

#endif
