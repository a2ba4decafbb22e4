#include "cni/settings.h"

#include "base/memory.h"

#include <stddef.h>

static const char *const ipv6_choices[] = { "auto", "true", "false", NULL };
static const char *const log_formats[] = { "plain", "json", NULL };

#define CONTROL_SOCKET_DEFAULT "/run/ambar-cni/agent.sock"
#define CONTROL_SOCKET_OPTION(type)                                                                                    \
    {                                                                                                                  \
        .environment = "AMBAR_CNI_SOCKET", .flag = "socket", .kind = OPTION_STRING,                                    \
        .offset = offsetof(struct type, control_path), .default_text = CONTROL_SOCKET_DEFAULT, .unit = "path",         \
        .group = "Where", .help = "The agent's own socket, for root only."                                             \
    }

static const struct option agent_rows[] = {
    {
        .environment = "ZTUNNEL_UDS_ADDRESS",
        .flag = "ztunnel-uds-address",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, zds_path),
        .default_text = "/var/run/ztunnel/ztunnel.sock",
        .unit = "path",
        .group = "Where",
        .help = "The socket on which the node proxy asks for its pods (its INPOD_UDS).",
    },
    CONTROL_SOCKET_OPTION(agent_settings),
    {
        .environment = "AMBAR_CNI_STATE_DIR",
        .flag = "state-dir",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, state_directory),
        .default_text = "/var/lib/ambar-cni",
        .unit = "directory",
        .group = "Where",
        .help = "Enrolments are kept here over restarts, one file a pod.",
    },
    {
        .environment = "AMBAR_CNI_OVERLAY_DIR",
        .flag = "overlay-dir",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, overlay_directory),
        .unit = "directory",
        .group = "Where",
        .help = "For each enrolled pod a partial Pod with the annotation ambient.istio.io/redirection is written here; "
                "give the same "
                "directory to `ambard --overlay-dir`. Unset: none is written.",
    },
    {
        .environment = "AMBAR_CNI_NETNS_DIR",
        .flag = "netns-dir",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, pin_directory),
        .default_text = "/run/ambar-cni/netns",
        .unit = "directory",
        .group = "Where",
        .help = "Enrolled network namespaces are mounted here, so that they are found again after a restart.",
    },
    {
        .environment = "AMBAR_CNI_NFT",
        .flag = "nft",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, nft_path),
        .default_text = "/usr/sbin/nft",
        .unit = "path",
        .group = "Capture",
        .help = "The nft program (package nftables).",
    },
    {
        .environment = "AMBIENT_IPV6",
        .flag = "ipv6",
        .kind = OPTION_CHOICE,
        .offset = offsetof(struct agent_settings, ipv6),
        .default_text = "auto",
        .choices = ipv6_choices,
        .group = "Capture",
        .help = "Whether IPv6 is captured: auto (if the kernel has IPv6), true or false.",
    },
    {
        .environment = "AMBIENT_DNS_CAPTURE",
        .flag = "dns-capture",
        .kind = OPTION_BOOL,
        .offset = offsetof(struct agent_settings, dns_capture),
        .default_text = "true",
        .group = "Capture",
        .help = "Whether DNS is captured: false where the node proxy's DNS proxy is off (its ISTIO_META_DNS_CAPTURE).",
    },
    {
        .environment = "LOG_FORMAT",
        .flag = "log-format",
        .kind = OPTION_CHOICE,
        .offset = offsetof(struct agent_settings, log_format),
        .default_text = "plain",
        .choices = log_formats,
        .group = "Log",
        .help = "plain or json.",
    },
    {
        .environment = "AMBAR_LOG",
        .flag = "log",
        .kind = OPTION_STRING,
        .offset = offsetof(struct agent_settings, log_filter),
        .default_text = "info",
        .unit = "filter",
        .group = "Log",
        .help = "A level, or `target=level` pairs joined by commas: `info,cni::zds=debug`.",
    },
};

static const struct option enroll_rows[] = {
    {
        .flag = "netns",
        .kind = OPTION_STRING,
        .offset = offsetof(struct enroll_settings, namespace_path),
        .unit = "path",
        .group = "The pod",
        .help = "Its network namespace: /run/netns/NAME or /proc/PID/ns/net.",
    },
    {
        .flag = "namespace",
        .kind = OPTION_STRING,
        .offset = offsetof(struct enroll_settings, namespace_),
        .unit = "name",
        .group = "The pod",
        .help = "Its Kubernetes namespace.",
    },
    {
        .flag = "name",
        .kind = OPTION_STRING,
        .offset = offsetof(struct enroll_settings, name),
        .unit = "name",
        .group = "The pod",
        .help = "The pod's name.",
    },
    {
        .flag = "service-account",
        .kind = OPTION_STRING,
        .offset = offsetof(struct enroll_settings, service_account),
        .unit = "name",
        .group = "The pod",
        .help = "The service account that its identity is made of.",
    },
    {
        .flag = "address",
        .kind = OPTION_STRING_LIST,
        .offset = offsetof(struct enroll_settings, addresses),
        .unit = "address",
        .group = "The pod",
        .help = "An IP address of the pod; repeat it for every address. The namespace must own them all.",
    },
    {
        .flag = "uid",
        .kind = OPTION_STRING,
        .offset = offsetof(struct enroll_settings, uid),
        .unit = "uid",
        .group = "The pod",
        .help = "The uid under which the node proxy knows the pod. Unset: made once, and kept.",
    },
    CONTROL_SOCKET_OPTION(enroll_settings),
};

static const struct option remove_rows[] = {
    {
        .flag = "namespace",
        .kind = OPTION_STRING,
        .offset = offsetof(struct remove_settings, namespace_),
        .unit = "name",
        .group = "The pod",
        .help = "Its Kubernetes namespace.",
    },
    {
        .flag = "name",
        .kind = OPTION_STRING,
        .offset = offsetof(struct remove_settings, name),
        .unit = "name",
        .group = "The pod",
        .help = "The pod's name.",
    },
    CONTROL_SOCKET_OPTION(remove_settings),
};

static const struct option list_rows[] = {
    {
        .flag = "json",
        .kind = OPTION_BOOL,
        .offset = offsetof(struct list_settings, is_json),
        .default_text = "false",
        .group = "Output",
        .help = "Print JSON instead of a table.",
    },
    CONTROL_SOCKET_OPTION(list_settings),
};

const struct option_table agent_options = { agent_rows, ARRAY_LENGTH(agent_rows) };
const struct option_table enroll_options = { enroll_rows, ARRAY_LENGTH(enroll_rows) };
const struct option_table remove_options = { remove_rows, ARRAY_LENGTH(remove_rows) };
const struct option_table list_options = { list_rows, ARRAY_LENGTH(list_rows) };
