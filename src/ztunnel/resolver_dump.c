#include "ztunnel/resolver_dump.h"

#include "base/text.h"

#include <netinet/in.h>
#include <resolv.h>

/* The C library reads the file; it knows every form of it. */
static bool read_settings(struct __res_state *settings)
{
    memset(settings, 0, sizeof *settings);
    return res_ninit(settings) == 0;
}

static void write_server(const struct sockaddr *address, socklen_t length, struct json_writer *json)
{
    struct socket_address server;
    char ip[IP_TEXT_SIZE];
    if (!socket_address_from_kernel(address, length, &server)) {
        return;
    }
    static const char *const PROTOCOLS[] = { "udp", "tcp" };
    json_write_object_begin(json);
    json_write_key(json, "connections");
    json_write_array_begin(json);
    for (size_t i = 0; i < sizeof PROTOCOLS / sizeof PROTOCOLS[0]; i++) {
        json_write_object_begin(json);
        json_write_member_string(json, "bind_addr", NULL);
        json_write_member_unsigned(json, "port", server.port);
        json_write_key(json, "protocol");
        json_write_object_begin(json);
        json_write_member_string(json, "type", PROTOCOLS[i]);
        json_write_object_end(json);
        json_write_object_end(json);
    }
    json_write_array_end(json);
    json_write_member_string(json, "ip", ip_format(&server.ip, ip));
    json_write_member_bool(json, "trust_negative_responses", true);
    json_write_object_end(json);
}

static void write_servers(const struct __res_state *settings, struct json_writer *json)
{
    json_write_array_begin(json);
    for (int i = 0; i < settings->nscount; i++) {
        const struct sockaddr_in6 *v6 = settings->_u._ext.nsaddrs[i];
        if (settings->nsaddr_list[i].sin_family == AF_INET) {
            write_server((const struct sockaddr *)&settings->nsaddr_list[i], sizeof settings->nsaddr_list[i], json);
        } else if (v6 != NULL) {
            write_server((const struct sockaddr *)v6, sizeof *v6, json);
        }
    }
    json_write_array_end(json);
}

void resolver_dump_configuration(const struct configuration *configuration, struct json_writer *json)
{
    (void)configuration;
    struct __res_state settings;
    bool has_settings = read_settings(&settings);
    json_write_object_begin(json);
    json_write_member_string(json, "domain", has_settings && settings.defdname[0] != '\0' ? settings.defdname : NULL);
    json_write_key(json, "name_servers");
    if (has_settings) {
        write_servers(&settings, json);
    } else {
        json_write_null(json);
    }
    json_write_key(json, "search");
    json_write_array_begin(json);
    for (int i = 0; has_settings && i < MAXDNSRCH && settings.dnsrch[i] != NULL; i++) {
        json_write_string(json, settings.dnsrch[i]);
    }
    json_write_array_end(json);
    json_write_object_end(json);
    if (has_settings) {
        res_nclose(&settings);
    }
}

void resolver_dump_options(const struct configuration *configuration, struct json_writer *json)
{
    struct __res_state settings;
    bool has_settings = read_settings(&settings);
    json_write_object_begin(json);
    json_write_member_unsigned(json, "attempts", has_settings ? (uint64_t)settings.retry : 2);
    json_write_member_bool(json, "edns0", true);
    json_write_member_string(json, "ip_strategy", configuration->ipv6_enabled ? "Ipv4AndIpv6" : "Ipv4Only");
    json_write_member_unsigned(json, "ndots", has_settings ? settings.ndots : 1);
    json_write_key(json, "timeout");
    json_write_object_begin(json);
    json_write_member_unsigned(json, "nanos", 0);
    json_write_member_unsigned(json, "secs", has_settings ? (uint64_t)settings.retrans : 5);
    json_write_object_end(json);
    json_write_object_end(json);
    if (has_settings) {
        res_nclose(&settings);
    }
}
