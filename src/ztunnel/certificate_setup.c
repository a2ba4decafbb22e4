#include "ztunnel/certificate_setup.h"

#include "base/clock.h"
#include "tls/certificate_bundle.h"
#include "xds/ca_client.h"
#include "ztunnel/control_target.h"
#include "ztunnel/metrics.h"

static void count_request(void *context, const struct result *failure)
{
    const char *result = failure == NULL ? "success" : result_code_name(failure->code);
    metric_count_labelled(context, METRIC_CERTIFICATE_REQUESTS, &result, 1);
}

static struct result source_of_files(
    const struct configuration *configuration, struct loop *control, struct certificate_source **source)
{
    struct certificate_bundle *bundle;
    RESULT_TRY(certificate_bundle_from_files(configuration->certificate_key_file, configuration->certificate_file,
        configuration->certificate_root_file, clock_wall_s(), &bundle));
    certificate_bundle_release(bundle);
    *source = certificate_files_new(control, configuration->certificate_key_file, configuration->certificate_file,
        configuration->certificate_root_file);
    return result_ok();
}

static struct result source_of_ca(const struct configuration *configuration, struct loop *control,
    struct buffer_pool *buffers, struct arena *texts, struct certificate_source **source)
{
    struct ca_client_settings settings = {
        .secret_ttl_s = configuration->secret_ttl_ns / NANOSECONDS_PER_SECOND,
        .is_shared = configuration->proxy_mode == PROXY_MODE_SHARED,
    };
    RESULT_TRY(control_target_settings(configuration, CONTROL_TARGET_CA, texts, &settings.control_plane));
    *source = ca_client_new(control, buffers, &settings);
    return result_ok();
}

struct result certificate_setup(const struct configuration *configuration, struct loop *control,
    struct buffer_pool *buffers, struct metric_shard *metrics, struct arena *texts, struct certificate_store **store)
{
    struct certificate_source *source;
    if (configuration->certificate_file != NULL) {
        RESULT_TRY(source_of_files(configuration, control, &source));
    } else {
        RESULT_TRY(source_of_ca(configuration, control, buffers, texts, &source));
    }
    *store = certificate_store_new(control, source);
    certificate_store_observe(*store, count_request, metrics);
    return result_ok();
}
