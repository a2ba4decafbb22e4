/* A folder's last good state, its overlay, and its watch. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/writer.h"
#include "kube/folder.h"
#include "kube/pod.h"
#include "net/loop.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char *top;
static struct kube_folder *folder;

static int set_up(void **state)
{
    (void)state;
    top = string_duplicate("/tmp/ambar-test-folder-XXXXXX");
    if (mkdtemp(top) == NULL) {
        return 1;
    }
    char *AUTO_FREE base = string_format("%s/base", top);
    char *AUTO_FREE overlay = string_format("%s/overlay", top);
    mkdir(base, 0700);
    mkdir(overlay, 0700);
    folder = kube_folder_new(base, overlay);
    return 0;
}

static int remove_path(const char *path, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    kube_folder_free(folder);
    nftw(top, remove_path, 16, FTW_DEPTH | FTW_PHYS);
    memory_free(top);
    return 0;
}

/* `name` is relative to the test's directory. */
static void write_file(const char *name, const char *text)
{
    char *AUTO_FREE path = string_format("%s/%s", top, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void remove_file(const char *name)
{
    char *AUTO_FREE path = string_format("%s/%s", top, name);
    assert_int_equal(unlink(path), 0);
}

#define POD(name, node) "apiVersion: v1\nkind: Pod\nmetadata: {name: " name "}\nspec: {nodeName: " node "}\n"

static const char *node_of(const char *pod)
{
    const struct kube_object *object = kube_store_get(kube_folder_store(folder), KUBE_POD, "default", pod);
    return object == NULL ? "(none)" : kube_as_pod(object)->spec.node_name;
}

static size_t error_count(void)
{
    return kube_folder_problems(folder)->error_count;
}

static void assert_problem(size_t i, const char *part)
{
    struct writer text = writer_growing();
    assert_true(i < kube_folder_problems(folder)->count);
    kube_problem_format(&kube_folder_problems(folder)->items[i], &text);
    if (strstr(writer_string(&text), part) == NULL) {
        assert_string_equal(writer_string(&text), part);
    }
    writer_free(&text);
}

static void files_of_the_folder_and_below_are_read(void **state)
{
    (void)state;
    char *AUTO_FREE below = string_format("%s/base/below", top);
    mkdir(below, 0700);
    write_file("base/a.yaml", POD("a", "n1"));
    write_file("base/below/b.yml", POD("b", "n2"));
    write_file("base/c.json", "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"c\"}}");
    write_file("base/.hidden.yaml", POD("hidden", "n1"));
    write_file("base/a.yaml~", POD("backup", "n1"));
    write_file("base/README.txt", "no: yaml: at: all");
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 0);
    assert_int_equal(kube_store_count(kube_folder_store(folder)), 3);
    assert_string_equal(node_of("b"), "n2");
}

static void a_scan_without_changes_says_so(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1"));
    assert_true(kube_folder_scan(folder));
    assert_false(kube_folder_scan(folder));
    write_file("base/a.yaml", "# a comment changes nothing\n" POD("a", "n1"));
    assert_false(kube_folder_scan(folder));
}

static void a_change_a_new_file_and_a_removal_are_applied(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    write_file("base/a.yaml", POD("a", "n2"));
    write_file("base/b.yaml", POD("b", "n1"));
    assert_true(kube_folder_scan(folder));
    assert_string_equal(node_of("a"), "n2");
    assert_string_equal(node_of("b"), "n1");
    remove_file("base/a.yaml");
    assert_true(kube_folder_scan(folder));
    assert_string_equal(node_of("a"), "(none)");
}

static void an_object_that_became_invalid_stays_as_it_was(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1") "---\n" POD("b", "n1"));
    kube_folder_scan(folder);
    write_file("base/a.yaml", POD("a", "7") "---\n" POD("b", "n2"));
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 1);
    assert_problem(0, "base/a.yaml:4: error: Pod default/a: spec.nodeName: must be a string");
    assert_string_equal(node_of("a"), "n1");
    assert_string_equal(node_of("b"), "n2");
    write_file("base/a.yaml", POD("a", "n3"));
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 0);
    assert_string_equal(node_of("a"), "n3");
    assert_string_equal(node_of("b"), "(none)");
}

static void an_object_that_was_never_valid_is_not_in_force(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "7"));
    kube_folder_scan(folder);
    assert_int_equal(error_count(), 1);
    assert_string_equal(node_of("a"), "(none)");
}

static void all_objects_of_a_file_that_cannot_be_parsed_stay(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1") "---\n" POD("b", "n1"));
    kube_folder_scan(folder);
    write_file("base/a.yaml", POD("a", "n2") "---\nnot: yaml: at all\n");
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 1);
    assert_string_equal(node_of("a"), "n1");
    assert_string_equal(node_of("b"), "n1");
    remove_file("base/a.yaml");
    kube_folder_scan(folder);
    assert_string_equal(node_of("b"), "(none)");
    assert_int_equal(error_count(), 0);
}

static void a_document_that_lost_its_name_may_be_any_that_is_missing(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1") "---\n" POD("b", "n1"));
    kube_folder_scan(folder);
    write_file("base/a.yaml", POD("a", "n2") "---\nkind: Pod\nmetadata: {name: b}\n");
    kube_folder_scan(folder);
    assert_int_equal(error_count(), 1);
    assert_string_equal(node_of("a"), "n2");
    assert_string_equal(node_of("b"), "n1");
}

static void a_second_definition_is_an_error_that_names_both(void **state)
{
    (void)state;
    write_file("base/b.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    write_file("base/a.yaml", "\n\n" POD("a", "n2"));
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 1);
    assert_problem(0, "base/a.yaml:3: error: Pod default/a: metadata.name: is defined twice: ");
    assert_problem(0, "base/b.yaml:1 has it too, and that one stays in force");
    assert_string_equal(node_of("a"), "n1");
    remove_file("base/b.yaml");
    kube_folder_scan(folder);
    assert_int_equal(error_count(), 0);
    assert_string_equal(node_of("a"), "n2");
}

static void a_renamed_file_changes_nothing(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    char *AUTO_FREE from = string_format("%s/base/a.yaml", top);
    char *AUTO_FREE to = string_format("%s/base/z.yaml", top);
    assert_int_equal(rename(from, to), 0);
    assert_false(kube_folder_scan(folder));
    assert_string_equal(node_of("a"), "n1");
}

static void an_invalid_object_that_moved_to_another_file_stays(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    remove_file("base/a.yaml");
    write_file("base/z.yaml", POD("a", "7"));
    kube_folder_scan(folder);
    assert_int_equal(error_count(), 1);
    assert_string_equal(node_of("a"), "n1");
}

static const char *redirection_of(const char *pod)
{
    const struct kube_object *object = kube_store_get(kube_folder_store(folder), KUBE_POD, "default", pod);
    return object == NULL ? "(none)" : kube_labels_text(&object->metadata.annotations, "ambient.istio.io/redirection");
}

#define OVERLAY(name)                                                                                                  \
    "apiVersion: v1\nkind: Pod\nmetadata: {name: " name ", annotations: {ambient.istio.io/redirection: enabled}}\n"

static void the_overlay_waits_for_its_base_and_is_laid_over_it(void **state)
{
    (void)state;
    write_file("overlay/a.yaml", OVERLAY("a"));
    kube_folder_scan(folder);
    assert_int_equal(kube_store_count(kube_folder_store(folder)), 0);
    write_file("base/a.yaml", POD("a", "n1"));
    assert_true(kube_folder_scan(folder));
    assert_string_equal(redirection_of("a"), "enabled");
    assert_string_equal(node_of("a"), "n1");
    remove_file("overlay/a.yaml");
    assert_true(kube_folder_scan(folder));
    assert_string_equal(redirection_of("a"), "");
}

static void a_missing_directory_is_an_error_and_keeps_what_was(void **state)
{
    (void)state;
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    char *AUTO_FREE base = string_format("%s/base", top);
    char *AUTO_FREE away = string_format("%s/away", top);
    assert_int_equal(rename(base, away), 0);
    assert_true(kube_folder_scan(folder));
    assert_int_equal(error_count(), 1);
    assert_string_equal(node_of("a"), "n1");
}

static void a_circle_of_links_ends(void **state)
{
    (void)state;
    char *AUTO_FREE base = string_format("%s/base", top);
    char *AUTO_FREE link = string_format("%s/base/again", top);
    assert_int_equal(symlink(base, link), 0);
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    assert_int_equal(error_count(), 0);
    assert_string_equal(node_of("a"), "n1");
}

/* ---- watching ---- */

static unsigned changes;

static void count_change(void *context)
{
    (void)context;
    changes++;
}

/* Milliseconds until the pod is on the node; more than 5000 when it never is. */
static uint64_t wait_for(struct loop *loop, const char *pod, const char *node)
{
    uint64_t begin_ns = clock_monotonic_ns();
    uint64_t passed_ms = 0;
    while (strcmp(node_of(pod), node) != 0 && passed_ms <= 5000) {
        loop_run_once(loop, 20);
        passed_ms = (clock_monotonic_ns() - begin_ns) / NANOSECONDS_PER_MILLISECOND;
    }
    return passed_ms;
}

static void changes_are_applied_within_a_second(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    write_file("base/a.yaml", POD("a", "n1"));
    kube_folder_scan(folder);
    struct result result = kube_folder_watch(folder, loop, count_change, NULL);
    assert_true(result_is_ok(&result));
    changes = 0;
    write_file("base/a.yaml", POD("a", "n2"));
    assert_in_range(wait_for(loop, "a", "n2"), 0, 1000);
    assert_int_equal(changes, 1);
    char *AUTO_FREE below = string_format("%s/base/below", top);
    mkdir(below, 0700);
    loop_run_once(loop, 20);
    write_file("base/below/b.yaml", POD("b", "n1"));
    assert_in_range(wait_for(loop, "b", "n1"), 0, 1000);
    write_file("base/below/b.yaml", POD("b", "n3"));
    assert_in_range(wait_for(loop, "b", "n3"), 0, 1000);
    remove_file("base/a.yaml");
    assert_in_range(wait_for(loop, "a", "(none)"), 0, 1000);
    kube_folder_free(folder);
    folder = NULL;
    loop_free(loop);
}

static void a_swapped_link_is_seen(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    /* As kubelet mounts a ConfigMap: a.yaml -> ..data/a.yaml, ..data -> ..1, swapped by a rename. */
    for (int i = 1; i <= 2; i++) {
        char *AUTO_FREE version = string_format("%s/base/..%d", top, i);
        char *AUTO_FREE name = string_format("base/..%d/a.yaml", i);
        mkdir(version, 0700);
        write_file(name, i == 1 ? POD("a", "n1") : POD("a", "n2"));
    }
    char *AUTO_FREE data = string_format("%s/base/..data", top);
    char *AUTO_FREE next = string_format("%s/base/..next", top);
    char *AUTO_FREE file = string_format("%s/base/a.yaml", top);
    assert_int_equal(symlink("..1", data), 0);
    assert_int_equal(symlink("..data/a.yaml", file), 0);
    kube_folder_scan(folder);
    assert_string_equal(node_of("a"), "n1");
    struct result result = kube_folder_watch(folder, loop, count_change, NULL);
    assert_true(result_is_ok(&result));
    assert_int_equal(symlink("..2", next), 0);
    assert_int_equal(rename(next, data), 0);
    assert_in_range(wait_for(loop, "a", "n2"), 0, 1000);
    kube_folder_free(folder);
    folder = NULL;
    loop_free(loop);
}

static void a_file_that_is_being_written_is_waited_for(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    write_file("base/a.yaml", POD("a", "n1") "---\n" POD("b", "n1"));
    kube_folder_scan(folder);
    struct result result = kube_folder_watch(folder, loop, count_change, NULL);
    assert_true(result_is_ok(&result));
    char *AUTO_FREE path = string_format("%s/base/a.yaml", top);
    FILE *file = fopen(path, "w"); /* empty for a moment: valid YAML without any object */
    assert_non_null(file);
    loop_run_once(loop, 50);
    fputs(POD("a", "n2"), file);
    fflush(file);
    loop_run_once(loop, 50);
    assert_string_equal(node_of("b"), "n1");
    fputs("---\n" POD("b", "n2"), file);
    fclose(file);
    assert_in_range(wait_for(loop, "b", "n2"), 0, 1000);
    assert_string_equal(node_of("a"), "n2");
    kube_folder_free(folder);
    folder = NULL;
    loop_free(loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_of_the_folder_and_below_are_read),
        TEST(a_scan_without_changes_says_so),
        TEST(a_change_a_new_file_and_a_removal_are_applied),
        TEST(an_object_that_became_invalid_stays_as_it_was),
        TEST(an_object_that_was_never_valid_is_not_in_force),
        TEST(all_objects_of_a_file_that_cannot_be_parsed_stay),
        TEST(a_document_that_lost_its_name_may_be_any_that_is_missing),
        TEST(a_second_definition_is_an_error_that_names_both),
        TEST(a_renamed_file_changes_nothing),
        TEST(an_invalid_object_that_moved_to_another_file_stays),
        TEST(the_overlay_waits_for_its_base_and_is_laid_over_it),
        TEST(a_missing_directory_is_an_error_and_keeps_what_was),
        TEST(a_circle_of_links_ends),
        TEST(changes_are_applied_within_a_second),
        TEST(a_swapped_link_is_seen),
        TEST(a_file_that_is_being_written_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
