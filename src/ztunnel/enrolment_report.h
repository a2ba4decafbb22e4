/* What the proof of a pod's enrolment found (enrolment_proof.h): made on the pod's worker, shown by the control thread. */
#ifndef AMBAR_ZTUNNEL_ENROLMENT_REPORT_H
#define AMBAR_ZTUNNEL_ENROLMENT_REPORT_H

#include <stdint.h>

enum enrolment_state {
    ENROLMENT_UNCHECKED, /* not tried yet */
    ENROLMENT_UNDECIDED, /* tried, and no answer either way: `reason` says why */
    ENROLMENT_PROVEN,
    ENROLMENT_FAILED, /* `reason` says what escapes */
    ENROLMENT_STATE_COUNT,
};

struct enrolment_report {
    enum enrolment_state state;
    int64_t checked_wall_s; /* when this was found; 0: never */
    char reason[192];
};

/* "Unchecked", "Undecided", "Proven", "Failed". */
const char *enrolment_state_name(enum enrolment_state state);

#endif
