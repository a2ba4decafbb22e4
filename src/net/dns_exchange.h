/* One question put to one name server, over UDP or TCP, on a socket of its own: the port is chosen anew by the kernel each time, the
 * id at random, and nothing is taken but an answer from that server, under that id, to that question.
 *
 * Embed it, zero it, set both callbacks. Loop's thread. */
#ifndef AMBAR_NET_DNS_EXCHANGE_H
#define AMBAR_NET_DNS_EXCHANGE_H

#include "net/connector.h"
#include "net/dns_message.h"
#include "net/socket_stock.h"

/* Datagrams that are no answer to the question before the socket is given up: who guesses ids gets no further. */
#define DNS_STRAY_DATAGRAMS_MAXIMUM 16

struct dns_exchange {
    /* Once one of both, unless cancelled; may free the object around it. The answer is borrowed, under the exchange's id. */
    void (*on_answer)(struct dns_exchange *exchange, struct bytes answer);
    void (*on_failure)(struct dns_exchange *exchange, const struct result *failure);
    size_t slot; /* the caller's */

    /* The exchange's own. */
    struct loop *loop;
    struct socket_address server;
    struct bytes query; /* borrowed from the caller until the end */
    struct dns_question question;
    bool is_stream, is_running;
    uint16_t id;
    struct socket_wait wait;
    struct connector connector;
    struct io_watch watch;
    struct deferred failing;
    struct result failure;
    unsigned strays;
    size_t sent_bytes;
    struct writer received;
};

/* Asks; `stock` gives sockets of the server's family and of the transport. Never calls back from within. */
void dns_exchange_start(struct dns_exchange *exchange, struct loop *loop, struct socket_stock *stock,
    const struct socket_address *server, bool is_stream, struct bytes query, const struct dns_question *question);
/* The same question again, on the same socket. UDP. */
void dns_exchange_repeat(struct dns_exchange *exchange);
/* Idempotent, also on a zeroed one; no callback. */
void dns_exchange_cancel(struct dns_exchange *exchange);
static inline bool dns_exchange_is_running(const struct dns_exchange *exchange)
{
    return exchange->is_running;
}

#endif
