/* Quiescent-state reclamation (QSBR) on C11 atomics: readers announce once a loop turn that they hold nothing, and what a
 * writer has retired is freed when every reader has announced since. Reading costs nothing. Clean under ThreadSanitizer. */
#ifndef AMBAR_BASE_QSBR_H
#define AMBAR_BASE_QSBR_H

#include <stdbool.h>
#include <stdint.h>

struct qsbr;        /* one domain */
struct qsbr_reader; /* one per reading thread, on its own cache line */

struct qsbr *qsbr_new(void);
void qsbr_free(struct qsbr *domain); /* all readers must be gone; frees what is still retired */

struct qsbr_reader *qsbr_register(struct qsbr *domain); /* online */
void qsbr_unregister(struct qsbr_reader *reader);

/* Called by the reader when it holds no pointer of the domain (end of a loop turn). */
void qsbr_quiescent(struct qsbr_reader *reader);
/* Around a blocking wait: an offline reader holds nothing and is not waited for. */
void qsbr_offline(struct qsbr_reader *reader);
void qsbr_online(struct qsbr_reader *reader);

/* Writer side, any one thread at a time: calls free_object(object) after a grace period, from a later call of
 * qsbr_retire or qsbr_reclaim. */
void qsbr_retire(struct qsbr *domain, void *object, void (*free_object)(void *object));
/* The same without freeing anything now, where time matters: somebody calls qsbr_reclaim soon. */
void qsbr_retire_later(struct qsbr *domain, void *object, void (*free_object)(void *object));
/* Frees what is due; returns whether anything is still waiting. */
bool qsbr_reclaim(struct qsbr *domain);

#endif
