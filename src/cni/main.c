/* ambar-cni: the node agent and the commands that ask it. */
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "cni/agent.h"
#include "cni/command.h"

#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define EXIT_FAILED 1
#define EXIT_USAGE 2

union settings {
    struct agent_settings agent;
    struct enroll_settings enroll;
    struct remove_settings remove;
    struct list_settings list;
};

struct command {
    const char *name;
    const char *usage;
    const char *summary;
    const char *description;
    const struct option_table *options;
    struct result (*run)(const union settings *settings);
};

static struct result run_agent(const union settings *settings)
{
    const struct log_settings log = {
        .is_json = settings->agent.log_format == 1,
        .filter = settings->agent.log_filter,
        .output = STDOUT_FILENO,
    };
    (void)signal(SIGPIPE, SIG_IGN);
    RESULT_TRY(log_start(&log));
    struct result result = agent_run(&settings->agent);
    log_stop();
    return result;
}

static struct result run_enroll(const union settings *settings)
{
    return command_enroll(&settings->enroll);
}

static struct result run_remove(const union settings *settings)
{
    return command_remove(&settings->remove);
}

static struct result run_list(const union settings *settings)
{
    return command_list(&settings->list);
}

static const struct command commands[] = {
    {
        .name = "agent",
        .usage = "ambar-cni agent [options]",
        .summary = "run the node agent",
        .description =
            "Runs in the foreground, as root, one a node. Enrolled pods stay enrolled while it is away; when it comes\n"
            "back it finds them again, repairs their rules and tells the node proxy.\n",
        .options = &agent_options,
        .run = run_agent,
    },
    {
        .name = "enroll",
        .usage = "ambar-cni enroll --netns PATH --namespace NS --name POD --service-account SA --address IP...",
        .summary = "put a pod into the mesh",
        .description =
            "Captures the traffic of a network namespace, hands it to the node proxy and waits until that has taken "
            "it.\n"
            "Nothing is left behind if a step fails. Enrolling a pod again confirms it, or moves it to a new "
            "namespace.\n"
            "\n"
            "  ambar-cni enroll --netns /run/netns/web-1 --namespace shop --name web-1 --service-account web \\\n"
            "      --address 10.77.1.11 --address fd77:1::11\n",
        .options = &enroll_options,
        .run = run_enroll,
    },
    {
        .name = "remove",
        .usage = "ambar-cni remove --namespace NS --name POD",
        .summary = "take a pod out of the mesh",
        .description =
            "The node proxy lets go of the pod, then its traffic is released. Works when its namespace is gone, too.\n",
        .options = &remove_options,
        .run = run_remove,
    },
    {
        .name = "list",
        .usage = "ambar-cni list [--json]",
        .summary = "show the pods that are enrolled",
        .description =
            "NETNS says whether the pod's network namespace is there (enrolled) or could not be found again (gone).\n",
        .options = &list_options,
        .run = run_list,
    },
};

static void print_help(FILE *out)
{
    (void)fputs("ambar-cni puts pods, or any other network namespaces, of this node into the mesh.\n\nUsage:\n", out);
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        (void)fprintf(out, "  ambar-cni %-8s  %s\n", commands[i].name, commands[i].summary);
    }
    (void)fputs("  ambar-cni version   print the version\n"
                "  ambar-cni help      print this, or `ambar-cni help COMMAND` more\n"
                "\n"
                "Every command has its own --help. All of them need root.\n",
        out);
}

static void print_command_help(const struct command *command)
{
    struct writer text = writer_growing();
    writer_print(&text, "ambar-cni %s: %s.\n\nUsage: %s\n\n%s\n", command->name, command->summary, command->usage,
        command->description);
    options_write_help(command->options->options, command->options->count, &text);
    (void)fputs(writer_string(&text), stdout);
    writer_free(&text);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LENGTH(commands); i++) {
        if (text_equal(commands[i].name, name)) {
            return &commands[i];
        }
    }
    return NULL;
}

static bool wants_help(int argument_count, char **arguments)
{
    for (int i = 0; i < argument_count; i++) {
        if (text_equal(arguments[i], "--help") || text_equal(arguments[i], "-h")) {
            return true;
        }
    }
    return false;
}

static struct result read_settings(
    const struct option_table *table, union settings *settings, int argument_count, char **arguments)
{
    int rest = argument_count;
    RESULT_TRY(options_from_environment(table->options, table->count, settings));
    RESULT_TRY(options_from_arguments(table->options, table->count, settings, argument_count, arguments, &rest));
    if (rest < argument_count) {
        return result_fail(RESULT_INVALID, "%s: not an option", arguments[rest]);
    }
    return result_ok();
}

/* `arguments` are those after the command. */
static int run_command(const struct command *command, int argument_count, char **arguments)
{
    if (wants_help(argument_count, arguments)) {
        print_command_help(command);
        return 0;
    }
    union settings settings;
    memset(&settings, 0, sizeof settings);
    struct result result = read_settings(command->options, &settings, argument_count, arguments);
    int code = EXIT_USAGE;
    if (result_is_ok(&result)) {
        code = EXIT_FAILED;
        result = command->run(&settings);
    }
    options_free(command->options->options, command->options->count, &settings);
    if (result_is_ok(&result)) {
        return 0;
    }
    (void)fprintf(stderr, "ambar-cni %s: %s\n", command->name, result.message);
    return code;
}

int main(int argument_count, char **arguments)
{
    const char *name = argument_count > 1 ? arguments[1] : "";
    const struct command *command = find_command(name);
    if (command != NULL) {
        return run_command(command, argument_count - 2, arguments + 2);
    }
    if (text_equal(name, "version") || text_equal(name, "--version")) {
        (void)printf("ambar-cni %s (%s)\n", AMBAR_VERSION, AMBAR_GIT_REVISION);
        return 0;
    }
    if (text_equal(name, "help") || text_equal(name, "--help") || text_equal(name, "-h")) {
        command = argument_count > 2 ? find_command(arguments[2]) : NULL;
        if (command != NULL) {
            print_command_help(command);
        } else {
            print_help(stdout);
        }
        return 0;
    }
    if (argument_count > 1) {
        (void)fprintf(stderr, "ambar-cni: unknown command: %s\n\n", name);
    }
    print_help(stderr);
    return EXIT_USAGE;
}
