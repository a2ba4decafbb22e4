/* Questions to the kernel's routing netlink (rtnetlink(7)), one answer each, about the network namespace of the thread that opened
 * the socket. Any thread. Only sendmsg and recvmsg are used: the socket broker may do no more. */
#ifndef AMBAR_NET_NETLINK_H
#define AMBAR_NET_NETLINK_H

#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NETLINK_REQUEST_BYTES 256 /* attributes of one request are few and small */

struct netlink_request {
    union {
        struct nlmsghdr header;
        uint8_t bytes[NETLINK_REQUEST_BYTES];
    };
};

/* A descriptor, or -1 with errno. */
int netlink_open(void);

/* Begins a request; returns its zeroed body of `size` bytes. NLM_F_REQUEST is added to `flags`. */
void *netlink_request_begin(struct netlink_request *request, uint16_t type, uint16_t flags, size_t size);
void netlink_request_add_u32(struct netlink_request *request, uint16_t type, uint32_t value);

/* The length of the first answer, which is received with `receive_flags` (recvmsg(2)); -1 with errno, EMSGSIZE when it is larger
 * than `size`. */
ssize_t netlink_ask(
    int descriptor, const struct netlink_request *request, int receive_flags, void *answer, size_t size);
/* The same for a request with NLM_F_ACK: 0, or the number of the error. */
int netlink_change(int descriptor, const struct netlink_request *request, int receive_flags);

#endif
