#include "tls/post_handshake.h"

#include "base/cursor.h"

/* lifetime, age_add, nonce, ticket, extensions: the shortest and the longest that can be written down (RFC 8446 §4.6.1) */
#define TICKET_MINIMUM_BYTES (4 + 4 + 1 + 2 + 1 + 2)
#define TICKET_MAXIMUM_BYTES (4 + 4 + 1 + 255 + 2 + 65535 + 2 + 65534)

#define UPDATE_NOT_REQUESTED 0
#define UPDATE_REQUESTED 1

static enum post_handshake_event refuse(enum record_problem why, enum record_problem *problem)
{
    *problem = why;
    return POST_HANDSHAKE_REFUSED;
}

static bool begin_message(struct post_handshake *messages, enum record_problem *problem)
{
    struct cursor header = cursor_of(bytes_of(messages->header, sizeof messages->header));
    uint8_t type = cursor_u8(&header);
    messages->left = cursor_u24(&header);
    bool is_ticket = type == HANDSHAKE_NEW_SESSION_TICKET && !messages->is_server;
    if (type != HANDSHAKE_KEY_UPDATE && !is_ticket) {
        *problem = RECORD_PROBLEM_UNEXPECTED_MESSAGE;
        return false;
    }
    bool has_right_length = is_ticket ? messages->left >= TICKET_MINIMUM_BYTES && messages->left <= TICKET_MAXIMUM_BYTES
                                      : messages->left == 1;
    *problem = RECORD_PROBLEM_DECODE;
    return has_right_length;
}

static enum post_handshake_event take_key_update(
    struct post_handshake *messages, struct cursor *cursor, enum record_problem *problem)
{
    uint8_t request = cursor_u8(cursor);
    messages->header_length = 0;
    messages->left = 0;
    if (request != UPDATE_NOT_REQUESTED && request != UPDATE_REQUESTED) {
        return refuse(RECORD_PROBLEM_ILLEGAL_PARAMETER, problem);
    }
    if (!cursor_is_at_end(cursor)) {
        return refuse(
            RECORD_PROBLEM_UNEXPECTED_MESSAGE, problem); /* what follows is under other keys (RFC 8446 §5.1) */
    }
    return request == UPDATE_REQUESTED ? POST_HANDSHAKE_KEY_UPDATE_REQUESTED : POST_HANDSHAKE_KEY_UPDATE;
}

static void skip_ticket(struct post_handshake *messages, struct cursor *cursor)
{
    size_t here = cursor_left(cursor) < messages->left ? cursor_left(cursor) : messages->left;
    cursor_skip(cursor, here);
    messages->left -= (uint32_t)here;
    if (messages->left == 0) {
        messages->header_length = 0;
    }
}

enum post_handshake_event post_handshake_take(
    struct post_handshake *messages, struct bytes content, enum record_problem *problem)
{
    struct cursor cursor = cursor_of(content);
    if (cursor_is_at_end(&cursor)) {
        return refuse(RECORD_PROBLEM_UNEXPECTED_MESSAGE, problem); /* RFC 8446 §5.4 */
    }
    while (!cursor_is_at_end(&cursor)) {
        if (messages->header_length < HANDSHAKE_HEADER_BYTES) {
            messages->header[messages->header_length++] = cursor_u8(&cursor);
            if (messages->header_length == HANDSHAKE_HEADER_BYTES && !begin_message(messages, problem)) {
                return POST_HANDSHAKE_REFUSED;
            }
        } else if (messages->header[0] == HANDSHAKE_KEY_UPDATE) {
            return take_key_update(messages, &cursor, problem);
        } else {
            skip_ticket(messages, &cursor);
        }
    }
    return POST_HANDSHAKE_NOTHING;
}

bool post_handshake_is_inside(const struct post_handshake *messages)
{
    return messages->header_length > 0;
}
