#include "net/big_tcp.h"

#include "net/netlink.h"

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

/* Linux has answered when the question is sent; the broker, which serves everybody, waits for nothing. */
#define RECEIVE_FLAGS MSG_DONTWAIT

static void begin_request(struct netlink_request *request, uint16_t type, uint16_t flags)
{
    struct ifinfomsg *link = netlink_request_begin(request, type, flags, sizeof *link);
    link->ifi_index = LOOPBACK_INDEX;
}

/* Receives what the kernel knows of `lo`: bytes, or -1. */
static ssize_t ask_for_link(void *answer, size_t size)
{
    struct netlink_request request;
    begin_request(&request, RTM_GETLINK, 0);
    int kernel = netlink_open();
    if (kernel < 0) {
        return -1;
    }
    ssize_t length = netlink_ask(kernel, &request, RECEIVE_FLAGS, answer, size);
    (void)close(kernel);
    return length;
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
    *limits = (struct big_tcp_limits){ 0 };
    ssize_t length = ask_for_link(answer, sizeof answer);
    struct nlmsghdr header;
    if (length < (ssize_t)NLMSG_LENGTH(sizeof(struct ifinfomsg))) {
        return false;
    }
    memcpy(&header, answer, sizeof header);
    if (header.nlmsg_type != RTM_NEWLINK || header.nlmsg_len > (size_t)length) {
        return false;
    }
    size_t at = NLMSG_LENGTH(sizeof(struct ifinfomsg));
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
    struct netlink_request request;
    begin_request(&request, RTM_SETLINK, NLM_F_ACK);
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        if (limits->bytes[i] != 0) {
            netlink_request_add_u32(&request, ATTRIBUTES[i], limits->bytes[i]);
        }
    }
    int kernel = big_tcp_has_limits(limits) ? netlink_open() : -1;
    if (kernel < 0) {
        return false;
    }
    int error = netlink_change(kernel, &request, RECEIVE_FLAGS);
    (void)close(kernel);
    return error == 0;
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
