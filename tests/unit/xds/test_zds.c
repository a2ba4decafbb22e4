/* ZDS: the vectors of wire-protocols §18 no. 7, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/text.h"
#include "base/writer.h"
#include "xds/zds.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct message {
    uint8_t data[2048];
    size_t length;
};

static struct message from_hexadecimal(const char *text)
{
    struct message message = { .length = 0 };
    assert_true(text_from_hexadecimal(text, message.data, sizeof message.data, &message.length));
    return message;
}

static struct bytes bytes_in(const struct message *message)
{
    return bytes_of(message->data, message->length);
}

static void assert_bytes(struct writer *writer, const char *expected)
{
    struct message message = from_hexadecimal(expected);
    assert_int_equal(writer->length, message.length);
    assert_memory_equal(writer->data, message.data, message.length);
    writer_free(writer);
}

static struct zds_request add_of(const char *uid, const char *name, const char *namespace_, const char *account)
{
    return (struct zds_request){ ZDS_ADD, bytes_of_string(uid), true, bytes_of_string(name),
        bytes_of_string(namespace_), bytes_of_string(account) };
}

static void requests_are_encoded_as_in_the_vectors(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    struct zds_request add = add_of("uid-1", "web-1", "default", "web");
    zds_request_encode(&add, &writer);
    assert_bytes(&writer, "0a1e0a057569642d3112150a057765622d31120764656661756c741a03776562");
    zds_request_encode(&(struct zds_request){ .kind = ZDS_KEEP, .uid = bytes_of_string("uid-1") }, &writer);
    assert_bytes(&writer, "2a070a057569642d31");
    zds_request_encode(&(struct zds_request){ .kind = ZDS_DELETE, .uid = bytes_of_string("uid-1") }, &writer);
    assert_bytes(&writer, "120712057569642d31");
    zds_request_encode(&(struct zds_request){ .kind = ZDS_SNAPSHOT_SENT }, &writer);
    assert_bytes(&writer, "1a00");
}

static void hello_and_answers_are_encoded_as_in_the_vectors(void **state)
{
    (void)state;
    struct writer writer = writer_growing();
    zds_hello_encode(&writer);
    assert_bytes(&writer, "0801");
    zds_response_encode(NULL, &writer);
    assert_bytes(&writer, "0a00");
    zds_response_encode("boom", &writer);
    assert_bytes(&writer, "0a060a04626f6f6d");
}

static void an_add_is_decoded_with_all_its_names(void **state)
{
    (void)state;
    struct zds_request request;
    struct message message = from_hexadecimal("0a150a03313233120e0a03666f6f12036261721a027361");
    struct result result = zds_request_decode(bytes_in(&message), &request);
    assert_true(result_is_ok(&result));
    assert_int_equal(request.kind, ZDS_ADD);
    assert_true(bytes_equal_string(request.uid, "123"));
    assert_true(request.has_workload_info);
    assert_true(bytes_equal_string(request.name, "foo"));
    assert_true(bytes_equal_string(request.namespace_, "bar"));
    assert_true(bytes_equal_string(request.service_account, "sa"));
}

static void the_other_requests_are_decoded(void **state)
{
    (void)state;
    struct zds_request request;
    struct message keep = from_hexadecimal("2a050a03313233");
    struct message delete = from_hexadecimal("12051203313233");
    struct message snapshot = from_hexadecimal("1a00");
    struct result result = zds_request_decode(bytes_in(&keep), &request);
    assert_true(result_is_ok(&result));
    assert_int_equal(request.kind, ZDS_KEEP);
    assert_true(bytes_equal_string(request.uid, "123"));
    result = zds_request_decode(bytes_in(&delete), &request);
    assert_true(result_is_ok(&result));
    assert_int_equal(request.kind, ZDS_DELETE);
    assert_true(bytes_equal_string(request.uid, "123"));
    result = zds_request_decode(bytes_in(&snapshot), &request);
    assert_true(result_is_ok(&result));
    assert_int_equal(request.kind, ZDS_SNAPSHOT_SENT);
}

static void an_add_without_workload_info_says_so(void **state)
{
    (void)state;
    struct zds_request request;
    struct message message = from_hexadecimal("0a030a0178");
    struct result result = zds_request_decode(bytes_in(&message), &request);
    assert_true(result_is_ok(&result));
    assert_false(request.has_workload_info);
}

static void the_last_payload_of_several_counts(void **state)
{
    (void)state;
    struct zds_request request;
    struct message message = from_hexadecimal("0a030a01781203120179");
    struct result result = zds_request_decode(bytes_in(&message), &request);
    assert_true(result_is_ok(&result));
    assert_int_equal(request.kind, ZDS_DELETE);
    assert_true(bytes_equal_string(request.uid, "y"));
}

static void assert_refused(const char *hexadecimal, const char *expected)
{
    struct zds_request request;
    struct message message = from_hexadecimal(hexadecimal);
    struct result result = zds_request_decode(bytes_in(&message), &request);
    assert_int_equal(result.code, RESULT_INVALID);
    assert_string_equal(result.message, expected);
}

static void bad_requests_are_refused(void **state)
{
    (void)state;
    assert_refused("", "no payload");
    assert_refused("2200", "no payload"); /* field 4 is unknown */
    assert_refused("0a05", "WorkloadRequest: malformed field");
    assert_refused("0801", "WorkloadRequest.payload: wrong wire type");
    assert_refused("0a030a0578", "AddWorkload: malformed field");
    assert_refused("0a030a01ff", "AddWorkload.uid: not UTF-8 text");
    assert_refused("1203120100", "uid: not UTF-8 text");
    assert_refused("0a0412020a05", "WorkloadInfo: malformed field");
}

static void answers_are_decoded(void **state)
{
    (void)state;
    struct bytes error;
    struct message done = from_hexadecimal("0a00");
    struct message boom = from_hexadecimal("0a060a04626f6f6d");
    struct message empty = from_hexadecimal("");
    struct result result = zds_response_decode(bytes_in(&done), &error);
    assert_true(result_is_ok(&result));
    assert_int_equal(error.length, 0);
    result = zds_response_decode(bytes_in(&boom), &error);
    assert_true(result_is_ok(&result));
    assert_true(bytes_equal_string(error, "boom"));
    result = zds_response_decode(bytes_in(&empty), &error);
    assert_string_equal(result.message, "no payload");
}

static void a_hello_is_decoded_whatever_its_version(void **state)
{
    (void)state;
    uint32_t version;
    struct message hello = from_hexadecimal("0807");
    struct message bad = from_hexadecimal("08");
    struct result result = zds_hello_decode(bytes_in(&hello), &version);
    assert_true(result_is_ok(&result));
    assert_int_equal(version, 7);
    result = zds_hello_decode(bytes_in(&bad), &version);
    assert_int_equal(result.code, RESULT_INVALID);
}

static void a_long_error_is_cut_between_characters_to_fit_a_datagram(void **state)
{
    (void)state;
    char text[1201];
    for (size_t i = 0; i < 1200; i += 2) {
        memcpy(text + i, "\xc3\xa9", 2);
    }
    text[1200] = '\0';
    struct writer writer = writer_growing();
    struct bytes error;
    zds_response_encode(text, &writer);
    assert_true(writer.length <= ZDS_MESSAGE_BYTES_MAXIMUM);
    struct result result = zds_response_decode(writer_bytes(&writer), &error);
    assert_true(result_is_ok(&result));
    assert_true(bytes_is_utf8(error));
    assert_true(error.length > 1000);
    writer_free(&writer);
}

struct pair {
    int agent;
    int proxy;
};

static struct pair open_pair(void)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    return (struct pair){ ends[0], ends[1] };
}

static void close_pair(const struct pair *pair)
{
    (void)close(pair->agent);
    (void)close(pair->proxy);
}

static void send_hexadecimal(int socket, const char *hexadecimal, int descriptor)
{
    struct message message = from_hexadecimal(hexadecimal);
    assert_int_equal(zds_send(socket, bytes_in(&message), descriptor), 0);
}

static void an_add_arrives_with_its_descriptor(void **state)
{
    (void)state;
    struct pair pair = open_pair();
    struct zds_datagram datagram;
    struct zds_request request;
    struct result reason;
    struct stat sent, received;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    send_hexadecimal(pair.agent, "0a030a0178", null);
    assert_int_equal(zds_receive_request(pair.proxy, &datagram, &request, &reason), ZDS_RECEIVED);
    assert_true(bytes_equal_string(request.uid, "x"));
    assert_true(datagram.descriptor >= 0);
    assert_int_equal(fcntl(datagram.descriptor, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(fstat(null, &sent), 0);
    assert_int_equal(fstat(datagram.descriptor, &received), 0);
    assert_true(sent.st_ino == received.st_ino);
    (void)close(datagram.descriptor);
    (void)close(null);
    close_pair(&pair);
}

static void assert_datagram_refused(const char *hexadecimal, int descriptor, const char *expected)
{
    struct pair pair = open_pair();
    struct zds_datagram datagram;
    struct zds_request request;
    struct result reason;
    send_hexadecimal(pair.agent, hexadecimal, descriptor);
    assert_int_equal(zds_receive_request(pair.proxy, &datagram, &request, &reason), ZDS_REFUSED);
    assert_string_equal(reason.message, expected);
    assert_int_equal(datagram.descriptor, -1);
    close_pair(&pair);
}

static void descriptors_are_refused_where_none_belongs_and_missed_where_one_does(void **state)
{
    (void)state;
    assert_datagram_refused("0a030a0178", -1, "No control message");
    assert_datagram_refused("1a00", 0, "Unexpected control message");
    assert_datagram_refused("1203120178", 0, "Unexpected control message");
    assert_datagram_refused("0a05", 0, "WorkloadRequest: malformed field");
}

static int count_descriptors(void)
{
    int count = 0;
    for (int descriptor = 0; descriptor < 512; descriptor++) {
        count += fcntl(descriptor, F_GETFD) >= 0;
    }
    return count;
}

static void send_two_descriptors(int socket)
{
    uint8_t byte[] = { 0x1a, 0x00 };
    union {
        struct cmsghdr alignment;
        uint8_t data[CMSG_SPACE(2 * sizeof(int))];
    } control = { .data = { 0 } };
    struct iovec piece = { byte, sizeof byte };
    struct msghdr header = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data
    };
    struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
    const int descriptors[2] = { 0, 1 };
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof descriptors);
    memcpy(CMSG_DATA(rights), descriptors, sizeof descriptors);
    assert_int_equal(sendmsg(socket, &header, 0), sizeof byte);
}

static void several_descriptors_are_refused_and_all_closed(void **state)
{
    (void)state;
    struct pair pair = open_pair();
    struct zds_datagram datagram;
    struct result reason;
    int before = count_descriptors();
    send_two_descriptors(pair.agent);
    assert_int_equal(zds_receive(pair.proxy, &datagram, &reason), ZDS_REFUSED);
    assert_string_equal(reason.message, "Expected 1 FD, got 2");
    assert_int_equal(count_descriptors(), before);
    close_pair(&pair);
}

static void a_datagram_longer_than_the_buffer_is_refused(void **state)
{
    (void)state;
    struct pair pair = open_pair();
    struct zds_datagram datagram;
    struct result reason;
    uint8_t large[ZDS_MESSAGE_BYTES_MAXIMUM + 1] = { 0x1a, 0x00 };
    assert_int_equal(send(pair.agent, large, sizeof large, 0), sizeof large);
    assert_int_equal(zds_receive(pair.proxy, &datagram, &reason), ZDS_REFUSED);
    assert_string_equal(reason.message, "message truncated: more than 1024 bytes");
    close_pair(&pair);
}

static void a_message_that_is_too_long_is_not_sent(void **state)
{
    (void)state;
    struct pair pair = open_pair();
    uint8_t large[ZDS_MESSAGE_BYTES_MAXIMUM + 1] = { 0 };
    assert_int_equal(zds_send(pair.agent, bytes_of(large, sizeof large), -1), EMSGSIZE);
    close_pair(&pair);
}

static void silence_and_the_end_are_told_apart(void **state)
{
    (void)state;
    struct pair pair = open_pair();
    struct zds_datagram datagram;
    struct result reason;
    uint8_t byte = 0;
    assert_int_equal(zds_receive(pair.proxy, &datagram, &reason), ZDS_NOTHING_YET);
    (void)close(pair.agent);
    assert_int_equal(zds_receive(pair.proxy, &datagram, &reason), ZDS_ENDED);
    assert_int_equal(zds_send(pair.proxy, bytes_of(&byte, 1), -1), EPIPE);
    (void)close(pair.proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_encoded_as_in_the_vectors),
        cmocka_unit_test(hello_and_answers_are_encoded_as_in_the_vectors),
        cmocka_unit_test(an_add_is_decoded_with_all_its_names),
        cmocka_unit_test(the_other_requests_are_decoded),
        cmocka_unit_test(an_add_without_workload_info_says_so),
        cmocka_unit_test(the_last_payload_of_several_counts),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(answers_are_decoded),
        cmocka_unit_test(a_hello_is_decoded_whatever_its_version),
        cmocka_unit_test(a_long_error_is_cut_between_characters_to_fit_a_datagram),
        cmocka_unit_test(an_add_arrives_with_its_descriptor),
        cmocka_unit_test(descriptors_are_refused_where_none_belongs_and_missed_where_one_does),
        cmocka_unit_test(several_descriptors_are_refused_and_all_closed),
        cmocka_unit_test(a_datagram_longer_than_the_buffer_is_refused),
        cmocka_unit_test(a_message_that_is_too_long_is_not_sent),
        cmocka_unit_test(silence_and_the_end_are_told_apart),
    };
    return cmocka_run_group_tests_name("zds", tests, NULL, NULL);
}
