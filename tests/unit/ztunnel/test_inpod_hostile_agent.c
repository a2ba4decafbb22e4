/* A node agent that breaks the rules of ZDS: refused in the contract's words, hung up, and nothing is left behind. */
#include "unit/ztunnel/inpod_fixture.h"

static void assert_violation(struct fixture *fixture, const char *text)
{
    assert_string_equal(answer(fixture), text);
    assert_hung_up(fixture);
    accept_proxy(fixture);
    finish_snapshot(fixture);
}

static void a_keep_after_the_snapshot_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_KEEP, "uid-1");
    assert_violation(fixture, "failure to process message : ProtocolError(\"pod keep received after snapshot\")");
}

static void a_second_snapshot_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    finish_snapshot(fixture);
    send_plain(fixture, ZDS_SNAPSHOT_SENT, "");
    assert_violation(fixture, "failure to process message : ProtocolError(\"pod snapshot received already\")");
}

static void an_add_without_workload_information_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    const struct zds_request request = { .kind = ZDS_ADD, .uid = bytes_of_string("uid-1") };
    send_request(fixture, &request, fixture->namespaces[0].descriptor);
    turn(fixture, 10);
    assert_violation(
        fixture, "failure to process message : ProtocolError(\"workload_info is required but not present\")");
}

static void a_datagram_that_is_no_request_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(send(fixture->agent, "\xff\xff\xff", 3, 0), 3);
    assert_string_equal(answer(fixture), "failure to read message : WorkloadRequest: malformed field");
    assert_hung_up(fixture);
    accept_proxy(fixture);
    assert_int_equal(send(fixture->agent, "\x22\x00", 2, 0), 2);
    assert_string_equal(answer(fixture), "failure to read message : no payload");
    assert_hung_up(fixture);
    accept_proxy(fixture);
}

static void an_add_without_a_descriptor_ends_the_connection_only(void **state)
{
    struct fixture *fixture = *state;
    const struct zds_request request = { ZDS_ADD, bytes_of_string("uid-1"), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    send_request(fixture, &request, -1);
    assert_violation(fixture, "failure to read message : No control message");
}

static int open_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = 0;
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static void send_with_descriptors(struct fixture *fixture, const int *descriptors, size_t count)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    const struct zds_request request = { ZDS_ADD, bytes_of_string("uid-1"), true, bytes_of_string("web-1"),
        bytes_of_string("default"), bytes_of_string("web") };
    zds_request_encode(&request, &out);
    char control[CMSG_SPACE(253 * sizeof(int))] = { 0 };
    struct iovec piece = { memory, out.length };
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int))
    };
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
    assert_true(sendmsg(fixture->agent, &message, 0) > 0);
}

static void descriptors_of_the_wrong_kind_or_number_are_refused_and_closed(void **state)
{
    struct fixture *fixture = *state;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int many[253];
    for (size_t i = 0; i < ARRAY_LENGTH(many); i++) {
        many[i] = null;
    }
    int before = open_descriptors();
    for (int round = 0; round < 5; round++) {
        send_with_descriptors(fixture, &null, 1);
        assert_non_null(strstr(answer(fixture), "failure to start proxy : descriptor"));
        send_with_descriptors(fixture, many, ARRAY_LENGTH(many));
        assert_string_equal(answer(fixture), "failure to read message : Expected 1 FD, got 253");
        assert_hung_up(fixture);
        accept_proxy(fixture);
    }
    assert_int_equal(open_descriptors(), before);
    close(null);
}

static void requests_that_nobody_waits_for_leave_no_descriptor_behind(void **state)
{
    struct fixture *fixture = *state;
    skip_without_root();
    int before = open_descriptors();
    send_add(fixture, "uid-1", 0);
    send_add(fixture, "uid-2", 1);
    send_add(fixture, "uid-3", 1);
    reconnect(fixture);
    finish_snapshot(fixture);
    end_launch(&fixture->launches[0]);
    turn(fixture, 10);
    assert_int_equal(fixture->launched, 1);
    assert_int_equal(open_descriptors(), before);
}

static void an_agent_that_takes_no_answers_is_left(void **state)
{
    struct fixture *fixture = *state;
    uint64_t end_ns = clock_monotonic_ns() + PATIENCE_MS * NANOSECONDS_PER_MILLISECOND;
    const struct zds_request keep = { .kind = ZDS_KEEP, .uid = bytes_of_string("uid") };
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer out = writer_fixed(memory, sizeof memory);
    zds_request_encode(&keep, &out);
    int error = 0;
    while (error != EPIPE && clock_monotonic_ns() < end_ns) {
        error = send(fixture->agent, memory, out.length, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
        loop_run_once(fixture->loop, 0);
    }
    assert_int_equal(error, EPIPE);
    close(fixture->agent);
    accept_proxy(fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        manager_test(a_keep_after_the_snapshot_ends_the_connection_only),
        manager_test(a_second_snapshot_ends_the_connection_only),
        manager_test(an_add_without_workload_information_ends_the_connection_only),
        manager_test(a_datagram_that_is_no_request_ends_the_connection_only),
        manager_test(an_add_without_a_descriptor_ends_the_connection_only),
        manager_test(descriptors_of_the_wrong_kind_or_number_are_refused_and_closed),
        manager_test(requests_that_nobody_waits_for_leave_no_descriptor_behind),
        manager_test(an_agent_that_takes_no_answers_is_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
