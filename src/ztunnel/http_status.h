/* Reason phrases of the statuses that a CONNECT is answered with, as logs show them (RFC 9110 §15). */
#ifndef AMBAR_ZTUNNEL_HTTP_STATUS_H
#define AMBAR_ZTUNNEL_HTTP_STATUS_H

/* "Unauthorized"; "<unknown status code>" for others. */
const char *http_status_reason(int status);

#endif
