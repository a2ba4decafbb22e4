/* The access log: its lines, their fields and their order are a contract (ztunnel-management §9.1). */
#ifndef AMBAR_ZTUNNEL_ACCESS_LOG_H
#define AMBAR_ZTUNNEL_ACCESS_LOG_H

#include "ztunnel/connection.h"

/* debug `connection opened` */
void access_log_opened(const struct connection *connection);
/* `connection complete`: info, or error with the reason */
void access_log_complete(const struct connection *connection);
/* warn `connection failed`: refused before routing; limited per second */
void access_log_refused(const struct pod *pod, enum connection_direction direction, const struct socket_address *peer,
    const struct socket_address *destination, const char *error);
/* info: closed because a policy update no longer allows it */
void access_log_late_rejection(const struct connection *connection);

#endif
