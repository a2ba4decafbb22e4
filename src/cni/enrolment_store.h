/* What outlives the agent: one JSON file a pod (0600) in the state directory, and the overlay, one partial Pod a pod, by which the
 * control plane learns that the pod is captured (cni §5.1). No file of the user's is ever touched. The agent's thread; blocking. */
#ifndef AMBAR_CNI_ENROLMENT_STORE_H
#define AMBAR_CNI_ENROLMENT_STORE_H

#include "base/result.h"
#include "cni/enrolment.h"

struct enrolment_store {
    const char *state_directory;   /* borrowed */
    const char *overlay_directory; /* borrowed; NULL: no overlay is written */
    int lock;
};

/* Makes the directories and locks the state against a second agent. */
struct result enrolment_store_open(
    struct enrolment_store *store, const char *state_directory, const char *overlay_directory);
void enrolment_store_close(struct enrolment_store *store);

/* Reads every state file into the table. A file that cannot be read is left as it is, logged and passed over. */
struct result enrolment_store_load(struct enrolment_store *store, struct enrolment_table *table);

struct result enrolment_store_save(struct enrolment_store *store, const struct enrolment *enrolment);
struct result enrolment_store_forget(struct enrolment_store *store, const struct enrolment *enrolment);

struct result enrolment_store_write_overlay(struct enrolment_store *store, const struct enrolment *enrolment);
struct result enrolment_store_remove_overlay(struct enrolment_store *store, const struct enrolment *enrolment);

#endif
