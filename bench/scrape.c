/* Time of a scrape of 10,000 series with the 27 labels of connection metrics, as text and as gzip: JSON on standard output. */
#include "base/clock.h"
#include "base/memory.h"
#include "telemetry/metric.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#define LABELS 27
#define FAMILIES 5
#define SETS 2000
#define SHARDS 2
#define REPEATS 9

static const char *const label_names[LABELS + 1] = { "reporter", "source_workload", "source_canonical_service",
    "source_canonical_revision", "source_workload_namespace", "source_principal", "source_app", "source_version",
    "source_cluster", "destination_service", "destination_service_namespace", "destination_service_name",
    "destination_workload", "destination_canonical_service", "destination_canonical_revision",
    "destination_workload_namespace", "destination_principal", "destination_app", "destination_version",
    "destination_cluster", "request_protocol", "response_flags", "connection_security_policy", "source_region",
    "source_zone", "destination_region", "destination_zone", NULL };

static const struct metric_family families[FAMILIES] = {
    { .name = "opened", .help = "Opened", .labels = label_names },
    { .name = "closed", .help = "Closed", .labels = label_names },
    { .name = "received_bytes", .help = "Received", .labels = label_names },
    { .name = "sent_bytes", .help = "Sent", .labels = label_names },
    { .name = "failed", .help = "Failed", .labels = label_names },
};

static void fill(struct metric_registry *registry)
{
    struct metric_shard *shard = metric_shard_new(registry);
    for (unsigned set = 0; set < SETS; set++) {
        char texts[LABELS][96];
        const char *values[LABELS];
        for (unsigned i = 0; i < LABELS; i++) {
            /* Some labels are always the same, some of a namespace, some of the workload. */
            unsigned number = i % 3 == 0 ? 0 : i % 3 == 1 ? set % 50 : set;
            snprintf(texts[i], sizeof texts[i], "spiffe://cluster.local/value-%u/%u", i, number);
            values[i] = texts[i];
        }
        for (size_t family = 0; family < FAMILIES; family++) {
            metric_count_labelled(shard, family, values, set * 1237U);
        }
    }
}

static int compare(const void *left, const void *right)
{
    return *(const double *)left < *(const double *)right ? -1 : 1;
}

static double milliseconds_since(uint64_t start_ns)
{
    return (double)(clock_monotonic_ns() - start_ns) / 1e6;
}

int main(void)
{
    struct metric_registry *registry = metric_registry_new(families, FAMILIES);
    double text_ms[REPEATS], gzip_ms[REPEATS];
    size_t bytes = 0;
    for (int i = 0; i < SHARDS; i++) {
        fill(registry);
    }
    for (int i = 0; i < REPEATS; i++) {
        struct writer text = writer_growing();
        uint64_t start_ns = clock_monotonic_ns();
        metric_registry_render(registry, &text);
        text_ms[i] = milliseconds_since(start_ns);
        bytes = text.length;
        uLongf compressed_bytes = compressBound(bytes);
        uint8_t *compressed = memory_allocate(compressed_bytes);
        (void)compress2(compressed, &compressed_bytes, text.data, bytes, 3);
        gzip_ms[i] = milliseconds_since(start_ns);
        memory_free(compressed);
        writer_free(&text);
    }
    double first_ms = text_ms[0];
    qsort(text_ms, REPEATS, sizeof text_ms[0], compare);
    qsort(gzip_ms, REPEATS, sizeof gzip_ms[0], compare);
    printf("{\"bytes\": %zu, \"first_ms\": %.2f, \"text_ms\": %.2f, \"gzip_ms\": %.2f}\n", bytes, first_ms,
        text_ms[REPEATS / 2], gzip_ms[REPEATS / 2]);
    metric_registry_free(registry);
    return 0;
}
