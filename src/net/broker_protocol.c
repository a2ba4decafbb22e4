#include "net/broker_protocol.h"

#include "base/cursor.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_IS_TRANSPARENT 1u
#define ANSWER_LOOPBACK_HAS_IPV6 2u

void broker_request_write(const struct broker_request *request, struct writer *out)
{
    writer_add_u32(out, request->sequence);
    writer_add_u8(out, request->type);
    writer_add_u8(out, request->family);
    writer_add_u8(out, request->flags);
    writer_add_u8(out, request->count);
    writer_add_u32(out, request->namespace_handle);
    writer_add_u16(out, request->backlog);
    writer_add_u16(out, request->address.port);
    writer_add_u8(out, request->address.ip.family);
    writer_add(out, request->address.ip.bytes, sizeof request->address.ip.bytes);
}

static bool family_is_valid(uint8_t family)
{
    return family == IP_V4 || family == IP_V6;
}

static bool listener_is_unset(const struct broker_request *request)
{
    static const struct ip_address none;
    return request->backlog == 0 && request->address.port == 0 && ip_equal(&request->address.ip, &none);
}

static bool sockets_are_unset(const struct broker_request *request)
{
    return request->family == 0 && request->count == 0;
}

static struct result check_register(const struct broker_request *request)
{
    if (request->namespace_handle != 0 || request->flags != 0 || !sockets_are_unset(request) ||
        !listener_is_unset(request)) {
        return result_fail(RESULT_INVALID, "register namespace: fields that do not belong to it are set");
    }
    return result_ok();
}

static struct result check_forget(const struct broker_request *request)
{
    if (request->namespace_handle == 0) {
        return result_fail(RESULT_INVALID, "forget namespace: the own namespace cannot be forgotten");
    }
    if (request->flags != 0 || !sockets_are_unset(request) || !listener_is_unset(request)) {
        return result_fail(RESULT_INVALID, "forget namespace: fields that do not belong to it are set");
    }
    return result_ok();
}

static struct result check_listener(const struct broker_request *request)
{
    if (!family_is_valid(request->address.ip.family)) {
        return result_fail(RESULT_INVALID, "make listener: address family %u", request->address.ip.family);
    }
    if ((request->flags & ~SOCKET_FLAGS_ALL) != 0) {
        return result_fail(RESULT_INVALID, "make listener: flags 0x%x", request->flags);
    }
    if (!sockets_are_unset(request)) {
        return result_fail(RESULT_INVALID, "make listener: fields that do not belong to it are set");
    }
    return result_ok();
}

static struct result check_sockets(const struct broker_request *request)
{
    if (!family_is_valid(request->family)) {
        return result_fail(RESULT_INVALID, "make sockets: address family %u", request->family);
    }
    if ((request->flags & ~SOCKET_FLAGS_ALL) != 0 || (request->flags & SOCKET_REUSES_PORT) != 0) {
        return result_fail(RESULT_INVALID, "make sockets: flags 0x%x", request->flags);
    }
    if (request->count == 0 || request->count > BROKER_SOCKETS_A_MESSAGE) {
        return result_fail(
            RESULT_INVALID, "make sockets: %u of them, not 1 to %d", request->count, BROKER_SOCKETS_A_MESSAGE);
    }
    if (!listener_is_unset(request)) {
        return result_fail(RESULT_INVALID, "make sockets: fields that do not belong to it are set");
    }
    return result_ok();
}

static struct result check_request(const struct broker_request *request)
{
    switch (request->type) {
    case BROKER_REGISTER_NAMESPACE:
        return check_register(request);
    case BROKER_FORGET_NAMESPACE:
        return check_forget(request);
    case BROKER_MAKE_LISTENER:
        return check_listener(request);
    case BROKER_MAKE_SOCKETS:
        return check_sockets(request);
    default:
        return result_fail(RESULT_INVALID, "request type %u is not known", request->type);
    }
}

/* An address whose unused bytes are zero, and in the one form that equality knows. */
static bool read_address(struct cursor *cursor, struct ip_address *ip)
{
    ip->family = cursor_u8(cursor);
    struct bytes raw = cursor_take(cursor, sizeof ip->bytes);
    if (raw.length != sizeof ip->bytes) {
        return false;
    }
    memcpy(ip->bytes, raw.data, sizeof ip->bytes);
    if (ip->family == IP_V6) {
        struct ip_address canonical;
        return ip_from_bytes(raw, &canonical) && ip_equal(&canonical, ip);
    }
    static const uint8_t zero[16];
    size_t used = ip->family == IP_V4 ? 4 : 0;
    return memcmp(ip->bytes + used, zero, sizeof zero - used) == 0;
}

struct result broker_request_read(struct bytes bytes, unsigned descriptor_count, struct broker_request *request)
{
    struct cursor cursor = cursor_of(bytes);
    *request = (struct broker_request){ .sequence = cursor_u32(&cursor) };
    if (bytes.length != BROKER_REQUEST_BYTES) {
        return result_fail(RESULT_INVALID, "request of %zu bytes, not %d", bytes.length, BROKER_REQUEST_BYTES);
    }
    request->type = cursor_u8(&cursor);
    request->family = cursor_u8(&cursor);
    request->flags = cursor_u8(&cursor);
    request->count = cursor_u8(&cursor);
    request->namespace_handle = cursor_u32(&cursor);
    request->backlog = cursor_u16(&cursor);
    request->address.port = cursor_u16(&cursor);
    if (!read_address(&cursor, &request->address.ip)) {
        return result_fail(RESULT_INVALID, "address is not canonical");
    }
    unsigned wanted = request->type == BROKER_REGISTER_NAMESPACE ? 1 : 0;
    if (descriptor_count != wanted) {
        return result_fail(
            RESULT_INVALID, "request type %u with %u descriptors, not %u", request->type, descriptor_count, wanted);
    }
    return check_request(request);
}

void broker_answer_write(const struct broker_answer *answer, struct writer *out)
{
    writer_add_u32(out, answer->sequence);
    writer_add_u32(out, answer->namespace_handle);
    writer_add_u8(out, (uint8_t)answer->result.code);
    writer_add_u8(out, (uint8_t)((answer->is_transparent ? ANSWER_IS_TRANSPARENT : 0) |
                                 (answer->loopback_has_ipv6 ? ANSWER_LOOPBACK_HAS_IPV6 : 0)));
    writer_add_u16(out, (uint16_t)answer->descriptor_count);
    writer_add_string(out, answer->result.message);
}

bool broker_answer_read(struct bytes bytes, struct broker_answer *answer)
{
    struct cursor cursor = cursor_of(bytes);
    *answer = (struct broker_answer){ .sequence = cursor_u32(&cursor) };
    answer->namespace_handle = cursor_u32(&cursor);
    uint8_t code = cursor_u8(&cursor);
    uint8_t flags = cursor_u8(&cursor);
    answer->descriptor_count = cursor_u16(&cursor);
    struct bytes message = cursor_take(&cursor, cursor_left(&cursor));
    if (cursor.has_failed || code > RESULT_SYSTEM || answer->descriptor_count > BROKER_SOCKETS_A_MESSAGE) {
        return false;
    }
    answer->is_transparent = (flags & ANSWER_IS_TRANSPARENT) != 0;
    answer->loopback_has_ipv6 = (flags & ANSWER_LOOPBACK_HAS_IPV6) != 0;
    if (code != RESULT_OK) {
        answer->result = result_fail((enum result_code)code, "%.*s", (int)message.length, (const char *)message.data);
    }
    return true;
}

void broker_answer_close_descriptors(struct broker_answer *answer)
{
    for (unsigned i = 0; i < answer->descriptor_count; i++) {
        (void)close(answer->descriptors[i]);
    }
    answer->descriptor_count = 0;
}

int broker_send(int channel, struct bytes bytes, const int *descriptors, unsigned descriptor_count)
{
    union {
        char bytes[CMSG_SPACE(BROKER_SOCKETS_A_MESSAGE * sizeof(int))];
        struct cmsghdr aligned;
    } control = { 0 };
    uint8_t copy[BROKER_ANSWER_BYTES_MAXIMUM]; /* iovec is not const */
    if (bytes.length > sizeof copy || descriptor_count > BROKER_SOCKETS_A_MESSAGE) {
        return -EMSGSIZE;
    }
    memcpy(copy, bytes.data, bytes.length);
    struct iovec vector = { copy, bytes.length };
    struct msghdr message = { .msg_iov = &vector, .msg_iovlen = 1 };
    if (descriptor_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, descriptor_count * sizeof(int));
    }
    return sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

ssize_t broker_receive(int channel, uint8_t *buffer, size_t capacity, int descriptors[static BROKER_SOCKETS_A_MESSAGE],
    unsigned *descriptor_count)
{
    union {
        char bytes[CMSG_SPACE(BROKER_SOCKETS_A_MESSAGE * sizeof(int))];
        struct cmsghdr aligned;
    } control;
    struct iovec vector = { buffer, capacity };
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes
    };
    *descriptor_count = 0;
    ssize_t length = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0) {
        return -errno;
    }
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header != NULL; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            /* The kernel never makes two of these, and the buffer holds no more than the array. */
            *descriptor_count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
            memcpy(descriptors, CMSG_DATA(header), *descriptor_count * sizeof(int));
        }
    }
    /* An empty datagram looks like the end, and is treated as it. */
    bool is_cut = (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    if (is_cut || length == 0) {
        for (unsigned i = 0; i < *descriptor_count; i++) {
            (void)close(descriptors[i]);
        }
        *descriptor_count = 0;
        return is_cut ? -EBADMSG : 0;
    }
    return length;
}

static void make_listener_here(
    const struct socket_settings *settings, const struct broker_request *request, struct broker_answer *answer)
{
    struct listener_options options = {
        .address = request->address, .flags = request->flags, .backlog = request->backlog
    };
    struct listener listener;
    answer->result = socket_listen(settings, &options, &listener);
    if (result_is_ok(&answer->result)) {
        answer->is_transparent = listener.is_transparent;
        answer->descriptors[answer->descriptor_count++] = listener.descriptor;
    }
}

static void make_sockets_here(
    const struct socket_settings *settings, const struct broker_request *request, struct broker_answer *answer)
{
    for (unsigned i = 0; i < request->count; i++) {
        answer->result = socket_open(settings, (enum ip_family)request->family, request->flags,
            &answer->descriptors[answer->descriptor_count], &answer->is_transparent);
        if (!result_is_ok(&answer->result)) {
            broker_answer_close_descriptors(answer);
            return;
        }
        answer->descriptor_count++;
    }
}

void broker_make_here(
    const struct socket_settings *settings, const struct broker_request *request, struct broker_answer *answer)
{
    if (request->type == BROKER_MAKE_LISTENER) {
        make_listener_here(settings, request, answer);
    } else {
        make_sockets_here(settings, request, answer);
    }
}
