#include "ztunnel/socks5_message.h"

#include "base/cursor.h"

#include <string.h>

#define VERSION 5
#define COMMAND_CONNECT 1
#define NO_AUTHENTICATION 0
#define ADDRESS_IPV4 1
#define ADDRESS_NAME 3
#define ADDRESS_IPV6 4
#define HEAD_BYTES 4
#define PORT_BYTES 2

enum socks5_reading socks5_greeting_read(struct bytes received, size_t *needed)
{
    *needed = 2;
    if (received.length >= 1 && received.data[0] != VERSION) {
        return SOCKS5_BAD;
    }
    if (received.length < *needed) {
        return SOCKS5_NEEDS_MORE;
    }
    size_t methods = received.data[1];
    *needed += methods;
    if (received.length < *needed) {
        return SOCKS5_NEEDS_MORE;
    }
    bool is_offered = methods > 0 && memchr(received.data + 2, NO_AUTHENTICATION, methods) != NULL;
    return is_offered ? SOCKS5_READ : SOCKS5_BAD;
}

/* The bytes of the address; 0 while its length is not known yet. */
static size_t address_bytes(struct bytes received)
{
    switch (received.data[3]) {
    case ADDRESS_IPV4:
        return 4;
    case ADDRESS_IPV6:
        return 16;
    default:
        return received.length > HEAD_BYTES ? 1u + received.data[HEAD_BYTES] : 0;
    }
}

static bool is_name_character(uint8_t character)
{
    return character > ' ' && character < 0x7f;
}

/* A name as DNS is asked for it, or the text of an address. */
static bool take_name(struct bytes text, struct socks5_request *request)
{
    if (text.length > 0 && text.data[text.length - 1] == '.') {
        text.length--;
    }
    for (size_t i = 0; i < text.length; i++) {
        uint8_t character = text.data[i];
        if (!is_name_character(character)) {
            return false;
        }
        request->name[i] = (char)(character >= 'A' && character <= 'Z' ? character + ('a' - 'A') : character);
    }
    request->name[text.length] = '\0';
    (void)ip_parse(request->name, &request->target.ip);
    return text.length > 0;
}

static bool take_address(struct cursor *cursor, uint8_t type, struct socks5_request *request)
{
    if (type == ADDRESS_NAME) {
        return take_name(cursor_take(cursor, cursor_u8(cursor)), request);
    }
    return ip_from_bytes(cursor_take(cursor, type == ADDRESS_IPV4 ? 4 : 16), &request->target.ip);
}

enum socks5_reading socks5_request_read(struct bytes received, struct socks5_request *request, size_t *needed)
{
    *request = (struct socks5_request){ 0 };
    *needed = HEAD_BYTES;
    if (received.length >= 1 && received.data[0] != VERSION) {
        return SOCKS5_BAD;
    }
    if (received.length < HEAD_BYTES) {
        return SOCKS5_NEEDS_MORE;
    }
    uint8_t type = received.data[3];
    bool is_known = type == ADDRESS_IPV4 || type == ADDRESS_NAME || type == ADDRESS_IPV6;
    if (received.data[1] != COMMAND_CONNECT || !is_known) {
        return SOCKS5_BAD;
    }
    size_t address = address_bytes(received);
    *needed += address == 0 ? 1 : address + PORT_BYTES;
    if (received.length < *needed) {
        return SOCKS5_NEEDS_MORE;
    }
    struct cursor cursor = cursor_of(bytes_of(received.data + HEAD_BYTES, received.length - HEAD_BYTES));
    bool is_address = take_address(&cursor, type, request);
    request->target.port = cursor_u16(&cursor);
    return is_address && !cursor.has_failed ? SOCKS5_READ : SOCKS5_BAD;
}

void socks5_reply(enum socks5_status status, uint8_t reply[static SOCKS5_REPLY_BYTES])
{
    memset(reply, 0, SOCKS5_REPLY_BYTES);
    reply[0] = VERSION;
    reply[1] = (uint8_t)status;
    reply[3] = ADDRESS_IPV4;
}
