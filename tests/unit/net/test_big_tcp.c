/* Limits of `lo`: raised, told, undone; by hand and by the broker. */
#include "unit/net/broker_calls.h"

#include "net/big_tcp.h"
#include "net/broker.h"

static struct network_namespace pod;

static void read_inside(void *context)
{
    (void)big_tcp_read(context);
}

static struct big_tcp_limits limits_of_pod(void)
{
    struct big_tcp_limits limits;
    assert_ok(network_namespace_run(&pod, NULL, read_inside, &limits));
    return limits;
}

static void raise_inside(void *context)
{
    assert_true(big_tcp_raise(context));
}

static void raise_in_vain_inside(void *context)
{
    assert_false(big_tcp_raise(context));
}

static void restore_inside(void *context)
{
    big_tcp_restore(context);
}

static void assert_same(const struct big_tcp_limits *left, const struct big_tcp_limits *right)
{
    assert_memory_equal(left->bytes, right->bytes, sizeof left->bytes);
}

/* Each limit that the kernel has is what is asked for. */
static void assert_raised(const struct big_tcp_limits *before)
{
    struct big_tcp_limits now = limits_of_pod();
    for (int i = 0; i < BIG_TCP_LIMIT_COUNT; i++) {
        assert_int_equal(now.bytes[i], before->bytes[i] != 0 ? BIG_TCP_BYTES : 0);
    }
}

/* Kernels before 6.3 have no limit for IPv4. */
static void skip_without_big_tcp(const struct big_tcp_limits *before)
{
    if (before->bytes[BIG_TCP_GSO_IPV4] == 0) {
        print_message("this kernel has no BIG TCP for IPv4\n");
        skip();
    }
}

static void raised_limits_are_undone(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    struct big_tcp_limits told;
    skip_without_big_tcp(&before);
    assert_ok(network_namespace_run(&pod, NULL, raise_inside, &told));
    assert_same(&told, &before);
    assert_raised(&before);
    assert_ok(network_namespace_run(&pod, NULL, restore_inside, &told));
    struct big_tcp_limits after = limits_of_pod();
    assert_same(&after, &before);
    network_namespace_close(&pod);
}

static void limits_that_somebody_else_has_changed_stay(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    struct big_tcp_limits told;
    struct big_tcp_limits told_again;
    skip_without_big_tcp(&before);
    assert_ok(network_namespace_run(&pod, NULL, raise_inside, &told));
    assert_ok(network_namespace_run(&pod, NULL, raise_in_vain_inside, &told_again));
    assert_false(big_tcp_has_limits(&told_again));
    assert_ok(network_namespace_run(&pod, NULL, restore_inside, &told_again));
    assert_raised(&before);
    network_namespace_close(&pod);
}

/* A broker with one client. */
struct served {
    struct loop *loop;
    struct broker *broker;
    struct broker_client *client;
};

static struct served serve(bool raises_big_tcp)
{
    const struct broker_settings settings = {
        .mode = BROKER_ALL_NAMESPACES, .channel_count = 1, .raises_big_tcp = raises_big_tcp
    };
    struct served served = { .loop = loop_new() };
    assert_ok(broker_start(&settings, &served.broker));
    served.client = broker_client_new(served.broker, 0, served.loop);
    return served;
}

static void end_serving(const struct served *served)
{
    broker_client_free(served->client);
    broker_stop(served->broker);
    loop_free(served->loop);
}

static void the_broker_raises_for_a_pod_until_it_leaves_or_the_broker_ends(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    skip_without_big_tcp(&before);
    struct served served = serve(true);
    uint32_t handle = register_namespace(served.client, &pod);
    assert_raised(&before);
    broker_forget_namespace(served.client, handle);
    struct network_namespace other = make_namespace();
    (void)register_namespace(served.client, &other); /* answered behind the forgetting */
    network_namespace_close(&other);
    struct big_tcp_limits left = limits_of_pod();
    assert_same(&left, &before);
    (void)register_namespace(served.client, &pod);
    assert_raised(&before);
    end_serving(&served);
    struct big_tcp_limits after = limits_of_pod();
    assert_same(&after, &before);
    network_namespace_close(&pod);
}

static void the_broker_leaves_limits_alone_when_it_is_switched_off(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    struct served served = serve(false);
    (void)register_namespace(served.client, &pod);
    struct big_tcp_limits after = limits_of_pod();
    assert_same(&after, &before);
    end_serving(&served);
    network_namespace_close(&pod);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(raised_limits_are_undone),
        cmocka_unit_test(limits_that_somebody_else_has_changed_stay),
        cmocka_unit_test(the_broker_raises_for_a_pod_until_it_leaves_or_the_broker_ends),
        cmocka_unit_test(the_broker_leaves_limits_alone_when_it_is_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
