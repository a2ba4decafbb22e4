#include "ztunnel/enrolment_report.h"

const char *enrolment_state_name(enum enrolment_state state)
{
    static const char *const NAMES[ENROLMENT_STATE_COUNT] = { "Unchecked", "Undecided", "Proven", "Failed" };
    return NAMES[state];
}

const char *enrolment_gap_name(enum enrolment_gap gap)
{
    static const char *const NAMES[ENROLMENT_GAP_COUNT] = { "none", "address", "listener", "capture" };
    return NAMES[gap];
}
