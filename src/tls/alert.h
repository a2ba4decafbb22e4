/* Names of TLS alerts (RFC 8446 §6), for sentences. */
#ifndef AMBAR_TLS_ALERT_H
#define AMBAR_TLS_ALERT_H

enum tls_alert {
    TLS_ALERT_CLOSE_NOTIFY = 0,
    TLS_ALERT_BAD_CERTIFICATE = 42,
    TLS_ALERT_UNSUPPORTED_CERTIFICATE = 43,
    TLS_ALERT_CERTIFICATE_REVOKED = 44,
    TLS_ALERT_CERTIFICATE_EXPIRED = 45,
    TLS_ALERT_CERTIFICATE_UNKNOWN = 46,
    TLS_ALERT_UNKNOWN_CA = 48,
};

/* "certificate_unknown"; "unknown alert" for a number without a name. */
const char *tls_alert_name(int alert);

#endif
