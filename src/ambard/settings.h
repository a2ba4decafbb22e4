/* ambard's settings: one table for flags, environment and help. */
#ifndef AMBAR_AMBARD_SETTINGS_H
#define AMBAR_AMBARD_SETTINGS_H

#include "ambard/index.h"
#include "base/option.h"

struct ambard_settings {
    char *config_directory;
    char *overlay_directory;
    char *state_directory;
    char *ca_directory;
    char *cluster_id, *domain, *root_namespace, *trust_domain, *revision;
    struct option_list serving_names;
    struct option_list trusted_accounts;
    uint64_t default_certificate_ttl_ns, maximum_certificate_ttl_ns;
    char *listen_address; /* of 15012 and 15014 */
    uint16_t secure_port, plain_port, metrics_port, http_port;
    char *log_filter;
    int log_format;
};

/* From the environment, then the flags; `rest` is the index of the first argument that is no flag. */
struct result ambard_settings_read(struct ambard_settings *settings, int argument_count, char **arguments, int *rest);
void ambard_settings_free(struct ambard_settings *settings);
void ambard_settings_write_help(struct writer *out);

struct ambient_index_settings ambard_settings_index(const struct ambard_settings *settings);

#endif
