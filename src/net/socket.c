#include "net/socket.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* not netinet/tcp.h, whose tcp_info ends before the smallest round trip */
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define LOCAL_CONGESTION_CONTROL "cubic"
#define TUNNEL_UNSENT_BYTES (128 * 1024)
#define MILLISECONDS_PER_SECOND 1000u

static bool set_option(int descriptor, int level, int name, int value)
{
    return setsockopt(descriptor, level, name, &value, sizeof value) == 0;
}

bool socket_use_congestion_control(int descriptor, const char *name)
{
    return setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0;
}

bool socket_use_local_congestion_control(int descriptor)
{
    return socket_use_congestion_control(descriptor, LOCAL_CONGESTION_CONTROL);
}

/* IP_TRANSPARENT governs both families of a socket; IPV6_TRANSPARENT is the same bit by another name. */
static bool make_transparent(int descriptor, enum ip_family family)
{
    return set_option(descriptor, SOL_IP, IP_TRANSPARENT, 1) &&
           (family != IP_V6 || set_option(descriptor, SOL_IPV6, IPV6_TRANSPARENT, 1));
}

static struct result apply_mark(const struct socket_settings *settings, uint8_t flags, int descriptor)
{
    if ((flags & SOCKET_MARKED) == 0 || settings->mark == 0) {
        return result_ok();
    }
    if (setsockopt(descriptor, SOL_SOCKET, SO_MARK, &settings->mark, sizeof settings->mark) != 0) {
        return result_system(errno, "failed to set packet mark %u", settings->mark);
    }
    return result_ok();
}

static struct result apply_transparency(
    const struct socket_settings *settings, uint8_t flags, enum ip_family family, int descriptor, bool *is_transparent)
{
    *is_transparent = false;
    if ((flags & SOCKET_TRANSPARENT) == 0 || settings->transparency == TRANSPARENCY_NEVER) {
        return result_ok();
    }
    *is_transparent = make_transparent(descriptor, family);
    if (!*is_transparent && settings->transparency == TRANSPARENCY_REQUIRED) {
        return result_system(errno, "ENABLE_ORIG_SRC=true: failed to make a socket transparent");
    }
    return result_ok();
}

static struct result apply_keepalive(const struct socket_settings *settings, uint8_t flags, int descriptor)
{
    if ((flags & SOCKET_KEEPALIVE) == 0) {
        return result_ok();
    }
    uint32_t time_s = settings->keepalive_time_s, interval_s = settings->keepalive_interval_s;
    uint32_t retries = settings->keepalive_retries;
    if (settings->keepalive_is_enabled && !(set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1) &&
                                              set_option(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, (int)time_s) &&
                                              set_option(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, (int)interval_s) &&
                                              set_option(descriptor, IPPROTO_TCP, TCP_KEEPCNT, (int)retries))) {
        return result_system(
            errno, "failed to set keepalive (time %us, interval %us, retries %u)", time_s, interval_s, retries);
    }
    uint64_t user_timeout_ms = ((uint64_t)time_s + (uint64_t)retries * interval_s) * MILLISECONDS_PER_SECOND;
    if (settings->user_timeout_is_enabled && !set_option(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT,
                                                 (int)(user_timeout_ms > INT32_MAX ? INT32_MAX : user_timeout_ms))) {
        return result_system(errno, "failed to set user timeout %llums", (unsigned long long)user_timeout_ms);
    }
    return result_ok();
}

/* With a linger time of 0, close is a RST. */
static void set_linger(int descriptor, bool ends_by_reset)
{
    struct linger linger = { .l_onoff = ends_by_reset, .l_linger = 0 };
    (void)setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}

/* What listeners and connecting sockets have in common. */
static struct result apply_settings(
    const struct socket_settings *settings, uint8_t flags, enum ip_family family, int descriptor, bool *is_transparent)
{
    if ((flags & SOCKET_DATAGRAM) != 0) {
        *is_transparent = false;
        return apply_mark(settings, flags, descriptor);
    }
    (void)set_option(descriptor, IPPROTO_TCP, TCP_NODELAY, 1);
    if ((flags & SOCKET_LOCAL_LEG) != 0) {
        /* Only faster (design §5): a kernel without it works as well. */
        (void)socket_use_local_congestion_control(descriptor);
    }
    if ((flags & SOCKET_ENDS_BY_RESET) != 0) {
        set_linger(descriptor, true);
    }
    if ((flags & SOCKET_TUNNEL) != 0) {
        (void)set_option(descriptor, IPPROTO_TCP, TCP_NOTSENT_LOWAT, TUNNEL_UNSENT_BYTES);
    }
    RESULT_TRY(apply_mark(settings, flags, descriptor));
    RESULT_TRY(apply_keepalive(settings, flags, descriptor));
    return apply_transparency(settings, flags, family, descriptor, is_transparent);
}

static int new_socket(enum ip_family family, uint8_t flags)
{
    bool is_datagram = (flags & SOCKET_DATAGRAM) != 0;
    return socket(family == IP_V6 ? AF_INET6 : AF_INET,
        (is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC,
        is_datagram ? IPPROTO_UDP : IPPROTO_TCP);
}

static struct result bind_and_listen(int descriptor, const struct listener_options *options)
{
    struct sockaddr_storage address;
    socklen_t length = socket_address_to_kernel(&options->address, false, &address);
    int backlog = options->backlog != 0 ? options->backlog : LISTENER_BACKLOG;
    bool is_datagram = (options->flags & SOCKET_DATAGRAM) != 0;
    if (bind(descriptor, (struct sockaddr *)&address, length) != 0 ||
        (!is_datagram && listen(descriptor, backlog) != 0)) {
        int error = errno;
        char text[SOCKET_ADDRESS_TEXT_SIZE];
        struct result failure =
            result_system(error, "failed to bind to address %s", socket_address_format(&options->address, text));
        failure.code = error == EADDRNOTAVAIL ? RESULT_NOT_FOUND : failure.code;
        return failure;
    }
    return result_ok();
}

/* Two sockets for datagrams on one port would take each other's: without port reuse, or when it is refused, there is one. */
static struct result choose_sharing(int descriptor, uint8_t flags)
{
    bool is_shared = (flags & SOCKET_REUSES_PORT) != 0;
    if ((flags & SOCKET_DATAGRAM) != 0) {
        return !is_shared || set_option(descriptor, SOL_SOCKET, SO_REUSEPORT, 1)
                   ? result_ok()
                   : result_system(errno, "failed to share a port");
    }
    /* With port reuse a successor can listen while this process drains, and no SO_REUSEADDR is wanted (§3). A refusal only
     * costs that. Without it, a restart must not wait for the TIME_WAIT sockets of its predecessor. */
    (void)set_option(descriptor, SOL_SOCKET, is_shared ? SO_REUSEPORT : SO_REUSEADDR, 1);
    return result_ok();
}

static struct result prepare_listener(int descriptor, const struct socket_settings *settings,
    const struct listener_options *options, bool *is_transparent)
{
    enum ip_family family = (enum ip_family)options->address.ip.family;
    if (family == IP_V6 && !set_option(descriptor, SOL_IPV6, IPV6_V6ONLY, !ip_is_unspecified(&options->address.ip))) {
        return result_system(errno, "failed to choose dual stack");
    }
    RESULT_TRY(choose_sharing(descriptor, options->flags));
    RESULT_TRY(apply_settings(settings, options->flags, family, descriptor, is_transparent));
    return bind_and_listen(descriptor, options);
}

struct result socket_listen(
    const struct socket_settings *settings, const struct listener_options *options, struct listener *listener)
{
    *listener = (struct listener){ .descriptor = -1 };
    int descriptor = new_socket((enum ip_family)options->address.ip.family, options->flags);
    if (descriptor < 0) {
        char text[SOCKET_ADDRESS_TEXT_SIZE];
        return result_system(
            errno, "failed to make a socket for address %s", socket_address_format(&options->address, text));
    }
    struct result result = prepare_listener(descriptor, settings, options, &listener->is_transparent);
    if (!result_is_ok(&result)) {
        (void)close(descriptor);
        return result;
    }
    listener->descriptor = descriptor;
    return result;
}

struct result socket_open(
    const struct socket_settings *settings, enum ip_family family, uint8_t flags, int *descriptor, bool *is_transparent)
{
    bool can_carry_foreign_source = false;
    *descriptor = -1;
    int opened = new_socket(family, flags);
    if (opened < 0) {
        return result_system(errno, "failed to make an IPv%d socket", (int)family);
    }
    struct result result = apply_settings(settings, flags, family, opened, &can_carry_foreign_source);
    if (!result_is_ok(&result)) {
        (void)close(opened);
        return result;
    }
    *descriptor = opened;
    if (is_transparent != NULL) {
        *is_transparent = can_carry_foreign_source;
    }
    return result;
}

int socket_accept(int listener, struct socket_address *peer)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int descriptor = accept4(listener, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (descriptor < 0) {
        return -errno;
    }
    if (!socket_address_from_kernel((struct sockaddr *)&address, length, peer)) {
        (void)close(descriptor);
        return -EAFNOSUPPORT;
    }
    return descriptor;
}

static int bind_without_port(int descriptor, const struct ip_address *source)
{
    struct socket_address address = { .ip = *source, .port = 0 };
    struct sockaddr_storage storage;
    socklen_t length = socket_address_to_kernel(&address, false, &storage);
    return bind(descriptor, (struct sockaddr *)&storage, length) == 0 ? 0 : errno;
}

int socket_bind_owned(int descriptor, const struct ip_address *source)
{
    (void)set_option(descriptor, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    return bind_without_port(descriptor, source);
}

int socket_bind_source(int descriptor, const struct ip_address *source)
{
    /* Both are cheaper or safer, neither is required; freebind covers an address that is just being removed. */
    (void)set_option(descriptor, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    (void)set_option(descriptor, source->family == IP_V6 ? SOL_IPV6 : SOL_IP,
        source->family == IP_V6 ? IPV6_FREEBIND : IP_FREEBIND, 1);
    return bind_without_port(descriptor, source);
}

int socket_connect(int descriptor, const struct socket_address *to)
{
    struct sockaddr_storage address;
    socklen_t length = socket_address_to_kernel(to, false, &address);
    if (connect(descriptor, (struct sockaddr *)&address, length) == 0 || errno == EISCONN) {
        return 0;
    }
    return errno == EALREADY || errno == EINTR ? EINPROGRESS : errno;
}

bool socket_local_address(int descriptor, struct socket_address *address)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    return getsockname(descriptor, (struct sockaddr *)&storage, &length) == 0 &&
           socket_address_from_kernel((struct sockaddr *)&storage, length, address);
}

bool socket_peer_address(int descriptor, struct socket_address *address)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    return getpeername(descriptor, (struct sockaddr *)&storage, &length) == 0 &&
           socket_address_from_kernel((struct sockaddr *)&storage, length, address);
}

static bool translated_destination(int descriptor, int level, int name, struct socket_address *destination)
{
    struct sockaddr_storage storage;
    socklen_t length = sizeof storage;
    return getsockopt(descriptor, level, name, &storage, &length) == 0 &&
           socket_address_from_kernel((struct sockaddr *)&storage, length, destination);
}

bool socket_original_destination(int descriptor, struct socket_address *destination)
{
    return translated_destination(descriptor, SOL_IP, SO_ORIGINAL_DST, destination) ||
           translated_destination(descriptor, SOL_IPV6, IP6T_SO_ORIGINAL_DST, destination) ||
           socket_local_address(descriptor, destination);
}

void socket_yield_to_successor(int listener)
{
    /* The port group's members have numbers in the order in which they joined. A number that nobody has is ignored, so that a
     * listener without successor goes on, and a successor alone is not bothered by what its predecessor left. */
    struct sock_filter choose_second[] = { BPF_STMT(BPF_RET | BPF_K, 1) };
    const struct sock_fprog program = { 1, choose_second };
    (void)setsockopt(listener, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
}

int socket_take_error(int descriptor)
{
    int error = 0;
    socklen_t length = sizeof error;
    return getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 ? error : errno;
}

void socket_shutdown_write(int descriptor)
{
    (void)shutdown(descriptor, SHUT_WR);
}

void socket_close_with_reset(int descriptor)
{
    set_linger(descriptor, true);
    (void)close(descriptor);
}

void socket_close_cleanly(int descriptor)
{
    set_linger(descriptor, false);
    (void)close(descriptor);
}

static size_t queued_bytes(int descriptor, unsigned long request)
{
    int bytes = 0;
    return ioctl(descriptor, request, &bytes) == 0 && bytes > 0 ? (size_t)bytes : 0;
}

size_t socket_unacknowledged_bytes(int descriptor)
{
    return queued_bytes(descriptor, SIOCOUTQ);
}

size_t socket_unsent_bytes(int descriptor)
{
    return queued_bytes(descriptor, SIOCOUTQNSD);
}

uint64_t socket_minimum_round_trip_ns(int descriptor)
{
    struct tcp_info information;
    socklen_t length = sizeof information;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &information, &length) != 0 ||
        length < offsetof(struct tcp_info, tcpi_min_rtt) + sizeof information.tcpi_min_rtt ||
        information.tcpi_min_rtt == UINT32_MAX) {
        return 0;
    }
    return (uint64_t)information.tcpi_min_rtt * 1000;
}

void socket_raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}
