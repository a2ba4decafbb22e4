/* What the TLS tests share: a directory of their own, the openssl command as maker of certificates and as peer, connected
 * sockets, handshakes pumped to their end. */
#ifndef AMBAR_TESTS_UNIT_TLS_SUPPORT_H
#define AMBAR_TESTS_UNIT_TLS_SUPPORT_H

#include "unit/assertions.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/spiffe.h"
#include "base/text.h"
#include "base/writer.h"
#include "net/buffer_pool.h"
#include "tls/authority.h"
#include "tls/certificate_bundle.h"
#include "tls/context.h"
#include "tls/handshake.h"
#include "tls/identity.h"
#include "tls/pem_file.h"
#include "tls/policy.h"
#include "tls/record_layer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SUPPORT_UNUSED __attribute__((unused))
#define SUPPORT_DEADLINE_NS (20 * NANOSECONDS_PER_SECOND)
#define WEB "spiffe://cluster.local/ns/shop/sa/web"
#define CATALOGUE "spiffe://cluster.local/ns/shop/sa/catalogue"
#define FOREIGN "spiffe://other.domain/ns/shop/sa/web"

#define assert_refused(expression, code_, part)                                                                        \
    do {                                                                                                               \
        struct result assert_refused_ = (expression);                                                                  \
        assert_int_equal(assert_refused_.code, (code_));                                                               \
        assert_contains(assert_refused_.message, (part));                                                              \
    } while (0)

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (strstr((text), (part)) == NULL) {                                                                          \
            fail_msg("\"%s\" is not in \"%s\"", (part), (text));                                                       \
        }                                                                                                              \
    } while (0)

#define assert_lacks(text, part)                                                                                       \
    do {                                                                                                               \
        if (strstr((text), (part)) != NULL) {                                                                          \
            fail_msg("\"%s\" is in \"%s\"", (part), (text));                                                           \
        }                                                                                                              \
    } while (0)

/* A directory made for this test program; commands run in it. */
static char support_directory[64];

static SUPPORT_UNUSED int make_directory(void **state)
{
    (void)state;
    strcpy(support_directory, "/tmp/ambar-tls-test-XXXXXX");
    return mkdtemp(support_directory) == NULL ? -1 : 0;
}

static SUPPORT_UNUSED int remove_directory(void **state)
{
    (void)state;
    char *command AUTO_FREE = string_format("rm -rf %s", support_directory);
    return system(command);
}

static SUPPORT_UNUSED char *path_of(const char *name)
{
    return string_format("%s/%s", support_directory, name);
}

/* Runs a shell command in the directory and returns what it printed on both outputs; the command must succeed. */
static SUPPORT_UNUSED char *shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static SUPPORT_UNUSED char *shell(const char *format, ...)
{
    struct writer command = writer_growing();
    writer_print(&command, "cd %s && { ", support_directory);
    va_list arguments;
    va_start(arguments, format);
    writer_print_list(&command, format, arguments);
    va_end(arguments);
    writer_add_string(&command, "; } 2>&1");
    FILE *pipe = popen(writer_string(&command), "r");
    assert_non_null(pipe);
    struct writer output = writer_growing();
    char part[4096];
    size_t got;
    while ((got = fread(part, 1, sizeof part, pipe)) > 0) {
        writer_add(&output, part, got);
    }
    int status = pclose(pipe);
    if (status != 0) {
        fail_msg("%s: status %d: %s", writer_string(&command), status, writer_string(&output));
    }
    writer_free(&command);
    return writer_take_string(&output);
}

static SUPPORT_UNUSED void run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static SUPPORT_UNUSED void run(const char *format, ...)
{
    char command[4096];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    memory_free(shell("%s", command));
}

static SUPPORT_UNUSED char *read_text(const char *name)
{
    char *path AUTO_FREE = path_of(name);
    struct writer text = writer_growing();
    assert_ok(pem_file_read(path, &text));
    return writer_take_string(&text);
}

static SUPPORT_UNUSED void write_text(const char *name, const char *text)
{
    char *path AUTO_FREE = path_of(name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

/* root.pem and root.key, made by the openssl command. */
static SUPPORT_UNUSED void openssl_root(const char *name)
{
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.pem -days 10 "
        "-subj /O=test-%s -addext keyUsage=critical,keyCertSign",
        name, name, name);
}

/* NAME.pem and NAME.key signed by ROOT, with an extension file's text. */
static SUPPORT_UNUSED void openssl_leaf(const char *root, const char *name, const char *extensions)
{
    char *file AUTO_FREE = string_format("%s.ext", name);
    write_text(file, extensions);
    run("openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s.key -out %s.csr -subj /O=leaf "
        "&& openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -set_serial 0x1234567890abcdef1234 -days 2 "
        "-extfile %s.ext -out %s.pem",
        name, name, name, root, root, name, name);
}

/* An authority of ours and what it issues. */
static SUPPORT_UNUSED struct certificate_bundle *bundle_at(
    const struct certificate_authority *authority, const char *name, int64_t now_s)
{
    struct certificate_bundle *bundle = NULL;
    assert_ok(certificate_authority_issue_bundle(authority, &name, 1, 3600, now_s, &bundle));
    return bundle;
}

static SUPPORT_UNUSED struct tls_identity *identity_at(
    const struct certificate_authority *authority, const char *name, int64_t now_s)
{
    struct certificate_bundle *bundle = bundle_at(authority, name, now_s);
    struct tls_identity *identity = NULL;
    assert_ok(tls_identity_new(bundle, &identity));
    certificate_bundle_release(bundle);
    return identity;
}

static SUPPORT_UNUSED struct tls_identity *identity_of_files(const char *root, const char *name)
{
    char *key AUTO_FREE = string_format("%s/%s.key", support_directory, name);
    char *chain AUTO_FREE = string_format("%s/%s.pem", support_directory, name);
    char *roots AUTO_FREE = string_format("%s/%s.pem", support_directory, root);
    struct certificate_bundle *bundle = NULL;
    struct tls_identity *identity = NULL;
    assert_ok(certificate_bundle_from_files(key, chain, roots, clock_wall_s(), &bundle));
    assert_ok(tls_identity_new(bundle, &identity));
    certificate_bundle_release(bundle);
    return identity;
}

static SUPPORT_UNUSED void set_nonblocking(int descriptor)
{
    assert_int_equal(fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK), 0);
}

/* A listener on a port of 127.0.0.1 that the kernel chose. */
static SUPPORT_UNUSED int listen_anywhere(uint16_t *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 8), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return listener;
}

static SUPPORT_UNUSED int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)
    };
    int on = 1;
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof address), 0);
    setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    set_nonblocking(descriptor);
    return descriptor;
}

/* Two ends of one TCP connection, non-blocking. */
static SUPPORT_UNUSED void connected_pair(int ends[2])
{
    uint16_t port;
    int listener = listen_anywhere(&port);
    ends[0] = connect_to(port);
    ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(ends[1] >= 0);
    close(listener);
}

static SUPPORT_UNUSED void wait_for(int descriptor, short events)
{
    struct pollfd poll_one = { .fd = descriptor, .events = events };
    assert_true(poll(&poll_one, 1, 10000) == 1);
}

/* Steps one side against a peer that runs by itself. */
static SUPPORT_UNUSED enum tls_handshake_status shake(struct tls_handshake *handshake, int descriptor)
{
    for (;;) {
        enum tls_handshake_status status = tls_handshake_step(handshake);
        if (status == TLS_HANDSHAKE_DONE || status == TLS_HANDSHAKE_FAILED) {
            return status;
        }
        wait_for(descriptor, status == TLS_HANDSHAKE_WANTS_READ ? POLLIN : POLLOUT);
    }
}

static SUPPORT_UNUSED bool is_over(enum tls_handshake_status status)
{
    return status == TLS_HANDSHAKE_DONE || status == TLS_HANDSHAKE_FAILED;
}

/* Steps both sides until both are over. */
static SUPPORT_UNUSED void shake_both(struct tls_handshake *client, struct tls_handshake *server)
{
    uint64_t deadline_ns = clock_monotonic_ns() + SUPPORT_DEADLINE_NS;
    while (clock_monotonic_ns() < deadline_ns) {
        enum tls_handshake_status of_client = tls_handshake_step(client);
        enum tls_handshake_status of_server = tls_handshake_step(server);
        if (is_over(of_client) && is_over(of_server)) {
            return;
        }
    }
    fail_msg("the handshake does not end");
}

/* The first answer of receive that is not RECORD_AGAIN. */
static SUPPORT_UNUSED enum record_status receive_something(struct record_layer *layer, struct bytes *run)
{
    uint64_t deadline_ns = clock_monotonic_ns() + SUPPORT_DEADLINE_NS;
    while (clock_monotonic_ns() < deadline_ns) {
        int count = 0;
        enum record_status status = record_receive(layer, BUFFER_SHARED_BYTES, run, 1, &count);
        if (status != RECORD_AGAIN) {
            return status;
        }
        wait_for(layer->descriptor, POLLIN);
    }
    fail_msg("nothing arrives");
    return RECORD_FAILED;
}

static SUPPORT_UNUSED void send_text(struct record_layer *layer, const char *text)
{
    struct iovec slot;
    assert_int_equal(record_reserve(layer, &slot, 1), 1);
    assert_true(strlen(text) <= slot.iov_len);
    memcpy(slot.iov_base, text, strlen(text));
    record_commit(layer, 0, strlen(text));
    assert_int_equal(record_flush(layer), RECORD_OK);
}

#endif
