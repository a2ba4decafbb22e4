/* istio.security.Authorization: bytes -> policy (wire-protocols §3; our own rule on what cannot be read: mesh/policy.h). */
#ifndef AMBAR_XDS_AUTHORIZATION_CODEC_H
#define AMBAR_XDS_AUTHORIZATION_CODEC_H

#include "mesh/policy.h"

/* `resource_name` becomes the policy's key. The message of a failure is the reason of a NACK, without the resource's
 * name. Thread-safe. */
struct result authorization_decode(struct bytes message, struct bytes resource_name, struct policy **policy);

#endif
