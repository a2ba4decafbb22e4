/* The access log's lines byte for byte (ztunnel-management §9.1), but for the time in front. */
#include "ztunnel/access_log.h"

#include "base/log.h"
#include "telemetry_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static FILE *output;

static void start_log(bool is_json, const char *filter)
{
    output = tmpfile();
    struct result result =
        log_start(&(struct log_settings){ .is_json = is_json, .filter = filter, .output = fileno(output) });
    assert_true(result_is_ok(&result));
}

/* Everything that was logged, with each line's time left out. */
static char *stop_log(void)
{
    char *AUTO_FREE text = memory_allocate_zeroed(16384, 1);
    log_stop();
    rewind(output);
    size_t length = fread(text, 1, 16383, output);
    fclose(output);
    text[length] = '\0';
    struct writer out = writer_growing();
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n")) != NULL && line[0] != '\0';) {
        const char *after = strchr(line, '\t');
        writer_print(&out, "%s\n", after != NULL ? after + 1 : line);
    }
    return writer_take_string(&out);
}

static void take_time(struct connection *connection)
{
    connection->stage_ns[STAGE_ACCEPTED] = 1000000000;
    connection->stage_ns[STAGE_WORKLOAD_KNOWN] = 1000100000;
    connection->stage_ns[STAGE_ROUTED] = 1000300000;
    connection->stage_ns[STAGE_CLOSED] = 1003900000;
}

#define SOURCE                                                                                                         \
    "src.addr=10.0.1.5:41234 src.workload=\"curl-1\" src.namespace=\"shop\" "                                          \
    "src.identity=\"spiffe://cluster.local/ns/shop/sa/curl\" src.cluster=\"Kubernetes\" "
#define DESTINATION                                                                                                    \
    "dst.addr=10.0.2.9:15008 dst.hbone_addr=10.0.2.9:8080 dst.workload=\"web-1\" dst.namespace=\"shop\" "              \
    "dst.identity=\"spiffe://cluster.local/ns/shop/sa/web\" dst.cluster=\"Kubernetes\" "

static void a_connection_that_ended_well_is_one_info_line(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    take_time(&connection);
    start_log(false, "info");
    access_log_opened(&connection);
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_string_equal(text, "info\taccess\tconnection complete\t" SOURCE DESTINATION
                              "direction=\"outbound\" bytes_sent=80 bytes_recv=512 duration=\"3ms\"\n");
    telemetry_connection_free(&connection);
}

static void the_begin_line_ends_with_the_direction(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    start_log(false, "access=debug");
    access_log_opened(&connection);
    char *AUTO_FREE text = stop_log();
    assert_string_equal(text, "debug\taccess\tconnection opened\t" SOURCE DESTINATION "direction=\"outbound\"\n");
    telemetry_connection_free(&connection);
}

static void a_server_sends_what_its_client_receives(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    connection.direction = CONNECTION_INBOUND;
    take_time(&connection);
    start_log(false, "info");
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_non_null(strstr(text, "direction=\"inbound\" bytes_sent=512 bytes_recv=80 duration=\"3ms\"\n"));
    telemetry_connection_free(&connection);
}

static void a_failure_is_an_error_line_with_its_stage_and_times_behind_the_contracts_fields(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    take_time(&connection);
    connection.error = string_duplicate("h2 failed: \"quoted\"\n");
    start_log(false, "info");
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_string_equal(text,
        "error\taccess\tconnection complete\t" SOURCE DESTINATION
        "direction=\"outbound\" bytes_sent=80 bytes_recv=512 duration=\"3ms\" error=\"h2 failed: \\\"quoted\\\"\\n\" "
        "stage=\"tunnel\" stage_times=\"workload_known=0.1ms routed=0.2ms closed=3.6ms\"\n");
    telemetry_connection_free(&connection);
}

static void each_stage_has_its_name_when_it_fails(void **state)
{
    (void)state;
    static const struct {
        int direction, protocol;
        enum connection_stage last;
        const char *expected;
    } cases[] = {
        { CONNECTION_OUTBOUND, CONNECTION_HBONE, STAGE_ACCEPTED, "stage=\"workload\"" },
        { CONNECTION_OUTBOUND, CONNECTION_HBONE, STAGE_WORKLOAD_KNOWN, "stage=\"route\"" },
        { CONNECTION_OUTBOUND, CONNECTION_TCP, STAGE_ROUTED, "stage=\"dial\"" },
        { CONNECTION_OUTBOUND, CONNECTION_HBONE, STAGE_TUNNEL_READY, "stage=\"connect\"" },
        { CONNECTION_INBOUND, CONNECTION_HBONE, STAGE_ROUTED, "stage=\"policy\"" },
        { CONNECTION_INBOUND, CONNECTION_HBONE, STAGE_AUTHORIZED, "stage=\"dial\"" },
        { CONNECTION_INBOUND, CONNECTION_TCP, STAGE_FIRST_BYTE, "stage=\"relay\"" },
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct connection connection = telemetry_connection();
        connection.direction = (uint8_t)cases[i].direction;
        connection.protocol = (uint8_t)cases[i].protocol;
        connection.stage_ns[STAGE_ACCEPTED] = 1;
        connection.stage_ns[cases[i].last] = 1;
        connection.error = string_duplicate("it failed");
        start_log(false, "info");
        access_log_complete(&connection);
        char *AUTO_FREE text = stop_log();
        assert_non_null(strstr(text, cases[i].expected));
        telemetry_connection_free(&connection);
    }
}

static void what_is_not_known_is_left_out(void **state)
{
    (void)state;
    struct connection connection = { .direction = CONNECTION_INBOUND,
        .protocol = CONNECTION_TCP,
        .peer = telemetry_address("[2001:db8::1]:5"),
        .destination = telemetry_address("10.0.2.9:80") };
    start_log(false, "info");
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_string_equal(text,
        "info\taccess\tconnection complete\tsrc.addr=[2001:db8::1]:5 dst.addr=10.0.2.9:80 direction=\"inbound\" "
        "bytes_sent=0 bytes_recv=0 duration=\"0ms\"\n");
}

static void a_plaintext_connection_shows_no_destination_identity(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    connection.protocol = CONNECTION_TCP;
    connection.authority = (struct socket_address){ 0 };
    spiffe_identity_free(connection.source_identity);
    connection.source_identity = NULL;
    start_log(false, "info");
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_null(strstr(text, "identity"));
    assert_null(strstr(text, "hbone_addr"));
    telemetry_connection_free(&connection);
}

static void json_keeps_the_order_and_numbers_stay_numbers(void **state)
{
    (void)state;
    struct connection connection = telemetry_connection();
    take_time(&connection);
    start_log(true, "info");
    access_log_complete(&connection);
    char *AUTO_FREE text = stop_log();
    assert_true(text_starts_with(text, "{\"level\":\"info\",\"time\":\""));
    assert_non_null(
        strstr(text, "\"scope\":\"access\",\"message\":\"connection complete\",\"src.addr\":\"10.0.1.5:41234\","
                     "\"src.workload\":\"curl-1\",\"src.namespace\":\"shop\","
                     "\"src.identity\":\"spiffe://cluster.local/ns/shop/sa/curl\",\"src.cluster\":\"Kubernetes\","
                     "\"dst.addr\":\"10.0.2.9:15008\",\"dst.hbone_addr\":\"10.0.2.9:8080\",\"dst.workload\":\"web-1\","
                     "\"dst.namespace\":\"shop\",\"dst.identity\":\"spiffe://cluster.local/ns/shop/sa/web\","
                     "\"dst.cluster\":\"Kubernetes\",\"direction\":\"outbound\",\"bytes_sent\":80,\"bytes_recv\":512,"
                     "\"duration\":\"3ms\"}\n"));
    telemetry_connection_free(&connection);
}

static void early_denials_have_four_fields_and_a_limit_that_counts(void **state)
{
    (void)state;
    struct socket_address peer = telemetry_address("10.0.1.5:41234");
    struct socket_address local = telemetry_address("10.0.2.9:15008");
    uint64_t before = log_statistics().dropped_rate;
    start_log(false, "info");
    for (int i = 0; i < 500; i++) {
        access_log_refused(NULL, CONNECTION_INBOUND, &peer, &local, "ip mismatch: 10.0.2.9 != 10.0.2.7");
    }
    char *AUTO_FREE text = stop_log();
    const char *line = "warn\taccess\tconnection failed\tsrc.addr=10.0.1.5:41234 dst.addr=10.0.2.9:15008 "
                       "direction=\"inbound\" error=\"ip mismatch: 10.0.2.9 != 10.0.2.7\"\n";
    assert_true(text_starts_with(text, line));
    assert_true(log_statistics().dropped_rate - before >= 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_that_ended_well_is_one_info_line),
        cmocka_unit_test(the_begin_line_ends_with_the_direction),
        cmocka_unit_test(a_server_sends_what_its_client_receives),
        cmocka_unit_test(a_failure_is_an_error_line_with_its_stage_and_times_behind_the_contracts_fields),
        cmocka_unit_test(each_stage_has_its_name_when_it_fails),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(a_plaintext_connection_shows_no_destination_identity),
        cmocka_unit_test(json_keeps_the_order_and_numbers_stay_numbers),
        cmocka_unit_test(early_denials_have_four_fields_and_a_limit_that_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
