#include "tls/record_problem.h"

#include "tls/alert.h"

#define NO_ALERT (-1)

static const struct {
    const char *name;
    int alert;
} problems[RECORD_PROBLEM_COUNT] = {
    [RECORD_PROBLEM_NONE] = { "none", NO_ALERT },
    [RECORD_PROBLEM_TRUNCATED] = { "truncated", NO_ALERT },
    [RECORD_PROBLEM_LOST] = { "connection_lost", NO_ALERT },
    [RECORD_PROBLEM_ALERT_RECEIVED] = { "alert_received", NO_ALERT },
    [RECORD_PROBLEM_BAD_MAC] = { "bad_record_mac", TLS_ALERT_BAD_RECORD_MAC },
    [RECORD_PROBLEM_OVERFLOW] = { "record_overflow", TLS_ALERT_RECORD_OVERFLOW },
    [RECORD_PROBLEM_UNEXPECTED_MESSAGE] = { "unexpected_message", TLS_ALERT_UNEXPECTED_MESSAGE },
    [RECORD_PROBLEM_DECODE] = { "decode_error", TLS_ALERT_DECODE_ERROR },
    [RECORD_PROBLEM_ILLEGAL_PARAMETER] = { "illegal_parameter", TLS_ALERT_ILLEGAL_PARAMETER },
    [RECORD_PROBLEM_VERSION] = { "protocol_version", TLS_ALERT_PROTOCOL_VERSION },
    [RECORD_PROBLEM_FLOOD] = { "flood_without_data", TLS_ALERT_UNEXPECTED_MESSAGE },
    [RECORD_PROBLEM_EXHAUSTED] = { "sequence_exhausted", TLS_ALERT_INTERNAL_ERROR },
    [RECORD_PROBLEM_INTERNAL] = { "internal_error", TLS_ALERT_INTERNAL_ERROR },
};

const char *record_problem_name(enum record_problem problem)
{
    return problems[problem].name;
}

int record_problem_alert(enum record_problem problem)
{
    return problems[problem].alert;
}

enum record_problem record_problem_of_alert(int alert)
{
    for (enum record_problem problem = RECORD_PROBLEM_BAD_MAC; problem < RECORD_PROBLEM_COUNT; problem++) {
        if (problems[problem].alert == alert) {
            return problem;
        }
    }
    return RECORD_PROBLEM_INTERNAL;
}
