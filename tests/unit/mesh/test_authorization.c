/* ztunnel-dataplane §13, and our own rule about what cannot be read. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/authorization.h"

#include <stdio.h>

/* A policy written as it reads: R rule, C clause, M match; then the values added by the test. */
static struct policy_builder *begin(const char *shape)
{
    struct policy_builder *builder = policy_builder_new();
    for (; *shape != '\0'; shape++) {
        if (*shape == 'R') {
            policy_builder_begin_rule(builder);
        } else if (*shape == 'C') {
            policy_builder_begin_clause(builder);
        } else if (*shape == 'M') {
            policy_builder_begin_match(builder);
        }
    }
    return builder;
}

static struct policy *finish_as(struct policy_builder *builder, const char *key, enum policy_scope scope,
    enum policy_action action, bool is_dry_run)
{
    const char *slash = strchr(key, '/');
    struct policy_header header = { .key = TEXT(key),
        .name = TEXT(slash + 1),
        .namespace_ = bytes_of(key, (size_t)(slash - key)),
        .scope = scope,
        .action = action,
        .is_dry_run = is_dry_run };
    struct policy *policy = NULL;
    struct result made = policy_builder_finish(builder, &header, &policy);
    assert_true(result_is_ok(&made));
    policy_builder_free(builder);
    return policy;
}

static struct policy *finish(struct policy_builder *builder, enum policy_action action)
{
    return finish_as(builder, "default/p", POLICY_NAMESPACE, action, false);
}

static bool matches(struct policy *policy, const char *uri, const char *source, const char *destination)
{
    struct spiffe_identity *identity = uri != NULL ? spiffe_identity_parse(TEXT(uri)) : NULL;
    struct authorization_request request = {
        .identity = identity, .source_ip = ip_of(source), .destination = target_of(destination)
    };
    bool does_match = policy_matches(policy, &request);
    spiffe_identity_free(identity);
    return does_match;
}

static bool matches_and_ends(struct policy *policy, const char *uri)
{
    bool does_match = matches(policy, uri, "10.0.0.1", "10.0.0.2:8080");
    policy_release(policy);
    return does_match;
}

#define CLIENT "spiffe://cluster.local/ns/a/sa/client"

static void shapes_match_as_the_table_says(void **state)
{
    (void)state;
    assert_false(matches_and_ends(finish(begin(""), POLICY_ALLOW), CLIENT));     /* no rules */
    assert_true(matches_and_ends(finish(begin("R"), POLICY_ALLOW), CLIENT));     /* no clauses */
    assert_true(matches_and_ends(finish(begin("RC"), POLICY_ALLOW), CLIENT));    /* no matches */
    assert_false(matches_and_ends(finish(begin("RCM"), POLICY_ALLOW), CLIENT));  /* field-less */
    assert_false(matches_and_ends(finish(begin("RCMM"), POLICY_DENY), CLIENT));  /* all field-less */
    assert_true(matches_and_ends(finish(begin("RCMR"), POLICY_ALLOW), CLIENT));  /* rules are alternatives */
    assert_false(matches_and_ends(finish(begin("RCMC"), POLICY_ALLOW), CLIENT)); /* clauses all count */
}

static struct policy *text_policy(enum policy_field field, enum policy_text_kind kind, const char *text)
{
    struct policy_builder *builder = begin("RCM");
    policy_builder_add_text(builder, field, kind, TEXT(text));
    return finish(builder, POLICY_ALLOW);
}

static void principals_compare_without_the_scheme(void **state)
{
    (void)state;
    const enum policy_field field = POLICY_PRINCIPALS;
    assert_true(matches_and_ends(text_policy(field, POLICY_EXACT, "cluster.local/ns/a/sa/client"), CLIENT));
    assert_false(matches_and_ends(text_policy(field, POLICY_EXACT, "cluster.local/ns/a/sa/clien"), CLIENT));
    assert_true(matches_and_ends(text_policy(field, POLICY_PREFIX, "cluster.local/ns/a/"), CLIENT));
    assert_false(matches_and_ends(text_policy(field, POLICY_PREFIX, "spiffe://"), CLIENT));
    assert_true(matches_and_ends(text_policy(field, POLICY_SUFFIX, "/sa/client"), CLIENT));
    assert_false(matches_and_ends(text_policy(field, POLICY_SUFFIX, "/sa/other"), CLIENT));
    assert_true(matches_and_ends(text_policy(field, POLICY_PRESENCE, ""), CLIENT));
    assert_false(matches_and_ends(text_policy(field, POLICY_PRESENCE, ""), NULL));
    assert_false(matches_and_ends(text_policy(field, POLICY_PREFIX, ""), NULL));
}

static void a_negated_principal_holds_without_an_identity(void **state)
{
    (void)state;
    assert_true(matches_and_ends(text_policy(POLICY_NOT_PRINCIPALS, POLICY_PRESENCE, ""), NULL));
    assert_false(matches_and_ends(text_policy(POLICY_NOT_PRINCIPALS, POLICY_PRESENCE, ""), CLIENT));
}

static void the_namespace_of_plaintext_is_empty(void **state)
{
    (void)state;
    assert_true(matches_and_ends(text_policy(POLICY_NAMESPACES, POLICY_EXACT, "a"), CLIENT));
    assert_false(matches_and_ends(text_policy(POLICY_NAMESPACES, POLICY_EXACT, "a"), NULL));
    assert_false(matches_and_ends(text_policy(POLICY_NAMESPACES, POLICY_PRESENCE, ""), NULL));
    assert_true(matches_and_ends(text_policy(POLICY_NOT_NAMESPACES, POLICY_EXACT, "a"), NULL));
}

static void service_accounts_ignore_the_trust_domain(void **state)
{
    (void)state;
    const char *elsewhere = "spiffe://other.domain/ns/a/sa/client";
    struct policy_builder *builder = begin("RCM");
    policy_builder_add_account(builder, POLICY_SERVICE_ACCOUNTS, TEXT("a"), TEXT("client"));
    struct policy *policy = finish(builder, POLICY_ALLOW);
    assert_true(matches(policy, elsewhere, "10.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, "spiffe://other.domain/ns/b/sa/client", "10.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    policy_release(policy);
}

static void add_cidr(struct policy_builder *builder, enum policy_field field, const char *text)
{
    struct cidr cidr;
    assert_true(cidr_parse(text, &cidr));
    policy_builder_add_cidr(builder, field, &cidr);
}

static void addresses_and_ports_look_at_the_connection(void **state)
{
    (void)state;
    struct policy_builder *builder = begin("RCM");
    add_cidr(builder, POLICY_SOURCE_IPS, "10.0.0.0/8");
    add_cidr(builder, POLICY_SOURCE_IPS, "fd00::/8");
    add_cidr(builder, POLICY_NOT_SOURCE_IPS, "10.9.0.0/16");
    policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, 80);
    policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, 443);
    struct policy *policy = finish(builder, POLICY_ALLOW);
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    assert_true(matches(policy, NULL, "fd00::1", "10.0.0.2:443"));
    assert_false(matches(policy, NULL, "10.9.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "11.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:81"));
    policy_release(policy);

    builder = begin("RCM");
    add_cidr(builder, POLICY_DESTINATION_IPS, "0.0.0.0/0");
    policy = finish(builder, POLICY_ALLOW);
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:80"));
    assert_false(matches(policy, NULL, "10.0.0.1", "[fd00::1]:80")); /* no crossing of families */
    policy_release(policy);
}

/* DENY [[{not_principals: [presence]}], [{not_destination_ports: [9090]}]] */
static struct policy *strict_except_9090(void)
{
    struct policy_builder *builder = begin("RCM");
    policy_builder_add_text(builder, POLICY_NOT_PRINCIPALS, POLICY_PRESENCE, TEXT(""));
    policy_builder_begin_clause(builder);
    policy_builder_begin_match(builder);
    policy_builder_add_port(builder, POLICY_NOT_DESTINATION_PORTS, 9090);
    return finish(builder, POLICY_DENY);
}

static void strict_mtls_with_a_port_exception_works_as_in_the_example(void **state)
{
    (void)state;
    struct policy *policy = strict_except_9090();
    assert_true(matches(policy, NULL, "10.0.0.1", "10.0.0.2:8080"));
    assert_false(matches(policy, NULL, "10.0.0.1", "10.0.0.2:9090"));
    assert_false(matches(policy, CLIENT, "10.0.0.1", "10.0.0.2:8080"));
    policy_release(policy);
}

static void what_cannot_be_read_never_allows_and_counts_as_met_in_a_deny(void **state)
{
    (void)state;
    for (int deny = 0; deny < 2; deny++) {
        enum policy_action action = deny ? POLICY_DENY : POLICY_ALLOW;
        struct policy_builder *builder = begin("RCM");
        policy_builder_mark_unparsable(builder, POLICY_SOURCE_IPS);
        assert_int_equal(matches_and_ends(finish(builder, action), CLIENT), deny);

        /* A value beside the unreadable one does not matter. */
        builder = begin("RCM");
        add_cidr(builder, POLICY_SOURCE_IPS, "99.0.0.0/8");
        policy_builder_mark_unparsable(builder, POLICY_SOURCE_IPS);
        assert_int_equal(matches_and_ends(finish(builder, action), CLIENT), deny);
        builder = begin("RCM");
        add_cidr(builder, POLICY_NOT_SOURCE_IPS, "10.0.0.0/8");
        policy_builder_mark_unparsable(builder, POLICY_NOT_SOURCE_IPS);
        assert_int_equal(matches_and_ends(finish(builder, action), CLIENT), deny);

        builder = begin("RCM");
        policy_builder_mark_unknown_field(builder);
        assert_int_equal(matches_and_ends(finish(builder, action), CLIENT), deny);

        /* Other constraints of the match still count. */
        builder = begin("RCM");
        policy_builder_mark_unparsable(builder, POLICY_SOURCE_IPS);
        policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, 9999);
        assert_false(matches_and_ends(finish(builder, action), CLIENT));

        /* A text with a NUL is such a value. */
        builder = begin("RCM");
        policy_builder_add_text(builder, POLICY_PRINCIPALS, POLICY_EXACT, bytes_of("a\0b", 3));
        assert_int_equal(matches_and_ends(finish(builder, action), CLIENT), deny);
    }
}

static void an_unreadable_match_leaves_its_readable_neighbour_alone(void **state)
{
    (void)state;
    struct policy_builder *builder = begin("RCM");
    policy_builder_mark_unparsable(builder, POLICY_SOURCE_IPS);
    policy_builder_begin_match(builder);
    policy_builder_add_port(builder, POLICY_DESTINATION_PORTS, 8080);
    assert_true(matches_and_ends(finish(builder, POLICY_ALLOW), CLIENT));
}

/* The whole walk: what it said, and the verdict. */
struct walk_record {
    char text[512];
};

static void record(void *context, enum authorization_event event, const struct policy *policy, const char *key)
{
    struct walk_record *walk = context;
    const char *message = authorization_event_message(event);
    (void)policy;
    if (message != NULL) {
        size_t used = strlen(walk->text);
        snprintf(walk->text + used, sizeof walk->text - used, "%s%s %s", used > 0 ? "; " : "", message, key);
    }
}

/* `kind`: A allow, D deny, a and d the same as dry runs. `is_match` says whether it matches every connection. */
static void add_policy(struct mesh_fixture *mesh, char kind, const char *key, enum policy_scope scope, bool is_match)
{
    bool is_deny = kind == 'D' || kind == 'd';
    bool is_dry_run = kind == 'a' || kind == 'd';
    struct policy *policy =
        finish_as(begin(is_match ? "R" : "RCM"), key, scope, is_deny ? POLICY_DENY : POLICY_ALLOW, is_dry_run);
    mesh_change_upsert_policy(mesh_fixture_change(mesh), policy);
}

static bool decide(struct mesh_fixture *mesh, struct walk_record *walk, char *reason, size_t capacity)
{
    struct bytes listed[] = { TEXT("default/listed"), TEXT("default/gone") };
    struct workload_spec pod = pod_spec("c//Pod/default/server", "10.0.0.2");
    pod.policy_keys = listed;
    pod.policy_count = 2;
    mesh_fixture_add_workload(mesh, &pod);
    const struct mesh_version *version = mesh_fixture_version(mesh);
    struct authorization_request request = { .source_ip = ip_of("10.0.0.1"), .destination = target_of("10.0.0.2:80") };
    walk->text[0] = '\0';
    struct authorization_verdict verdict =
        mesh_authorize(version, mesh_workload_by_uid(version, TEXT("c//Pod/default/server")), &request, record, walk);
    struct writer writer = writer_fixed(reason, capacity);
    authorization_reason(&verdict, &writer);
    writer_string(&writer);
    assert_int_equal(verdict.unknown_policies, mesh_policy_by_key(version, TEXT("default/listed")) == NULL ? 2 : 1);
    return verdict.is_allowed;
}

static void policies_are_asked_in_order_and_say_so(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct walk_record walk;
    char reason[128];
#define UNKNOWN "skipping unknown policy default/listed; skipping unknown policy default/gone; "
    assert_true(decide(&mesh, &walk, reason, sizeof reason));
    assert_string_equal(walk.text, UNKNOWN "no allow policies, allow ");
    assert_string_equal(reason, "");

    add_policy(&mesh, 'a', "root/dry", POLICY_GLOBAL, false);
    assert_true(decide(&mesh, &walk, reason, sizeof reason));
    assert_string_equal(walk.text, UNKNOWN "dry-run: no allow policies match ; no allow policies, allow ");

    add_policy(&mesh, 'a', "root/dry", POLICY_GLOBAL, true);
    add_policy(&mesh, 'A', "default/never", POLICY_NAMESPACE, false);
    assert_false(decide(&mesh, &walk, reason, sizeof reason));
    assert_string_equal(walk.text, UNKNOWN "dry-run: allow policy match root/dry; no allow policies matched ");
    assert_string_equal(reason, "allow policies exist, but none allowed");

    add_policy(&mesh, 'A', "default/listed", POLICY_WORKLOAD_SELECTOR, true);
    assert_true(decide(&mesh, &walk, reason, sizeof reason));
    assert_string_equal(walk.text,
        "skipping unknown policy default/gone; dry-run: allow policy match root/dry; allow policy match "
        "default/listed");

    add_policy(&mesh, 'd', "default/drill", POLICY_NAMESPACE, true);
    add_policy(&mesh, 'D', "root/stop", POLICY_GLOBAL, true);
    assert_false(decide(&mesh, &walk, reason, sizeof reason));
    assert_string_equal(walk.text,
        "skipping unknown policy default/gone; dry-run: deny policy match default/drill; deny policy match "
        "root/stop");
    assert_string_equal(reason, "explicitly denied by: root/stop");
    mesh_fixture_free(&mesh);
}

static void policies_of_other_namespaces_and_unlisted_selectors_do_not_apply(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct walk_record walk;
    char reason[128];
    add_policy(&mesh, 'D', "other/stop", POLICY_NAMESPACE, true);
    add_policy(&mesh, 'D', "default/unlisted", POLICY_WORKLOAD_SELECTOR, true);
    assert_true(decide(&mesh, &walk, reason, sizeof reason));
    mesh_fixture_free(&mesh);
}

static void a_workload_may_list_many_policies(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    char keys[40][24];
    struct bytes listed[40];
    struct workload_spec pod = pod_spec("c//Pod/default/server", "10.0.0.2");
    for (int i = 0; i < 40; i++) {
        snprintf(keys[i], sizeof keys[i], "default/p%d", i);
        listed[i] = TEXT(keys[i]);
        add_policy(&mesh, 'D', keys[i], POLICY_WORKLOAD_SELECTOR, i == 39);
    }
    pod.policy_keys = listed;
    pod.policy_count = 40;
    mesh_fixture_add_workload(&mesh, &pod);
    const struct mesh_version *version = mesh_fixture_version(&mesh);
    struct authorization_request request = { .source_ip = ip_of("10.0.0.1"), .destination = target_of("10.0.0.2:80") };
    struct authorization_verdict verdict =
        mesh_authorize(version, mesh_workload_by_uid(version, TEXT("c//Pod/default/server")), &request, NULL, NULL);
    assert_false(verdict.is_allowed);
    assert_string_equal(verdict.policy->key, "default/p39");
    mesh_fixture_free(&mesh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_match_as_the_table_says),
        cmocka_unit_test(principals_compare_without_the_scheme),
        cmocka_unit_test(a_negated_principal_holds_without_an_identity),
        cmocka_unit_test(the_namespace_of_plaintext_is_empty),
        cmocka_unit_test(service_accounts_ignore_the_trust_domain),
        cmocka_unit_test(addresses_and_ports_look_at_the_connection),
        cmocka_unit_test(strict_mtls_with_a_port_exception_works_as_in_the_example),
        cmocka_unit_test(what_cannot_be_read_never_allows_and_counts_as_met_in_a_deny),
        cmocka_unit_test(an_unreadable_match_leaves_its_readable_neighbour_alone),
        cmocka_unit_test(policies_are_asked_in_order_and_say_so),
        cmocka_unit_test(policies_of_other_namespaces_and_unlisted_selectors_do_not_apply),
        cmocka_unit_test(a_workload_may_list_many_policies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
