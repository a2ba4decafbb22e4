#include "ztunnel/connection_events.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/writer.h"
#include "ztunnel/connection.h"

#define TIME_BITS 40
#define TIME_MAXIMUM ((UINT64_C(1) << TIME_BITS) - 1)

static const char *const NAMES[] = {
    [EVENT_STAGE] = "stage",
    [EVENT_DENIED] = "denied",
    [EVENT_CONNECT_SENT] = "connect_sent",
    [EVENT_STATUS] = "status",
    [EVENT_DIAL] = "dial",
    [EVENT_RETRY] = "retry",
    [EVENT_STREAM_RESET] = "stream_reset",
    [EVENT_CUT] = "cut",
};

static bool has_detail(enum connection_event event)
{
    return event != EVENT_DENIED && event != EVENT_RETRY;
}

void connection_events_add(
    struct connection_events *events, enum connection_event event, uint32_t detail, uint64_t since_accept_ns)
{
    uint64_t since_us = since_accept_ns / 1000;
    since_us = since_us > TIME_MAXIMUM ? TIME_MAXIMUM : since_us;
    events->ring[events->count++ % CONNECTION_EVENTS_KEPT] =
        since_us | (uint64_t)(uint8_t)event << TIME_BITS | (uint64_t)(uint16_t)detail << (TIME_BITS + 8);
}

static void write_event(uint64_t packed, struct writer *out)
{
    enum connection_event event = (enum connection_event)(packed >> TIME_BITS & 0xff);
    unsigned detail = (unsigned)(packed >> (TIME_BITS + 8));
    if (event == EVENT_STAGE) {
        writer_add_string(out, connection_stage_name((enum connection_stage)detail));
    } else {
        writer_add_string(out, NAMES[event]);
        if (has_detail(event)) {
            writer_print(out, ":%u", detail);
        }
    }
    writer_print(out, "+%lluus", (unsigned long long)(packed & TIME_MAXIMUM));
}

void connection_events_write(const struct connection_events *events, struct writer *out)
{
    uint32_t first = events->count > CONNECTION_EVENTS_KEPT ? events->count - CONNECTION_EVENTS_KEPT : 0;
    for (uint32_t i = first; i < events->count; i++) {
        if (i > first) {
            writer_add_u8(out, ' ');
        }
        write_event(events->ring[i % CONNECTION_EVENTS_KEPT], out);
    }
}
