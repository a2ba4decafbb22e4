#include "xds/control_plane.h"

#include "base/arena.h"
#include "cmocka_all.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    char path[64];
    struct arena arena;
    struct control_plane_settings settings;
    struct grpc_metadata *metadata;
    size_t count;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){ .path = "/tmp/ambar-token-XXXXXX" };
    int descriptor = mkstemp(fixture.path);
    assert_true(descriptor >= 0);
    close(descriptor);
    fixture.settings = (struct control_plane_settings){ .token_file = fixture.path, .cluster_id = "Kubernetes" };
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    unlink(fixture->path);
    arena_free(&fixture->arena);
    return 0;
}

static struct result metadata_with(struct fixture *fixture, const char *token)
{
    FILE *file = fopen(fixture->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(token, 1, strlen(token), file), strlen(token));
    assert_int_equal(fclose(file), 0);
    return control_plane_metadata(&fixture->settings, &fixture->arena, &fixture->metadata, &fixture->count);
}

static void the_token_comes_first_without_its_newline_and_as_the_file_has_it_now(void **state)
{
    static const struct grpc_metadata EXTRA = { "x-tenant", "blue" };
    struct fixture *fixture = *state;
    fixture->settings.headers = &EXTRA;
    fixture->settings.header_count = 1;
    struct result made = metadata_with(fixture, "first\n");
    assert_true(result_is_ok(&made));
    made = metadata_with(fixture, "second.token");
    assert_true(result_is_ok(&made));
    assert_int_equal(fixture->count, 3);
    assert_string_equal(fixture->metadata[0].name, "authorization");
    assert_string_equal(fixture->metadata[0].value, "Bearer second.token");
    assert_string_equal(fixture->metadata[1].name, "clusterid");
    assert_string_equal(fixture->metadata[2].value, "blue");
}

static void a_file_without_a_token_and_one_with_other_bytes_are_refused_by_name(void **state)
{
    struct fixture *fixture = *state;
    struct result empty = metadata_with(fixture, "\n");
    assert_string_equal(empty.message, "token file exists, but was empty");
    struct result strange = metadata_with(fixture, "to\tken");
    assert_non_null(strstr(strange.message, fixture->path));
    assert_non_null(strstr(strange.message, "byte 2 cannot be in a token"));
    unlink(fixture->path);
    struct result absent =
        control_plane_metadata(&fixture->settings, &fixture->arena, &fixture->metadata, &fixture->count);
    assert_non_null(strstr(absent.message, "failed to load token from file"));
}

static void a_wiped_token_is_gone_and_what_the_settings_hold_is_left(void **state)
{
    static const struct grpc_metadata OWN = { "authorization", "Bearer of-the-settings" };
    static const char NOTHING[sizeof "Bearer secret"] = "";
    struct fixture *fixture = *state;
    fixture->settings.headers = &OWN;
    fixture->settings.header_count = 1;
    struct result made = metadata_with(fixture, "secret");
    assert_true(result_is_ok(&made));
    control_plane_metadata_wipe(&fixture->settings, fixture->metadata);
    assert_memory_equal(fixture->metadata[0].value, NOTHING, sizeof NOTHING);
    assert_string_equal(fixture->metadata[2].value, "Bearer of-the-settings");
    fixture->settings.token_file = NULL;
    made = control_plane_metadata(&fixture->settings, &fixture->arena, &fixture->metadata, &fixture->count);
    assert_true(result_is_ok(&made));
    control_plane_metadata_wipe(&fixture->settings, fixture->metadata);
    assert_string_equal(fixture->metadata[1].value, "Bearer of-the-settings");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_token_comes_first_without_its_newline_and_as_the_file_has_it_now),
        TEST(a_file_without_a_token_and_one_with_other_bytes_are_refused_by_name),
        TEST(a_wiped_token_is_gone_and_what_the_settings_hold_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
