/* Random changes against a naive oracle, with old versions looked at again later: they must not have moved. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/load_balancing.h"

#include <stdio.h>

#define WORKLOADS 60
#define ADDRESSES 24
#define SERVICES 8
#define VERSIONS 6
#define STEPS 400

/* What the mesh should be: everything by number; 0 is absent. */
struct oracle {
    uint32_t stamp[WORKLOADS]; /* order of arrival */
    uint8_t address[WORKLOADS];
    uint16_t members[WORKLOADS]; /* bit per service */
    uint8_t protocol[WORKLOADS];
    bool has_service[SERVICES];
};

struct kept_version {
    struct mesh_version *version;
    struct oracle oracle;
};

static void address_of(unsigned number, struct ip_address *ip)
{
    char text[32];
    snprintf(text, sizeof text, "10.0.0.%u", number + 1);
    *ip = ip_of(text);
}

static void uid_of(unsigned number, char out[static 32])
{
    /* Every third is no pod, so that ranks differ. */
    snprintf(out, 32, number % 3 == 0 ? "c/x/Entry/d/w%u" : "c//Pod/d/w%u", number);
}

static void upsert(
    struct mesh_change *change, struct oracle *oracle, struct decision_random *random, unsigned number, uint32_t stamp)
{
    char uid[32];
    char keys[SERVICES][16];
    struct workload_service_spec services[SERVICES];
    struct port_mapping port = { 80, (uint16_t)(8000 + number) };
    struct ip_address ip;
    uid_of(number, uid);
    struct workload_spec spec = pod_spec(uid, NULL);
    oracle->stamp[number] = stamp;
    oracle->address[number] = (uint8_t)decision_random_below(random, ADDRESSES);
    oracle->members[number] = (uint16_t)decision_random_below(random, 1U << SERVICES);
    oracle->protocol[number] = (uint8_t)decision_random_below(random, 2);
    address_of(oracle->address[number], &ip);
    spec.addresses = &ip;
    spec.address_count = 1;
    spec.protocol = (enum workload_protocol)oracle->protocol[number];
    spec.services = services;
    for (unsigned i = 0; i < SERVICES; i++) {
        if ((oracle->members[number] >> i & 1) != 0) {
            snprintf(keys[i], sizeof keys[i], "d/s%u", i);
            services[spec.service_count++] = (struct workload_service_spec){ TEXT(keys[i]), &port, 1 };
        }
    }
    mesh_change_upsert_workload(change, workload_of(&spec));
}

static void remove_workload(struct mesh_change *change, struct oracle *oracle, unsigned number)
{
    char uid[32];
    uid_of(number, uid);
    mesh_change_remove_address(change, TEXT(uid));
    oracle->stamp[number] = 0;
}

static void toggle_service(struct mesh_change *change, struct oracle *oracle, unsigned number)
{
    char name[16];
    char key[20];
    snprintf(name, sizeof name, "s%u", number);
    snprintf(key, sizeof key, "d/%s", name);
    if (oracle->has_service[number]) {
        assert_int_equal(mesh_change_remove_address(change, TEXT(key)), MESH_REMOVED_SERVICE);
    } else {
        struct service_spec spec = { .name = TEXT(name), .namespace_ = TEXT("d"), .hostname = TEXT(name) };
        mesh_change_upsert_service(change, service_of(&spec));
    }
    oracle->has_service[number] = !oracle->has_service[number];
}

static int expected_at(const struct oracle *oracle, unsigned address)
{
    int best = -1;
    int best_rank = -1;
    for (int i = 0; i < WORKLOADS; i++) {
        if (oracle->stamp[i] == 0 || oracle->address[i] != address) {
            continue;
        }
        int rank = (i % 3 == 0 ? 0 : 2) + oracle->protocol[i];
        if (rank > best_rank || (rank == best_rank && oracle->stamp[i] > oracle->stamp[best])) {
            best = i;
            best_rank = rank;
        }
    }
    return best;
}

static void check_addresses(const struct mesh_version *version, const struct oracle *oracle)
{
    for (unsigned address = 0; address < ADDRESSES; address++) {
        struct ip_address ip;
        char uid[32];
        address_of(address, &ip);
        const struct workload *found = mesh_workload_by_address(version, "", &ip);
        int expected = expected_at(oracle, address);
        assert_int_equal(found == NULL, expected < 0);
        if (found != NULL) {
            uid_of((unsigned)expected, uid);
            assert_string_equal(workload_text(found, WORKLOAD_UID), uid);
        }
    }
}

static void check_endpoints(const struct mesh_version *version, const struct oracle *oracle)
{
    for (unsigned service = 0; service < SERVICES; service++) {
        char key[16];
        size_t expected = 0;
        size_t found = 0;
        snprintf(key, sizeof key, "d/s%u", service);
        for (unsigned i = 0; i < WORKLOADS; i++) {
            expected += oracle->stamp[i] != 0 && (oracle->members[i] >> service & 1) != 0;
        }
        struct mesh_endpoint_iterator iterator;
        struct mesh_endpoint endpoint;
        mesh_endpoints_begin(version, TEXT(key), &iterator);
        while (mesh_endpoints_next(&iterator, &endpoint)) {
            unsigned number = endpoint.ports[0].target_port - 8000U;
            assert_true(oracle->stamp[number] != 0 && (oracle->members[number] >> service & 1) != 0);
            found++;
        }
        assert_int_equal(found, expected);
        assert_int_equal(mesh_service_by_key(version, TEXT(key)) != NULL, oracle->has_service[service]);
    }
}

static void check(const struct mesh_version *version, const struct oracle *oracle)
{
    size_t expected = 0;
    size_t found = 0;
    struct persistent_map_iterator iterator;
    for (unsigned i = 0; i < WORKLOADS; i++) {
        char uid[32];
        uid_of(i, uid);
        expected += oracle->stamp[i] != 0;
        assert_int_equal(mesh_workload_by_uid(version, TEXT(uid)) != NULL, oracle->stamp[i] != 0);
    }
    mesh_workloads_begin(version, &iterator);
    while (mesh_workloads_next(&iterator) != NULL) {
        found++;
    }
    assert_int_equal(found, expected);
    assert_int_equal(mesh_version_workload_count(version), expected);
    check_addresses(version, oracle);
    check_endpoints(version, oracle);
}

static void versions_agree_with_a_naive_model_and_never_change(void **state)
{
    (void)state;
    struct kept_version kept[VERSIONS] = { { NULL, { { 0 }, { 0 }, { 0 }, { 0 }, { 0 } } } };
    struct decision_random random = { 20260801 };
    struct mesh_settings settings = { .network = "" };
    struct mesh_version *current = mesh_version_new(&settings);
    struct oracle oracle = { { 0 }, { 0 }, { 0 }, { 0 }, { 0 } };
    uint32_t stamp = 0;
    for (int step = 0; step < STEPS; step++) {
        struct mesh_change *change = mesh_change_begin(current);
        for (uint64_t i = decision_random_below(&random, 6) + 1; i > 0; i--) {
            unsigned number = (unsigned)decision_random_below(&random, WORKLOADS);
            switch (decision_random_below(&random, 4)) {
            case 0:
                remove_workload(change, &oracle, number);
                break;
            case 1:
                toggle_service(change, &oracle, number % SERVICES);
                break;
            default:
                upsert(change, &oracle, &random, number, ++stamp);
            }
        }
        struct mesh_version *next = mesh_change_commit(change);
        struct kept_version *slot = &kept[decision_random_below(&random, VERSIONS)];
        mesh_version_release(slot->version);
        *slot = (struct kept_version){ mesh_version_reference(next), oracle };
        mesh_version_release(current);
        current = next;
        check(current, &oracle);
        if (step % 20 == 0) {
            for (size_t i = 0; i < VERSIONS; i++) {
                if (kept[i].version != NULL) {
                    check(kept[i].version, &kept[i].oracle);
                }
            }
        }
    }
    for (size_t i = 0; i < VERSIONS; i++) {
        if (kept[i].version != NULL) {
            check(kept[i].version, &kept[i].oracle);
        }
        mesh_version_release(kept[i].version);
    }
    mesh_version_release(current);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_agree_with_a_naive_model_and_never_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
