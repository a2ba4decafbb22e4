#include "ambarctl/admin_client.h"

#include "base/memory.h"
#include "base/text.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMEOUT_S 10
#define HEAD_MAXIMUM_BYTES 16384
#define READ_BYTES 65536

void admin_add_query_value(struct writer *out, const char *value)
{
    static const char DIGITS[] = "0123456789ABCDEF";
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        if (isalnum(*at) || strchr("-._~", *at) != NULL) {
            writer_add_u8(out, *at);
        } else {
            writer_add_u8(out, '%');
            writer_add_u8(out, (uint8_t)DIGITS[*at >> 4]);
            writer_add_u8(out, (uint8_t)DIGITS[*at & 15]);
        }
    }
}

static struct result connect_to(const char *host, const char *port, const char *address, int *descriptor)
{
    const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    const struct timeval timeout = { .tv_sec = TIMEOUT_S };
    struct addrinfo *found;
    int error = getaddrinfo(host, port, &hints, &found);
    if (error != 0) {
        return result_fail(RESULT_NOT_FOUND, "--admin %s: %s", address, gai_strerror(error));
    }
    int reason = 0;
    *descriptor = -1;
    for (const struct addrinfo *one = found; one != NULL && *descriptor < 0; one = one->ai_next) {
        int candidate = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)setsockopt(candidate, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        (void)setsockopt(candidate, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
        if (connect(candidate, one->ai_addr, one->ai_addrlen) == 0) {
            *descriptor = candidate;
        } else {
            reason = errno;
            close(candidate);
        }
    }
    freeaddrinfo(found);
    if (*descriptor < 0) {
        return result_system(reason,
            "nothing answers at %s (is ztunnel running in this network namespace? --admin HOST:PORT says where)",
            address);
    }
    return result_ok();
}

static struct result open_connection(const char *address, int *descriptor)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address || colon[1] == '\0') {
        return result_fail(RESULT_INVALID, "--admin %s: expected HOST:PORT", address);
    }
    bool has_brackets = address[0] == '[' && colon[-1] == ']';
    const char *start = address + (has_brackets ? 1 : 0);
    char *AUTO_FREE host = string_duplicate_n(start, (size_t)(colon - start) - (has_brackets ? 1 : 0));
    return connect_to(host, colon + 1, address, descriptor);
}

static struct result send_request(int descriptor, const char *address, const char *method, const char *target)
{
    char *AUTO_FREE text = string_format(
        "%s %s HTTP/1.0\r\nhost: %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", method, target, address);
    struct bytes left = bytes_of_string(text);
    while (left.length > 0) {
        ssize_t sent = send(descriptor, left.data, left.length, MSG_NOSIGNAL);
        if (sent < 0) {
            return result_system(errno, "%s: the request could not be sent", address);
        }
        left = bytes_of(left.data + sent, left.length - (size_t)sent);
    }
    return result_ok();
}

/* Reads more behind what is there; `*is_over` at the end of the connection. */
static struct result read_more(int descriptor, const char *address, struct writer *out, bool *is_over)
{
    uint8_t *room = writer_reserve(out, READ_BYTES);
    ssize_t got = recv(descriptor, room, READ_BYTES, 0);
    if (got < 0 && errno == EINTR) {
        return result_ok();
    }
    if (got < 0) {
        return result_system(errno, "%s: the answer broke off", address);
    }
    out->length += (size_t)got;
    *is_over = got == 0;
    return result_ok();
}

/* The status line and fields; what came behind them stays in `out`. */
static struct result read_head(int descriptor, const char *address, struct writer *out, int *status)
{
    bool is_over = false;
    const char *end = NULL;
    while ((end = strstr(writer_string(out), "\r\n\r\n")) == NULL) {
        if (is_over || out->length > HEAD_MAXIMUM_BYTES) {
            return result_fail(RESULT_INVALID, "%s: what answers there is not a ztunnel's admin port", address);
        }
        RESULT_TRY(read_more(descriptor, address, out, &is_over));
    }
    const char *text = writer_string(out);
    if (!text_starts_with(text, "HTTP/1.") || strlen(text) < 12) {
        return result_fail(RESULT_INVALID, "%s: what answers there does not speak HTTP", address);
    }
    *status = atoi(text + 9);
    size_t head_length = (size_t)(end - text) + 4;
    memmove(out->data, out->data + head_length, out->length - head_length);
    out->length -= head_length;
    return result_ok();
}

static struct result exchange(
    int descriptor, const char *address, const char *method, const char *target, struct admin_answer *answer)
{
    RESULT_TRY(send_request(descriptor, address, method, target));
    RESULT_TRY(read_head(descriptor, address, &answer->body, &answer->status));
    bool is_over = false;
    while (!is_over) {
        RESULT_TRY(read_more(descriptor, address, &answer->body, &is_over));
        if (answer->body.length > ADMIN_BODY_MAXIMUM_BYTES) {
            return result_fail(
                RESULT_LIMIT, "%s: the answer is larger than %u bytes", address, ADMIN_BODY_MAXIMUM_BYTES);
        }
    }
    return result_ok();
}

struct result admin_request(const char *address, const char *method, const char *target, struct admin_answer *answer)
{
    int descriptor;
    *answer = (struct admin_answer){ .body = writer_growing() };
    RESULT_TRY(open_connection(address, &descriptor));
    struct result outcome = exchange(descriptor, address, method, target, answer);
    close(descriptor);
    return outcome;
}

static struct result write_all(int descriptor, struct writer *out)
{
    for (size_t done = 0; done < out->length;) {
        ssize_t written = write(descriptor, out->data + done, out->length - done);
        if (written < 0 && errno != EINTR) {
            return result_system(errno, "standard output");
        }
        done += written > 0 ? (size_t)written : 0;
    }
    writer_clear(out);
    return result_ok();
}

static struct result copy_body(
    int connection, const char *address, const char *target, int descriptor, struct writer *out)
{
    int status;
    bool is_over = false;
    RESULT_TRY(send_request(connection, address, "GET", target));
    RESULT_TRY(read_head(connection, address, out, &status));
    if (status != 200) {
        return result_fail(RESULT_UNAVAILABLE, "%s answers %d", address, status);
    }
    while (!is_over) {
        RESULT_TRY(write_all(descriptor, out));
        RESULT_TRY(read_more(connection, address, out, &is_over));
    }
    return write_all(descriptor, out);
}

struct result admin_copy(const char *address, const char *target, int descriptor)
{
    int connection;
    RESULT_TRY(open_connection(address, &connection));
    struct writer out = writer_growing();
    struct result outcome = copy_body(connection, address, target, descriptor, &out);
    writer_free(&out);
    close(connection);
    return outcome;
}
