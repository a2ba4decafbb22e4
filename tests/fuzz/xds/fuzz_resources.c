/* Addresses and policies as a control plane may send them: decoded or refused with a reason; what is decoded can be put into a version. */
#include "base/memory.h"
#include "mesh/change.h"
#include "xds/address_codec.h"
#include "xds/authorization_codec.h"

#include <stdlib.h>

static void expect_reason(const struct result *outcome)
{
    if (!result_is_ok(outcome) && outcome->message[0] == '\0') {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes message = bytes_of(data, size);
    const struct mesh_settings settings = { "", "n1" };
    struct mesh_version *version = mesh_version_new(&settings);
    struct mesh_change *change = mesh_change_begin(version);
    struct decoded_address decoded = { 0 };
    struct result outcome = address_decode(message, &decoded);
    expect_reason(&outcome);
    if (result_is_ok(&outcome) && decoded.workload != NULL) {
        mesh_change_upsert_workload(change, decoded.workload);
    } else if (result_is_ok(&outcome)) {
        mesh_change_upsert_service(change, decoded.service);
    }
    struct policy *policy;
    outcome = authorization_decode(message, bytes_of_string("ns/p"), &policy);
    expect_reason(&outcome);
    if (result_is_ok(&outcome)) {
        mesh_change_upsert_policy(change, policy);
    }
    mesh_version_release(mesh_change_commit(change));
    mesh_version_release(version);
    return 0;
}
