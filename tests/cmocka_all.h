/* cmocka with the headers it wants to see before itself. */
#ifndef AMBAR_TESTS_CMOCKA_ALL_H
#define AMBAR_TESTS_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
