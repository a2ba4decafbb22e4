/* ambard: the control plane's command line. */
#include "ambard/check.h"
#include "ambard/daemon.h"
#include "ambard/token.h"
#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

#include <stdio.h>
#include <string.h>

static const char USAGE[] =
    "ambard - the control plane of an ambient mesh, from a folder of YAML\n"
    "\n"
    "Usage:\n"
    "  ambard --config-dir DIR [flags]       serve the workload API and certificates\n"
    "  ambard check DIR [flags]              say what is wrong with a folder, and what its objects amount to\n"
    "  ambard token --node N --service-account NS/SA [--ttl 12h] [--state-dir DIR]\n"
    "                                        print a token for a node's proxy\n"
    "  ambard version                        print what this build is\n"
    "  ambard help                           print this\n"
    "\n"
    "Flags:\n";

struct token_settings {
    char *node;
    char *service_account;
    char *state_directory;
    uint64_t ttl_ns;
};

#define AT(field) offsetof(struct token_settings, field)
static const struct option TOKEN_OPTIONS[] = {
    { NULL, "node", OPTION_STRING, AT(node), NULL, "name", NULL, NULL, "Token",
        "The Node the token is bound to. Required." },
    { NULL, "service-account", OPTION_STRING, AT(service_account), NULL, "namespace/account", NULL, NULL, "Token",
        "Who shows it, usually istio-system/ztunnel. Required." },
    { NULL, "ttl", OPTION_DURATION, AT(ttl_ns), "12h", "duration", NULL, NULL, "Token",
        "How long it is good for, at most 24h." },
    { NULL, "state-dir", OPTION_STRING, AT(state_directory), "/var/lib/ambard", "directory", NULL, NULL, "Token",
        "ambard's state directory, which holds the token key." },
};
#undef AT

static void print_help(void)
{
    struct writer help = writer_growing();
    writer_add_string(&help, USAGE);
    ambard_settings_write_help(&help);
    fputs(writer_string(&help), stdout);
    writer_free(&help);
}

static int fail(const struct result *outcome)
{
    fprintf(stderr, "ambard: %s\n", outcome->message);
    return 1;
}

static struct result issue_token(const struct token_settings *settings)
{
    if (text_is_empty(settings->node) || text_is_empty(settings->service_account)) {
        return result_fail(RESULT_INVALID, "token needs --node NAME and --service-account NAMESPACE/ACCOUNT");
    }
    const char *slash = strchr(settings->service_account, '/');
    if (slash == NULL) {
        return result_fail(RESULT_INVALID, "invalid flag --service-account %s (expected namespace/account)",
            settings->service_account);
    }
    char *namespace_ AUTO_FREE =
        string_duplicate_n(settings->service_account, (size_t)(slash - settings->service_account));
    struct token_key *key;
    RESULT_TRY(result_in(token_key_open(settings->state_directory, true, &key), "token key"));
    char *token = NULL;
    struct result issued = token_issue(key, namespace_, slash + 1, settings->node,
        (int64_t)(settings->ttl_ns / NANOSECONDS_PER_SECOND), clock_wall_s(), &token);
    token_key_free(key);
    RESULT_TRY(issued);
    /* No newline: clients use a token file as it is. */
    fputs(token, stdout);
    memory_free(token);
    return result_ok();
}

static int run_token(int argument_count, char **arguments)
{
    struct token_settings settings = { 0 };
    int rest = 0;
    struct result outcome = options_from_environment(TOKEN_OPTIONS, ARRAY_LENGTH(TOKEN_OPTIONS), &settings);
    if (result_is_ok(&outcome)) {
        outcome = options_from_arguments(
            TOKEN_OPTIONS, ARRAY_LENGTH(TOKEN_OPTIONS), &settings, argument_count, arguments, &rest);
    }
    if (result_is_ok(&outcome) && rest < argument_count) {
        outcome = result_fail(RESULT_INVALID, "token: unexpected argument %s", arguments[rest]);
    }
    if (result_is_ok(&outcome)) {
        outcome = issue_token(&settings);
    }
    options_free(TOKEN_OPTIONS, ARRAY_LENGTH(TOKEN_OPTIONS), &settings);
    return result_is_ok(&outcome) ? 0 : fail(&outcome);
}

static int run_check(int argument_count, char **arguments)
{
    struct ambard_settings settings;
    int rest = 0;
    /* The folder may stand before the flags. */
    const char *directory = argument_count > 0 && arguments[0][0] != '-' ? arguments[0] : NULL;
    int skipped = directory != NULL ? 1 : 0;
    struct result outcome = ambard_settings_read(&settings, argument_count - skipped, arguments + skipped, &rest);
    if (directory == NULL && result_is_ok(&outcome) && rest + skipped < argument_count) {
        directory = arguments[rest];
    }
    if (directory == NULL) {
        directory = settings.config_directory;
    }
    if (result_is_ok(&outcome) && directory == NULL) {
        outcome = result_fail(RESULT_INVALID, "check: which folder? (ambard check DIR)");
    }
    int status = 1;
    if (result_is_ok(&outcome)) {
        struct ambient_index_settings index_settings = ambard_settings_index(&settings);
        struct writer out = writer_growing();
        status = ambard_check(directory, settings.overlay_directory, &index_settings, &out);
        fputs(writer_string(&out), stdout);
        writer_free(&out);
    } else {
        fail(&outcome);
    }
    ambard_settings_free(&settings);
    return status;
}

static int run_daemon(int argument_count, char **arguments)
{
    struct ambard_settings settings;
    int rest = 0;
    struct result outcome = ambard_settings_read(&settings, argument_count, arguments, &rest);
    if (result_is_ok(&outcome) && rest < argument_count) {
        outcome = result_fail(RESULT_INVALID, "unknown command %s (ambard help lists them)", arguments[rest]);
    }
    if (result_is_ok(&outcome)) {
        outcome = daemon_run(&settings);
    }
    ambard_settings_free(&settings);
    return result_is_ok(&outcome) ? 0 : fail(&outcome);
}

int main(int argument_count, char **arguments)
{
    const char *command = argument_count > 1 ? arguments[1] : "help";
    if (strcmp(command, "help") == 0 || strcmp(command, "--help") == 0 || strcmp(command, "-h") == 0) {
        print_help();
        return 0;
    }
    if (strcmp(command, "version") == 0 || strcmp(command, "--version") == 0) {
        puts("ambard " AMBAR_VERSION " (" AMBAR_GIT_REVISION ")");
        return 0;
    }
    if (strcmp(command, "check") == 0) {
        return run_check(argument_count - 2, arguments + 2);
    }
    if (strcmp(command, "token") == 0) {
        return run_token(argument_count - 2, arguments + 2);
    }
    return run_daemon(argument_count - 1, arguments + 1);
}
