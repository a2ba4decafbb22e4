#include "ztunnel/readiness.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/writer.h"
#include "http/http1_server.h"
#include "ztunnel/control_listener.h"

struct readiness {
    struct loop *loop;
    struct http1_server *server;
    uint64_t awaited_since_ns[READINESS_TASK_COUNT]; /* 0: complete */
};

/* In alphabetical order, as the answer lists them. */
static const char *const TASK_NAMES[READINESS_TASK_COUNT] = { "dns proxy", "proxy", "state manager",
    "workload proxy manager" };

static void answer(struct http1_exchange *exchange, void *context)
{
    const struct readiness *readiness = context;
    if (!http1_method_is(exchange, "GET")) {
        http1_respond(exchange, 405, NULL, bytes_of(NULL, 0));
        return;
    }
    if (readiness_is_ready(readiness)) {
        http1_respond_text(exchange, 200, "ready\n");
        return;
    }
    struct writer text = writer_growing();
    writer_add_string(&text, "not ready, pending: ");
    const char *separator = "";
    for (int i = 0; i < READINESS_TASK_COUNT; i++) {
        if (readiness->awaited_since_ns[i] != 0) {
            writer_print(&text, "%s%s", separator, TASK_NAMES[i]);
            separator = ", ";
        }
    }
    writer_add_string(&text, "\n");
    http1_respond_text(exchange, 500, writer_string(&text));
    writer_free(&text);
}

static const struct http1_route ROUTES[] = { { "/healthz/ready", answer, 0, false } };

struct readiness *readiness_new(struct loop *control)
{
    struct readiness *readiness = NEW(struct readiness);
    readiness->loop = control;
    const struct http1_server_settings settings = { ROUTES, ARRAY_LENGTH(ROUTES), readiness, 0, "ztunnel::readiness" };
    readiness->server = http1_server_new(control, &settings);
    return readiness;
}

struct result readiness_listen(struct readiness *readiness, uint16_t port, bool ipv6_enabled)
{
    const struct socket_address address = { .ip.family = ipv6_enabled ? IP_V6 : IP_V4, .port = port };
    return control_listener_open(readiness->server, &address, "readiness");
}

void readiness_free(struct readiness *readiness)
{
    if (readiness != NULL) {
        http1_server_free(readiness->server);
        memory_free(readiness);
    }
}

bool readiness_is_ready(const struct readiness *readiness)
{
    for (int i = 0; i < READINESS_TASK_COUNT; i++) {
        if (readiness->awaited_since_ns[i] != 0) {
            return false;
        }
    }
    return true;
}

void readiness_await(struct readiness *readiness, enum readiness_task task)
{
    if (readiness->awaited_since_ns[task] == 0) {
        readiness->awaited_since_ns[task] = clock_monotonic_ns();
    }
}

void readiness_complete(struct readiness *readiness, enum readiness_task task)
{
    if (readiness->awaited_since_ns[task] == 0) {
        return;
    }
    double took_ms = (double)(clock_monotonic_ns() - readiness->awaited_since_ns[task]) / 1e6;
    readiness->awaited_since_ns[task] = 0;
    unsigned left = 0;
    for (int i = 0; i < READINESS_TASK_COUNT; i++) {
        left += readiness->awaited_since_ns[i] != 0;
    }
    if (left > 0) {
        log_print(LOG_INFO, "ztunnel::readiness", "Task '%s' complete (%.1fms), still awaiting %u tasks",
            TASK_NAMES[task], took_ms, left);
    } else {
        log_print(LOG_INFO, "ztunnel::readiness", "Task '%s' complete (%.1fms), marking server ready", TASK_NAMES[task],
            took_ms);
    }
}
