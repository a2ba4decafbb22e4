/* The commands that pass something through: log levels, the whole dump, a CPU profile. */
#include "ambarctl/admin_client.h"
#include "ambarctl/commands.h"
#include "ambarctl/table.h"
#include "base/memory.h"

#include <stdio.h>
#include <unistd.h>

static int print_level_answer(const struct admin_answer *answer)
{
    bool is_good = answer->status == 200;
    struct writer text = writer_growing();
    terminal_add_lines(&text, writer_bytes(&answer->body));
    fprintf(is_good ? stdout : stderr, "%s%s", is_good ? "" : "ambarctl: ", writer_string(&text));
    writer_free(&text);
    return is_good ? EXIT_GOOD : EXIT_FAILED;
}

int command_log_level(const struct invocation *invocation)
{
    struct writer target = writer_growing();
    writer_add_string(&target, "/logging?");
    if (invocation->argument_count > 0) {
        writer_add_string(&target, "level=");
        admin_add_query_value(&target, invocation->arguments[0]);
        writer_add_u8(&target, '&');
    }
    if (invocation->wants_reset) {
        writer_add_string(&target, "reset");
    }
    struct admin_answer answer;
    struct result asked = admin_request(invocation->admin, "POST", writer_string(&target), &answer);
    int status = EXIT_GOOD;
    if (!result_is_ok(&asked)) {
        status = fail_with(&asked);
    } else {
        status = print_level_answer(&answer);
    }
    writer_free(&answer.body);
    writer_free(&target);
    return status;
}

static int copy(const struct invocation *invocation, const char *target)
{
    struct result copied = admin_copy(invocation->admin, target, STDOUT_FILENO);
    return result_is_ok(&copied) ? EXIT_GOOD : fail_with(&copied);
}

int command_config_dump(const struct invocation *invocation)
{
    return copy(invocation, "/config_dump");
}

int command_profile(const struct invocation *invocation)
{
    if (isatty(STDOUT_FILENO)) {
        fputs("ambarctl: a profile is binary: write it to a file, then `go tool pprof FILE`\n", stderr);
        return EXIT_USAGE;
    }
    struct writer target = writer_growing();
    writer_add_string(&target, "/debug/pprof/profile?seconds=");
    admin_add_query_value(&target, invocation->argument_count > 0 ? invocation->arguments[0] : "10");
    int status = copy(invocation, writer_string(&target));
    writer_free(&target);
    return status;
}
