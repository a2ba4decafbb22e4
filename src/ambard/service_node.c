#include "ambard/service_node.h"

#include "base/address.h"
#include "base/memory.h"
#include "base/text.h"

#define SHOWN_BYTES 100

enum { PART_TYPE, PART_IP, PART_WORKLOAD, PART_DOMAIN, PART_COUNT };

static bool is_known_type(struct bytes type)
{
    static const char *const TYPES[] = { "sidecar", "router", "waypoint", "ztunnel", "agentgateway" };
    for (size_t i = 0; i < ARRAY_LENGTH(TYPES); i++) {
        if (bytes_equal_string(type, TYPES[i])) {
            return true;
        }
    }
    return false;
}

static bool are_addresses(struct bytes list)
{
    struct bytes text;
    struct ip_address ip;
    size_t count = 0;
    while (bytes_split(&list, ',', &text)) {
        if (!ip_parse_bytes(text, &ip)) {
            return false;
        }
        count++;
    }
    return count > 0;
}

struct result service_node_check(const char *id, const char *instance_ips)
{
    struct bytes rest = bytes_of_string(id);
    struct bytes parts[PART_COUNT + 1];
    size_t count = 0;
    while (count <= PART_COUNT && bytes_split(&rest, '~', &parts[count])) {
        count++;
    }
    if (count != PART_COUNT) {
        return result_fail(RESULT_INVALID, "missing parts in the service node \"%.*s\"", SHOWN_BYTES, id);
    }
    if (!is_known_type(parts[PART_TYPE])) {
        return result_fail(RESULT_INVALID,
            "invalid node type (valid types: sidecar, router, waypoint, ztunnel, agentgateway) in the service node "
            "\"%.*s\"",
            SHOWN_BYTES, id);
    }
    struct ip_address ip;
    if (!are_addresses(bytes_of_string(instance_ips)) && !ip_parse_bytes(parts[PART_IP], &ip)) {
        return result_fail(
            RESULT_INVALID, "no valid IP address in the service node id or metadata \"%.*s\"", SHOWN_BYTES, id);
    }
    if (parts[PART_WORKLOAD].length == 0) {
        return result_fail(RESULT_INVALID, "missing workload id in the service node \"%.*s\"", SHOWN_BYTES, id);
    }
    return result_ok();
}
