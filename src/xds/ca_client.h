/* The client of the CA's CreateCertificate: a fresh P-256 key and CSR per request, the answer checked before it is used
 * (ztunnel-management §§5.1, 5.2). One long-lived channel, dialled when first needed, rebuilt when the root file changed.
 * Control thread. */
#ifndef AMBAR_XDS_CA_CLIENT_H
#define AMBAR_XDS_CA_CLIENT_H

#include "xds/certificate_source.h"
#include "xds/control_plane.h"

#define CA_CALL_DEADLINE_MS 10000

struct ca_client_settings {
    struct control_plane_settings control_plane; /* what it points to must outlive the source */
    uint64_t secret_ttl_s;                       /* asked for; 0: 86,400 */
    bool is_shared; /* sends ImpersonatedIdentity and requires the leaf to carry exactly the identity asked for */
    uint64_t call_deadline_ms; /* 0: CA_CALL_DEADLINE_MS */
};

struct certificate_source *ca_client_new(
    struct loop *loop, struct buffer_pool *pool, const struct ca_client_settings *settings);

#endif
