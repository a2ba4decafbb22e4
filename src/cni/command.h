/* The commands that ask the agent: enroll, remove, list. Each sends one request and prints the answer. Blocking. */
#ifndef AMBAR_CNI_COMMAND_H
#define AMBAR_CNI_COMMAND_H

#include "base/result.h"
#include "cni/settings.h"

/* The answer goes to standard output; a refusal is the result. */
struct result command_enroll(const struct enroll_settings *settings);
struct result command_remove(const struct remove_settings *settings);
struct result command_list(const struct list_settings *settings);

#endif
