#include "tls/record_input.h"

#include "base/cursor.h"
#include "net/buffer_pool.h"

#include <errno.h>
#include <sys/socket.h>

#define RECORD_HEADER_BYTES 5
#define RECORD_BODY_MAXIMUM (16384 + 256) /* RFC 8446 §5.2; the AEAD suites of TLS 1.2 add less */
#define CONTENT_TYPE_FIRST 20             /* change_cipher_spec */
#define CONTENT_TYPE_LAST 23              /* application_data */

void record_input_initialise(struct record_input *input, struct buffer_pool *pool)
{
    *input = (struct record_input){ .pool = pool };
}

void record_input_clear(struct record_input *input)
{
    buffer_pool_give(input->pool, input->kept);
    record_input_initialise(input, input->pool);
}

void record_input_move(struct record_input *to, struct record_input *from)
{
    to->kept = from->kept;
    to->kept_length = from->kept_length;
    from->kept = NULL;
    from->kept_length = 0;
}

/* How many of these bytes can be handed out at once: a whole record, everything when it is none, 0 when more is needed. */
static size_t next_piece(struct bytes bytes)
{
    struct cursor cursor = cursor_of(bytes);
    uint8_t type = cursor_u8(&cursor);
    uint8_t major_version = cursor_u8(&cursor);
    cursor_skip(&cursor, 1);
    size_t body = cursor_u16(&cursor);
    bool is_no_record = (bytes.length >= 1 && (type < CONTENT_TYPE_FIRST || type > CONTENT_TYPE_LAST)) ||
                        (bytes.length >= 2 && major_version != 3) ||
                        (bytes.length >= RECORD_HEADER_BYTES && body > RECORD_BODY_MAXIMUM);
    if (is_no_record) {
        return bytes.length;
    }
    bool is_whole = !cursor.has_failed && cursor_left(&cursor) >= body;
    return is_whole ? RECORD_HEADER_BYTES + body : 0;
}

static ssize_t receive_once(int descriptor, uint8_t *memory, size_t capacity)
{
    if (capacity == 0) {
        return -EAGAIN; /* recv would say 0, which is the end of file */
    }
    ssize_t got;
    do {
        got = recv(descriptor, memory, capacity, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) {
        return errno == EWOULDBLOCK ? -EAGAIN : -(ssize_t)errno;
    }
    return got;
}

ssize_t record_input_fill(struct record_input *input, int descriptor, size_t budget)
{
    uint8_t *window =
        input->is_opened_in_place ? buffer_pool_shared_second(input->pool) : buffer_pool_shared(input->pool);
    size_t kept = input->kept_length;
    if (kept > 0) {
        memcpy(window, input->kept, kept);
    }
    buffer_pool_give(input->pool, input->kept);
    input->kept = NULL;
    input->kept_length = 0;
    size_t room = BUFFER_SHARED_BYTES - kept;
    ssize_t got = receive_once(descriptor, window + kept, budget < room ? budget : room);
    input->at = window;
    input->whole_end = window;
    input->end = window + kept + (got > 0 ? (size_t)got : 0);
    return got;
}

size_t record_input_room(const struct record_input *input)
{
    return BUFFER_BLOCK_BYTES - input->kept_length;
}

bool record_input_is_at_end(const struct record_input *input)
{
    return input->at == input->end;
}

size_t record_input_take(struct record_input *input, uint8_t *out, size_t capacity)
{
    if (input->at == input->whole_end && input->at != input->end) {
        input->whole_end += next_piece(bytes_of(input->at, (size_t)(input->end - input->at)));
    }
    size_t available = (size_t)(input->whole_end - input->at);
    size_t taken = available < capacity ? available : capacity;
    if (taken > 0) {
        memcpy(out, input->at, taken);
        input->at += taken;
    }
    return taken;
}

uint8_t *record_input_next(struct record_input *input, size_t *length)
{
    uint8_t *piece = input->at;
    *length = next_piece(bytes_of(piece, (size_t)(input->end - piece)));
    if (*length == 0) {
        return NULL;
    }
    input->at += *length;
    input->whole_end = input->at;
    return piece;
}

bool record_input_close(struct record_input *input)
{
    size_t left = (size_t)(input->end - input->at);
    const uint8_t *from = input->at;
    input->at = NULL;
    input->whole_end = input->end = NULL;
    if (left > BUFFER_BLOCK_BYTES) {
        return false;
    }
    if (left > 0) {
        input->kept = buffer_pool_take(input->pool);
        memcpy(input->kept, from, left);
        input->kept_length = left;
    }
    return true;
}

bool record_input_has_record(const struct record_input *input)
{
    return input->kept_length > 0 && next_piece(bytes_of(input->kept, input->kept_length)) > 0;
}
