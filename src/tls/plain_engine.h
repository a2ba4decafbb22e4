/* A record layer without encryption: for gRPC on loopback, for tests, and as the reference in measurements. The end of a direction
 * is the socket's: close sends FIN, end of file is RECORD_CLOSED. */
#ifndef AMBAR_TLS_PLAIN_ENGINE_H
#define AMBAR_TLS_PLAIN_ENGINE_H

#include "tls/record_layer.h"

/* Over a connected non-blocking socket, which stays the caller's. */
struct record_layer *plain_record_layer_new(struct buffer_pool *pool, int descriptor);

#endif
