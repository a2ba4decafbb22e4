/* What ambarctl can be asked. Each command prints its answer and returns the exit status. */
#ifndef AMBAR_AMBARCTL_COMMANDS_H
#define AMBAR_AMBARCTL_COMMANDS_H

#include <jansson.h>

#include "base/result.h"
#include "base/writer.h"

enum exit_status {
    EXIT_GOOD = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_NOT_ALLOWED = 3, /* explain: the connection would not be made */
};

struct invocation {
    const char *admin; /* HOST:PORT */
    bool wants_json;   /* the document as it came */
    bool wants_reset;
    bool has_colour;
    const char *limit;      /* NULL: the server's */
    const char *namespace_; /* NULL: all */
    const char *arguments[8];
    int argument_count;
};

int command_connections(const struct invocation *invocation);
int command_tunnels(const struct invocation *invocation);
int command_refusals(const struct invocation *invocation);
int command_workloads(const struct invocation *invocation);
int command_certificates(const struct invocation *invocation);
int command_policies(const struct invocation *invocation);
int command_pods(const struct invocation *invocation);
int command_explain(const struct invocation *invocation);
int command_log_level(const struct invocation *invocation);
int command_config_dump(const struct invocation *invocation);
int command_profile(const struct invocation *invocation);

/* One sentence to standard error. */
int fail_with(const struct result *failure);
/* GETs and parses a document; with --json it is printed and `*document` is NULL. EXIT_GOOD or what to return. */
int get_document(const struct invocation *invocation, const char *target, json_t **document);
/* A member's text; NULL when it is absent or not a text. */
const char *member_text(const json_t *object, const char *key);
/* Whether a member is that text; false when it is absent. */
bool member_equals(const json_t *object, const char *key, const char *text);
unsigned long long member_number(const json_t *object, const char *key);
bool member_is_true(const json_t *object, const char *key);
/* Prints and frees. */
void print_text(struct writer *out);

#endif
