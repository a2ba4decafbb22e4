/* What can be set, of the agent and of the commands that ask it: one table each, from which values, --help and the reference come. */
#ifndef AMBAR_CNI_SETTINGS_H
#define AMBAR_CNI_SETTINGS_H

#include "base/option.h"

struct agent_settings {
    char *zds_path;
    char *control_path;
    char *state_directory;
    char *overlay_directory; /* NULL: no overlay */
    char *pin_directory;
    char *nft_path;
    int ipv6; /* enum capture_ipv6 */
    bool dns_capture;
    int log_format;
    char *log_filter;
};

struct enroll_settings {
    char *control_path;
    char *namespace_path;
    char *namespace_;
    char *name;
    char *service_account;
    struct option_list addresses;
    char *uid;
};

struct remove_settings {
    char *control_path;
    char *namespace_;
    char *name;
};

struct list_settings {
    char *control_path;
    bool is_json;
};

struct option_table {
    const struct option *options;
    size_t count;
};

extern const struct option_table agent_options;
extern const struct option_table enroll_options;
extern const struct option_table remove_options;
extern const struct option_table list_options;

#endif
