#include "ztunnel/revoked_tunnels.h"

#include "tls/alert.h"
#include "tls/record_layer.h"
#include "tls/revocation.h"
#include "ztunnel/inbound.h"
#include "ztunnel/inner_tunnel.h"
#include "ztunnel/metrics.h"
#include "ztunnel/pod.h"
#include "ztunnel/worker.h"

#define REASON "connection closed: peer certificate revoked by CRL"

static void count(struct worker *worker, const char *reporter)
{
    metric_count_labelled(worker->metrics, METRIC_CRL_REJECTIONS, &reporter, 1);
}

void revoked_tunnels_count_refusal(struct worker *worker, const struct tls_handshake *handshake, const char *reporter)
{
    if (tls_handshake_sent_alert(handshake) == TLS_ALERT_CERTIFICATE_REVOKED) {
        count(worker, reporter);
    }
}

void revoked_tunnels_count_untracked(struct worker *worker, const struct record_layer *layer, const char *reporter)
{
    if (layer->peer_chain != NULL) {
        return;
    }
    struct revocation_lists *lists = revocation_in_force();
    if (lists != NULL) {
        metric_count_labelled(worker->metrics, METRIC_CRL_UNTRACKED, &reporter, 1);
        revocation_lists_release(lists);
    }
}

static bool is_revoked(const struct hbone_session *session, const struct revocation_lists *lists)
{
    const struct certificate_list *chain = hbone_session_peer_chain(session);
    return chain != NULL && revocation_lists_revoke(lists, chain);
}

/* Closing a tunnel ends its streams, whose ends may free other tunnels that were draining: each search begins anew. */
static struct inbound_tunnel *next_inbound(const struct pod *pod, const struct revocation_lists *lists)
{
    LIST_FOR_EACH(link, &pod->inbound_tunnels) {
        struct inbound_tunnel *tunnel = LIST_ENTRY(link, struct inbound_tunnel, link);
        bool is_live =
            tunnel->session != NULL && !tunnel->has_session_ended && !hbone_session_is_ending(tunnel->session);
        if (is_live && is_revoked(tunnel->session, lists)) {
            return tunnel;
        }
    }
    return NULL;
}

struct search {
    const struct revocation_lists *lists;
    struct hbone_session *found;
};

static void visit_outbound(void *context, const struct hbone_pool_key *key, struct hbone_session *session)
{
    (void)key;
    struct search *search = context;
    if (search->found == NULL && !hbone_session_is_ending(session) && is_revoked(session, search->lists)) {
        search->found = session;
    }
}

static struct hbone_session *next_outbound(const struct pod *pod, const struct revocation_lists *lists)
{
    struct search search = { lists, NULL };
    hbone_pool_for_each(pod->tunnels, visit_outbound, &search);
    LIST_FOR_EACH(link, &pod->inner_tunnels) {
        struct hbone_session *inner = inner_tunnel_session(link);
        if (inner != NULL) {
            visit_outbound(&search, NULL, inner);
        }
    }
    return search.found;
}

static void cut_in_pod(struct worker *worker, struct pod *pod, const struct revocation_lists *lists)
{
    struct inbound_tunnel *tunnel;
    struct hbone_session *session;
    pod->is_held = true;
    while ((tunnel = next_inbound(pod, lists)) != NULL) {
        count(worker, "destination");
        inbound_tunnel_close(tunnel, REASON);
    }
    while ((session = next_outbound(pod, lists)) != NULL) {
        count(worker, "source");
        hbone_session_close(session, REASON);
    }
    pod->is_held = false;
    pod_check_drained(pod);
}

void revoked_tunnels_cut(struct worker *worker, void *context)
{
    (void)context;
    struct revocation_lists *lists = revocation_in_force();
    if (lists == NULL) {
        return;
    }
    LIST_FOR_EACH(link, &worker->pods) {
        cut_in_pod(worker, LIST_ENTRY(link, struct pod, link), lists);
    }
    revocation_lists_release(lists);
}
