#include "net/network_namespace.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define IPV6_SWITCH_OF_LOOPBACK "/proc/sys/net/ipv6/conf/lo/disable_ipv6"

static bool is_network_namespace(int descriptor)
{
    /* First the file system: the ioctl's number may mean something to another kind of file. */
    struct statfs file_system;
    return fstatfs(descriptor, &file_system) == 0 && file_system.f_type == NSFS_MAGIC &&
           ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET;
}

struct result network_namespace_from_descriptor(int descriptor, struct network_namespace *namespace_)
{
    struct stat status;
    *namespace_ = (struct network_namespace){ .descriptor = -1 };
    if (!is_network_namespace(descriptor) || fstat(descriptor, &status) != 0) {
        if (descriptor >= 0) {
            (void)close(descriptor);
        }
        return result_fail(RESULT_INVALID, "descriptor %d is not a network namespace", descriptor);
    }
    *namespace_ = (struct network_namespace){ descriptor, status.st_dev, status.st_ino };
    return result_ok();
}

struct result network_namespace_open(const char *path, struct network_namespace *namespace_)
{
    *namespace_ = (struct network_namespace){ .descriptor = -1 };
    /* Not blocking: the path may name a FIFO. */
    int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (descriptor < 0) {
        return result_system(errno, "network namespace %s", path);
    }
    struct result result = network_namespace_from_descriptor(descriptor, namespace_);
    return result_is_ok(&result) ? result : result_fail(RESULT_INVALID, "%s is not a network namespace", path);
}

struct result network_namespace_open_current(struct network_namespace *namespace_)
{
    return network_namespace_open("/proc/thread-self/ns/net", namespace_);
}

void network_namespace_close(struct network_namespace *namespace_)
{
    if (namespace_->descriptor >= 0) {
        (void)close(namespace_->descriptor);
        namespace_->descriptor = -1;
    }
}

bool network_namespace_equal(const struct network_namespace *left, const struct network_namespace *right)
{
    return left->device == right->device && left->inode == right->inode;
}

static struct result run_between(const struct network_namespace *namespace_, const struct network_namespace *home,
    void (*function)(void *context), void *context)
{
    if (setns(namespace_->descriptor, CLONE_NEWNET) != 0) {
        return result_system(errno, "cannot enter network namespace %llu", (unsigned long long)namespace_->inode);
    }
    function(context);
    if (setns(home->descriptor, CLONE_NEWNET) != 0) {
        (void)fprintf(stderr, "cannot return from network namespace %llu\n", (unsigned long long)namespace_->inode);
        abort();
    }
    return result_ok();
}

struct result network_namespace_run(const struct network_namespace *namespace_, const struct network_namespace *home,
    void (*function)(void *context), void *context)
{
    if (home != NULL) {
        return run_between(namespace_, home, function, context);
    }
    struct network_namespace current;
    RESULT_TRY(network_namespace_open_current(&current));
    struct result result = run_between(namespace_, &current, function, context);
    network_namespace_close(&current);
    return result;
}

bool network_namespace_here_has_ipv6_loopback(void)
{
    char value = '1'; /* no such file: a kernel without IPv6 */
    int descriptor = open(IPV6_SWITCH_OF_LOOPBACK, O_RDONLY | O_CLOEXEC);
    if (descriptor >= 0) {
        if (read(descriptor, &value, 1) != 1) {
            value = '1';
        }
        (void)close(descriptor);
    }
    return value != '1';
}

/* The kernel's list of a namespace's addresses, read inside it. */
struct address_list {
    struct ifaddrs *first;
    int error;
};

static void read_addresses(void *context)
{
    struct address_list *list = context;
    list->error = getifaddrs(&list->first) == 0 ? 0 : errno;
}

static struct result addresses_inside(const struct network_namespace *namespace_, struct ifaddrs **first)
{
    struct address_list list = { NULL, 0 };
    RESULT_TRY(network_namespace_run(namespace_, NULL, read_addresses, &list));
    if (list.error != 0) {
        return result_system(list.error, "addresses of network namespace %llu", (unsigned long long)namespace_->inode);
    }
    *first = list.first;
    return result_ok();
}

static bool address_of(const struct ifaddrs *interface, struct ip_address *ip)
{
    struct socket_address address;
    if (interface->ifa_addr == NULL) {
        return false;
    }
    socklen_t length =
        interface->ifa_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    if (!socket_address_from_kernel(interface->ifa_addr, length, &address)) {
        return false; /* AF_PACKET */
    }
    *ip = address.ip;
    return true;
}

struct result network_namespace_addresses(
    const struct network_namespace *namespace_, struct ip_address **addresses, size_t *count)
{
    struct ifaddrs *first;
    RESULT_TRY(addresses_inside(namespace_, &first));
    size_t capacity = 0;
    for (const struct ifaddrs *interface = first; interface != NULL; interface = interface->ifa_next) {
        capacity++;
    }
    if (capacity > NETWORK_NAMESPACE_ADDRESSES_MAXIMUM) {
        freeifaddrs(first);
        return result_fail(RESULT_LIMIT, "network namespace %llu has %zu addresses, more than %d",
            (unsigned long long)namespace_->inode, capacity, NETWORK_NAMESPACE_ADDRESSES_MAXIMUM);
    }
    *addresses = memory_allocate_zeroed(capacity, sizeof **addresses);
    *count = 0;
    for (const struct ifaddrs *interface = first; interface != NULL; interface = interface->ifa_next) {
        if (address_of(interface, &(*addresses)[*count])) {
            ++*count;
        }
    }
    freeifaddrs(first);
    return result_ok();
}

struct result network_namespace_owns(
    const struct network_namespace *namespace_, const struct ip_address *address, bool *owns)
{
    struct ifaddrs *first;
    *owns = false;
    RESULT_TRY(addresses_inside(namespace_, &first));
    for (const struct ifaddrs *interface = first; interface != NULL && !*owns; interface = interface->ifa_next) {
        struct ip_address ip;
        *owns = (interface->ifa_flags & IFF_LOOPBACK) == 0 && address_of(interface, &ip) && ip_equal(&ip, address);
    }
    freeifaddrs(first);
    return result_ok();
}
