/* A folder of YAML and JSON as the source of objects: read, watched, and always at its last good state.
 *
 * - Files *.yaml, *.yml and *.json of the directory and its subdirectories; names that begin with a dot and what editors leave behind
 *   are passed over. Symbolic links are followed, so that a swapped ConfigMap volume is seen.
 * - An object that became invalid stays as it was last good; so do all objects last read from a file that cannot be
 *   parsed. What is gone from the folder is gone. An object defined twice is an error that names both places; the definition
 *   that was in force stays.
 * - A partial object of the overlay directory (name, namespace, labels, annotations) is laid over the object of the same
 *   kind, namespace and name; it waits while there is none.
 *
 * Owned by one thread, that of the loop it watches with. */
#ifndef AMBAR_KUBE_FOLDER_H
#define AMBAR_KUBE_FOLDER_H

#include "base/result.h"
#include "kube/problem.h"
#include "kube/store.h"

struct loop;
struct kube_folder;

#define KUBE_FILE_BYTES_MAXIMUM (16u << 20)
#define KUBE_FILES_MAXIMUM 65536

/* `overlay_directory` may be NULL. Nothing is read yet. */
struct kube_folder *kube_folder_new(const char *directory, const char *overlay_directory);
/* Stops watching. */
void kube_folder_free(struct kube_folder *folder);

/* Reads what changed since the last time; the first call reads everything. True when an object in force or the list of
 * problems changed. Whoever starts on a folder whose first scan finds errors has no good state and should refuse. */
bool kube_folder_scan(struct kube_folder *folder);

const struct kube_store *kube_folder_store(const struct kube_folder *folder);
const struct kube_problems *kube_folder_problems(const struct kube_folder *folder);

/* Scans by itself when the folder changes, within a second, and then calls `on_change` if something did. */
struct result kube_folder_watch(
    struct kube_folder *folder, struct loop *loop, void (*on_change)(void *context), void *context);

#endif
