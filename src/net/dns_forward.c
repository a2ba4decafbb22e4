#include "net/dns_forward.h"

#include "base/memory.h"

#include <string.h>

#define ID_BYTES 2

static bool ask_next(struct dns_forward *forward);

void dns_forward_cancel(struct dns_forward *forward)
{
    if (!forward->is_running) {
        return;
    }
    forward->is_running = false;
    timer_disarm(&forward->next_try);
    for (size_t i = 0; i < RESOLVER_SERVERS_MAXIMUM; i++) {
        dns_exchange_cancel(&forward->exchanges[i]);
    }
    writer_free(&forward->query);
    writer_free(&forward->refusal);
}

/* The answer goes back under the id the client chose. */
static void answer(struct dns_forward *forward, struct bytes bytes)
{
    struct writer copy = writer_growing();
    writer_add(&copy, forward->query.data, ID_BYTES);
    writer_add(&copy, bytes.data + ID_BYTES, bytes.length - ID_BYTES);
    dns_forward_cancel(forward);
    forward->on_done(forward, writer_bytes(&copy), NULL);
    writer_free(&copy);
}

static void give_up(struct dns_forward *forward)
{
    if (forward->refusal.length > 0) {
        answer(forward, writer_bytes(&forward->refusal));
        return;
    }
    struct result failure = forward->failure;
    dns_forward_cancel(forward);
    forward->on_done(forward, (struct bytes){ 0 }, &failure);
}

static bool is_all_spent(const struct dns_forward *forward)
{
    for (size_t i = 0; i < forward->upstream->resolver->server_count; i++) {
        if (!forward->is_spent[i]) {
            return false;
        }
    }
    return true;
}

static void spend(struct dns_forward *forward, const struct dns_exchange *exchange)
{
    forward->is_spent[exchange - forward->exchanges] = true;
    if (is_all_spent(forward)) {
        give_up(forward);
    } else {
        /* Nobody left to ask: somebody asked before may still answer, until the timer ends it. */
        (void)ask_next(forward);
    }
}

static struct dns_forward *forward_of(struct dns_exchange *exchange)
{
    return CONTAINER_OF(exchange - exchange->slot, struct dns_forward, exchanges[0]);
}

static void on_answer(struct dns_exchange *exchange, struct bytes bytes)
{
    struct dns_forward *forward = forward_of(exchange);
    enum dns_code code = dns_response_code(bytes);
    if (code == DNS_SERVER_FAILURE || code == DNS_REFUSED || code == DNS_NOT_IMPLEMENTED) {
        writer_clear(&forward->refusal);
        writer_add_bytes(&forward->refusal, bytes);
        spend(forward, exchange);
    } else {
        answer(forward, bytes);
    }
}

static void on_failure(struct dns_exchange *exchange, const struct result *failure)
{
    struct dns_forward *forward = forward_of(exchange);
    forward->failure = *failure;
    spend(forward, exchange);
}

/* The next server in turn that can still answer; servers asked before may still do so meanwhile. False: no try is left. */
static bool ask_next(struct dns_forward *forward)
{
    const struct dns_upstream *upstream = forward->upstream;
    size_t servers = upstream->resolver->server_count;
    while (forward->tries < forward->tries_maximum && forward->is_spent[forward->tries % servers]) {
        forward->tries++;
    }
    if (forward->tries == forward->tries_maximum) {
        return false;
    }
    size_t index = forward->tries++ % servers;
    timer_arm_after_ms(upstream->loop, &forward->next_try, forward->try_ms);
    struct dns_exchange *exchange = &forward->exchanges[index];
    if (dns_exchange_is_running(exchange)) {
        dns_exchange_repeat(exchange);
        return true;
    }
    const struct socket_address *server = &upstream->resolver->servers[index];
    exchange->slot = index;
    exchange->on_answer = on_answer;
    exchange->on_failure = on_failure;
    dns_exchange_start(exchange, upstream->loop,
        upstream->stock(upstream->context, forward->is_stream, (enum ip_family)server->ip.family), server,
        forward->is_stream, writer_bytes(&forward->query), &forward->question);
    return true;
}

static void on_next_try(struct timer *timer)
{
    struct dns_forward *forward = CONTAINER_OF(timer, struct dns_forward, next_try);
    if (!ask_next(forward)) {
        give_up(forward);
    }
}

void dns_forward_start(struct dns_forward *forward, const struct dns_upstream *upstream, bool is_stream,
    struct bytes query, const struct dns_request *request)
{
    const struct resolver_file *resolver = upstream->resolver;
    forward->upstream = upstream;
    forward->is_running = true;
    forward->is_stream = is_stream;
    memset(forward->is_spent, 0, sizeof forward->is_spent);
    forward->tries = 0;
    forward->tries_maximum = (unsigned)resolver->server_count * (is_stream ? 1 : resolver->attempts);
    uint64_t share_ms = DNS_FORWARD_MS / forward->tries_maximum;
    forward->try_ms = resolver->timeout_s * 1000u < share_ms ? resolver->timeout_s * 1000u : share_ms;
    forward->next_try.on_expire = on_next_try;
    forward->refusal = writer_growing();
    forward->query = writer_growing();
    writer_add_bytes(&forward->query, query);
    /* The copy's question, not the caller's. */
    size_t name_at = (size_t)(request->question.name.data - query.data);
    forward->question = request->question;
    forward->question.name.data = forward->query.data + name_at;
    forward->question.bytes.data = forward->query.data + name_at;
    forward->failure = result_fail(RESULT_TIMEOUT, "no name server has answered in time");
    (void)ask_next(forward);
}
