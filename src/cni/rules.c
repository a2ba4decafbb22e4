#include "cni/rules.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"
#include "cni/subprocess.h"

#include <stdio.h>

/* The numbers of cni §7.1: the probe source addresses, the proxy's mark 0x539 and the connection mark 0x111, both within 0xfff; the
 * capture ports 15001, 15006, 15008, 15053. */
#define PROBE_IPV4 "169.254.7.127"
#define PROBE_IPV6 "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"

#define NAT_TABLE "istio-ambient-nat"
#define MANGLE_TABLE "istio-ambient-mangle"
#define RAW_TABLE "istio-ambient-raw"

/* When a rule is wanted. */
enum rule_kind { ALWAYS, IPV6 = 1, DNS = 2, IPV6_DNS = IPV6 | DNS };

struct rule {
    const char *chain;
    const char *text;
    /* What every version of nft shows of it; several spellings of the rest exist. */
    const char *listed;
    enum rule_kind kind;
};

struct rule_table {
    const char *name;
    const char *prerouting; /* the base chains' hooks */
    const char *output;
    const struct rule *rules;
    size_t rule_count;
    bool is_for_dns; /* as a whole */
};

static const struct rule nat_rules[] = {
    { "output", "jump istio-output", "jump istio-output", ALWAYS },
    { "prerouting", "jump istio-prerouting", "jump istio-prerouting", ALWAYS },
    /* The kubelet's probes reach the application directly. */
    { "istio-prerouting", "meta l4proto tcp ip saddr " PROBE_IPV4 " counter accept",
        "ip saddr " PROBE_IPV4 " counter accept", ALWAYS },
    { "istio-prerouting", "meta l4proto tcp ip6 saddr " PROBE_IPV6 " counter accept",
        "ip6 saddr " PROBE_IPV6 " counter accept", IPV6 },
    /* What arrives and is neither HBONE nor the proxy's own goes to the plaintext port. */
    { "istio-prerouting",
        "ip daddr != 127.0.0.1/32 tcp dport != 15008 meta mark and 0xfff != 0x539 counter redirect to :15006",
        "counter redirect to :15006", ALWAYS },
    { "istio-prerouting",
        "ip6 daddr != ::1/128 tcp dport != 15008 meta mark and 0xfff != 0x539 counter redirect to :15006",
        "counter redirect to :15006", IPV6 },
    { "istio-output", "meta l4proto tcp ip daddr " PROBE_IPV4 " counter accept",
        "ip daddr " PROBE_IPV4 " counter accept", ALWAYS },
    { "istio-output", "meta l4proto tcp ip6 daddr " PROBE_IPV6 " counter accept",
        "ip6 daddr " PROBE_IPV6 " counter accept", IPV6 },
    /* DNS, over TCP also where it would stay inside the pod. */
    { "istio-output", "oifname != \"lo\" meta mark and 0xfff != 0x539 udp dport 53 counter redirect to :15053",
        "udp dport 53 counter redirect to :15053", DNS },
    { "istio-output", "ip daddr != 127.0.0.1/32 tcp dport 53 meta mark and 0xfff != 0x539 counter redirect to :15053",
        "counter redirect to :15053", DNS },
    { "istio-output", "ip6 daddr != ::1/128 tcp dport 53 meta mark and 0xfff != 0x539 counter redirect to :15053",
        "counter redirect to :15053", IPV6_DNS },
    /* The application's answers to the proxy; then what stays inside the pod; everything else is captured. */
    { "istio-output", "meta l4proto tcp meta mark and 0xfff == 0x111 counter accept", "counter accept", ALWAYS },
    { "istio-output", "oifname \"lo\" ip daddr != 127.0.0.1/32 counter accept", "oifname \"lo\" ip daddr != 127.0.0.1",
        ALWAYS },
    { "istio-output", "oifname \"lo\" ip6 daddr != ::1/128 counter accept", "oifname \"lo\" ip6 daddr != ::1", IPV6 },
    { "istio-output",
        "meta l4proto tcp ip daddr != 127.0.0.1/32 meta mark and 0xfff != 0x539 counter redirect to :15001",
        "counter redirect to :15001", ALWAYS },
    { "istio-output", "meta l4proto tcp ip6 daddr != ::1/128 meta mark and 0xfff != 0x539 counter redirect to :15001",
        "counter redirect to :15001", IPV6 },
};

static const struct rule mangle_rules[] = {
    { "prerouting", "jump istio-prerouting", "jump istio-prerouting", ALWAYS },
    { "output", "jump istio-output", "jump istio-output", ALWAYS },
    /* A connection that the proxy opened is remembered, and its answers are marked so that they find table 100. */
    { "istio-prerouting", "meta mark and 0xfff == 0x539 counter ct mark set ct mark and 0xfffff000 or 0x111",
        "counter ct mark set", ALWAYS },
    { "istio-output", "ct mark and 0xfff == 0x111 counter meta mark set ct mark", "counter meta mark set ct mark",
        ALWAYS },
};

/* The proxy's own queries get a zone of their own, so that one from the port an application has just used does not meet the
 * application's translated flow. */
static const struct rule raw_rules[] = {
    { "prerouting", "jump istio-prerouting", "jump istio-prerouting", DNS },
    { "output", "jump istio-output", "jump istio-output", DNS },
    { "istio-prerouting", "udp sport 53 meta mark and 0xfff != 0x539 counter ct zone set 1", "counter ct zone set 1",
        DNS },
    { "istio-output", "udp dport 53 meta mark and 0xfff == 0x539 counter ct zone set 1", "counter ct zone set 1", DNS },
};

static const struct rule_table tables[] = {
    { NAT_TABLE, "type nat hook prerouting priority -100;", "type nat hook output priority -100;", nat_rules,
        ARRAY_LENGTH(nat_rules), false },
    { MANGLE_TABLE, "type filter hook prerouting priority -150;", "type route hook output priority -150;", mangle_rules,
        ARRAY_LENGTH(mangle_rules), false },
    { RAW_TABLE, "type filter hook prerouting priority -300;", "type filter hook output priority -300;", raw_rules,
        ARRAY_LENGTH(raw_rules), true },
};

static const char *const chains[] = { "prerouting", "output", "istio-prerouting", "istio-output" };

static bool is_wanted(const struct rule *rule, const struct rules_choice *choice)
{
    return ((rule->kind & IPV6) == 0 || choice->with_ipv6) && ((rule->kind & DNS) == 0 || choice->with_dns);
}

/* Deleting a table that is not there would undo the whole transaction. */
static void write_deletion(const char *table, struct writer *out)
{
    writer_print(out, "add table inet %s\ndelete table inet %s\n", table, table);
}

static void write_table(const struct rule_table *table, const struct rules_choice *choice, struct writer *out)
{
    if (table->is_for_dns && !choice->with_dns) {
        write_deletion(table->name, out);
        return;
    }
    writer_print(out, "add table inet %s\nflush table inet %s\n", table->name, table->name);
    writer_print(out, "add chain inet %s prerouting { %s }\n", table->name, table->prerouting);
    writer_print(out, "add chain inet %s output { %s }\n", table->name, table->output);
    writer_print(out, "add chain inet %s istio-prerouting\nadd chain inet %s istio-output\n", table->name, table->name);
    for (size_t i = 0; i < table->rule_count; i++) {
        const struct rule *rule = &table->rules[i];
        if (is_wanted(rule, choice)) {
            writer_print(out, "add rule inet %s %s %s\n", table->name, rule->chain, rule->text);
        }
    }
}

void rules_write_script(const struct rules_choice *choice, struct writer *out)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        write_table(&tables[i], choice, out);
    }
}

void rules_write_removal(struct writer *out)
{
    static const char *const names[] = { NAT_TABLE, MANGLE_TABLE, RAW_TABLE };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        write_deletion(names[i], out);
    }
}

/* What lies between the line that begins with `opening` and the line that closes its brace; data is NULL when there is no such line.
 * nft indents by one tab a level. */
static struct bytes block_of(struct bytes text, const char *opening, const char *closing)
{
    struct bytes rest = text;
    struct bytes line;
    struct bytes block = { NULL, 0 };
    while (bytes_split(&rest, '\n', &line)) {
        if (block.data == NULL && bytes_equal_string(line, opening)) {
            block.data = line.data + line.length;
        } else if (block.data != NULL && bytes_equal_string(line, closing)) {
            block.length = (size_t)(line.data - block.data);
            return block;
        }
    }
    return (struct bytes){ NULL, 0 };
}

static bool line_shows(struct bytes line, const char *listed)
{
    return memmem(line.data, line.length, listed, strlen(listed)) != NULL;
}

/* The next line of a chain that is a rule. */
static bool next_rule(struct bytes *rest, struct bytes *rule)
{
    while (bytes_split(rest, '\n', rule)) {
        *rule = bytes_trim(*rule);
        bool is_hook = rule->length >= 5 && memcmp(rule->data, "type ", 5) == 0;
        if (rule->length > 0 && !is_hook) {
            return true;
        }
    }
    return false;
}

static struct result check_chain(
    const struct rule_table *table, const char *chain, struct bytes block, const struct rules_choice *choice)
{
    struct bytes line;
    for (size_t i = 0; i < table->rule_count; i++) {
        const struct rule *rule = &table->rules[i];
        if (strcmp(rule->chain, chain) != 0 || !is_wanted(rule, choice)) {
            continue;
        }
        if (!next_rule(&block, &line) || !line_shows(line, rule->listed)) {
            return result_fail(
                RESULT_INVALID, "table %s, chain %s: missing or out of order: %s", table->name, chain, rule->text);
        }
    }
    if (next_rule(&block, &line)) {
        return result_fail(RESULT_INVALID, "table %s, chain %s: a rule that is not ours: %.*s", table->name, chain,
            (int)line.length, (const char *)line.data);
    }
    return result_ok();
}

static struct result check_table(
    struct bytes listing, const struct rule_table *table, const struct rules_choice *choice)
{
    char opening[96];
    (void)snprintf(opening, sizeof opening, "table inet %s {", table->name);
    struct bytes block = block_of(listing, opening, "}");
    if (block.data == NULL) {
        return result_fail(RESULT_INVALID, "table %s is missing", table->name);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(chains); i++) {
        (void)snprintf(opening, sizeof opening, "\tchain %s {", chains[i]);
        struct bytes chain = block_of(block, opening, "\t}");
        if (chain.data == NULL) {
            return result_fail(RESULT_INVALID, "table %s, chain %s is missing", table->name, chains[i]);
        }
        RESULT_TRY(check_chain(table, chains[i], chain, choice));
    }
    return result_ok();
}

struct result rules_check_listing(const char *listing, const struct rules_choice *choice)
{
    for (size_t i = 0; i < ARRAY_LENGTH(tables); i++) {
        if (!tables[i].is_for_dns || choice->with_dns) {
            RESULT_TRY(check_table(bytes_of_string(listing), &tables[i], choice));
        }
    }
    return result_ok();
}

static struct result run_nft(const char *const *arguments, const struct network_namespace *namespace_,
    struct writer *input, struct writer *output)
{
    const struct subprocess nft = {
        .arguments = arguments,
        .namespace_ = namespace_,
        .input = writer_bytes(input),
        .timeout_ms = RULES_TIMEOUT_MS,
        .output = output,
    };
    return subprocess_run(&nft);
}

static struct result run_script(const char *nft_path, const struct network_namespace *namespace_, struct writer *script)
{
    const char *const arguments[] = { nft_path, "-f", "-", NULL };
    struct writer output = writer_growing();
    struct result result = run_nft(arguments, namespace_, script, &output);
    writer_free(&output);
    writer_free(script);
    return result;
}

struct result rules_apply(
    const char *nft_path, const struct network_namespace *namespace_, const struct rules_choice *choice)
{
    struct writer script = writer_growing();
    rules_write_script(choice, &script);
    return run_script(nft_path, namespace_, &script);
}

struct result rules_remove(const char *nft_path, const struct network_namespace *namespace_)
{
    struct writer script = writer_growing();
    rules_write_removal(&script);
    return run_script(nft_path, namespace_, &script);
}

struct result rules_verify(
    const char *nft_path, const struct network_namespace *namespace_, const struct rules_choice *choice)
{
    const char *const arguments[] = { nft_path, "-s", "list", "ruleset", "inet", NULL };
    struct writer nothing = writer_growing();
    struct writer listing = writer_growing();
    struct result result = run_nft(arguments, namespace_, &nothing, &listing);
    if (result_is_ok(&result)) {
        result = rules_check_listing(writer_string(&listing), choice);
    }
    writer_free(&listing);
    return result;
}
