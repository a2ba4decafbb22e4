/* One request to a ztunnel's admin port: HTTP/1.0, so that the answer ends where the connection ends. Blocking, with deadlines. */
#ifndef AMBAR_AMBARCTL_ADMIN_CLIENT_H
#define AMBAR_AMBARCTL_ADMIN_CLIENT_H

#include "base/result.h"
#include "base/writer.h"

struct admin_answer {
    int status;
    struct writer body;
};

/* `address` is HOST:PORT. The body of at most ADMIN_BODY_MAXIMUM_BYTES is kept; writer_free it. */
#define ADMIN_BODY_MAXIMUM_BYTES (256u << 20)
struct result admin_request(const char *address, const char *method, const char *target, struct admin_answer *answer);

/* The body goes to `descriptor` as it comes, whatever its size; it is an error unless the status is 200. */
struct result admin_copy(const char *address, const char *target, int descriptor);

/* A value of a query, percent-encoded (RFC 3986 §2.1). */
void admin_add_query_value(struct writer *out, const char *value);

#endif
