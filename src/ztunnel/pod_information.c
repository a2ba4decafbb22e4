#include "ztunnel/pod.h"

#include "base/bytes.h"
#include "base/memory.h"
#include "base/text.h"

struct result pod_information_parse(const char *text, struct pod_information *information)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes parts[3];
    struct bytes more;
    for (int i = 0; i < 3; i++) {
        if (!bytes_split(&rest, '/', &parts[i]) || parts[i].length == 0) {
            return result_fail(RESULT_INVALID,
                "invalid env var PROXY_WORKLOAD_INFO=%s (expected namespace/name/service-account)", text);
        }
    }
    if (bytes_split(&rest, '/', &more)) {
        return result_fail(
            RESULT_INVALID, "invalid env var PROXY_WORKLOAD_INFO=%s (expected namespace/name/service-account)", text);
    }
    *information = (struct pod_information){
        .uid = string_duplicate("dedicated"),
        .namespace_ = string_duplicate_n((const char *)parts[0].data, parts[0].length),
        .name = string_duplicate_n((const char *)parts[1].data, parts[1].length),
        .service_account = string_duplicate_n((const char *)parts[2].data, parts[2].length),
    };
    return result_ok();
}

struct pod_information pod_information_copy(const struct pod_information *information)
{
    return (struct pod_information){
        .uid = string_duplicate(information->uid),
        .name = string_duplicate(information->name),
        .namespace_ = string_duplicate(information->namespace_),
        .service_account = string_duplicate(information->service_account),
    };
}

void pod_information_free(struct pod_information *information)
{
    memory_free(information->uid);
    memory_free(information->name);
    memory_free(information->namespace_);
    memory_free(information->service_account);
}
