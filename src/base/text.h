/* Small text: predicates, exact number parsing, lists, UTF-8. No locale, no allocation. */
#ifndef AMBAR_BASE_TEXT_H
#define AMBAR_BASE_TEXT_H

#include "base/bytes.h"

bool text_starts_with(const char *text, const char *prefix);
bool text_ends_with(const char *text, const char *suffix);
bool text_equal(const char *left, const char *right);
bool text_equal_ignoring_case(const char *left, const char *right); /* ASCII case only */
static inline bool text_is_empty(const char *text)
{
    return text == NULL || text[0] == '\0';
}

/* Decimal digits only, the whole text, at most `maximum`. */
bool text_to_u64(const char *text, uint64_t maximum, uint64_t *value);
bool bytes_to_u64(struct bytes text, uint64_t maximum, uint64_t *value);

/* Exactly `true` or `false`. */
bool text_to_bool(const char *text, bool *value);

/* Cuts `*rest` at the first `separator`; the piece before it is returned, `*rest` becomes what follows.
 * Returns false when `*rest` was exhausted (data == NULL) before the call. "a,,b" gives "a", "", "b". */
bool bytes_split(struct bytes *rest, char separator, struct bytes *piece);

/* Without the ASCII blanks at both ends. */
struct bytes bytes_trim(struct bytes text);

/* RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool bytes_is_utf8(struct bytes text);
/* The length of the well-formed UTF-8 sequence at the start of `text`; 0 when there is none. */
size_t bytes_utf8_length(struct bytes text);
/* Whether valid UTF-8 begins with a control character: U+0000 to U+001F, U+007F, and U+0080 to U+009F, which terminals obey too. */
bool bytes_starts_with_control(struct bytes text);

/* Hexadecimal (either case, even length) to bytes; false on any other character or when `capacity` is too small. */
bool text_from_hexadecimal(const char *text, uint8_t *bytes, size_t capacity, size_t *length);

/* Base64 (standard alphabet, padded) and base64url (unpadded), for PEM, JWT and JSON; see writer for output. */
struct writer;
void writer_add_base64(struct writer *writer, struct bytes bytes);
void writer_add_base64url(struct writer *writer, struct bytes bytes);
bool bytes_from_base64url(struct bytes text, struct writer *out); /* strict: no padding, no blanks */

#endif
