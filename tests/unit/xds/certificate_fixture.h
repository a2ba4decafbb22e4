/* A source of certificates that answers when the test says so, with certificates of a real authority. */
#ifndef AMBAR_TESTS_CERTIFICATE_FIXTURE_H
#define AMBAR_TESTS_CERTIFICATE_FIXTURE_H

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "tls/authority.h"
#include "tls/identity.h"
#include "xds/certificate_source.h"

#define FETCHES_MAXIMUM 64

struct scripted_source {
    struct certificate_source source;
    struct certificate_authority *authority;
    struct certificate_fetch *running[FETCHES_MAXIMUM]; /* in the order they were started */
    size_t running_count;
    size_t started_count;
    size_t cancelled_count;
};

static inline void scripted_fetch(struct certificate_source *source, struct certificate_fetch *fetch)
{
    struct scripted_source *scripted = CONTAINER_OF(source, struct scripted_source, source);
    scripted->running[scripted->running_count++] = fetch;
    scripted->started_count++;
}

static inline void scripted_take(struct scripted_source *scripted, size_t index)
{
    scripted->running_count--;
    for (size_t i = index; i < scripted->running_count; i++) {
        scripted->running[i] = scripted->running[i + 1];
    }
}

static inline void scripted_cancel(struct certificate_source *source, struct certificate_fetch *fetch)
{
    struct scripted_source *scripted = CONTAINER_OF(source, struct scripted_source, source);
    for (size_t i = 0; i < scripted->running_count; i++) {
        if (scripted->running[i] == fetch) {
            scripted_take(scripted, i);
            scripted->cancelled_count++;
            return;
        }
    }
}

static inline void scripted_free(struct certificate_source *source)
{
    struct scripted_source *scripted = CONTAINER_OF(source, struct scripted_source, source);
    certificate_authority_free(scripted->authority);
    memory_free(scripted);
}

static inline struct scripted_source *scripted_source_new(void)
{
    struct scripted_source *scripted = NEW(struct scripted_source);
    scripted->source = (struct certificate_source){ scripted_fetch, scripted_cancel, scripted_free };
    scripted->authority = certificate_authority_new("cluster.local", clock_wall_s());
    return scripted;
}

static inline struct tls_identity *scripted_certificate(
    struct scripted_source *scripted, const char *identity, int64_t lifetime_s)
{
    struct certificate_bundle *bundle;
    struct tls_identity *certificate;
    struct result issued =
        certificate_authority_issue_bundle(scripted->authority, &identity, 1, lifetime_s, clock_wall_s(), &bundle);
    assert_true(result_is_ok(&issued));
    struct result made = tls_identity_new(bundle, &certificate);
    assert_true(result_is_ok(&made));
    certificate_bundle_release(bundle);
    return certificate;
}

/* Answers the fetch of this identity, which must be running. A lifetime of 0 is a failure. */
static inline void scripted_answer(struct scripted_source *scripted, const char *identity, int64_t lifetime_s)
{
    for (size_t i = 0; i < scripted->running_count; i++) {
        struct certificate_fetch *fetch = scripted->running[i];
        if (!text_equal(fetch->identity, identity)) {
            continue;
        }
        scripted_take(scripted, i);
        if (lifetime_s > 0) {
            fetch->on_done(fetch, scripted_certificate(scripted, identity, lifetime_s), NULL);
        } else {
            struct result failure = result_fail(RESULT_UNAVAILABLE, "scripted failure");
            fetch->on_done(fetch, NULL, &failure);
        }
        return;
    }
    fail_msg("%s is not being fetched", identity);
}

#endif
