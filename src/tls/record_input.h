/* Ciphertext on its way in: what the socket had, cut at record boundaries (RFC 8446 §5.1). Only whole records are handed out, so
 * whoever opens them never holds a partial one; the rest is kept in one pool block until more arrives.
 *
 * What does not look like a record is handed out as it is: the opener has the right alert for it. Inside tls only. */
#ifndef AMBAR_TLS_RECORD_INPUT_H
#define AMBAR_TLS_RECORD_INPUT_H

#include "base/bytes.h"

#include <sys/types.h>

struct buffer_pool;

struct record_input {
    struct buffer_pool *pool;
    uint8_t *kept; /* a pool block; NULL: nothing is kept */
    size_t kept_length;
    /* The window being opened, in one of the pool's shared buffers; NULL outside a call of the owner. */
    uint8_t *at;
    const uint8_t *whole_end; /* records up to here are complete */
    const uint8_t *end;
    bool is_opened_in_place; /* the window is the second shared buffer, where plaintext is lent from; else the first */
};

void record_input_initialise(struct record_input *input, struct buffer_pool *pool);
void record_input_clear(struct record_input *input);

/* What one input kept becomes another's; both outside a window. */
void record_input_move(struct record_input *to, struct record_input *from);

/* Opens a window on what was kept and at most `budget` bytes more from the socket, read once. Returns how many were read, 0 at end
 * of file, or a negative error number; the window is open in any case. */
ssize_t record_input_fill(struct record_input *input, int descriptor, size_t budget);
/* As much as fits in one block with what is kept: the budget with which record_input_close never fails to keep the rest. */
size_t record_input_room(const struct record_input *input);

/* Nothing is left in the window, not even a part of a record. */
bool record_input_is_at_end(const struct record_input *input);

/* Up to `capacity` bytes of the record at hand, or of the next one if it is complete; 0: there is none. */
size_t record_input_take(struct record_input *input, uint8_t *out, size_t capacity);

/* Past the next whole record, which stays where it is, or past everything when it is no record; NULL: there is none. */
uint8_t *record_input_next(struct record_input *input, size_t *length);

/* Closes the window and keeps what is left of it, which fits when less than one record or at most a block is left; false: too
 * much was left, all of it is dropped. */
bool record_input_close(struct record_input *input);

/* A complete record is kept. */
bool record_input_has_record(const struct record_input *input);

#endif
