/* DNS messages: a query that is read can be answered within every limit, what is built is read again; an answer of upstream is
 * matched and searched without a step outside. The first byte chooses. */
#include "net/dns_message.h"

#include <stdlib.h>
#include <string.h>

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* What we answer is an answer to that very question. */
static void answer_within(const struct dns_request *request, const struct dns_answer *answer, size_t limit_bytes)
{
    struct writer out = writer_growing();
    dns_answer_write(request, answer, limit_bytes, &out);
    expect(out.length <= limit_bytes);
    expect(dns_response_matches(writer_bytes(&out), request->id, &request->question));
    struct ip_address ip;
    bool is_truncated = (out.data[2] & 2) != 0;
    expect(is_truncated || dns_response_address(writer_bytes(&out), DNS_TYPE_A, &ip));
    writer_free(&out);
}

static void read_query(struct bytes message)
{
    static struct ip_address addresses[64];
    struct dns_request request;
    enum dns_code code = DNS_NO_ERROR;
    enum dns_reading reading = dns_request_read(message, &request, &code);
    struct writer out = writer_growing();
    if (reading == DNS_BAD) {
        dns_error_write(&request, code, &out);
        expect(out.length >= DNS_HEADER_BYTES);
    }
    writer_free(&out);
    if (reading != DNS_READ) {
        return;
    }
    char name[DNS_NAME_TEXT_SIZE];
    size_t labels = dns_name_text(request.question.name, name);
    expect(labels <= 127 && strlen(name) < DNS_NAME_TEXT_SIZE);
    for (size_t i = 0; i < 64; i++) {
        addresses[i] = (struct ip_address){ .family = IP_V4, .bytes = { 10, 0, 0, (uint8_t)i } };
    }
    struct dns_answer answer = { NULL, addresses, 64, 30 };
    answer_within(&request, &answer, DNS_UDP_BYTES_MINIMUM);
    answer_within(&request, &answer, dns_request_udp_bytes(&request));
    answer_within(&request, &answer, DNS_MESSAGE_BYTES_MAXIMUM);
    answer.alias = "alias.example.com";
    answer_within(&request, &answer, DNS_UDP_BYTES_MINIMUM);
}

static void read_response(struct bytes message)
{
    static const char NAME[] = "\3www\7example\3com\0\0\1\0";
    struct dns_question question = {
        .name = bytes_of(NAME, 17), .bytes = bytes_of("\3www\7example\3com\0\0\1\0\1", 21), .type = DNS_TYPE_A
    };
    struct ip_address ip;
    if (message.length >= 2) {
        uint16_t id = (uint16_t)(message.data[0] << 8 | message.data[1]);
        bool does_match = dns_response_matches(message, id, &question);
        expect(!does_match || !dns_response_matches(message, id ^ 1, &question));
    }
    (void)dns_response_address(message, DNS_TYPE_A, &ip);
    (void)dns_response_address(message, DNS_TYPE_AAAA, &ip);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] % 2 == 0) {
        read_query(bytes_of(data + 1, size - 1));
    } else if (size > 0) {
        read_response(bytes_of(data + 1, size - 1));
    }
    return 0;
}
