/* Limits of `lo`: raised, told, undone; by hand and by the broker. */
#include "unit/net/support.h"

#include "net/big_tcp.h"
#include "net/broker.h"
#include "net/broker_client.h"

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

struct answer {
    struct broker_call call;
    bool has_come;
    uint32_t handle;
};

static void record_answer(struct broker_call *call, struct broker_answer *answer)
{
    struct answer *recorded = CONTAINER_OF(call, struct answer, call);
    assert_ok(answer->result);
    recorded->has_come = true;
    recorded->handle = answer->namespace_handle;
}

static uint32_t register_namespace(struct broker_client *client, const struct network_namespace *namespace_)
{
    struct answer answer = { .call.on_answer = record_answer };
    broker_register_namespace(client, &answer.call, namespace_->descriptor);
    run_loop_until(broker_client_loop(client), &answer.has_come);
    return answer.handle;
}

static void the_broker_raises_for_a_pod_until_it_leaves_or_the_broker_ends(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    skip_without_big_tcp(&before);
    const struct broker_settings settings = {
        .mode = BROKER_ALL_NAMESPACES, .channel_count = 1, .raises_big_tcp = true
    };
    struct broker *broker;
    struct loop *loop = loop_new();
    assert_ok(broker_start(&settings, &broker));
    struct broker_client *client = broker_client_new(broker, 0, loop);
    uint32_t handle = register_namespace(client, &pod);
    assert_raised(&before);
    broker_forget_namespace(client, handle);
    struct network_namespace other = make_namespace();
    (void)register_namespace(client, &other); /* answered behind the forgetting */
    network_namespace_close(&other);
    struct big_tcp_limits left = limits_of_pod();
    assert_same(&left, &before);
    (void)register_namespace(client, &pod);
    assert_raised(&before);
    broker_client_free(client);
    broker_stop(broker);
    struct big_tcp_limits after = limits_of_pod();
    assert_same(&after, &before);
    loop_free(loop);
    network_namespace_close(&pod);
}

static void the_broker_leaves_limits_alone_when_it_is_switched_off(void **state)
{
    (void)state;
    skip_without_root();
    pod = make_namespace();
    struct big_tcp_limits before = limits_of_pod();
    const struct broker_settings settings = { .mode = BROKER_ALL_NAMESPACES, .channel_count = 1 };
    struct broker *broker;
    struct loop *loop = loop_new();
    assert_ok(broker_start(&settings, &broker));
    struct broker_client *client = broker_client_new(broker, 0, loop);
    (void)register_namespace(client, &pod);
    struct big_tcp_limits after = limits_of_pod();
    assert_same(&after, &before);
    broker_client_free(client);
    broker_stop(broker);
    loop_free(loop);
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
