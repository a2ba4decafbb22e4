/* Sockets ready to connect, of one kind in one namespace, for one thread: taken at once, refilled from the broker in the
 * background. The stock grows while it runs dry (up to STOCK_TARGET_MAXIMUM) and is given up after a minute without use. */
#ifndef AMBAR_NET_SOCKET_STOCK_H
#define AMBAR_NET_SOCKET_STOCK_H

#include "net/broker_client.h"

#define STOCK_TARGET_MINIMUM 2
#define STOCK_TARGET_MAXIMUM 32
#define STOCK_WAITERS_MAXIMUM 4096

struct socket_stock;

/* Somebody who found the stock empty. Embed it; zero it; set on_socket. */
struct socket_wait {
    /* A descriptor, now the callee's, and NULL; or -1 and the reason. May free the object around it, not the stock. */
    void (*on_socket)(struct socket_wait *wait, int descriptor, const struct result *failure);
    struct socket_stock *stock; /* the stock's own; NULL when not waiting */
    struct list link;
};

/* Nothing is asked for before the first take. `flags`: enum socket_flags. */
struct socket_stock *socket_stock_new(
    struct broker_client *client, uint32_t namespace_handle, enum ip_family family, uint8_t flags);
/* Closes what is left; whoever waits is told RESULT_UNAVAILABLE. NULL is allowed. */
void socket_stock_free(struct socket_stock *stock);

/* A descriptor (the caller's); or -EAGAIN: `wait` is queued and will be called; or -ENOBUFS: too many wait already. */
int socket_stock_take(struct socket_stock *stock, struct socket_wait *wait);
/* Whether the sockets handed out can carry a foreign source address; meaningful once one was. */
bool socket_stock_is_transparent(const struct socket_stock *stock);
/* Idempotent; no callback. */
void socket_wait_cancel(struct socket_wait *wait);

#endif
