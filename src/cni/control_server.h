/* The agent's own socket, for root on this machine alone: one request a connection. The client sends one JSON object, with the pod's
 * network namespace beside its first byte if the request is about one, and closes its half; the agent answers with one JSON object and
 * closes. Who asks is checked by SO_PEERCRED, besides the socket's mode 0600. The agent's thread. */
#ifndef AMBAR_CNI_CONTROL_SERVER_H
#define AMBAR_CNI_CONTROL_SERVER_H

#include "base/bytes.h"
#include "base/result.h"

struct loop;
struct writer;

#define CONTROL_REQUEST_BYTES_MAXIMUM 65536
#define CONTROL_ANSWER_BYTES_MAXIMUM (16u << 20)
#define CONTROL_CALLS_MAXIMUM 64
#define CONTROL_DEADLINE_MS 5000 /* to send the request; to take the answer */

struct control_server;
struct control_call;

/* A complete request. `descriptor` is -1 or the handler's. The call must be answered exactly once, now or later. */
typedef void control_handler(void *context, struct control_call *call, struct bytes request, int descriptor);

struct result control_server_new(
    struct loop *loop, const char *path, control_handler *handler, void *context, struct control_server **server);
/* Every call that was handed out must have been answered. NULL is allowed. */
void control_server_free(struct control_server *server);

/* Takes what is in the writer. */
void control_call_answer(struct control_call *call, struct writer *answer);

#endif
