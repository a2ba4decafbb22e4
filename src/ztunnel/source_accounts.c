#include "ztunnel/source_accounts.h"

#include "base/clock.h"
#include "base/hash_map.h"
#include "base/list.h"
#include "base/memory.h"

#include <pthread.h>

struct source {
    struct list by_use; /* the one used longest ago first */
    struct ip_address ip;
    uint32_t handshakes;
    uint32_t resets_left;
    uint64_t refilled_ns;
    bool is_barred;
};

struct source_accounts {
    pthread_mutex_t lock;     /* of all below; held for a look-up */
    struct hash_map *sources; /* the address -> struct source */
    struct list by_use;
};

struct source_accounts *source_accounts_new(void)
{
    struct source_accounts *accounts = NEW_LINES(struct source_accounts);
    (void)pthread_mutex_init(&accounts->lock, NULL);
    accounts->sources = hash_map_new();
    list_initialise(&accounts->by_use);
    return accounts;
}

static void free_source(void *source)
{
    memory_free(source);
}

void source_accounts_free(struct source_accounts *accounts)
{
    if (accounts != NULL) {
        hash_map_free(accounts->sources, free_source);
        (void)pthread_mutex_destroy(&accounts->lock);
        memory_free(accounts);
    }
}

static struct bytes key_of(const struct ip_address *ip)
{
    return bytes_of(ip, sizeof *ip);
}

/* Whoever has handshakes under way stays: their ends will ask for it. */
static void forget_oldest(struct source_accounts *accounts)
{
    LIST_FOR_EACH(link, &accounts->by_use) {
        struct source *source = LIST_ENTRY(link, struct source, by_use);
        if (source->handshakes == 0) {
            list_remove(&source->by_use);
            hash_map_remove(accounts->sources, key_of(&source->ip));
            memory_free(source);
            return;
        }
    }
}

static struct source *account_of(struct source_accounts *accounts, const struct ip_address *ip)
{
    struct source *source = hash_map_get(accounts->sources, key_of(ip));
    if (source == NULL) {
        if (hash_map_count(accounts->sources) >= SOURCE_ACCOUNTS_MAXIMUM) {
            forget_oldest(accounts);
        }
        source = NEW(struct source);
        source->ip = *ip;
        source->resets_left = SOURCE_RESETS_MAXIMUM;
        list_initialise(&source->by_use);
        hash_map_put(accounts->sources, key_of(ip), source);
    }
    list_remove(&source->by_use);
    list_append(&accounts->by_use, &source->by_use);
    return source;
}

bool source_accounts_begin_handshake(struct source_accounts *accounts, const struct ip_address *ip)
{
    (void)pthread_mutex_lock(&accounts->lock);
    struct source *source = account_of(accounts, ip);
    bool may_begin = source->handshakes < SOURCE_HANDSHAKES_MAXIMUM;
    source->handshakes += may_begin ? 1 : 0;
    (void)pthread_mutex_unlock(&accounts->lock);
    return may_begin;
}

void source_accounts_end_handshake(struct source_accounts *accounts, const struct ip_address *ip)
{
    (void)pthread_mutex_lock(&accounts->lock);
    account_of(accounts, ip)->handshakes--;
    (void)pthread_mutex_unlock(&accounts->lock);
}

/* The threads' clocks of their turns are not in step: one that lags gives nothing back. */
static void refill(struct source *source, uint64_t now_ns)
{
    if (now_ns <= source->refilled_ns) {
        return;
    }
    uint64_t back = (now_ns - source->refilled_ns) / (NANOSECONDS_PER_SECOND / SOURCE_RESETS_A_SECOND);
    if (back == 0) {
        return;
    }
    uint64_t left = source->resets_left + back;
    source->resets_left = left > SOURCE_RESETS_MAXIMUM ? SOURCE_RESETS_MAXIMUM : (uint32_t)left;
    source->refilled_ns = now_ns;
    source->is_barred = source->is_barred && source->resets_left < SOURCE_RESETS_MAXIMUM / 2;
}

static bool spend(struct source *source)
{
    if (source->resets_left == 0) {
        source->is_barred = true;
        return false;
    }
    source->resets_left--;
    return !source->is_barred;
}

bool source_accounts_spend_reset(struct source_accounts *accounts, const struct ip_address *ip, uint64_t now_ns)
{
    (void)pthread_mutex_lock(&accounts->lock);
    struct source *source = account_of(accounts, ip);
    refill(source, now_ns);
    bool is_allowed = spend(source);
    (void)pthread_mutex_unlock(&accounts->lock);
    return is_allowed;
}

bool source_accounts_is_barred(struct source_accounts *accounts, const struct ip_address *ip, uint64_t now_ns)
{
    (void)pthread_mutex_lock(&accounts->lock);
    struct source *source = hash_map_get(accounts->sources, key_of(ip));
    if (source != NULL) {
        refill(source, now_ns);
    }
    bool is_barred = source != NULL && source->is_barred;
    (void)pthread_mutex_unlock(&accounts->lock);
    return is_barred;
}

size_t source_accounts_count(struct source_accounts *accounts)
{
    (void)pthread_mutex_lock(&accounts->lock);
    size_t count = hash_map_count(accounts->sources);
    (void)pthread_mutex_unlock(&accounts->lock);
    return count;
}
