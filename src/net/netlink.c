#include "net/netlink.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_BYTES 8192

int netlink_open(void)
{
    return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

void *netlink_request_begin(struct netlink_request *request, uint16_t type, uint16_t flags, size_t size)
{
    memset(request, 0, sizeof *request);
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(size);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
    return NLMSG_DATA(&request->header);
}

void netlink_request_add_u32(struct netlink_request *request, uint16_t type, uint32_t value)
{
    size_t offset = NLMSG_ALIGN(request->header.nlmsg_len);
    struct rtattr attribute = { .rta_len = RTA_LENGTH(sizeof value), .rta_type = type };
    memcpy(request->bytes + offset, &attribute, sizeof attribute);
    memcpy(request->bytes + offset + RTA_LENGTH(0), &value, sizeof value);
    request->header.nlmsg_len = (uint32_t)(offset + RTA_LENGTH(sizeof value));
}

ssize_t netlink_ask(int descriptor, const struct netlink_request *request, int receive_flags, void *answer, size_t size)
{
    struct iovec out = { (void *)(uintptr_t)request->bytes, request->header.nlmsg_len };
    struct iovec in = { answer, size };
    struct msghdr message = { .msg_iov = &out, .msg_iovlen = 1 };
    if (sendmsg(descriptor, &message, 0) < 0) {
        return -1;
    }
    message.msg_iov = &in;
    ssize_t length;
    do {
        length = recvmsg(descriptor, &message, receive_flags);
    } while (length < 0 && errno == EINTR);
    if (length >= 0 && (message.msg_flags & MSG_TRUNC) != 0) {
        errno = EMSGSIZE;
        return -1;
    }
    return length;
}

int netlink_change(int descriptor, const struct netlink_request *request, int receive_flags)
{
    union {
        struct nlmsghdr header;
        uint8_t bytes[ANSWER_BYTES];
    } answer;
    ssize_t length = netlink_ask(descriptor, request, receive_flags, answer.bytes, sizeof answer.bytes);
    if (length < 0) {
        return errno;
    }
    struct nlmsgerr error;
    if (!NLMSG_OK(&answer.header, (size_t)length) || answer.header.nlmsg_type != NLMSG_ERROR ||
        answer.header.nlmsg_len < NLMSG_LENGTH(sizeof error)) {
        return EPROTO;
    }
    memcpy(&error, NLMSG_DATA(&answer.header), sizeof error);
    return -error.error;
}
