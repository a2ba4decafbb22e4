/* Workers read while the writer publishes: run under ThreadSanitizer too. */
#include "unit/mesh/mesh_fixture.h"

#include "mesh/publication.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#define READERS 3
#define PUBLICATIONS 300

struct shared {
    struct qsbr *domain;
    struct mesh_publication *publication;
    _Atomic bool is_over;
    _Atomic unsigned inconsistent;
};

/* Every version holds the pod and the service of one number: whoever sees one must see the other. */
static struct mesh_version *version_number(const struct mesh_version *base, unsigned number)
{
    char text[24];
    struct mesh_change *change = mesh_change_begin(base);
    snprintf(text, sizeof text, "n%u", number);
    struct workload_spec pod = pod_spec("pod", "10.0.0.1");
    pod.texts[WORKLOAD_NODE] = TEXT(text);
    struct service_spec service = { .name = TEXT(text), .namespace_ = TEXT("d"), .hostname = TEXT("s") };
    mesh_change_upsert_workload(change, workload_of(&pod));
    mesh_change_upsert_service(change, service_of(&service));
    return mesh_change_commit(change);
}

static void *read_until_over(void *argument)
{
    struct shared *shared = argument;
    struct qsbr_reader *reader = qsbr_register(shared->domain);
    uint64_t last_generation = 0;
    for (unsigned turn = 0; !atomic_load(&shared->is_over); turn++) {
        const struct mesh_version *version = mesh_publication_read(shared->publication);
        const struct workload *pod = mesh_workload_by_uid(version, TEXT("pod"));
        const struct service *service = mesh_service_by_key(version, TEXT("d/s"));
        bool is_consistent = strcmp(workload_text(pod, WORKLOAD_NODE), service->name) == 0;
        bool is_in_order = mesh_version_generation(version) >= last_generation;
        if (!is_consistent || !is_in_order) {
            atomic_fetch_add(&shared->inconsistent, 1);
        }
        last_generation = mesh_version_generation(version);
        if (turn % 16 == 0) {
            struct mesh_version *kept = mesh_publication_reference(shared->publication);
            qsbr_quiescent(reader);
            mesh_version_release(kept);
        }
        qsbr_quiescent(reader);
    }
    qsbr_unregister(reader);
    return NULL;
}

static void readers_see_whole_versions_in_order(void **state)
{
    (void)state;
    struct mesh_settings settings = { .network = "" };
    struct mesh_version *empty = mesh_version_new(&settings);
    struct shared shared = { .domain = qsbr_new() };
    shared.publication = mesh_publication_new(shared.domain, version_number(empty, 0));
    mesh_version_release(empty);
    pthread_t readers[READERS];
    for (size_t i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, read_until_over, &shared), 0);
    }
    for (unsigned i = 1; i <= PUBLICATIONS; i++) {
        mesh_publication_publish(shared.publication, version_number(mesh_publication_read(shared.publication), i));
        qsbr_reclaim(shared.domain);
    }
    atomic_store(&shared.is_over, true);
    for (size_t i = 0; i < READERS; i++) {
        pthread_join(readers[i], NULL);
    }
    assert_int_equal(atomic_load(&shared.inconsistent), 0);
    assert_int_equal(mesh_version_generation(mesh_publication_read(shared.publication)), PUBLICATIONS + 1);
    mesh_publication_free(shared.publication);
    qsbr_free(shared.domain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_see_whole_versions_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
