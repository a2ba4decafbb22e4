#include "ztunnel/connection_events.h"

#include "cmocka_all.h"

#include "base/writer.h"
#include "ztunnel/connection.h"

static void assert_events(const struct connection_events *events, const char *expected)
{
    struct writer out = writer_growing();
    connection_events_write(events, &out);
    assert_string_equal(writer_string(&out), expected);
    writer_free(&out);
}

static void events_are_told_in_order_with_their_times(void **state)
{
    (void)state;
    struct connection_events events = { 0 };
    assert_events(&events, "");
    connection_events_add(&events, EVENT_STAGE, STAGE_ACCEPTED, 0);
    connection_events_add(&events, EVENT_DIAL, 8080, 12345);
    connection_events_add(&events, EVENT_DENIED, 0, 2000000);
    assert_events(&events, "accepted+0us dial:8080+12us denied+2000us");
}

static void only_the_last_eight_are_kept(void **state)
{
    (void)state;
    struct connection_events events = { 0 };
    for (uint32_t i = 0; i < 20; i++) {
        connection_events_add(&events, EVENT_STREAM_RESET, i, (uint64_t)i * 1000);
    }
    assert_events(&events, "stream_reset:12+12us stream_reset:13+13us stream_reset:14+14us stream_reset:15+15us "
                           "stream_reset:16+16us stream_reset:17+17us stream_reset:18+18us stream_reset:19+19us");
}

static void times_and_details_beyond_their_room_do_not_touch_each_other(void **state)
{
    (void)state;
    struct connection_events events = { 0 };
    connection_events_add(&events, EVENT_STATUS, 0x10190, UINT64_MAX);
    assert_events(&events, "status:400+1099511627775us");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_told_in_order_with_their_times),
        cmocka_unit_test(only_the_last_eight_are_kept),
        cmocka_unit_test(times_and_details_beyond_their_room_do_not_touch_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
