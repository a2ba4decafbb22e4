/* A program's settings, declared once in a table: from it come parsing of the environment and of the command line,
 * `--help`, the configuration part of a dump and the reference page.
 *
 * A row names an environment variable, a flag, or both (the flag wins). Values are written into the caller's struct at
 * `offset`. A refused value gives one sentence: `invalid env var NAME=VALUE (reason)` or `invalid flag --name VALUE (reason)`,
 * where the reason says what would be valid. */
#ifndef AMBAR_BASE_OPTION_H
#define AMBAR_BASE_OPTION_H

#include "base/result.h"

#include <stddef.h>
#include <stdint.h>

struct writer;

enum option_kind {
    OPTION_STRING,      /* char * (owned by the struct; options_free releases it) */
    OPTION_STRING_LIST, /* struct option_list: the flag may be repeated; the environment value is comma-separated */
    OPTION_BOOL,        /* bool: true or false; a flag without a value means true */
    OPTION_U16,         /* uint16_t */
    OPTION_U32,         /* uint32_t */
    OPTION_U64,         /* uint64_t */
    OPTION_DURATION,    /* uint64_t nanoseconds */
    OPTION_CHOICE,      /* int: index into `choices` */
    OPTION_WORD,        /* int: index into `choices`; any other value counts as the first one */
    OPTION_SWITCH,      /* bool: exactly `true` is on, any other value is off */
    OPTION_DOCUMENTED,  /* no field: read by its owner, named here for help and reference; `offset` is not used */
};

struct option_list {
    char **items;
    size_t count;
};

struct option {
    const char *environment; /* NULL: no variable */
    const char *flag;        /* without dashes; NULL: no flag */
    enum option_kind kind;
    size_t offset;
    const char *default_text;   /* parsed like a value; NULL: unset (zero, empty) */
    const char *unit;           /* "bytes", "duration", "streams"; for people */
    const char *dump_key;       /* key in a configuration dump; NULL: not shown there */
    const char *const *choices; /* OPTION_CHOICE, OPTION_WORD: NULL-terminated */
    const char *group;          /* heading in help and reference */
    const char *help;           /* one or two sentences */
};

/* Sets every default, then applies the environment. `settings` must be zeroed before the first call. */
struct result options_from_environment(const struct option *options, size_t count, void *settings);

/* Applies `--flag value`, `--flag=value`. `arguments` begins after the program's name. The first argument that is no flag stops
 * parsing, as does `--`, which is skipped; the index of what follows goes to `*rest`. An unknown flag fails and suggests the
 * closest known one. The first use of a repeatable flag replaces what the environment or the default gave. */
struct result options_from_arguments(
    const struct option *options, size_t count, void *settings, int argument_count, char **arguments, int *rest);

/* Whether the option's variable is present in the environment, empty or not. */
bool option_is_set_in_environment(const struct option *option);

void options_write_help(const struct option *options, size_t count, struct writer *out);      /* for --help */
void options_write_reference(const struct option *options, size_t count, struct writer *out); /* a Markdown table */
void options_free(const struct option *options, size_t count, void *settings);

#endif
