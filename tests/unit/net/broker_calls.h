/* Calls of a broker whose answers are awaited. */
#ifndef AMBAR_TESTS_UNIT_NET_BROKER_CALLS_H
#define AMBAR_TESTS_UNIT_NET_BROKER_CALLS_H

#include "unit/net/support.h"

#include "net/broker_client.h"

struct asked {
    struct broker_call call;
    bool is_answered;
    struct broker_answer answer;
};

static inline void record_answer(struct broker_call *call, struct broker_answer *answer)
{
    struct asked *asked = CONTAINER_OF(call, struct asked, call);
    assert_false(asked->is_answered);
    assert_false(broker_call_is_pending(call));
    asked->is_answered = true;
    asked->answer = *answer;
}

static inline struct asked new_asked(void)
{
    return (struct asked){ .call.on_answer = record_answer };
}

static inline uint32_t register_namespace(struct broker_client *client, const struct network_namespace *namespace_)
{
    struct asked asked = new_asked();
    broker_register_namespace(client, &asked.call, namespace_->descriptor);
    assert_false(asked.is_answered);
    run_loop_until(broker_client_loop(client), &asked.is_answered);
    assert_ok(asked.answer.result);
    assert_int_not_equal(asked.answer.namespace_handle, 0);
    return asked.answer.namespace_handle;
}

#endif
