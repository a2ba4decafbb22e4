#include "ztunnel/address_demand.h"

#include "base/memory.h"
#include "ztunnel/worker.h"
#include "ztunnel/xds_feed.h"

#include <stdatomic.h>

/* Who frees it: the worker when the answer came back, the control thread when the worker gave up before. */
enum trip_state { TRIP_OUT, TRIP_RETURNING, TRIP_ABANDONED };

struct demand_trip {
    struct address_demand *demand; /* the worker's; NULL: given up */
    struct loop *control, *worker;
    struct xds_feed *feed;
    char *name;
    struct posted posted;    /* there and back */
    struct posted abandoned; /* there, after it was given up */
    struct delta_waiter waiter;
    struct result failure;
    _Atomic int state;
};

static void trip_free(struct demand_trip *trip)
{
    memory_free(trip->name);
    memory_free(trip);
}

/* Worker's thread. */
static void come_back(struct posted *posted)
{
    struct demand_trip *trip = CONTAINER_OF(posted, struct demand_trip, posted);
    struct address_demand *demand = trip->demand;
    struct result failure = trip->failure;
    trip_free(trip);
    if (demand != NULL) {
        demand->trip = NULL;
        timer_disarm(&demand->deadline);
        demand->on_answer(demand, result_is_ok(&failure) ? NULL : &failure);
    }
}

/* Control thread. A trip that was given up is freed by what was posted for it. */
static void send_back(struct demand_trip *trip)
{
    int expected = TRIP_OUT;
    if (atomic_compare_exchange_strong(&trip->state, &expected, TRIP_RETURNING)) {
        trip->posted.run = come_back;
        loop_post(trip->worker, &trip->posted);
    }
}

/* Control thread. Found or not: the model says. */
static void on_answer(struct delta_waiter *waiter, bool is_found)
{
    (void)is_found;
    send_back(CONTAINER_OF(waiter, struct demand_trip, waiter));
}

/* Control thread. */
static void arrive(struct posted *posted)
{
    struct demand_trip *trip = CONTAINER_OF(posted, struct demand_trip, posted);
    bool is_held = false;
    trip->waiter.on_answer = on_answer;
    trip->failure = xds_feed_demand(trip->feed, trip->name, &trip->waiter, &is_held);
    if (is_held || !result_is_ok(&trip->failure)) {
        send_back(trip);
    }
}

/* Control thread, behind `arrive`. */
static void abandon(struct posted *posted)
{
    struct demand_trip *trip = CONTAINER_OF(posted, struct demand_trip, abandoned);
    delta_client_stop_waiting(&trip->waiter);
    trip_free(trip);
}

static void on_deadline(struct timer *timer)
{
    struct address_demand *demand = CONTAINER_OF(timer, struct address_demand, deadline);
    struct result failure = result_fail(RESULT_TIMEOUT, "timed out waiting for '%s' from xds", demand->trip->name);
    address_demand_cancel(demand);
    demand->on_answer(demand, &failure);
}

void address_demand_start(struct address_demand *demand, struct worker *worker, const char *name)
{
    struct demand_trip *trip = NEW(struct demand_trip);
    trip->demand = demand;
    trip->worker = worker->loop;
    trip->feed = worker->shared->feed;
    trip->control = xds_feed_loop(trip->feed);
    trip->name = string_duplicate(name);
    list_initialise(&trip->waiter.link);
    atomic_init(&trip->state, TRIP_OUT);
    demand->trip = trip;
    demand->deadline.on_expire = on_deadline;
    timer_arm_after_ms(worker->loop, &demand->deadline, ADDRESS_DEMAND_MS);
    trip->posted.run = arrive;
    loop_post(trip->control, &trip->posted);
}

void address_demand_cancel(struct address_demand *demand)
{
    struct demand_trip *trip = demand->trip;
    if (trip == NULL) {
        return;
    }
    demand->trip = NULL;
    trip->demand = NULL;
    timer_disarm(&demand->deadline);
    int expected = TRIP_OUT;
    if (atomic_compare_exchange_strong(&trip->state, &expected, TRIP_ABANDONED)) {
        trip->abandoned.run = abandon;
        loop_post(trip->control, &trip->abandoned);
    }
}
