/* What the tests of ambar-cni share. */
#ifndef AMBAR_TESTS_UNIT_CNI_SUPPORT_H
#define AMBAR_TESTS_UNIT_CNI_SUPPORT_H

#include "unit/assertions.h"

#include "base/result.h"
#include "net/network_namespace.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

static inline void *make_namespace(void *context)
{
    struct network_namespace *namespace_ = context;
    if (unshare(CLONE_NEWNET) == 0) {
        (void)network_namespace_open_current(namespace_);
    }
    return NULL;
}

/* A new, empty network namespace, made on a thread that then ends. */
static inline struct network_namespace new_namespace(void)
{
    struct network_namespace namespace_ = { .descriptor = -1 };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, make_namespace, &namespace_), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(namespace_.descriptor >= 0);
    return namespace_;
}

#endif
