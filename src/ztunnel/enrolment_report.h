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

/* What is not as it should be, in the order of the checks. */
enum enrolment_gap {
    ENROLMENT_NO_GAP,
    ENROLMENT_GAP_ADDRESS,  /* an address of the workload is not on the namespace */
    ENROLMENT_GAP_LISTENER, /* a port of ours does not answer inside it */
    ENROLMENT_GAP_CAPTURE,  /* a connection made inside it got away */
    ENROLMENT_GAP_COUNT,
};

struct enrolment_report {
    enum enrolment_state state;
    enum enrolment_gap gap; /* ENROLMENT_FAILED only */
    int64_t checked_wall_s; /* when this was found; 0: never */
    char reason[192];
};

/* "none", "address", "listener", "capture". */
const char *enrolment_gap_name(enum enrolment_gap gap);
/* "Unchecked", "Undecided", "Proven", "Failed". */
const char *enrolment_state_name(enum enrolment_state state);

#endif
