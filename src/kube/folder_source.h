/* One directory of files and what was last read from each: the half of kube/folder.h that touches the disk. */
#ifndef AMBAR_KUBE_FOLDER_SOURCE_H
#define AMBAR_KUBE_FOLDER_SOURCE_H

#include "kube/object.h"
#include "kube/problem.h"

struct hash_map;

struct folder_file {
    char *path;
    /* What the file was when it was read; all zero: to be read (again). */
    struct {
        uint64_t device, inode, size;
        int64_t modified_ns;
    } identity;
    bool is_listed; /* seen by the scan that is going on */
    unsigned postponed;
    struct kube_read_file content; /* with what had to be kept of the previous content */
    struct kube_problems problems;
};

struct folder_source {
    char *directory;
    struct hash_map *files;        /* path -> struct folder_file */
    struct kube_problems problems; /* of the directory itself */
    char **directories;            /* all that were visited by the last scan, for watching */
    size_t directory_count;
    size_t directory_capacity;
    bool has_symbolic_links; /* what they point to may change without a sign in the directory */
    bool wants_rescan;       /* a file was being written while it was read */
};

void folder_source_initialise(struct folder_source *source, const char *directory);
void folder_source_free(struct folder_source *source);

/* Reads what changed; true when something did. A patient scan leaves alone, a few times, what was written just now. */
bool folder_source_scan(struct folder_source *source, bool is_patient);

/* All files, sorted by path. The array is the caller's, its items are not. */
struct folder_file **folder_source_files(const struct folder_source *source, size_t *count);

#endif
