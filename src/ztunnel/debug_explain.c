#include "ztunnel/debug_explain.h"

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "ztunnel/certificate_dump.h"
#include "ztunnel/explanation.h"

/* Looks for one identity among the certificates. */
struct certificate_search {
    struct certificate_store *certificates;
    const char *identity;
    char *state; /* owned; NULL: not found */
};

static void compare_identity(const struct certificate_view *view, void *context)
{
    struct certificate_search *search = context;
    if (search->state == NULL && text_equal(view->identity, search->identity)) {
        search->state = certificate_state_text(view);
    }
}

static const char *find_certificate(void *context, const char *identity)
{
    struct certificate_search *search = context;
    search->identity = identity;
    certificate_store_visit(search->certificates, compare_identity, search);
    return search->state;
}

static void answer(
    struct http1_exchange *exchange, const struct config_dump_source *source, const char *from, const char *to)
{
    static const struct illegal_ports ILLEGAL_PORTS = { { OUTBOUND_PORT, INBOUND_PLAINTEXT_PORT, INBOUND_HBONE_PORT },
        3 };
    const struct configuration *configuration = source->configuration;
    struct certificate_search search = { .certificates = source->certificates };
    struct mesh_version *version = mesh_publication_reference(source->publication);
    const struct explanation_request request = {
        .version = version,
        .source = from,
        .destination = to,
        .cluster_domain = configuration->cluster_domain,
        .node_name = configuration->node_name,
        .illegal_ports = &ILLEGAL_PORTS,
        .tunnels_by_loopback = configuration->localhost_application_tunnel,
        .seed = random_u64(),
        .certificate_state = find_certificate,
        .context = &search,
    };
    struct writer out = writer_growing();
    struct json_writer json = json_writer_of(&out, true);
    struct result problem;
    if (explanation_write(&request, &json, &problem)) {
        http1_respond(exchange, 200, "application/json", writer_bytes(&out));
    } else {
        char *AUTO_FREE text = string_format("%s\n", problem.message);
        http1_respond_text(exchange, problem.code == RESULT_NOT_FOUND ? 404 : 400, text);
    }
    writer_free(&out);
    memory_free(search.state);
    mesh_version_release(version);
}

void debug_answer_explain(struct http1_exchange *exchange, const struct config_dump_source *source)
{
    char *AUTO_FREE from = http1_query(exchange, "source");
    char *AUTO_FREE to = http1_query(exchange, "destination");
    if (text_is_empty(from) || text_is_empty(to)) {
        http1_respond_text(exchange, 400, "usage: /debug/explain?source=NAME_OR_ADDRESS&destination=HOST:PORT\n");
        return;
    }
    answer(exchange, source, from, to);
}
