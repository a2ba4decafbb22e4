/* Whether what a tunnel leads to is still there, and which changes of the mesh make that worth asking. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/destination.h"

#define UID "c//Pod/default/a"

static enum mesh_destination find(struct mesh_fixture *mesh, const char *uid, const char *address)
{
    struct ip_address ip = ip_of(address);
    return mesh_find_destination(mesh_fixture_version(mesh), uid, &ip);
}

static void add(struct mesh_fixture *mesh, const char *uid, const char *address)
{
    struct workload_spec spec = pod_spec(uid, address);
    mesh_fixture_add_workload(mesh, &spec);
}

static void take_out(struct mesh_fixture *mesh, const char *uid)
{
    mesh_change_remove_address(mesh_fixture_change(mesh), TEXT(uid));
}

static void a_workload_with_its_address_is_present(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    add(&mesh, UID, "10.0.0.1");
    assert_int_equal(find(&mesh, UID, "10.0.0.1"), MESH_DESTINATION_PRESENT);
    mesh_fixture_free(&mesh);
}

static void one_that_left_or_gave_up_the_address_is_gone(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    add(&mesh, UID, "10.0.0.2");
    assert_int_equal(find(&mesh, UID, "10.0.0.1"), MESH_DESTINATION_GONE);
    take_out(&mesh, UID);
    assert_int_equal(find(&mesh, UID, "10.0.0.2"), MESH_DESTINATION_GONE);
    mesh_fixture_free(&mesh);
}

static void an_address_of_somebody_else_is_taken(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    add(&mesh, "c//Pod/default/b", "10.0.0.1");
    assert_int_equal(find(&mesh, UID, "10.0.0.1"), MESH_DESTINATION_TAKEN);
    /* while both have it, it is not */
    add(&mesh, UID, "10.0.0.1");
    assert_int_equal(find(&mesh, UID, "10.0.0.1"), MESH_DESTINATION_PRESENT);
    mesh_fixture_free(&mesh);
}

static void what_has_no_uid_or_only_a_name_is_present(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    struct workload_spec spec = pod_spec(UID, NULL);
    spec.texts[WORKLOAD_HOSTNAME] = TEXT("db.example");
    mesh_fixture_add_workload(&mesh, &spec);
    assert_int_equal(find(&mesh, UID, "192.0.2.1"), MESH_DESTINATION_PRESENT);
    assert_int_equal(find(&mesh, "", "192.0.2.1"), MESH_DESTINATION_PRESENT);
    mesh_fixture_free(&mesh);
}

static uint64_t departures(struct mesh_fixture *mesh)
{
    return mesh_version_departure_generation(mesh_fixture_version(mesh));
}

static void only_who_leaves_or_gives_up_an_address_is_a_departure(void **state)
{
    (void)state;
    struct mesh_fixture mesh = mesh_fixture_new();
    add(&mesh, UID, "10.0.0.1");
    uint64_t before = departures(&mesh);
    add(&mesh, "c//Pod/default/b", "10.0.0.9");
    add(&mesh, UID, "10.0.0.1");
    assert_int_equal(departures(&mesh), before);
    add(&mesh, UID, "10.0.0.2");
    uint64_t moved = departures(&mesh);
    assert_true(moved > before);
    take_out(&mesh, UID);
    assert_true(departures(&mesh) > moved);
    mesh_fixture_free(&mesh);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_workload_with_its_address_is_present),
        cmocka_unit_test(one_that_left_or_gave_up_the_address_is_gone),
        cmocka_unit_test(an_address_of_somebody_else_is_taken),
        cmocka_unit_test(what_has_no_uid_or_only_a_name_is_present),
        cmocka_unit_test(only_who_leaves_or_gives_up_an_address_is_a_departure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
