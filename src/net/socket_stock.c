#include "net/socket_stock.h"

#include "base/clock.h"

#include <errno.h>
#include <unistd.h>

#define UNUSED_MS 60000
#define SOON_NS NANOSECONDS_PER_SECOND /* a stock refilled twice within it is too small */

struct socket_stock {
    struct broker_client *client;
    uint32_t namespace_handle;
    enum ip_family family;
    uint8_t flags;
    bool is_transparent;
    bool is_closing; /* nothing more is handed out */

    int ready[STOCK_TARGET_MAXIMUM + BROKER_SOCKETS_A_MESSAGE];
    unsigned ready_count;
    unsigned target; /* refilled up to here once half of it is gone */

    struct list waiting;
    unsigned waiting_count;

    struct broker_call call; /* at most one refill at a time */
    uint64_t last_refill_ns;
    uint64_t last_take_ns;
    struct timer unused;
};

static void close_ready(struct socket_stock *stock)
{
    while (stock->ready_count > 0) {
        (void)close(stock->ready[--stock->ready_count]);
    }
}

static void refill(struct socket_stock *stock)
{
    bool is_low = stock->ready_count < (stock->target + 1) / 2 || stock->waiting_count > 0;
    if (!is_low || broker_call_is_pending(&stock->call)) {
        return;
    }
    uint64_t now_ns = loop_now_ns(broker_client_loop(stock->client));
    if (now_ns - stock->last_refill_ns < SOON_NS && stock->target < STOCK_TARGET_MAXIMUM) {
        stock->target *= 2;
    }
    stock->last_refill_ns = now_ns;
    unsigned count = stock->target + stock->waiting_count - stock->ready_count;
    count = count < BROKER_SOCKETS_A_MESSAGE ? count : BROKER_SOCKETS_A_MESSAGE;
    broker_make_sockets(stock->client, &stock->call, stock->namespace_handle, stock->family, stock->flags, count);
}

/* Somebody waits. */
static struct socket_wait *take_first_waiting(struct socket_stock *stock)
{
    struct socket_wait *wait = LIST_ENTRY(list_take_first(&stock->waiting), struct socket_wait, link);
    wait->stock = NULL;
    stock->waiting_count--;
    return wait;
}

/* Only those who wait now: whoever asks again from the callback waits for the next try. */
static void fail_waiting(struct socket_stock *stock, const struct result *failure)
{
    for (unsigned count = stock->waiting_count; count > 0 && stock->waiting_count > 0; count--) {
        struct socket_wait *wait = take_first_waiting(stock);
        wait->on_socket(wait, -1, failure);
    }
}

static void on_refilled(struct broker_call *call, struct broker_answer *answer)
{
    struct socket_stock *stock = CONTAINER_OF(call, struct socket_stock, call);
    if (!result_is_ok(&answer->result)) {
        fail_waiting(stock, &answer->result);
        return;
    }
    stock->is_transparent = answer->is_transparent;
    memcpy(stock->ready + stock->ready_count, answer->descriptors, answer->descriptor_count * sizeof stock->ready[0]);
    stock->ready_count += answer->descriptor_count;
    while (stock->ready_count > 0 && stock->waiting_count > 0) {
        struct socket_wait *wait = take_first_waiting(stock);
        wait->on_socket(wait, stock->ready[--stock->ready_count], NULL);
    }
    refill(stock);
}

static void on_unused(struct timer *timer)
{
    struct socket_stock *stock = CONTAINER_OF(timer, struct socket_stock, unused);
    struct loop *loop = broker_client_loop(stock->client);
    uint64_t unused_since_ns = stock->last_take_ns + UNUSED_MS * NANOSECONDS_PER_MILLISECOND;
    if (unused_since_ns > loop_now_ns(loop)) {
        timer_arm_at(loop, timer, unused_since_ns);
        return;
    }
    close_ready(stock);
    stock->target = STOCK_TARGET_MINIMUM;
}

struct socket_stock *socket_stock_new(
    struct broker_client *client, uint32_t namespace_handle, enum ip_family family, uint8_t flags)
{
    struct socket_stock *stock = NEW(struct socket_stock);
    stock->client = client;
    stock->namespace_handle = namespace_handle;
    stock->family = family;
    stock->flags = flags;
    stock->target = STOCK_TARGET_MINIMUM;
    stock->call.on_answer = on_refilled;
    stock->unused.on_expire = on_unused;
    list_initialise(&stock->waiting);
    return stock;
}

void socket_stock_free(struct socket_stock *stock)
{
    if (stock == NULL) {
        return;
    }
    struct result failure = result_fail(RESULT_UNAVAILABLE, "the network namespace is being given up");
    stock->is_closing = true;
    broker_call_cancel(&stock->call);
    timer_disarm(&stock->unused);
    while (stock->waiting_count > 0) {
        struct socket_wait *wait = take_first_waiting(stock);
        wait->on_socket(wait, -1, &failure);
    }
    close_ready(stock);
    memory_free(stock);
}

static void note_use(struct socket_stock *stock)
{
    struct loop *loop = broker_client_loop(stock->client);
    stock->last_take_ns = loop_now_ns(loop);
    if (!timer_is_armed(&stock->unused)) {
        timer_arm_after_ms(loop, &stock->unused, UNUSED_MS);
    }
}

int socket_stock_take(struct socket_stock *stock, struct socket_wait *wait)
{
    if (stock->is_closing || stock->waiting_count == STOCK_WAITERS_MAXIMUM) {
        return -ENOBUFS;
    }
    note_use(stock);
    if (stock->ready_count > 0) {
        int descriptor = stock->ready[--stock->ready_count];
        refill(stock);
        return descriptor;
    }
    wait->stock = stock;
    list_initialise(&wait->link);
    list_append(&stock->waiting, &wait->link);
    stock->waiting_count++;
    refill(stock);
    return -EAGAIN;
}

bool socket_stock_is_transparent(const struct socket_stock *stock)
{
    return stock->is_transparent;
}

void socket_wait_cancel(struct socket_wait *wait)
{
    if (wait->stock != NULL) {
        list_remove(&wait->link);
        wait->stock->waiting_count--;
        wait->stock = NULL;
    }
}
