/* The pieces of the admin page that need nothing but what they show. */
#ifndef AMBAR_ZTUNNEL_ADMIN_PAGE_PARTS_H
#define AMBAR_ZTUNNEL_ADMIN_PAGE_PARTS_H

#include "base/writer.h"
#include "ztunnel/config_dump.h"

#define PAGE_POLICIES_MAXIMUM 200

/* What the workers have, counted by the first walk. */
struct page_counts {
    uint64_t connections, tunnels_out, tunnels_in, refusals;
};

void page_write_head(
    struct writer *out, const struct config_dump_source *source, const char *nonce, const char *refresh);
void page_write_summary(struct writer *out, const struct config_dump_source *source, const struct mesh_version *version,
    const struct page_counts *counts);
void page_begin_table(struct writer *out, const char *id, const char *title, const char *note, const char *sorted_by,
    const char *const *columns, size_t count);
void page_end_table(struct writer *out);
void page_write_certificates(struct writer *out, const struct config_dump_source *source);
void page_write_pods(struct writer *out, const struct config_dump_source *source);
void page_write_policies(struct writer *out, const struct mesh_version *version);
void page_write_foot(struct writer *out, const char *nonce);

#endif
