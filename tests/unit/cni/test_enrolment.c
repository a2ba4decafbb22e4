/* Enrolments: what is valid, their JSON, their table, their files. */
#include "base/json_writer.h"
#include "base/memory.h"
#include "cni/enrolment.h"
#include "cni/enrolment_store.h"
#include "cni/file.h"
#include "kube/yaml.h"
#include "unit/cni/support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VALID                                                                                                          \
    "{\"namespace\":\"shop\",\"name\":\"web-1.a\",\"serviceAccount\":\"web\",\"uid\":\"uid-1\","                       \
    "\"addresses\":[\"10.77.1.2\",\"fd77:1::2\"],\"netns\":\"/run/netns/x\",\"device\":4,\"inode\":4026532000}"

static struct result parse(const char *json, struct enrolment *enrolment)
{
    struct yaml_stream stream;
    struct result result = yaml_parse(bytes_of_string(json), true, &stream);
    if (result_is_ok(&result)) {
        result = enrolment_from_json(stream.documents[0].root, enrolment);
    }
    yaml_stream_free(&stream);
    return result;
}

static struct enrolment *parsed(const char *json)
{
    struct enrolment *enrolment = enrolment_new();
    assert_ok(parse(json, enrolment));
    return enrolment;
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    struct enrolment *enrolment = parsed(VALID);
    struct writer text = writer_growing();
    struct json_writer json = json_writer_of(&text, false);
    json_write_object_begin(&json);
    enrolment_write_members(enrolment, &json);
    json_write_object_end(&json);
    assert_string_equal(writer_string(&text), VALID);
    struct enrolment *again = parsed(writer_string(&text));
    assert_true(enrolment_is_same(enrolment, again));
    assert_string_equal(again->uid, "uid-1");
    assert_string_equal(again->namespace_path, "/run/netns/x");
    assert_int_equal(again->network.descriptor, -1);
    writer_free(&text);
    enrolment_free(again);
    enrolment_free(enrolment);
}

static void assert_refused(const char *json, const char *expected)
{
    struct enrolment *enrolment = enrolment_new();
    struct result result = parse(json, enrolment);
    if (result_is_ok(&result) || strstr(result.message, expected) == NULL) {
        fail_msg("%s: \"%s\" does not say \"%s\"", json, result.message, expected);
    }
    enrolment_free(enrolment);
}

#define WITH(namespace_, name, account, rest)                                                                          \
    "{\"namespace\":\"" namespace_ "\",\"name\":\"" name "\",\"serviceAccount\":\"" account "\"," rest "}"
#define ADDRESS "\"addresses\":[\"10.0.0.1\"]"

static void names_that_kubernetes_would_refuse_are_refused(void **state)
{
    (void)state;
    assert_refused(WITH("a.b", "n", "s", ADDRESS), "namespace \"a.b\"");
    assert_refused(WITH("a", "Web", "s", ADDRESS), "name \"Web\"");
    assert_refused(WITH("a", "-n", "s", ADDRESS), "name \"-n\"");
    assert_refused(WITH("a", "n..m", "s", ADDRESS), "name \"n..m\"");
    assert_refused(WITH("a", "n_m", "s", ADDRESS), "name \"n_m\"");
    assert_refused(WITH("a", "../n", "s", ADDRESS), "name \"../n\"");
    assert_refused(WITH("a", "n", "", ADDRESS), "service account: missing");
    assert_refused("{\"namespace\":1}", "namespace: not a string");
    assert_refused("[]", "namespace: missing");
}

static void addresses_are_checked(void **state)
{
    (void)state;
    assert_refused(WITH("a", "n", "s", "\"addresses\":[]"), "address: missing");
    assert_refused(WITH("a", "n", "s", "\"addresses\":\"10.0.0.1\""), "addresses: not a list");
    assert_refused(WITH("a", "n", "s", "\"addresses\":[\"10.0.0.256\"]"), "\"10.0.0.256\": not an IP address");
    assert_refused(WITH("a", "n", "s", "\"addresses\":[\"127.0.0.1\"]"), "not an address that other pods can reach");
    assert_refused(WITH("a", "n", "s", "\"addresses\":[\"::\"]"), "not an address that other pods can reach");
    assert_refused(WITH("a", "n", "s", "\"addresses\":[\"10.0.0.1\",\"::ffff:10.0.0.1\"]"), "given twice");
    assert_refused(WITH("a", "n", "s",
                       "\"addresses\":[\"1.1.1.1\",\"1.1.1.2\",\"1.1.1.3\",\"1.1.1.4\",\"1.1.1.5\",\"1.1.1.6\","
                       "\"1.1.1.7\",\"1.1.1.8\",\"1.1.1.9\",\"1.1.1.10\",\"1.1.1.11\",\"1.1.1.12\",\"1.1.1.13\","
                       "\"1.1.1.14\",\"1.1.1.15\",\"1.1.1.16\",\"1.1.1.17\"]"),
        "not a list of at most 16");
}

static void a_uid_is_safe_as_the_name_of_a_file(void **state)
{
    (void)state;
    assert_refused(WITH("a", "n", "s", ADDRESS ",\"uid\":\"\""), "uid \"\"");
    assert_refused(WITH("a", "n", "s", ADDRESS ",\"uid\":\"a/b\""), "uid \"a/b\"");
    assert_refused(WITH("a", "n", "s", ADDRESS ",\"uid\":\"..\""), "uid \"..\"");
    assert_refused(WITH("a", "n", "s", ADDRESS ",\"uid\":\"a b\""), "uid \"a b\"");
}

static void the_order_of_addresses_does_not_matter(void **state)
{
    (void)state;
    struct enrolment *one = parsed(WITH("a", "n", "s", "\"addresses\":[\"10.0.0.1\",\"10.0.0.2\"]"));
    struct enrolment *two = parsed(WITH("a", "n", "s", "\"addresses\":[\"10.0.0.2\",\"10.0.0.1\"]"));
    struct enrolment *three = parsed(WITH("a", "n", "t", "\"addresses\":[\"10.0.0.2\",\"10.0.0.1\"]"));
    assert_true(enrolment_is_same(one, two));
    assert_false(enrolment_is_same(two, three));
    enrolment_free(one);
    enrolment_free(two);
    enrolment_free(three);
}

static void the_table_finds_by_pod_and_by_uid(void **state)
{
    (void)state;
    struct enrolment_table table;
    enrolment_table_open(&table);
    enrolment_table_put(&table, parsed(VALID));
    enrolment_table_put(&table, parsed(VALID)); /* in place of the first */
    assert_int_equal(enrolment_table_count(&table), 1);
    assert_non_null(enrolment_table_find(&table, "shop/web-1.a"));
    assert_non_null(enrolment_table_find_uid(&table, "uid-1"));
    assert_null(enrolment_table_find_uid(&table, "uid-2"));
    enrolment_table_remove(&table, "shop/web-1.a");
    assert_int_equal(enrolment_table_count(&table), 0);
    enrolment_table_put(&table, parsed(VALID));
    enrolment_table_close(&table);
}

static char directory[] = "/tmp/ambar-test-enrolment-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", directory);
    return system(command);
}

static struct enrolment_store open_store(const char *name)
{
    static char state_path[96], overlay_path[96];
    struct enrolment_store store;
    (void)snprintf(state_path, sizeof state_path, "%s/%s/state", directory, name);
    (void)snprintf(overlay_path, sizeof overlay_path, "%s/%s/overlay", directory, name);
    assert_ok(enrolment_store_open(&store, state_path, overlay_path));
    return store;
}

static void the_store_keeps_and_forgets(void **state)
{
    (void)state;
    struct enrolment_store store = open_store("keeps");
    struct enrolment *enrolment = parsed(VALID);
    struct enrolment_table table;
    assert_ok(enrolment_store_save(&store, enrolment));
    assert_ok(enrolment_store_write_overlay(&store, enrolment));
    enrolment_table_open(&table);
    assert_ok(enrolment_store_load(&store, &table));
    const struct enrolment *loaded = enrolment_table_find(&table, "shop/web-1.a");
    assert_non_null(loaded);
    assert_true(enrolment_is_same(loaded, enrolment));
    enrolment_table_close(&table);
    assert_ok(enrolment_store_forget(&store, enrolment));
    assert_ok(enrolment_store_remove_overlay(&store, enrolment));
    assert_ok(enrolment_store_forget(&store, enrolment));
    assert_ok(enrolment_store_remove_overlay(&store, enrolment));
    enrolment_table_open(&table);
    assert_ok(enrolment_store_load(&store, &table));
    assert_int_equal(enrolment_table_count(&table), 0);
    enrolment_table_close(&table);
    enrolment_free(enrolment);
    enrolment_store_close(&store);
}

static void the_overlay_is_a_partial_pod(void **state)
{
    (void)state;
    struct enrolment_store store = open_store("overlay");
    struct enrolment *enrolment = parsed(WITH("null", "1", "s", ADDRESS));
    assert_ok(enrolment_store_write_overlay(&store, enrolment));
    char path[128];
    (void)snprintf(path, sizeof path, "%s/overlay/overlay/null_1.yaml", directory);
    struct writer text = writer_growing();
    struct yaml_stream stream;
    assert_ok(file_read(path, 4096, &text));
    assert_ok(yaml_parse(writer_bytes(&text), false, &stream));
    const struct yaml_node *root = stream.documents[0].root;
    const struct yaml_node *metadata = yaml_get(root, "metadata");
    assert_string_equal(yaml_get(root, "apiVersion")->text, "v1");
    assert_string_equal(yaml_get(root, "kind")->text, "Pod");
    /* Texts, although bare they would be something else. */
    assert_int_equal(yaml_get(metadata, "namespace")->kind, YAML_STRING);
    assert_string_equal(yaml_get(metadata, "namespace")->text, "null");
    assert_int_equal(yaml_get(metadata, "name")->kind, YAML_STRING);
    assert_string_equal(yaml_get(yaml_get(metadata, "annotations"), "ambient.istio.io/redirection")->text, "enabled");
    yaml_stream_free(&stream);
    writer_free(&text);
    enrolment_free(enrolment);
    enrolment_store_close(&store);
}

static void a_state_directory_has_one_agent(void **state)
{
    (void)state;
    struct enrolment_store first = open_store("lock");
    struct enrolment_store second;
    struct result result = enrolment_store_open(&second, first.state_directory, NULL);
    assert_int_equal(result.code, RESULT_UNAVAILABLE);
    enrolment_store_close(&second);
    enrolment_store_close(&first);
}

static void a_file_is_replaced_whole_with_its_mode(void **state)
{
    (void)state;
    char path[96];
    struct stat status;
    struct writer text = writer_growing();
    (void)snprintf(path, sizeof path, "%s/file", directory);
    assert_ok(file_replace(path, bytes_of_string("first, and longer"), 0644));
    assert_ok(file_replace(path, bytes_of_string("second"), 0600));
    assert_ok(file_read(path, 6, &text));
    assert_string_equal(writer_string(&text), "second");
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    struct result result = file_read(path, 5, &text);
    assert_int_equal(result.code, RESULT_LIMIT);
    writer_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(names_that_kubernetes_would_refuse_are_refused),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(a_uid_is_safe_as_the_name_of_a_file),
        cmocka_unit_test(the_order_of_addresses_does_not_matter),
        cmocka_unit_test(the_table_finds_by_pod_and_by_uid),
        cmocka_unit_test(the_store_keeps_and_forgets),
        cmocka_unit_test(the_overlay_is_a_partial_pod),
        cmocka_unit_test(a_state_directory_has_one_agent),
        cmocka_unit_test(a_file_is_replaced_whole_with_its_mode),
    };
    return cmocka_run_group_tests_name("enrolment", tests, make_directory, remove_directory);
}
