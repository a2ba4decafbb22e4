#include "net/name_resolver.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/memory.h"

#include <ares.h>
#include <sys/epoll.h>

/* The first try; the second waits twice as long (c-ares), which keeps one server's two tries within the deadline. */
#define FIRST_TRY_MS 1500
#define TRIES 2

/* One name: being asked for, or what it was found to be. */
struct resolved_entry {
    struct list link; /* resolver->known, least recently used first; alone while being asked for and told */
    struct list waiters;
    struct name_resolver *resolver;
    bool is_running;
    bool is_being_told; /* to those who waited: kept, and good, whatever its age */
    bool does_exist;
    uint64_t expires_ns;
    size_t address_count;
    struct ip_address *addresses;
    char hostname[];
};

/* One of c-ares's sockets. */
struct resolver_socket {
    struct list link;
    struct io_watch watch;
    struct name_resolver *resolver;
};

struct name_resolver {
    struct loop *loop;
    ares_channel channel;
    int family; /* of the questions */
    struct hash_map *entries;
    struct list known;
    struct list sockets; /* struct resolver_socket */
    struct timer retransmission;
    size_t running_count;
    bool is_ending;
};

static void arm_retransmission(struct name_resolver *resolver)
{
    struct timeval storage;
    struct timeval *left = ares_timeout(resolver->channel, NULL, &storage);
    if (left == NULL) {
        timer_disarm(&resolver->retransmission);
        return;
    }
    uint64_t left_ms = (uint64_t)left->tv_sec * 1000 + (uint64_t)left->tv_usec / 1000;
    timer_arm_after_ms(resolver->loop, &resolver->retransmission, left_ms + 1);
}

static void on_retransmission(struct timer *timer)
{
    struct name_resolver *resolver = CONTAINER_OF(timer, struct name_resolver, retransmission);
    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    arm_retransmission(resolver);
}

static void on_socket_ready(struct io_watch *watch, uint32_t events)
{
    struct name_resolver *resolver = CONTAINER_OF(watch, struct resolver_socket, watch)->resolver;
    int descriptor = watch->descriptor;
    bool can_read = (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0;
    bool can_write = (events & EPOLLOUT) != 0;
    ares_process_fd(
        resolver->channel, can_read ? descriptor : ARES_SOCKET_BAD, can_write ? descriptor : ARES_SOCKET_BAD);
    arm_retransmission(resolver);
}

static struct resolver_socket *find_socket(struct name_resolver *resolver, int descriptor)
{
    LIST_FOR_EACH(link, &resolver->sockets) {
        struct resolver_socket *found = LIST_ENTRY(link, struct resolver_socket, link);
        if (found->watch.descriptor == descriptor) {
            return found;
        }
    }
    return NULL;
}

/* c-ares says what it waits for; neither: it is about to close the socket. */
static void on_socket_state(void *context, ares_socket_t descriptor, int reads, int writes)
{
    struct name_resolver *resolver = context;
    struct resolver_socket *known = find_socket(resolver, descriptor);
    uint32_t events = (reads ? (uint32_t)EPOLLIN : 0) | (writes ? (uint32_t)EPOLLOUT : 0);
    if (events == 0) {
        if (known != NULL) {
            loop_unwatch(&known->watch);
            list_remove(&known->link);
            memory_free(known);
        }
        return;
    }
    if (known != NULL) {
        loop_watch_for(&known->watch, events);
        return;
    }
    known = NEW(struct resolver_socket);
    known->resolver = resolver;
    known->watch.on_ready = on_socket_ready;
    struct result watched = loop_watch(resolver->loop, &known->watch, descriptor, events);
    if (!result_is_ok(&watched)) {
        memory_free(known); /* the question runs into its timeout */
        return;
    }
    list_append(&resolver->sockets, &known->link);
}

static void forget_entry(struct resolved_entry *entry)
{
    (void)hash_map_remove(entry->resolver->entries, bytes_of_string(entry->hostname));
    list_remove(&entry->link);
    memory_free(entry->addresses);
    memory_free(entry);
}

static void make_room(struct name_resolver *resolver)
{
    while (hash_map_count(resolver->entries) >= RESOLVER_NAMES_MAXIMUM && !list_is_empty(&resolver->known)) {
        forget_entry(LIST_ENTRY(resolver->known.next, struct resolved_entry, link));
    }
}

static void tell(struct name_lookup *lookup, const struct name_answer *answer)
{
    timer_disarm(&lookup->deadline);
    list_remove(&lookup->link);
    lookup->resolver = NULL;
    lookup->entry = NULL;
    lookup->on_answer(lookup, answer);
}

static struct name_answer answer_of(const struct resolved_entry *entry)
{
    return (struct name_answer){ entry->hostname, entry->addresses, entry->address_count, entry->does_exist };
}

/* The addresses of an answer, and the shortest time to live on the way to them. */
static uint64_t take_addresses(struct resolved_entry *entry, const struct ares_addrinfo *found)
{
    int64_t ttl_s = RESOLVER_TTL_MAXIMUM_S;
    size_t count = 0;
    for (const struct ares_addrinfo_cname *alias = found->cnames; alias != NULL; alias = alias->next) {
        ttl_s = alias->ttl < ttl_s ? alias->ttl : ttl_s;
    }
    for (const struct ares_addrinfo_node *node = found->nodes; node != NULL; node = node->ai_next) {
        count++;
    }
    count = count < RESOLVER_ADDRESSES_MAXIMUM ? count : RESOLVER_ADDRESSES_MAXIMUM;
    entry->addresses = memory_allocate_zeroed(count, sizeof entry->addresses[0]);
    for (const struct ares_addrinfo_node *node = found->nodes; node != NULL && entry->address_count < count;
         node = node->ai_next) {
        struct socket_address address;
        if (socket_address_from_kernel(node->ai_addr, node->ai_addrlen, &address)) {
            entry->addresses[entry->address_count++] = address.ip;
        }
        ttl_s = node->ai_ttl < ttl_s ? node->ai_ttl : ttl_s;
    }
    return (uint64_t)(ttl_s > 0 ? ttl_s : 0) * NANOSECONDS_PER_SECOND;
}

static void on_found(void *context, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)timeouts;
    struct resolved_entry *entry = context;
    struct name_resolver *resolver = entry->resolver;
    uint64_t kept_ns = RESOLVER_NEGATIVE_MS * NANOSECONDS_PER_MILLISECOND;
    if (status == ARES_SUCCESS) {
        kept_ns = take_addresses(entry, found);
        ares_freeaddrinfo(found);
    }
    entry->does_exist = status == ARES_SUCCESS || status == ARES_ENODATA;
    entry->is_running = false;
    resolver->running_count--;
    if (resolver->is_ending) {
        return; /* freed with all others */
    }
    entry->expires_ns = clock_monotonic_ns() + kept_ns;
    struct name_answer answer = answer_of(entry);
    entry->is_being_told = true;
    while (!list_is_empty(&entry->waiters)) {
        tell(LIST_ENTRY(entry->waiters.next, struct name_lookup, link), &answer);
    }
    entry->is_being_told = false;
    list_append(&resolver->known, &entry->link);
}

struct result name_resolver_new(
    struct loop *loop, const struct name_resolver_settings *settings, struct name_resolver **resolver_out)
{
    struct name_resolver *resolver = NEW(struct name_resolver);
    resolver->loop = loop;
    resolver->family = settings->is_ipv4_only ? AF_INET : AF_UNSPEC;
    resolver->retransmission.on_expire = on_retransmission;
    list_initialise(&resolver->known);
    list_initialise(&resolver->sockets);
    struct ares_options options = {
        .timeout = FIRST_TRY_MS,
        .tries = TRIES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = resolver,
    };
    int status =
        ares_init_options(&resolver->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
    if (status != ARES_SUCCESS) {
        memory_free(resolver);
        return result_fail(RESULT_SYSTEM, "cannot prepare the resolving of names: %s", ares_strerror(status));
    }
    if (settings->servers != NULL) {
        status = ares_set_servers_ports_csv(resolver->channel, settings->servers);
    }
    if (status != ARES_SUCCESS) {
        ares_destroy(resolver->channel);
        memory_free(resolver);
        return result_fail(RESULT_INVALID, "name servers %s: %s", settings->servers, ares_strerror(status));
    }
    resolver->entries = hash_map_new();
    *resolver_out = resolver;
    return result_ok();
}

void name_resolver_free(struct name_resolver *resolver)
{
    if (resolver == NULL) {
        return;
    }
    resolver->is_ending = true;
    ares_destroy(resolver->channel);
    timer_disarm(&resolver->retransmission);
    size_t position = 0;
    struct bytes name;
    void *value;
    while (hash_map_next(resolver->entries, &position, &name, &value)) {
        struct resolved_entry *entry = value;
        LIST_FOR_EACH(link, &entry->waiters) {
            name_lookup_cancel(LIST_ENTRY(link, struct name_lookup, link));
        }
        memory_free(entry->addresses);
        memory_free(entry);
    }
    hash_map_free(resolver->entries, NULL);
    memory_free(resolver);
}

static void on_deadline(struct timer *timer)
{
    struct name_lookup *lookup = CONTAINER_OF(timer, struct name_lookup, deadline);
    const struct name_answer none = { .hostname = lookup->entry->hostname };
    tell(lookup, &none);
}

/* NULL: too many are being asked for. */
static struct resolved_entry *start_asking(struct name_resolver *resolver, const char *hostname)
{
    if (resolver->running_count >= RESOLVER_RUNNING_MAXIMUM) {
        return NULL;
    }
    make_room(resolver);
    size_t length = strlen(hostname);
    struct resolved_entry *entry = memory_allocate_zeroed(1, sizeof *entry + length + 1);
    memcpy(entry->hostname, hostname, length);
    entry->resolver = resolver;
    list_initialise(&entry->link);
    list_initialise(&entry->waiters);
    entry->is_running = true;
    resolver->running_count++;
    (void)hash_map_put(resolver->entries, bytes_of_string(hostname), entry);
    return entry;
}

/* The entry as it can be used now: known and fresh, or being asked for. */
static struct resolved_entry *find_usable(struct name_resolver *resolver, const char *hostname)
{
    struct resolved_entry *entry = hash_map_get(resolver->entries, bytes_of_string(hostname));
    if (entry == NULL || entry->is_running || entry->is_being_told) {
        return entry;
    }
    if (entry->expires_ns <= clock_monotonic_ns()) {
        forget_entry(entry);
        return NULL;
    }
    list_remove(&entry->link);
    list_append(&resolver->known, &entry->link);
    return entry;
}

static void wait_for(struct name_lookup *lookup, struct resolved_entry *entry)
{
    lookup->resolver = entry->resolver;
    lookup->entry = entry;
    list_append(&entry->waiters, &lookup->link);
    lookup->deadline.on_expire = on_deadline;
    timer_arm_after_ms(entry->resolver->loop, &lookup->deadline, RESOLVER_DEADLINE_MS);
}

void name_lookup_start(struct name_lookup *lookup, struct name_resolver *resolver, const char *hostname)
{
    list_initialise(&lookup->link);
    struct resolved_entry *entry = find_usable(resolver, hostname);
    if (entry != NULL && !entry->is_running) {
        struct name_answer answer = answer_of(entry);
        lookup->on_answer(lookup, &answer);
        return;
    }
    if (entry != NULL) {
        wait_for(lookup, entry);
        return;
    }
    entry = start_asking(resolver, hostname);
    if (entry == NULL) {
        const struct name_answer none = { .hostname = hostname };
        lookup->on_answer(lookup, &none);
        return;
    }
    wait_for(lookup, entry);
    const struct ares_addrinfo_hints hints = { .ai_family = resolver->family, .ai_flags = ARES_AI_NOSORT };
    ares_getaddrinfo(resolver->channel, hostname, NULL, &hints, on_found, entry);
    arm_retransmission(resolver);
}

void name_lookup_cancel(struct name_lookup *lookup)
{
    if (lookup->resolver != NULL) {
        timer_disarm(&lookup->deadline);
        list_remove(&lookup->link);
        lookup->resolver = NULL;
        lookup->entry = NULL;
    }
}

size_t name_resolver_count(const struct name_resolver *resolver)
{
    return hash_map_count(resolver->entries);
}
