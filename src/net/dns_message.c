#include "net/dns_message.h"

#include "base/cursor.h"

#include <string.h>

#define FLAG_RESPONSE 0x8000u
#define FLAG_AUTHORITATIVE 0x0400u
#define FLAG_TRUNCATED 0x0200u
#define FLAG_RECURSION_DESIRED 0x0100u
#define FLAG_RECURSION_AVAILABLE 0x0080u
#define FLAG_CHECKING_DISABLED 0x0010u
#define OPERATION_MASK 0x7800u
#define CODE_MASK 0x000fu
#define CLASS_INTERNET 1
#define LABEL_BYTES_MAXIMUM 63
#define POINTER_BITS 0xc0u
#define EDNS_BYTES 11
#define EDNS_DNSSEC_OK 0x8000u
#define FLAGS_OFFSET 2
#define ANSWER_COUNT_OFFSET 6

/* A name without pointers: those a question has. */
static struct bytes take_plain_name(struct cursor *cursor)
{
    const uint8_t *start = cursor->at;
    size_t length = 0;
    uint8_t label;
    do {
        label = cursor_u8(cursor);
        cursor_skip(cursor, label);
        length += 1u + label;
        if (label > LABEL_BYTES_MAXIMUM || length > DNS_NAME_BYTES_MAXIMUM) {
            cursor->has_failed = true;
        }
    } while (label != 0 && !cursor->has_failed);
    return bytes_of(start, length);
}

/* Over a name that may end in a pointer (RFC 1035 §4.1.4), which is not followed. */
static void skip_name(struct cursor *cursor)
{
    for (;;) {
        uint8_t label = cursor_u8(cursor);
        if (cursor->has_failed || label == 0) {
            return;
        }
        if ((label & POINTER_BITS) == POINTER_BITS) {
            cursor_skip(cursor, 1);
            return;
        }
        if (label > LABEL_BYTES_MAXIMUM) {
            cursor->has_failed = true;
            return;
        }
        cursor_skip(cursor, label);
    }
}

struct record {
    uint16_t type, class_;
    uint32_t ttl;
    bool is_owned_by_root;
    struct bytes data;
};

static struct record take_record(struct cursor *cursor)
{
    struct record record = { .is_owned_by_root = cursor_left(cursor) > 0 && cursor->at[0] == 0 };
    skip_name(cursor);
    record.type = cursor_u16(cursor);
    record.class_ = cursor_u16(cursor);
    record.ttl = cursor_u32(cursor);
    record.data = cursor_take(cursor, cursor_u16(cursor));
    return record;
}

static void take_question(struct cursor *cursor, struct dns_question *question)
{
    const uint8_t *start = cursor->at;
    question->name = take_plain_name(cursor);
    question->type = cursor_u16(cursor);
    cursor_skip(cursor, 2);
    question->bytes = bytes_of(start, cursor->has_failed ? 0 : (size_t)(cursor->at - start));
}

/* The OPT record says what the client can take; a second one is an error (RFC 6891 §6.1.1). */
static bool note_edns(struct dns_request *request, const struct record *record)
{
    if (request->has_edns || !record->is_owned_by_root) {
        return false;
    }
    request->has_edns = true;
    request->edns_payload_bytes = record->class_;
    request->edns_version = (uint8_t)(record->ttl >> 16);
    request->is_dnssec_ok = (record->ttl & EDNS_DNSSEC_OK) != 0;
    return true;
}

static bool read_records(struct cursor *cursor, unsigned plain, unsigned additional, struct dns_request *request)
{
    for (unsigned i = 0; i < plain + additional && !cursor->has_failed; i++) {
        struct record record = take_record(cursor);
        if (!cursor->has_failed && i >= plain && record.type == DNS_TYPE_OPT && !note_edns(request, &record)) {
            return false;
        }
    }
    return !cursor->has_failed;
}

enum dns_reading dns_request_read(struct bytes message, struct dns_request *request, enum dns_code *code)
{
    struct cursor cursor = cursor_of(message);
    *request = (struct dns_request){ .id = cursor_u16(&cursor) };
    uint16_t flags = cursor_u16(&cursor);
    unsigned questions = cursor_u16(&cursor);
    unsigned answers = cursor_u16(&cursor);
    unsigned authorities = cursor_u16(&cursor);
    unsigned additionals = cursor_u16(&cursor);
    if (cursor.has_failed || (flags & FLAG_RESPONSE) != 0) {
        return DNS_IGNORED;
    }
    request->is_recursion_desired = (flags & FLAG_RECURSION_DESIRED) != 0;
    request->is_checking_disabled = (flags & FLAG_CHECKING_DISABLED) != 0;
    if ((flags & OPERATION_MASK) != 0) {
        *code = DNS_NOT_IMPLEMENTED;
        return DNS_BAD;
    }
    *code = DNS_FORMAT_ERROR;
    if (message.length > DNS_QUERY_BYTES_MAXIMUM) {
        return DNS_BAD;
    }
    for (unsigned i = 0; i < questions && !cursor.has_failed; i++) {
        take_question(&cursor, &request->question);
    }
    if (!read_records(&cursor, answers + authorities, additionals, request)) {
        return DNS_BAD;
    }
    *code = DNS_SERVER_FAILURE;
    request->has_question = questions == 1;
    return questions == 1 ? DNS_READ : DNS_BAD;
}

static char lower(uint8_t character)
{
    return (char)(character >= 'A' && character <= 'Z' ? character + ('a' - 'A') : character);
}

static bool is_plain(char character)
{
    return (character >= 'a' && character <= 'z') || (character >= '0' && character <= '9') || character == '-' ||
           character == '_' || character == '*';
}

size_t dns_name_text(struct bytes name, char out[static DNS_NAME_TEXT_SIZE])
{
    struct cursor cursor = cursor_of(name);
    struct writer writer = writer_fixed(out, DNS_NAME_TEXT_SIZE);
    size_t labels = 0;
    for (uint8_t length = cursor_u8(&cursor); length != 0 && !cursor.has_failed; length = cursor_u8(&cursor)) {
        struct bytes label = cursor_take(&cursor, length);
        if (labels++ > 0) {
            writer_add_u8(&writer, '.');
        }
        for (size_t i = 0; i < label.length; i++) {
            char character = lower(label.data[i]);
            if (is_plain(character)) {
                writer_add_u8(&writer, (uint8_t)character);
            } else {
                writer_print(&writer, "\\%03u", label.data[i]);
            }
        }
    }
    (void)writer_string(&writer);
    return labels;
}

size_t dns_request_udp_bytes(const struct dns_request *request)
{
    if (!request->has_edns) {
        return DNS_UDP_BYTES_WITHOUT_EDNS;
    }
    return request->edns_payload_bytes > DNS_UDP_BYTES_MINIMUM ? request->edns_payload_bytes : DNS_UDP_BYTES_MINIMUM;
}

/* "a.b" as labels with the final 0; false when it is no name. `name` is plain text. */
static bool write_name(const char *name, struct writer *out)
{
    struct bytes rest = bytes_of_string(name);
    size_t length = 1;
    while (rest.length > 0) {
        const uint8_t *period = memchr(rest.data, '.', rest.length);
        size_t label = period != NULL ? (size_t)(period - rest.data) : rest.length;
        length += 1 + label;
        if (label == 0 || label > LABEL_BYTES_MAXIMUM || length > DNS_NAME_BYTES_MAXIMUM) {
            return false;
        }
        writer_add_u8(out, (uint8_t)label);
        writer_add(out, rest.data, label);
        size_t used = period != NULL ? label + 1 : label;
        rest = bytes_of(rest.data + used, rest.length - used);
    }
    writer_add_u8(out, 0);
    return true;
}

static void set_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

void dns_message_set_id(uint8_t *message, uint16_t id)
{
    set_u16(message, id);
}

static void write_header(
    const struct dns_request *request, unsigned flags, bool has_question, bool has_edns, struct writer *out)
{
    flags |= FLAG_RESPONSE | (request->is_recursion_desired ? FLAG_RECURSION_DESIRED : 0) |
             (request->is_checking_disabled ? FLAG_CHECKING_DISABLED : 0);
    writer_add_u16(out, request->id);
    writer_add_u16(out, (uint16_t)flags);
    writer_add_u16(out, has_question);
    writer_add_u16(out, 0); /* answers, counted afterwards */
    writer_add_u16(out, 0);
    writer_add_u16(out, has_edns);
    if (has_question) {
        writer_add_bytes(out, request->question.bytes);
    }
}

void dns_error_write(const struct dns_request *request, enum dns_code code, struct writer *out)
{
    write_header(request, code, request->has_question, false, out);
}

/* The name that owns the next record: written once, then pointed to. */
struct owner {
    struct bytes name; /* on the wire; empty: it is at `offset` */
    size_t offset;
};

static void write_owner(struct owner *owner, struct writer *out)
{
    if (owner->name.length == 0) {
        writer_add_u16(out, (uint16_t)(POINTER_BITS << 8 | owner->offset));
        return;
    }
    owner->offset = out->length;
    writer_add_bytes(out, owner->name);
    owner->name.length = 0;
}

static void write_record(struct owner *owner, enum dns_type type, uint32_t ttl_s, struct bytes data, struct writer *out)
{
    write_owner(owner, out);
    writer_add_u16(out, (uint16_t)type);
    writer_add_u16(out, CLASS_INTERNET);
    writer_add_u32(out, ttl_s);
    writer_add_u16(out, (uint16_t)data.length);
    writer_add_bytes(out, data);
}

/* The records of an answer, as many as fit. */
struct record_list {
    struct owner owner;
    size_t limit_bytes;
    unsigned count;
    bool is_truncated;
};

static void add_record(
    struct record_list *list, enum dns_type type, uint32_t ttl_s, struct bytes data, struct writer *out)
{
    struct owner before = list->owner;
    size_t length = out->length;
    write_record(&list->owner, type, ttl_s, data, out);
    if (list->is_truncated || out->length > list->limit_bytes) {
        out->length = length;
        list->owner = before;
        list->is_truncated = true;
        return;
    }
    list->count++;
}

static void add_alias(struct record_list *list, const struct dns_answer *answer, struct writer *out)
{
    uint8_t memory[DNS_NAME_BYTES_MAXIMUM];
    struct writer alias = writer_fixed(memory, sizeof memory);
    if (!write_name(answer->alias, &alias)) {
        return;
    }
    add_record(list, DNS_TYPE_CNAME, answer->ttl_s, writer_bytes(&alias), out);
    list->owner = (struct owner){ { 0 }, out->length - alias.length };
}

static void add_address(
    struct record_list *list, const struct ip_address *address, const struct dns_answer *answer, struct writer *out)
{
    enum dns_type type = address->family == IP_V6 ? DNS_TYPE_AAAA : DNS_TYPE_A;
    add_record(list, type, answer->ttl_s, ip_bytes(address), out);
}

static void write_edns(const struct dns_request *request, struct writer *out)
{
    writer_add_u8(out, 0);
    writer_add_u16(out, DNS_TYPE_OPT);
    writer_add_u16(
        out, request->edns_payload_bytes > DNS_UDP_BYTES_MINIMUM ? request->edns_payload_bytes : DNS_UDP_BYTES_MINIMUM);
    writer_add_u32(out, (uint32_t)request->edns_version << 16 | (request->is_dnssec_ok ? EDNS_DNSSEC_OK : 0));
    writer_add_u16(out, 0);
}

/* The question is echoed as it came; owners are in lower case. Nothing to write where the question is that already. */
static struct owner owner_of_question(const struct dns_question *question, uint8_t memory[DNS_NAME_BYTES_MAXIMUM])
{
    for (size_t i = 0; i < question->name.length; i++) {
        memory[i] = (uint8_t)lower(question->name.data[i]);
    }
    bool is_lower = memcmp(memory, question->name.data, question->name.length) == 0;
    return (struct owner){ bytes_of(memory, is_lower ? 0 : question->name.length), DNS_HEADER_BYTES };
}

void dns_answer_write(
    const struct dns_request *request, const struct dns_answer *answer, size_t limit_bytes, struct writer *out)
{
    uint8_t memory[DNS_NAME_BYTES_MAXIMUM];
    struct record_list list = {
        .owner = owner_of_question(&request->question, memory),
        .limit_bytes = limit_bytes - (request->has_edns ? EDNS_BYTES : 0),
    };
    writer_clear(out);
    write_header(request, FLAG_AUTHORITATIVE | FLAG_RECURSION_AVAILABLE, true, request->has_edns, out);
    if (answer->alias != NULL) {
        add_alias(&list, answer, out);
    }
    for (size_t i = 0; i < answer->address_count && !list.is_truncated; i++) {
        add_address(&list, &answer->addresses[i], answer, out);
    }
    if (request->has_edns) {
        write_edns(request, out);
    }
    set_u16(out->data + ANSWER_COUNT_OFFSET, (uint16_t)list.count);
    out->data[FLAGS_OFFSET] |= list.is_truncated ? FLAG_TRUNCATED >> 8 : 0;
}

static bool equal_ignoring_case(struct bytes left, struct bytes right)
{
    bool is_equal = left.length == right.length;
    for (size_t i = 0; is_equal && i < left.length; i++) {
        is_equal = lower(left.data[i]) == lower(right.data[i]);
    }
    return is_equal;
}

enum dns_code dns_response_code(struct bytes response)
{
    return (enum dns_code)(response.data[FLAGS_OFFSET + 1] & CODE_MASK);
}

bool dns_response_matches(struct bytes response, uint16_t id, const struct dns_question *question)
{
    struct cursor cursor = cursor_of(response);
    uint16_t response_id = cursor_u16(&cursor);
    uint16_t flags = cursor_u16(&cursor);
    uint16_t questions = cursor_u16(&cursor);
    cursor_skip(&cursor, DNS_HEADER_BYTES - ANSWER_COUNT_OFFSET);
    if (cursor.has_failed || response_id != id || (flags & FLAG_RESPONSE) == 0 || (flags & OPERATION_MASK) != 0) {
        return false;
    }
    enum dns_code code = dns_response_code(response);
    if (questions == 0) {
        return code != DNS_NO_ERROR && code != DNS_NAME_ERROR;
    }
    struct dns_question echoed = { 0 };
    take_question(&cursor, &echoed);
    /* Type and class are no letters that differ in case only: they are compared exactly. */
    size_t name_length = question->name.length;
    return questions == 1 && !cursor.has_failed && echoed.bytes.length == question->bytes.length &&
           equal_ignoring_case(echoed.name, question->name) &&
           memcmp(echoed.bytes.data + name_length, question->bytes.data + name_length,
               question->bytes.length - name_length) == 0;
}

bool dns_response_address(struct bytes response, enum dns_type type, struct ip_address *ip)
{
    struct cursor cursor = cursor_of(response);
    cursor_skip(&cursor, 4);
    unsigned questions = cursor_u16(&cursor);
    unsigned answers = cursor_u16(&cursor);
    cursor_skip(&cursor, 4);
    for (unsigned i = 0; i < questions && !cursor.has_failed; i++) {
        skip_name(&cursor);
        cursor_skip(&cursor, 4);
    }
    for (unsigned i = 0; i < answers && !cursor.has_failed; i++) {
        struct record record = take_record(&cursor);
        bool is_wanted = record.type == type && record.class_ == CLASS_INTERNET;
        if (!cursor.has_failed && is_wanted && record.data.length == (type == DNS_TYPE_A ? 4u : 16u)) {
            return ip_from_bytes(record.data, ip);
        }
    }
    return false;
}

bool dns_query_write(const char *name, enum dns_type type, uint16_t id, struct writer *out)
{
    writer_add_u16(out, id);
    writer_add_u16(out, FLAG_RECURSION_DESIRED);
    writer_add_u16(out, 1);
    writer_add_u16(out, 0);
    writer_add_u32(out, 0);
    if (name[0] == '\0' || !write_name(name, out)) {
        return false;
    }
    writer_add_u16(out, (uint16_t)type);
    writer_add_u16(out, CLASS_INTERNET);
    return true;
}

const char *dns_type_name(uint16_t type)
{
    static const struct {
        uint16_t type;
        const char *name;
    } KNOWN[] = {
        { 1, "a" },
        { 2, "ns" },
        { 5, "cname" },
        { 6, "soa" },
        { 12, "ptr" },
        { 15, "mx" },
        { 16, "txt" },
        { 28, "aaaa" },
        { 33, "srv" },
        { 35, "naptr" },
        { 43, "ds" },
        { 48, "dnskey" },
        { 52, "tlsa" },
        { 64, "svcb" },
        { 65, "https" },
        { 252, "axfr" },
        { 255, "any" },
        { 257, "caa" },
    };
    for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
        if (KNOWN[i].type == type) {
            return KNOWN[i].name;
        }
    }
    return "unknown";
}
