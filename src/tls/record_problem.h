/* Why a connection's records ended badly: the label of a metric, and for what the peer did wrong the alert it gets (RFC 8446 §6.2). */
#ifndef AMBAR_TLS_RECORD_PROBLEM_H
#define AMBAR_TLS_RECORD_PROBLEM_H

enum record_problem {
    RECORD_PROBLEM_NONE,
    RECORD_PROBLEM_TRUNCATED,          /* end of file without close_notify */
    RECORD_PROBLEM_LOST,               /* reset, or another error of the socket */
    RECORD_PROBLEM_ALERT_RECEIVED,     /* the peer gave up */
    RECORD_PROBLEM_BAD_MAC,            /* forged, replayed, reordered or damaged */
    RECORD_PROBLEM_OVERFLOW,           /* longer than allowed, sealed or opened */
    RECORD_PROBLEM_UNEXPECTED_MESSAGE, /* a type that may not be there */
    RECORD_PROBLEM_DECODE,             /* an alert or handshake message of the wrong length */
    RECORD_PROBLEM_ILLEGAL_PARAMETER,  /* a field out of its range */
    RECORD_PROBLEM_VERSION,            /* no TLS record at all */
    RECORD_PROBLEM_FLOOD,              /* record after record that carries no data */
    RECORD_PROBLEM_EXHAUSTED,          /* the sequence numbers are used up */
    RECORD_PROBLEM_INTERNAL,           /* ours */
    RECORD_PROBLEM_COUNT,
};

/* "bad_record_mac", "truncated", ... */
const char *record_problem_name(enum record_problem problem);
/* The alert for it; -1: none is sent. */
int record_problem_alert(enum record_problem problem);
/* The other way round, for an engine that only tells the alert it sent. */
enum record_problem record_problem_of_alert(int alert);

#endif
