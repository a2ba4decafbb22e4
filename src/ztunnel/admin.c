#include "ztunnel/admin.h"

#include "base/log.h"
#include "base/log_line.h"
#include "base/memory.h"
#include "base/text.h"
#include "ztunnel/admin_page.h"
#include "ztunnel/control_listener.h"
#include "ztunnel/debug_explain.h"
#include "ztunnel/debug_live.h"
#include "ztunnel/debug_model.h"
#include "ztunnel/debug_profile.h"

struct admin {
    struct admin_settings settings;
    struct http1_server *admin_server;
    struct debug_profile *profile;
};

static const char BAD_LEVEL[] = "Invalid level provided: ";
static const char LOGGING_HELP[] =
    "\nusage: POST /logging\t\t\t\t\t\t(To list current level)\n"
    "usage: POST /logging?level=<level>\t\t\t\t(To change global levels)\n"
    "usage: POST /logging?level={mod1}:{level1},{mod2}:{level2}\t(To change specific mods' logging level)\n"
    "\nhint: loglevel:\terror|warn|info|debug|trace|off\n"
    "hint: mod_name:\tthe module name, i.e. ztunnel::agent\n"
    "hint: as in the reference, only {mod}={level} is accepted\n";

static void answer_index(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    admin_page_answer(exchange, &admin->settings.source);
}

static void answer_config_dump(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    config_dump_answer(exchange, &admin->settings.source);
}

static void answer_connections(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_connections(exchange, admin->settings.source.live);
}

static void answer_tunnels(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_tunnels(exchange, admin->settings.source.live);
}

static void answer_refusals(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_refusals(exchange, admin->settings.source.live);
}

static void answer_workloads(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_workloads(exchange, &admin->settings.source);
}

static void answer_policies(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_policies(exchange, &admin->settings.source);
}

static void answer_certificates(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_certificates(exchange, &admin->settings.source);
}

static void answer_pods(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_pods(exchange, &admin->settings.source);
}

static void answer_explain(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_explain(exchange, &admin->settings.source);
}

static void answer_profile(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    debug_answer_profile(exchange, admin->profile);
}

/* As builds of the reference without jemalloc answer. */
static void answer_heap(struct http1_exchange *exchange, void *context)
{
    (void)context;
    http1_respond_text(exchange, 500, "jemalloc not enabled");
}

static void answer_quit(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    if (!http1_method_is(exchange, "POST")) {
        http1_respond(exchange, 405, NULL, bytes_of(NULL, 0));
        return;
    }
    http1_respond_text(exchange, 200, "shutdown now\n");
    admin->settings.on_quit(admin->settings.context);
}

static void answer_level(struct http1_exchange *exchange)
{
    char filter[LOG_FILTER_TEXT_BYTES];
    log_describe_filter(filter, sizeof filter);
    char *text = string_format("current log level is %s\n", filter);
    http1_respond_text(exchange, 200, text);
    memory_free(text);
}

/* What is given goes on top of the current filter, or with `reset` of that one, the filter at start (§7.1). */
static struct result change_level(const char *level, const char *reset)
{
    char current[LOG_FILTER_TEXT_BYTES];
    const char *base = reset;
    if (base == NULL) {
        log_describe_filter(current, sizeof current);
        base = current;
    }
    char *filter = text_is_empty(level) ? string_duplicate(base) : string_format("%s,%s", base, level);
    struct result changed = log_set_filter(filter);
    memory_free(filter);
    return changed;
}

static bool is_target_character(uint8_t character)
{
    return (character >= 'a' && character <= 'z') || (character >= 'A' && character <= 'Z') ||
           (character >= '0' && character <= '9') || memchr("_:.-", character, 4) != NULL;
}

/* The first target that names no module: it would be shown to whoever asks for the level, so it has no other characters. */
static bool find_bad_target(const char *level, struct bytes *target)
{
    struct bytes rest = bytes_of_string(level);
    struct bytes part;
    while (bytes_split(&rest, ',', &part)) {
        if (memchr(part.data, '=', part.length) == NULL) {
            continue;
        }
        (void)bytes_split(&part, '=', target);
        *target = bytes_trim(*target);
        for (size_t i = 0; i < target->length; i++) {
            if (!is_target_character(target->data[i])) {
                return true;
            }
        }
    }
    return false;
}

/* `harmful` may have come from whoever asks. */
static void refuse_level(struct http1_exchange *exchange, const char *sentence, const char *harmful)
{
    struct writer text = writer_growing();
    writer_add_string(&text, sentence);
    log_line_add_harmless(&text, harmful);
    writer_print(&text, "\n%s", LOGGING_HELP);
    http1_respond_text(exchange, 400, writer_string(&text));
    writer_free(&text);
}

static void answer_changed_level(struct http1_exchange *exchange, const char *level, const char *reset)
{
    struct result changed = level != NULL || reset != NULL ? change_level(level, reset) : result_ok();
    if (result_is_ok(&changed)) {
        answer_level(exchange);
    } else if (changed.code == RESULT_LIMIT) {
        refuse_level(exchange, "Cannot change the level: ", changed.message);
    } else {
        refuse_level(exchange, BAD_LEVEL, level != NULL ? level : "");
    }
}

static void answer_logging(struct http1_exchange *exchange, void *context)
{
    const struct admin *admin = context;
    if (!http1_method_is(exchange, "POST")) {
        char *text = string_format("Invalid HTTP method\n %s", LOGGING_HELP);
        http1_respond_text(exchange, 405, text);
        memory_free(text);
        return;
    }
    char *level = http1_query(exchange, "level");
    char *reset = http1_query(exchange, "reset");
    struct bytes bad_target;
    if (level != NULL && find_bad_target(level, &bad_target)) {
        char *AUTO_FREE target = string_duplicate_n((const char *)bad_target.data, bad_target.length);
        refuse_level(exchange, BAD_LEVEL, target);
    } else {
        answer_changed_level(exchange, level, reset != NULL ? admin->settings.source.configuration->log_filter : NULL);
    }
    memory_free(level);
    memory_free(reset);
}

static const struct http1_route ADMIN_ROUTES[] = {
    { "/", answer_index, 0, true },
    { "/config_dump", answer_config_dump, 0, true },
    { "/quitquitquit", answer_quit, 0, false },
    { "/logging", answer_logging, 0, false },
    { "/debug/connections", answer_connections, 0, true },
    { "/debug/tunnels", answer_tunnels, 0, true },
    { "/debug/refusals", answer_refusals, 0, true },
    { "/debug/workloads", answer_workloads, 0, true },
    { "/debug/policies", answer_policies, 0, true },
    { "/debug/certificates", answer_certificates, 0, true },
    { "/debug/pods", answer_pods, 0, true },
    { "/debug/explain", answer_explain, 0, true },
    { "/debug/pprof/profile", answer_profile, 0, false },
    { "/debug/pprof/heap", answer_heap, 0, false },
    { "/debug/pprof/heap/profiling", answer_heap, 0, false },
};

struct admin *admin_new(struct loop *control, const struct admin_settings *settings)
{
    struct admin *admin = NEW(struct admin);
    admin->settings = *settings;
    const struct http1_server_settings admin_server = { ADMIN_ROUTES, ARRAY_LENGTH(ADMIN_ROUTES), admin, 0,
        "ztunnel::admin" };
    admin->admin_server = http1_server_new(control, &admin_server);
    admin->profile = debug_profile_new(control);
    return admin;
}

struct result admin_listen(struct admin *admin)
{
    const struct configuration *configuration = admin->settings.source.configuration;
    struct socket_address loopback = { .port = configuration->admin_port };
    ip_parse("127.0.0.1", &loopback.ip);
    RESULT_TRY(result_in(control_listener_open(admin->admin_server, &loopback, "admin"), "admin port"));
    if (configuration->ipv6_enabled) {
        ip_parse("::1", &loopback.ip);
        /* A host without IPv6 on its loopback still has an admin port. */
        (void)control_listener_open(admin->admin_server, &loopback, "admin");
    }
    return result_ok();
}

void admin_set_state(struct admin *admin, struct live_view *live, const struct mesh_version *local)
{
    admin->settings.source.live = live;
    admin->settings.source.local = local;
}

void admin_set_pods(struct admin *admin, const struct inpod_manager *pods)
{
    admin->settings.source.pods = pods;
}

void admin_free(struct admin *admin)
{
    if (admin != NULL) {
        http1_server_free(admin->admin_server);
        debug_profile_free(admin->profile);
        memory_free(admin);
    }
}
