#include "ztunnel/admin_page_parts.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/certificate_bundle.h"
#include "tls/identity.h"
#include "ztunnel/certificate_dump.h"
#include "ztunnel/html.h"

#include <stdio.h>

/* A certificate with less than this share of its life left has missed its renewals (which come at half of it). */
#define LATE_SHARE 4

static const char STYLE[] =
    ":root{color-scheme:light "
    "dark;--back:#f7f8fa;--card:#fff;--text:#1c2330;--soft:#5b6678;--line:#e3e7ee;--accent:#2459d3;"
    "--good:#157347;--bad:#b3261e;--warn:#8a5a00;--row:#f2f5fa}"
    "@media(prefers-color-scheme:dark){:root{--back:#11151c;--card:#191f29;--text:#e6eaf2;--soft:#9aa6b8;--line:#"
    "2a3342;"
    "--accent:#8ab0ff;--good:#5fd39a;--bad:#ff8f87;--warn:#f1c06a;--row:#202837}}"
    "*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--text);"
    "font:15px/1.45 system-ui,-apple-system,'Segoe UI',sans-serif}"
    "header,main,footer{max-width:1500px;margin:0 auto;padding:0 24px}"
    "header{padding-top:24px;display:flex;flex-wrap:wrap;gap:8px 24px;align-items:baseline}"
    "h1{font-size:22px;margin:0}h2{font-size:16px;margin:0}a{color:var(--accent)}.soft{color:var(--soft)}"
    "nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin-left:auto}"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:20px 0}"
    ".tile{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px "
    "16px;text-decoration:none;color:inherit}"
    ".tile b{display:block;font-size:26px;line-height:1.2;font-variant-numeric:tabular-nums}"
    ".tile.bad{border-color:var(--bad)}.bad{color:var(--bad)}.good{color:var(--good)}.warn{color:var(--warn)}"
    ".tools{display:flex;flex-wrap:wrap;gap:12px;margin:0 0 16px}form{display:flex;flex-wrap:wrap;gap:8px}"
    "input,button{font:inherit;color:inherit;background:var(--card);border:1px solid "
    "var(--line);border-radius:8px;padding:6px 10px}"
    "button{color:var(--accent);cursor:pointer}input:focus-visible,button:focus-visible,a:focus-visible,th:focus-"
    "visible{"
    "outline:2px solid var(--accent);outline-offset:1px}"
    "section{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:0 0 16px}"
    "section>div:first-child{padding:12px 16px;display:flex;gap:12px;align-items:baseline;flex-wrap:wrap}"
    ".scroll{overflow:auto;max-height:55vh}table{border-collapse:collapse;width:100%;font-size:13px}"
    "th{position:sticky;top:0;background:var(--card);text-align:left;font-weight:600;color:var(--soft);white-space:"
    "nowrap;cursor:pointer;"
    "border-bottom:1px solid var(--line)}th[aria-sort=ascending]::after{content:' "
    "\\2191'}th[aria-sort=descending]::after{content:' \\2193'}"
    "th,td{padding:5px "
    "12px}th:first-child,td:first-child{padding-left:16px}small{display:block;color:var(--soft);font:12px/1.4 "
    "ui-monospace,monospace}td{border-top:1px solid var(--line);vertical-align:top}tbody "
    "tr:hover{background:var(--row)}"
    "td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}td.a{font-family:ui-monospace,"
    "monospace;white-space:nowrap}"
    "td.w{min-width:22em}td.r{min-width:28em}"
    ".empty{padding:0 16px 14px;color:var(--soft)}table:has(tbody tr)+.empty{display:none}table:not(:has(tbody "
    "tr)){display:none}"
    "footer{padding-bottom:32px}footer table{width:auto}footer td{border:0;padding:2px 24px 2px "
    "0}code{font-family:ui-monospace,monospace}";

static const char SCRIPT[] =
    "'use strict';"
    "const key=(row,i)=>{const c=row.cells[i];return c.dataset.key??c.textContent};"
    "const sort=(table,i,down)=>{const body=table.tBodies[0],rows=[...body.rows];"
    "rows.sort((a,b)=>{const "
    "x=key(a,i),y=key(b,i),n=x-y;return(Number.isNaN(n)||x===''||y===''?x.localeCompare(y):n)*(down?-1:1)});"
    "body.append(...rows);"
    "[...table.tHead.rows[0].cells].forEach((h,j)=>h.setAttribute('aria-sort',j===i?down?'descending':'ascending':'"
    "none'))};"
    "for(const table of document.querySelectorAll('section table')){"
    "const heads=[...table.tHead.rows[0].cells];"
    "heads.forEach((h,i)=>{h.tabIndex=0;const go=()=>sort(table,i,h.getAttribute('aria-sort')==='ascending');"
    "h.addEventListener('click',go);h.addEventListener('keydown',e=>{if(e.key==='Enter')go()})});"
    "const first=table.dataset.sort;if(first)sort(table,Math.abs(first)-1,first<0)}"
    "const filter=document.getElementById('filter');filter.hidden=false;"
    "filter.addEventListener('input',()=>{const wanted=filter.value.toLowerCase();"
    "for(const row of document.querySelectorAll('section tbody "
    "tr'))row.hidden=!row.textContent.toLowerCase().includes(wanted)});";

void page_write_head(
    struct writer *out, const struct config_dump_source *source, const char *nonce, const char *refresh)
{
    const struct configuration *configuration = source->configuration;
    const char *node = configuration->node_name;
    char time[40];
    clock_format_rfc3339(clock_wall_ns(), 0, time);
    writer_add_string(out, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                           "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    if (refresh != NULL) {
        writer_print(out, "<meta http-equiv=\"refresh\" content=\"%s\">", refresh);
    }
    writer_add_string(out, "<title>ztunnel ");
    html_add_text(out, node);
    writer_print(out, "</title><style nonce=\"%s\">%s</style></head><body>\n<header><h1>ztunnel ", nonce, STYLE);
    html_add_text(out, node);
    writer_add_string(out, "</h1><span class=\"soft\">");
    writer_print(out, "%s mode, %u workers, ambar " AMBAR_VERSION ", %s",
        configuration->proxy_mode == PROXY_MODE_SHARED ? "shared" : "dedicated", configuration->worker_count, time);
    writer_print(out,
        "</span><nav><a href=\"#refusals\">refusals</a><a href=\"#connections\">connections</a>"
        "<a href=\"#tunnels\">tunnels</a><a href=\"#certificates\">certificates</a><a href=\"#pods\">pods</a>"
        "<a href=\"#policies\">policies</a><a href=\"#links\">everything else</a><a "
        "href=\"%s\">%s</a></nav></header>\n<main>\n",
        refresh != NULL ? "/" : "/?refresh=5", refresh != NULL ? "stop refreshing" : "refresh every 5 s");
}

struct certificate_counts {
    uint64_t all, unavailable, late;
    int64_t soonest_s; /* seconds left, of the one that expires first */
};

static bool is_late(const struct certificate_bundle *bundle, int64_t now_s)
{
    return bundle->not_after_s - now_s < (bundle->not_after_s - bundle->not_before_s) / LATE_SHARE;
}

static void count_certificate(const struct certificate_view *view, void *context)
{
    struct certificate_counts *counts = context;
    int64_t now_s = clock_wall_s();
    counts->all++;
    counts->unavailable += view->state == CERTIFICATE_UNAVAILABLE;
    if (view->certificate != NULL) {
        const struct certificate_bundle *bundle = view->certificate->bundle;
        int64_t left_s = bundle->not_after_s - now_s;
        counts->late += is_late(bundle, now_s);
        counts->soonest_s = left_s < counts->soonest_s ? left_s : counts->soonest_s;
    }
}

struct pod_counts {
    uint64_t all, pending, unproven;
};

static void count_pod(const struct inpod_view *view, void *context)
{
    struct pod_counts *counts = context;
    counts->all++;
    counts->pending += !view->is_up;
    counts->unproven += view->enrolment->state == ENROLMENT_FAILED;
}

static void write_tile(
    struct writer *out, const char *target, uint64_t number, const char *title, const char *note, bool is_bad)
{
    writer_print(out, "<a class=\"tile%s\" href=\"#%s\">%s<b class=\"%s\">%llu</b><span class=\"%s\">%s</span></a>\n",
        is_bad ? " bad" : "", target, title, is_bad ? "bad" : "", (unsigned long long)number, is_bad ? "bad" : "soft",
        note);
}

static void write_certificate_tile(struct writer *out, const struct config_dump_source *source)
{
    struct certificate_counts counts = { .soonest_s = INT64_MAX };
    certificate_store_visit(source->certificates, count_certificate, &counts);
    char left[32];
    char note[96];
    if (counts.unavailable > 0) {
        snprintf(note, sizeof note, "%llu unavailable", (unsigned long long)counts.unavailable);
    } else if (counts.soonest_s == INT64_MAX) {
        snprintf(note, sizeof note, "none fetched yet");
    } else if (counts.soonest_s <= 0) {
        snprintf(note, sizeof note, "one has expired");
    } else {
        human_duration((uint64_t)counts.soonest_s * NANOSECONDS_PER_SECOND, left);
        snprintf(note, sizeof note, "the first expires in %s", left);
    }
    write_tile(out, "certificates", counts.all, "Certificates", note, counts.unavailable > 0 || counts.late > 0);
}

static void write_pod_tile(struct writer *out, const struct config_dump_source *source)
{
    struct pod_counts counts = { 0 };
    if (source->pods == NULL) {
        return;
    }
    inpod_manager_visit(source->pods, count_pod, &counts);
    char note[96];
    snprintf(note, sizeof note, "%llu pending, %llu enrolments not proven", (unsigned long long)counts.pending,
        (unsigned long long)counts.unproven);
    write_tile(out, "pods", counts.all, "Pods", note, counts.pending > 0 || counts.unproven > 0);
}

void page_write_summary(struct writer *out, const struct config_dump_source *source, const struct mesh_version *version,
    const struct page_counts *counts)
{
    char note[96];
    writer_add_string(out, "<div class=\"tiles\">\n");
    write_tile(out, "refusals", counts->refusals, "Failed connections", "since the start", false);
    write_tile(out, "connections", counts->connections, "Connections", "live", false);
    snprintf(note, sizeof note, "%llu ours, %llu of others", (unsigned long long)counts->tunnels_out,
        (unsigned long long)counts->tunnels_in);
    write_tile(out, "tunnels", counts->tunnels_out + counts->tunnels_in, "Tunnels", note, false);
    write_certificate_tile(out, source);
    write_pod_tile(out, source);
    snprintf(note, sizeof note, "%zu services, %zu policies", mesh_version_service_count(version),
        mesh_version_policy_count(version));
    write_tile(out, "policies", mesh_version_workload_count(version), "Workloads known", note,
        mesh_version_workload_count(version) == 0);
    writer_add_string(out,
        "</div>\n<div class=\"tools\"><input id=\"filter\" type=\"search\" placeholder=\"filter every table\" "
        "aria-label=\"filter every table\" hidden>"
        "<form action=\"/debug/explain\"><input name=\"source\" placeholder=\"from: pod or address\" "
        "aria-label=\"from\" required><input name=\"destination\" placeholder=\"to: host:port\" aria-label=\"to\" "
        "required>"
        "<button>explain</button></form></div>\n");
}

void page_begin_table(struct writer *out, const char *id, const char *title, const char *note, const char *sorted_by,
    const char *const *columns, size_t count)
{
    writer_print(out,
        "<section id=\"%s\"><div><h2>%s</h2><span class=\"soft\">%s</span></div><div class=\"scroll\"><table "
        "data-sort=\"%s\"><thead><tr>",
        id, title, note, sorted_by);
    for (size_t i = 0; i < count; i++) {
        writer_print(out, "<th scope=\"col\">%s</th>", columns[i]);
    }
    writer_add_string(out, "</tr></thead><tbody>\n");
}

void page_end_table(struct writer *out)
{
    writer_add_string(out, "</tbody></table><p class=\"empty\">none</p></div></section>\n");
}

static void write_left(struct writer *out, const struct certificate_bundle *bundle, int64_t now_s)
{
    char text[32];
    char key[24];
    int64_t left_s = bundle->not_after_s - now_s;
    snprintf(key, sizeof key, "%lld", (long long)left_s);
    if (left_s <= 0) {
        html_add_cell_of(out, "n bad", "expired", key);
        return;
    }
    html_add_cell_of(out, is_late(bundle, now_s) ? "n warn" : "n",
        human_duration((uint64_t)left_s * NANOSECONDS_PER_SECOND, text), key);
}

static void write_certificate(const struct certificate_view *view, void *context)
{
    struct writer *out = context;
    const struct certificate_bundle *bundle = view->certificate != NULL ? view->certificate->bundle : NULL;
    char *AUTO_FREE state = certificate_state_text(view);
    int64_t now_s = clock_wall_s();
    writer_add_string(out, "<tr>");
    html_add_cell_of(out, "a", view->identity, NULL);
    html_add_cell_of(out,
        view->state == CERTIFICATE_AVAILABLE     ? "good"
        : view->state == CERTIFICATE_UNAVAILABLE ? "bad w"
                                                 : "warn",
        state, NULL);
    if (bundle != NULL) {
        char text[32];
        char time[40];
        uint64_t age_s = now_s > bundle->not_before_s ? (uint64_t)(now_s - bundle->not_before_s) : 0;
        html_add_number_cell(out, human_duration(age_s * NANOSECONDS_PER_SECOND, text), age_s);
        write_left(out, bundle, now_s);
        clock_format_rfc3339_s(bundle->not_after_s, time);
        html_add_cell_of(out, "a", time, NULL);
        html_add_cell_of(out, "a", bundle->serial, NULL);
    } else {
        writer_add_string(out, "<td></td><td data-key=\"0\"></td><td></td><td></td>");
    }
    writer_add_string(out, "</tr>\n");
}

void page_write_certificates(struct writer *out, const struct config_dump_source *source)
{
    static const char *const COLUMNS[] = { "Identity", "State", "Age", "Left", "Expires", "Serial" };
    page_begin_table(
        out, "certificates", "Certificates", "renewed at half of their life", "4", COLUMNS, ARRAY_LENGTH(COLUMNS));
    certificate_store_visit(source->certificates, write_certificate, out);
    page_end_table(out);
}

static void write_pod(const struct inpod_view *view, void *context)
{
    struct writer *out = context;
    const struct enrolment_report *enrolment = view->enrolment;
    bool is_bad = enrolment->state == ENROLMENT_FAILED;
    writer_add_string(out, "<tr>");
    html_add_cell(out, view->namespace_, NULL);
    html_add_cell(out, view->name, NULL);
    html_add_cell(out, view->service_account, NULL);
    html_add_cell_of(out, view->is_up ? "good" : "bad", view->is_up ? "Up" : "Pending", NULL);
    html_add_cell_of(out,
        enrolment->state == ENROLMENT_PROVEN ? "good"
        : is_bad                             ? "bad"
                                             : "warn",
        enrolment_state_name(enrolment->state), NULL);
    html_add_cell_of(out, "w", view->failure != NULL ? view->failure : enrolment->reason, NULL);
    html_add_cell_of(out, "a", view->uid, NULL);
    writer_add_string(out, "</tr>\n");
}

void page_write_pods(struct writer *out, const struct config_dump_source *source)
{
    static const char *const COLUMNS[] = { "Namespace", "Name", "Service account", "State", "Enrolment", "Why", "Uid" };
    page_begin_table(out, "pods", "Pods of this node", "each proven to be captured, at its start and now and then", "1",
        COLUMNS, ARRAY_LENGTH(COLUMNS));
    if (source->pods != NULL) {
        inpod_manager_visit(source->pods, write_pod, out);
    }
    page_end_table(out);
}

static void write_policy(struct writer *out, const struct policy *policy)
{
    static const char *const SCOPES[] = { "Global", "Namespace", "WorkloadSelector" };
    writer_add_string(out, "<tr>");
    html_add_cell(out, policy->namespace_, NULL);
    html_add_cell(out, policy->name, NULL);
    html_add_cell_of(
        out, policy->action == POLICY_DENY ? "bad" : "good", policy->action == POLICY_DENY ? "Deny" : "Allow", NULL);
    html_add_cell(out, SCOPES[policy->scope], NULL);
    html_add_number_cell(out, NULL, policy->rule_count);
    html_add_cell(out, policy->is_dry_run ? "dry run" : "enforced", NULL);
    writer_add_string(out, "</tr>\n");
}

void page_write_policies(struct writer *out, const struct mesh_version *version)
{
    static const char *const COLUMNS[] = { "Namespace", "Name", "Action", "Scope", "Rules", "Mode" };
    char note[96];
    size_t total = mesh_version_policy_count(version);
    snprintf(
        note, sizeof note, "%zu known; %d are shown at most, /debug/policies has all", total, PAGE_POLICIES_MAXIMUM);
    page_begin_table(out, "policies", "Policies", note, "1", COLUMNS, ARRAY_LENGTH(COLUMNS));
    struct persistent_map_iterator iterator;
    const struct policy *policy;
    mesh_policies_begin(version, &iterator);
    for (int i = 0; i < PAGE_POLICIES_MAXIMUM && (policy = mesh_policies_next(&iterator)) != NULL; i++) {
        write_policy(out, policy);
    }
    page_end_table(out);
}

void page_write_foot(struct writer *out, const char *nonce)
{
    static const struct {
        const char *path, *text;
    } LINKS[] = {
        { "config_dump", "DUMP: current ztunnel state in JSON, as istioctl reads it" },
        { "debug/connections", "live connections with their stages, JSON" },
        { "debug/tunnels", "live tunnels, JSON" },
        { "debug/refusals", "the last failures with their events, JSON" },
        { "debug/workloads", "workloads, JSON" },
        { "debug/policies", "policies, JSON" },
        { "debug/certificates", "certificates, JSON" },
        { "debug/pods", "pods of this node, JSON" },
        { "debug/pprof/profile", "a CPU profile of 10 s, pprof" },
        { "debug/pprof/heap", "not in this build: answers as builds without jemalloc do" },
    };
    writer_add_string(out, "</main>\n<footer id=\"links\"><h2>Everything else</h2><table>");
    for (size_t i = 0; i < ARRAY_LENGTH(LINKS); i++) {
        writer_print(out, "<tr><td><a href=\"%s\">%s</a></td><td class=\"soft\">%s</td></tr>", LINKS[i].path,
            LINKS[i].path, LINKS[i].text);
    }
    writer_print(out,
        "<tr><td>logging</td><td class=\"soft\"><code>POST</code> shows or changes log levels: "
        "<code>?level=access=debug</code>, "
        "<code>?reset</code></td></tr><tr><td>quitquitquit</td><td class=\"soft\"><code>POST</code> shuts down "
        "gracefully</td></tr>"
        "</table></footer>\n<script nonce=\"%s\">%s</script></body></html>\n",
        nonce, SCRIPT);
}
