#include "tls/native_layer.h"

#include "base/cursor.h"
#include "tls/alert.h"

#define INNER_PLAINTEXT_MAXIMUM (RECORD_PLAINTEXT_MAXIMUM + 1) /* with the type; RFC 8446 §5.4 */
#define RECORD_BODY_MAXIMUM (RECORD_PLAINTEXT_MAXIMUM + 256)   /* RFC 8446 §5.2 */
#define PROTOCOL_MAJOR_VERSION 3
#define RECORDS_IN_VAIN_MAXIMUM 32 /* what libssl tolerates */
#define ALERT_BYTES 2

/* Less than this is moved to the end of the run before it: fewer runs for the reader, and a bound on their number. */
#define MOVED_MAXIMUM_BYTES 2048

struct content {
    uint8_t type;
    uint8_t *data;
    size_t length;
};

/* The runs lent by one receive. */
struct delivery {
    struct bytes *runs;
    int capacity;
    int count;
};

static bool refuse(struct native_layer *layer, enum record_problem problem, const char *sentence)
{
    native_layer_fail(layer, problem, sentence);
    return false;
}

/* The outer header. Only records of type application_data come behind the handshake; the version is part of what the tag protects. */
static bool check_header(struct native_layer *layer, struct bytes piece)
{
    struct cursor cursor = cursor_of(piece);
    uint8_t type = cursor_u8(&cursor);
    if (type != RECORD_APPLICATION_DATA) {
        return refuse(layer, RECORD_PROBLEM_UNEXPECTED_MESSAGE, "a record of an unexpected type");
    }
    if (cursor_u8(&cursor) != PROTOCOL_MAJOR_VERSION) {
        return refuse(layer, RECORD_PROBLEM_VERSION, "bytes that are no TLS record");
    }
    cursor_skip(&cursor, 1);
    if (cursor_u16(&cursor) > RECORD_BODY_MAXIMUM) {
        return refuse(layer, RECORD_PROBLEM_OVERFLOW, "a record longer than allowed");
    }
    return true;
}

/* The last octet that is not zero is the type; what is behind it was padding (RFC 8446 §5.4). */
static bool find_type(struct native_layer *layer, uint8_t *inner, size_t length, struct content *content)
{
    if (length > INNER_PLAINTEXT_MAXIMUM) {
        return refuse(layer, RECORD_PROBLEM_OVERFLOW, "more plaintext in a record than allowed");
    }
    while (length > 0 && inner[length - 1] == 0) {
        length--;
    }
    if (length == 0) {
        return refuse(layer, RECORD_PROBLEM_UNEXPECTED_MESSAGE, "a record of nothing but padding");
    }
    *content = (struct content){ inner[length - 1], inner, length - 1 };
    return true;
}

static bool open_record(struct native_layer *layer, uint8_t *record, size_t length, struct content *content)
{
    size_t inner = 0;
    if (!check_header(layer, bytes_of(record, length))) {
        return false;
    }
    if (record_protection_is_exhausted(layer->opening)) {
        return refuse(layer, RECORD_PROBLEM_EXHAUSTED, "the peer used up the numbers of its records");
    }
    if (!record_protection_open(layer->opening, record, length, &inner)) {
        return refuse(layer, RECORD_PROBLEM_BAD_MAC, "decryption failed or bad record mac");
    }
    return find_type(layer, record + RECORD_HEADER_BYTES, inner, content);
}

static void deliver(struct delivery *delivery, const struct content *content)
{
    struct bytes *last = delivery->count == 0 ? NULL : &delivery->runs[delivery->count - 1];
    if (last == NULL || (content->length > MOVED_MAXIMUM_BYTES && delivery->count < delivery->capacity)) {
        delivery->runs[delivery->count++] = bytes_of(content->data, content->length);
        return;
    }
    /* Records lie one behind the other: the end of the run before is in front of this one. */
    uint8_t *end = content->data - (content->data - (last->data + last->length));
    memmove(end, content->data, content->length);
    last->length += content->length;
}

static void advance_peer(struct native_layer *layer)
{
    record_protection_advance(layer->opening);
    record_note_key_update(&layer->base);
}

static bool take_handshake(struct native_layer *layer, const struct content *content)
{
    enum record_problem problem = RECORD_PROBLEM_NONE;
    switch (post_handshake_take(&layer->post_handshake, bytes_of(content->data, content->length), &problem)) {
    case POST_HANDSHAKE_NOTHING:
        break;
    case POST_HANDSHAKE_KEY_UPDATE_REQUESTED:
        layer->owes_key_update = true;
        advance_peer(layer);
        break;
    case POST_HANDSHAKE_KEY_UPDATE:
        advance_peer(layer);
        break;
    case POST_HANDSHAKE_REFUSED:
        return refuse(layer, problem, "a handshake message that may not come after the handshake");
    }
    return true;
}

/* The level says nothing in TLS 1.3 (RFC 8446 §6). */
static bool take_alert(struct native_layer *layer, const struct content *content)
{
    if (content->length == 0) {
        return refuse(layer, RECORD_PROBLEM_UNEXPECTED_MESSAGE, "an empty alert");
    }
    if (content->length != ALERT_BYTES) {
        return refuse(layer, RECORD_PROBLEM_DECODE, "an alert of the wrong length");
    }
    int alert = content->data[1];
    if (alert == TLS_ALERT_CLOSE_NOTIFY) {
        layer->input_end = RECORD_CLOSED;
        return false;
    }
    if (alert == TLS_ALERT_USER_CANCELED) {
        return true; /* a close_notify follows (RFC 8446 §6.1) */
    }
    native_layer_receive_alert(layer, alert);
    return false;
}

/* False when the input has ended. */
static bool take_content(struct native_layer *layer, const struct content *content, struct delivery *delivery)
{
    if (content->type != RECORD_HANDSHAKE && post_handshake_is_inside(&layer->post_handshake)) {
        return refuse(layer, RECORD_PROBLEM_UNEXPECTED_MESSAGE, "a record in the middle of a handshake message");
    }
    bool is_in_vain = content->type != RECORD_APPLICATION_DATA || content->length == 0;
    layer->records_in_vain = is_in_vain ? layer->records_in_vain + 1 : 0;
    if (layer->records_in_vain > RECORDS_IN_VAIN_MAXIMUM) {
        return refuse(layer, RECORD_PROBLEM_FLOOD, "too many records without data");
    }
    switch (content->type) {
    case RECORD_APPLICATION_DATA:
        if (content->length > 0) {
            deliver(delivery, content);
        }
        return true;
    case RECORD_HANDSHAKE:
        return take_handshake(layer, content);
    case RECORD_ALERT:
        return take_alert(layer, content);
    default:
        return refuse(layer, RECORD_PROBLEM_UNEXPECTED_MESSAGE, "content of an unexpected type");
    }
}

int native_layer_open_records(struct native_layer *layer, struct bytes *runs, int capacity)
{
    struct delivery delivery = { runs, capacity, 0 };
    uint8_t *record;
    size_t length;
    while ((record = record_input_next(&layer->input, &length)) != NULL) {
        struct content content;
        if (!open_record(layer, record, length, &content) || !take_content(layer, &content, &delivery)) {
            break;
        }
    }
    return delivery.count;
}
