/* Unix sockets of the agent and of the command line. Any thread, one at a time: the umask is the process's. */
#ifndef AMBAR_CNI_UNIX_SOCKET_H
#define AMBAR_CNI_UNIX_SOCKET_H

#include "base/result.h"

#include <sys/types.h>

#define UNIX_SOCKET_MODE_OF_UMASK ((mode_t)-1)

/* Makes the directory, removes a stale socket, binds, sets the mode before anyone can connect, and listens, non-blocking. Refuses to
 * remove anything but a socket. `type` is SOCK_STREAM or SOCK_SEQPACKET. */
struct result unix_listen(const char *path, int type, mode_t mode, int *descriptor);

/* A blocking stream connection; for the command line. */
struct result unix_connect(const char *path, int *descriptor);

#endif
