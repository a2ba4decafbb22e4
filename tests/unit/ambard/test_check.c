/* `ambard check` on folders. */
#include "unit/ambard/objects.h"

#include "ambard/check.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *directory;

static int make_directory(void **state)
{
    (void)state;
    directory = string_duplicate("/tmp/ambar-test-check-XXXXXX");
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state)
{
    (void)state;
    char *AUTO_FREE path = string_format("%s/a.yaml", directory);
    unlink(path);
    rmdir(directory);
    memory_free(directory);
    return 0;
}

static void write_file(const char *text)
{
    char *AUTO_FREE path = string_format("%s/a.yaml", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static char *check(int *status)
{
    const struct ambient_index_settings settings = { 0 };
    struct writer out = writer_growing();
    *status = ambard_check(directory, NULL, &settings, &out);
    return writer_take_string(&out);
}

static void a_good_folder_is_summed_up(void **state)
{
    (void)state;
    int status;
    write_file("apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: b}\nstatus: {podIP: 10.0.0.1}\n");
    char *AUTO_FREE out = check(&status);
    assert_string_equal(out, "1 objects make 1 workloads, 0 services and 0 policies\n");
    assert_int_equal(status, 0);
}

static void an_error_names_file_line_and_field(void **state)
{
    (void)state;
    int status;
    write_file("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: a, namespace: b}\nspec:\n "
               " mtls:\n"
               "    mode: STRICKT\n");
    char *AUTO_FREE out = check(&status);
    char *AUTO_FREE expected =
        string_format("%s/a.yaml:6: error: PeerAuthentication b/a: spec.mtls.mode: \"STRICKT\" is not one "
                      "of UNSET, DISABLE, PERMISSIVE, STRICT\n",
            directory);
    assert_memory_equal(out, expected, strlen(expected));
    assert_non_null(strstr(out, "1 error: ambard would refuse to start on this folder\n"));
    assert_int_equal(status, 1);
}

static void conditions_are_printed_with_their_place(void **state)
{
    (void)state;
    int status;
    write_file(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: a\n  namespace: b\n  labels: {istio.io/use-waypoint: w}\n");
    char *AUTO_FREE out = check(&status);
    char *AUTO_FREE expected = string_format("%s/a.yaml:1: condition: Service b/a: istio.io/WaypointBound False, "
                                             "WaypointIsNotReady: waypoint \"b/w\" is not ready\n",
        directory);
    assert_memory_equal(out, expected, strlen(expected));
    assert_int_equal(status, 0);
}

static void a_missing_folder_is_an_error(void **state)
{
    (void)state;
    const struct ambient_index_settings settings = { 0 };
    struct writer out = writer_growing();
    assert_int_equal(ambard_check("/nonexistent/folder", NULL, &settings, &out), 1);
    assert_non_null(strstr(writer_string(&out), "/nonexistent/folder: error: this directory cannot be read"));
    writer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_folder_is_summed_up, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(an_error_names_file_line_and_field, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(conditions_are_printed_with_their_place, make_directory, remove_directory),
        cmocka_unit_test(a_missing_folder_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
