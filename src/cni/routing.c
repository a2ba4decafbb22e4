#include "cni/routing.h"

#include "net/netlink.h"
#include "net/network_namespace.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CAPTURE_MARK 0x111u
#define CAPTURE_MARK_MASK 0xfffu
#define CAPTURE_TABLE 100u
#define CAPTURE_PRIORITY 32764u
#define ANSWER_TIMEOUT_S 5

static int open_kernel(void)
{
    struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
    int descriptor = netlink_open();
    if (descriptor >= 0) {
        (void)setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    }
    return descriptor;
}

static int change_rule(int kernel, uint8_t family, uint16_t type, uint16_t flags)
{
    struct netlink_request request;
    struct fib_rule_hdr *rule = netlink_request_begin(&request, type, NLM_F_ACK | flags, sizeof *rule);
    rule->family = family;
    rule->table = CAPTURE_TABLE;
    rule->action = FR_ACT_TO_TBL;
    netlink_request_add_u32(&request, FRA_PRIORITY, CAPTURE_PRIORITY);
    netlink_request_add_u32(&request, FRA_FWMARK, CAPTURE_MARK);
    netlink_request_add_u32(&request, FRA_FWMASK, CAPTURE_MARK_MASK);
    netlink_request_add_u32(&request, FRA_TABLE, CAPTURE_TABLE);
    return netlink_change(kernel, &request, 0);
}

static int change_route(int kernel, uint8_t family, uint16_t type, uint16_t flags)
{
    struct netlink_request request;
    struct rtmsg *route = netlink_request_begin(&request, type, NLM_F_ACK | flags, sizeof *route);
    route->rtm_family = family;
    route->rtm_table = CAPTURE_TABLE;
    route->rtm_protocol = RTPROT_BOOT;
    route->rtm_type = RTN_LOCAL;
    route->rtm_scope = RT_SCOPE_HOST;
    netlink_request_add_u32(&request, RTA_OIF, if_nametoindex("lo"));
    netlink_request_add_u32(&request, RTA_TABLE, CAPTURE_TABLE);
    return netlink_change(kernel, &request, 0);
}

/* What is done inside a namespace: where it stands, and how it went. */
struct routing_work {
    int (*each_family)(int kernel, uint8_t family, const char **step);
    bool with_ipv6;
    int error;
    uint8_t family;   /* at fault */
    const char *step; /* at fault */
};

static int apply_family(int kernel, uint8_t family, const char **step)
{
    *step = "adding the rule for marked packets";
    int error = change_rule(kernel, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    if (error != 0 && error != EEXIST) {
        return error;
    }
    if (family == AF_INET6 && !network_namespace_here_has_ipv6_loopback()) {
        return 0;
    }
    *step = "adding the local route of table 100";
    return change_route(kernel, family, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
}

/* The kernel knows no question for exactly one rule or route, but it refuses to add what is there. What it did add is taken back. */
static int verify_family(int kernel, uint8_t family, const char **step)
{
    *step = "looking for the rule for marked packets";
    int error = change_rule(kernel, family, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
    if (error == 0) {
        (void)change_rule(kernel, family, RTM_DELRULE, 0);
        return ENOENT;
    }
    if (error != EEXIST) {
        return error;
    }
    if (family == AF_INET6 && !network_namespace_here_has_ipv6_loopback()) {
        return 0;
    }
    *step = "looking for the local route of table 100";
    error = change_route(kernel, family, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
    if (error == 0) {
        (void)change_route(kernel, family, RTM_DELROUTE, 0);
        return ENOENT;
    }
    return error == EEXIST ? 0 : error;
}

static bool means_absent(int error)
{
    return error == ENOENT || error == ESRCH || error == EAFNOSUPPORT || error == EOPNOTSUPP;
}

static int remove_family(int kernel, uint8_t family, const char **step)
{
    *step = "removing the rule for marked packets";
    int error = change_rule(kernel, family, RTM_DELRULE, 0);
    if (error != 0 && !means_absent(error)) {
        return error;
    }
    *step = "removing the local route of table 100";
    error = change_route(kernel, family, RTM_DELROUTE, 0);
    return means_absent(error) ? 0 : error;
}

static void work_inside(void *context)
{
    struct routing_work *work = context;
    int kernel = open_kernel();
    if (kernel < 0) {
        work->error = errno;
        work->step = "opening a netlink socket";
        return;
    }
    work->family = AF_INET;
    work->error = work->each_family(kernel, AF_INET, &work->step);
    if (work->error == 0 && work->with_ipv6) {
        work->family = AF_INET6;
        work->error = work->each_family(kernel, AF_INET6, &work->step);
    }
    (void)close(kernel);
}

static struct result run_inside(const struct network_namespace *namespace_, struct routing_work work)
{
    RESULT_TRY(network_namespace_run(namespace_, NULL, work_inside, &work));
    if (work.error == 0) {
        return result_ok();
    }
    return result_system(work.error, "%s (%s)", work.step, work.family == AF_INET6 ? "IPv6" : "IPv4");
}

struct result routing_apply(const struct network_namespace *namespace_, bool with_ipv6)
{
    return run_inside(namespace_, (struct routing_work){ .each_family = apply_family, .with_ipv6 = with_ipv6 });
}

struct result routing_verify(const struct network_namespace *namespace_, bool with_ipv6)
{
    return run_inside(namespace_, (struct routing_work){ .each_family = verify_family, .with_ipv6 = with_ipv6 });
}

struct result routing_remove(const struct network_namespace *namespace_)
{
    return run_inside(namespace_, (struct routing_work){ .each_family = remove_family, .with_ipv6 = true });
}
