#include "ztunnel/connect_headers.h"

#include "base/memory.h"
#include "base/random.h"
#include "base/text.h"
#include "base/writer.h"

#define TRACEPARENT_LENGTH (TRACEPARENT_TEXT_SIZE - 1)

void connect_headers_write_forwarded(
    const struct socket_address *peer, const char *service_hostname, struct writer *out)
{
    char text[SOCKET_ADDRESS_TEXT_SIZE];
    writer_add_string(out, "for=\"");
    writer_add_string(out, socket_address_format(peer, text));
    writer_add_string(out, "\"");
    if (service_hostname != NULL) {
        writer_add_string(out, ";host=");
        writer_add_string(out, service_hostname);
    }
}

static bool is_ascii(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

static struct bytes without_quotes(struct bytes text)
{
    while (text.length > 0 && text.data[0] == '"') {
        text = bytes_of(text.data + 1, text.length - 1);
    }
    while (text.length > 0 && text.data[text.length - 1] == '"') {
        text.length--;
    }
    return text;
}

char *connect_headers_forwarded_host(struct bytes forwarded)
{
    static const char KEY[] = "host=";
    const size_t key_length = sizeof KEY - 1;
    struct bytes part;
    if (!is_ascii(forwarded)) {
        return NULL;
    }
    while (bytes_split(&forwarded, ';', &part)) {
        part = bytes_trim(part);
        if (part.length >= key_length && memcmp(part.data, KEY, key_length) == 0) {
            part = without_quotes(bytes_of(part.data + key_length, part.length - key_length));
            return part.length > 0 ? string_duplicate_n((const char *)part.data, part.length) : NULL;
        }
    }
    return NULL;
}

void connect_headers_write_traceparent(const char *trace_id, char traceparent[static TRACEPARENT_TEXT_SIZE])
{
    struct writer out = writer_fixed(traceparent, TRACEPARENT_TEXT_SIZE);
    uint64_t span = random_u64();
    writer_add_string(&out, "00-");
    writer_add_string(&out, trace_id);
    writer_add_string(&out, "-");
    writer_add_hexadecimal(&out, bytes_of(&span, sizeof span));
    writer_add_string(&out, "-00");
    (void)writer_string(&out);
}

static bool is_well_formed(struct bytes traceparent)
{
    if (traceparent.length != TRACEPARENT_LENGTH) {
        return false;
    }
    for (size_t i = 0; i < traceparent.length; i++) {
        uint8_t c = traceparent.data[i];
        bool is_dash_place = i == 2 || i == 35 || i == 52;
        bool is_hexadecimal = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        if (is_dash_place ? c != '-' : !is_hexadecimal) {
            return false;
        }
    }
    return true;
}

bool connect_headers_read_trace(struct bytes traceparent, char trace_id[static TRACE_ID_TEXT_SIZE])
{
    if (!is_well_formed(traceparent)) {
        return false;
    }
    memcpy(trace_id, traceparent.data + 3, TRACE_ID_TEXT_SIZE - 1);
    trace_id[TRACE_ID_TEXT_SIZE - 1] = '\0';
    return true;
}

struct baggage connect_headers_baggage(const struct hbone_headers *headers)
{
    struct baggage baggage = { 0 };
    for (size_t i = 0; i < headers->count; i++) {
        if (bytes_equal_string(headers->fields[i].name, "baggage") &&
            !baggage_parse(headers->fields[i].value, &baggage)) {
            break;
        }
    }
    return baggage;
}
