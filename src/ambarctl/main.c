/* ambarctl: what a person asks a ztunnel of this node. */
#include "ambarctl/commands.h"
#include "base/memory.h"
#include "base/text.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ADMIN_DEFAULT "127.0.0.1:15000"

static const struct {
    const char *name, *arguments, *help;
    int least, most; /* arguments */
    int (*run)(const struct invocation *invocation);
} COMMANDS[] = {
    { "explain", "SRC DST:PORT",
        "where a connection would go, and whether it may: route, endpoint, tunnel, certificate,\n"
        "                           policies rule by rule. SRC and DST are names or addresses",
        2, 2, command_explain },
    { "connections", "", "live connections: both ends, state, bytes, age", 0, 0, command_connections },
    { "tunnels", "", "live tunnels: peer, identity, streams, round trip", 0, 0, command_tunnels },
    { "refusals", "", "the last connections that ended badly, and why", 0, 0, command_refusals },
    { "workloads", "", "what the control plane has sent: workloads", 0, 0, command_workloads },
    { "policies", "", "and authorization policies", 0, 0, command_policies },
    { "certificates", "", "identities with their certificates' ages", 0, 0, command_certificates },
    { "pods", "", "the pods of this node that ztunnel serves", 0, 0, command_pods },
    { "log-level", "[LEVEL]", "shows or changes it: debug, access=debug,ztunnel::xds=trace ...; --reset restores", 0, 1,
        command_log_level },
    { "config-dump", "", "the whole state as JSON, as istioctl reads it", 0, 0, command_config_dump },
    { "profile", "[SECONDS]", "a CPU profile in pprof's format, to standard output", 0, 1, command_profile },
};

static void print_help(FILE *out)
{
    fputs("ambarctl - asks the ztunnel of this node\n\n"
          "Usage: ambarctl [options] COMMAND [arguments]\n\n"
          "Commands:\n",
        out);
    for (size_t i = 0; i < ARRAY_LENGTH(COMMANDS); i++) {
        char *AUTO_FREE usage = string_format("%s %s", COMMANDS[i].name, COMMANDS[i].arguments);
        fprintf(out, "  %-24s %s\n", usage, COMMANDS[i].help);
    }
    fputs("\nOptions:\n"
          "  --admin HOST:PORT        where ztunnel's admin port is (default " ADMIN_DEFAULT "; also AMBARCTL_ADMIN)\n"
          "  --namespace NS, -n NS    only workloads and policies of that namespace\n"
          "  --limit N                at most N rows (default 10000)\n"
          "  --json                   the answer as JSON\n"
          "  --reset                  log-level: back to the levels at start\n"
          "  --help, --version\n\n"
          "Exit status: 0 good; 1 failed; 2 wrong usage; 3 explain: the connection would be refused.\n\n"
          "Examples:\n"
          "  ambarctl explain web catalogue.shop:80\n"
          "  ambarctl explain 10.244.1.7 10.96.0.12:443\n"
          "  ambarctl log-level access=debug\n"
          "  ip netns exec NODE ambarctl connections      (ztunnel listens on its own loopback only)\n",
        out);
}

static int usage_error(const char *format, const char *text)
{
    fputs("ambarctl: ", stderr);
    fprintf(stderr, format, text);
    fputs("\nambarctl: `ambarctl --help` says what there is\n", stderr);
    return EXIT_USAGE;
}

static int run_command(struct invocation *invocation, const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(COMMANDS); i++) {
        if (!text_equal(COMMANDS[i].name, name)) {
            continue;
        }
        if (invocation->argument_count < COMMANDS[i].least || invocation->argument_count > COMMANDS[i].most) {
            char *AUTO_FREE usage = string_format("ambarctl %s %s", name, COMMANDS[i].arguments);
            return usage_error("usage: %s", usage);
        }
        return COMMANDS[i].run(invocation);
    }
    return usage_error("unknown command: %s", name);
}

enum option_code { OPTION_ADMIN = 256, OPTION_LIMIT, OPTION_JSON, OPTION_RESET, OPTION_HELP, OPTION_VERSION };

static const struct option OPTIONS[] = {
    { "admin", required_argument, NULL, OPTION_ADMIN },
    { "namespace", required_argument, NULL, 'n' },
    { "limit", required_argument, NULL, OPTION_LIMIT },
    { "json", no_argument, NULL, OPTION_JSON },
    { "reset", no_argument, NULL, OPTION_RESET },
    { "help", no_argument, NULL, OPTION_HELP },
    { "version", no_argument, NULL, OPTION_VERSION },
    { NULL, 0, NULL, 0 },
};

/* False: the program ends with `*status`. */
static bool read_options(int count, char **texts, struct invocation *invocation, int *status)
{
    int code;
    while ((code = getopt_long(count, texts, "n:h", OPTIONS, NULL)) != -1) {
        switch (code) {
        case OPTION_ADMIN:
            invocation->admin = optarg;
            break;
        case 'n':
            invocation->namespace_ = optarg;
            break;
        case OPTION_LIMIT:
            invocation->limit = optarg;
            break;
        case OPTION_JSON:
            invocation->wants_json = true;
            break;
        case OPTION_RESET:
            invocation->wants_reset = true;
            break;
        case OPTION_HELP:
        case 'h':
            print_help(stdout);
            *status = EXIT_GOOD;
            return false;
        case OPTION_VERSION:
            printf("ambarctl %s (%s)\n", AMBAR_VERSION, AMBAR_GIT_REVISION);
            *status = EXIT_GOOD;
            return false;
        default:
            fputs("ambarctl: `ambarctl --help` says what there is\n", stderr);
            *status = EXIT_USAGE;
            return false;
        }
    }
    return true;
}

int main(int argument_count, char **arguments)
{
    const char *admin = getenv("AMBARCTL_ADMIN");
    struct invocation invocation = { .admin = text_is_empty(admin) ? ADMIN_DEFAULT : admin,
        .has_colour = isatty(STDOUT_FILENO) && text_is_empty(getenv("NO_COLOR")) };
    int status;
    if (!read_options(argument_count, arguments, &invocation, &status)) {
        return status;
    }
    if (optind == argument_count) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    const char *name = arguments[optind++];
    if (text_equal(name, "help")) {
        print_help(stdout);
        return EXIT_GOOD;
    }
    while (optind < argument_count) {
        if (invocation.argument_count == (int)ARRAY_LENGTH(invocation.arguments)) {
            return usage_error("too many arguments: %s", arguments[optind]);
        }
        invocation.arguments[invocation.argument_count++] = arguments[optind++];
    }
    return run_command(&invocation, name);
}
