/* ztunnel: the node proxy's command line (ztunnel-management §1.5). */
#include "base/writer.h"
#include "ztunnel/application.h"
#include "ztunnel/version.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_help(void)
{
    struct writer help = writer_growing();
    writer_add_string(&help,
        "ztunnel - the node proxy of an ambient mesh\n"
        "\n"
        "Takes the traffic of a node's pods and carries it over mutual TLS (HBONE). Configured by its environment.\n"
        "\n"
        "Usage:\n"
        "  ztunnel [proxy]    run\n"
        "  ztunnel version    print what this build is\n"
        "  ztunnel help       print this\n"
        "\n"
        "Try it on one machine, without a cluster:  make demo\n"
        "\n"
        "Environment:\n");
    configuration_write_help(&help);
    fputs(writer_string(&help), stdout);
    writer_free(&help);
}

static void print_version(void)
{
    struct writer version = writer_growing();
    version_write(getenv("ISTIO_META_ISTIO_VERSION"), &version);
    puts(writer_string(&version));
    writer_free(&version);
}

static void print_reference(void)
{
    struct writer reference = writer_growing();
    configuration_write_reference(&reference);
    fputs(writer_string(&reference), stdout);
    writer_free(&reference);
}

/* The arguments, blank-separated: what the dump shows. */
static char *join(int count, char **arguments)
{
    struct writer joined = writer_growing();
    for (int i = 0; i < count; i++) {
        writer_print(&joined, "%s%s", i > 0 ? " " : "", arguments[i]);
    }
    return writer_take_string(&joined);
}

static int run(int argument_count, char **arguments)
{
    /* Without its lists of small blocks that are not joined: with them malloc goes through all of its memory now and then, which
     * with a model of 100,000 workloads costs a third of the time of a change. */
    (void)mallopt(M_MXFAST, 0);
    struct configuration configuration;
    struct result outcome = configuration_read(&configuration);
    configuration.arguments = join(argument_count - 1, arguments + 1);
    if (result_is_ok(&outcome)) {
        outcome = application_run(&configuration);
    }
    configuration_free(&configuration);
    if (!result_is_ok(&outcome)) {
        fprintf(stderr, "Error: %s\n", outcome.message);
        return 1;
    }
    return 0;
}

int main(int argument_count, char **arguments)
{
    const char *command = argument_count > 1 ? arguments[1] : "proxy";
    if (strcmp(command, "proxy") == 0) {
        return run(argument_count, arguments);
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        print_version();
        return 0;
    }
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(command, "configuration-reference") == 0) {
        print_reference();
        return 0;
    }
    fprintf(stderr, "unknown command: %s\n", command);
    print_help();
    return 1;
}
