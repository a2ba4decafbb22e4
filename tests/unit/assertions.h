/* What tests of every layer ask of results and of the machine. */
#ifndef AMBAR_TESTS_UNIT_ASSERTIONS_H
#define AMBAR_TESTS_UNIT_ASSERTIONS_H

#include "cmocka_all.h"

#include "base/result.h"

#include <unistd.h>

#define assert_ok(expression)                                                                                          \
    do {                                                                                                               \
        struct result assert_ok_ = (expression);                                                                       \
        if (!result_is_ok(&assert_ok_)) {                                                                              \
            fail_msg("%s: %s", #expression, assert_ok_.message);                                                       \
        }                                                                                                              \
    } while (0)

/* Leaves the test, saying why. */
#define skip_without_root()                                                                                            \
    do {                                                                                                               \
        if (geteuid() != 0) {                                                                                          \
            print_message("needs root for network namespaces\n");                                                      \
            skip();                                                                                                    \
        }                                                                                                              \
    } while (0)

#endif
