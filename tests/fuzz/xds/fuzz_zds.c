/* ZDS messages from a peer: every decoder on the same bytes. What decodes must encode, and decode to the same again. */
#include "base/writer.h"
#include "xds/zds.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void check_request(struct bytes input)
{
    struct zds_request request;
    struct result result = zds_request_decode(input, &request);
    if (!result_is_ok(&result)) {
        return;
    }
    struct writer writer = writer_growing();
    struct zds_request again;
    zds_request_encode(&request, &writer);
    result = zds_request_decode(writer_bytes(&writer), &again);
    require(result_is_ok(&result) && again.kind == request.kind && bytes_equal(again.uid, request.uid));
    require(request.kind != ZDS_ADD ||
            (again.has_workload_info == request.has_workload_info && bytes_equal(again.name, request.name) &&
                bytes_equal(again.namespace_, request.namespace_) &&
                bytes_equal(again.service_account, request.service_account)));
    writer_free(&writer);
}

static void check_response(struct bytes input)
{
    struct bytes error;
    struct result result = zds_response_decode(input, &error);
    require(!result_is_ok(&result) || error.length <= input.length);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t version;
    /* No datagram is longer. */
    struct bytes input = bytes_of(data, size > ZDS_MESSAGE_BYTES_MAXIMUM ? ZDS_MESSAGE_BYTES_MAXIMUM : size);
    (void)zds_hello_decode(input, &version);
    check_request(input);
    check_response(input);
    return 0;
}
