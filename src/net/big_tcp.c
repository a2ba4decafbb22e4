#include "net/big_tcp.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPBACK_INDEX 1 /* in every network namespace */
#define ANSWER_BYTES 16384

/* Numbers of the kernel's interface (linux/if_link.h), which older headers lack. */
static const unsigned short ATTRIBUTES[BIG_TCP_LIMIT_COUNT] = {
    [BIG_TCP_GSO] = 41, [BIG_TCP_GRO] = 58, [BIG_TCP_GSO_IPV4] = 63, [BIG_TCP_GRO_IPV4] = 64
};

struct request {
    struct nlmsghdr header;
    struct ifinfomsg link;
    struct {
        struct rtattr header;
        uint32_t value;
    } attributes[BIG_TCP_LIMIT_COUNT];
};

/* Sends a request about `lo` and receives its answer: bytes, or -1. */
static ssize_t ask(struct request *request, unsigned short type, unsigned count, void *answer, size_t size)
{
    request->header.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof request->link) + count * sizeof request->attributes[0]);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = (unsigned short)(NLM_F_REQUEST | (type == RTM_SETLINK ? NLM_F_ACK : 0));
    request->link.ifi_index = LOOPBACK_INDEX;
    int descriptor = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (descriptor < 0) {
        return -1;
    }
    /* sendmsg and recvmsg: the broker may use no other calls. */
    struct iovec out = { request, request->header.nlmsg_len };
    struct iovec in = { answer, size };
    struct msghdr message = { .msg_iov = &out, .msg_iovlen = 1 };
    ssize_t length = -1;
    if (sendmsg(descriptor, &message, 0) == (ssize_t)out.iov_len) {
        message.msg_iov = &in;
        /* Linux has answered before sendmsg returns; the broker, which serves everybody, waits for nothing. */
        length = recvmsg(descriptor, &message, MSG_DONTWAIT);
    }
    (void)close(descriptor);
    return (message.msg_flags & MSG_TRUNC) != 0 ? -1 : length;
}

static void note_limit(const struct rtattr *attribute, struct big_tcp_limits *limits)
{
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        if (attribute->rta_type == ATTRIBUTES[i] && RTA_PAYLOAD(attribute) == sizeof limits->bytes[i]) {
            memcpy(&limits->bytes[i], (const uint8_t *)attribute + RTA_LENGTH(0), sizeof limits->bytes[i]);
        }
    }
}

bool big_tcp_read(struct big_tcp_limits *limits)
{
    _Alignas(struct nlmsghdr) uint8_t answer[ANSWER_BYTES];
    struct request request = { 0 };
    *limits = (struct big_tcp_limits){ 0 };
    ssize_t length = ask(&request, RTM_GETLINK, 0, answer, sizeof answer);
    struct nlmsghdr header;
    if (length < (ssize_t)NLMSG_LENGTH(sizeof request.link)) {
        return false;
    }
    memcpy(&header, answer, sizeof header);
    if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_len > (size_t)length) {
        return false;
    }
    size_t at = NLMSG_LENGTH(sizeof request.link);
    while (at + sizeof(struct rtattr) <= header.nlmsg_len) {
        const struct rtattr *attribute = (const struct rtattr *)(const void *)(answer + at);
        if (attribute->rta_len < sizeof *attribute || attribute->rta_len > header.nlmsg_len - at) {
            return false;
        }
        note_limit(attribute, limits);
        at += RTA_ALIGN(attribute->rta_len);
    }
    return limits->bytes[BIG_TCP_GSO] != 0;
}

/* Those of `limits` that are not 0. */
static bool set_limits(const struct big_tcp_limits *limits)
{
    struct request request = { 0 };
    unsigned count = 0;
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        if (limits->bytes[i] != 0) {
            request.attributes[count].header = (struct rtattr){ RTA_LENGTH(sizeof(uint32_t)), ATTRIBUTES[i] };
            request.attributes[count++].value = limits->bytes[i];
        }
    }
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
    } answer;
    ssize_t length = count == 0 ? -1 : ask(&request, RTM_SETLINK, count, &answer, sizeof answer);
    return length >= (ssize_t)sizeof answer && answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error == 0;
}

bool big_tcp_raise(struct big_tcp_limits *before)
{
    struct big_tcp_limits raised = { 0 };
    bool is_known = big_tcp_read(before);
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        if (before->bytes[i] >= BIG_TCP_BYTES) {
            before->bytes[i] = 0; /* not ours to undo */
        }
        raised.bytes[i] = before->bytes[i] != 0 ? BIG_TCP_BYTES : 0;
    }
    if (is_known && set_limits(&raised)) {
        return true;
    }
    *before = (struct big_tcp_limits){ 0 };
    return false;
}

bool big_tcp_has_limits(const struct big_tcp_limits *limits)
{
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        if (limits->bytes[i] != 0) {
            return true;
        }
    }
    return false;
}

void big_tcp_restore(const struct big_tcp_limits *before)
{
    struct big_tcp_limits now;
    struct big_tcp_limits restored = { 0 };
    if (!big_tcp_read(&now)) {
        return;
    }
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        restored.bytes[i] = now.bytes[i] == BIG_TCP_BYTES ? before->bytes[i] : 0;
    }
    (void)set_limits(&restored);
}
