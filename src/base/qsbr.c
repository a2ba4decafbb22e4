#include "base/qsbr.h"

#include "base/list.h"
#include "base/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define OFFLINE 0

/* Every retirement opens a new epoch; a reader carries the epoch it last saw while it held nothing. An object retired in
 * epoch E is unreachable for readers that have seen E, so it can go once all online readers carry E or more. */
struct qsbr {
    _Atomic uint64_t epoch; /* from 1 */
    pthread_mutex_t mutex;  /* of the list of readers: registration and the writer's look at them */
    struct list readers;
    struct retired *first, **last; /* oldest first; the writer's */
};

struct qsbr_reader {
    _Alignas(64) _Atomic uint64_t epoch; /* OFFLINE: holds nothing, is not waited for */
    struct qsbr *domain;
    struct list link;
};

struct retired {
    struct retired *next;
    uint64_t epoch;
    void *object;
    void (*free_object)(void *object);
};

struct qsbr *qsbr_new(void)
{
    struct qsbr *domain = NEW(struct qsbr);
    atomic_init(&domain->epoch, 1);
    pthread_mutex_init(&domain->mutex, NULL);
    list_initialise(&domain->readers);
    domain->last = &domain->first;
    return domain;
}

static void free_first(struct qsbr *domain)
{
    struct retired *retired = domain->first;
    domain->first = retired->next;
    if (domain->first == NULL) {
        domain->last = &domain->first;
    }
    retired->free_object(retired->object);
    memory_free(retired);
}

void qsbr_free(struct qsbr *domain)
{
    while (domain->first != NULL) {
        free_first(domain);
    }
    pthread_mutex_destroy(&domain->mutex);
    memory_free(domain);
}

struct qsbr_reader *qsbr_register(struct qsbr *domain)
{
    struct qsbr_reader *reader = aligned_alloc(_Alignof(struct qsbr_reader), sizeof *reader);
    if (reader == NULL) {
        abort();
    }
    *reader = (struct qsbr_reader){ .domain = domain };
    pthread_mutex_lock(&domain->mutex);
    atomic_init(&reader->epoch, atomic_load_explicit(&domain->epoch, memory_order_acquire));
    list_append(&domain->readers, &reader->link);
    pthread_mutex_unlock(&domain->mutex);
    return reader;
}

void qsbr_unregister(struct qsbr_reader *reader)
{
    struct qsbr *domain = reader->domain;
    pthread_mutex_lock(&domain->mutex);
    list_remove(&reader->link);
    pthread_mutex_unlock(&domain->mutex);
    memory_free(reader);
}

void qsbr_quiescent(struct qsbr_reader *reader)
{
    uint64_t epoch = atomic_load_explicit(&reader->domain->epoch, memory_order_acquire);
    atomic_store_explicit(&reader->epoch, epoch, memory_order_release);
}

void qsbr_offline(struct qsbr_reader *reader)
{
    atomic_store_explicit(&reader->epoch, OFFLINE, memory_order_release);
}

/* An exchange, as the writer's own read-modify-write of an offline reader's epoch: the two have an order. Either the writer
 * comes first, and what it had unpublished is seen here; or it comes second and sees this reader online. */
void qsbr_online(struct qsbr_reader *reader)
{
    uint64_t epoch = atomic_load_explicit(&reader->domain->epoch, memory_order_acquire);
    (void)atomic_exchange_explicit(&reader->epoch, epoch, memory_order_acq_rel);
}

static uint64_t oldest_epoch_held(struct qsbr *domain)
{
    uint64_t oldest = UINT64_MAX;
    pthread_mutex_lock(&domain->mutex);
    LIST_FOR_EACH(link, &domain->readers) {
        struct qsbr_reader *reader = LIST_ENTRY(link, struct qsbr_reader, link);
        uint64_t epoch = atomic_load_explicit(&reader->epoch, memory_order_acquire);
        if (epoch == OFFLINE) {
            epoch = atomic_fetch_add_explicit(&reader->epoch, 0, memory_order_acq_rel);
        }
        if (epoch != OFFLINE && epoch < oldest) {
            oldest = epoch;
        }
    }
    pthread_mutex_unlock(&domain->mutex);
    return oldest;
}

bool qsbr_reclaim(struct qsbr *domain)
{
    if (domain->first == NULL) {
        return false;
    }
    uint64_t oldest = oldest_epoch_held(domain);
    while (domain->first != NULL && domain->first->epoch <= oldest) {
        free_first(domain);
    }
    return domain->first != NULL;
}

void qsbr_retire_later(struct qsbr *domain, void *object, void (*free_object)(void *object))
{
    struct retired *retired = NEW(struct retired);
    retired->epoch = atomic_fetch_add_explicit(&domain->epoch, 1, memory_order_acq_rel) + 1;
    retired->object = object;
    retired->free_object = free_object;
    *domain->last = retired;
    domain->last = &retired->next;
}

void qsbr_retire(struct qsbr *domain, void *object, void (*free_object)(void *object))
{
    qsbr_retire_later(domain, object, free_object);
    (void)qsbr_reclaim(domain);
}
