#include "base/text.h"

#include "base/writer.h"

bool text_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool text_ends_with(const char *text, const char *suffix)
{
    size_t text_length = strlen(text);
    size_t suffix_length = strlen(suffix);
    return suffix_length <= text_length && memcmp(text + text_length - suffix_length, suffix, suffix_length) == 0;
}

bool text_equal(const char *left, const char *right)
{
    return strcmp(left, right) == 0;
}

static unsigned char ascii_lower(unsigned char character)
{
    return character >= 'A' && character <= 'Z' ? (unsigned char)(character + ('a' - 'A')) : character;
}

/* Not strcasecmp: that follows the locale. */
bool text_equal_ignoring_case(const char *left, const char *right)
{
    while (*left != '\0' && ascii_lower((unsigned char)*left) == ascii_lower((unsigned char)*right)) {
        left++;
        right++;
    }
    return ascii_lower((unsigned char)*left) == ascii_lower((unsigned char)*right);
}

bool text_to_u64(const char *text, uint64_t maximum, uint64_t *value)
{
    return bytes_to_u64(bytes_of_string(text), maximum, value);
}

bool bytes_to_u64(struct bytes text, uint64_t maximum, uint64_t *value)
{
    uint64_t number = 0;
    if (text.length == 0) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        uint8_t digit = (uint8_t)(text.data[i] - '0');
        if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
            __builtin_add_overflow(number, digit, &number) || number > maximum) {
            return false;
        }
    }
    *value = number;
    return true;
}

bool text_to_bool(const char *text, bool *value)
{
    if (text_equal(text, "true")) {
        *value = true;
        return true;
    }
    if (text_equal(text, "false")) {
        *value = false;
        return true;
    }
    return false;
}

bool bytes_split(struct bytes *rest, char separator, struct bytes *piece)
{
    if (rest->data == NULL) {
        return false;
    }
    const uint8_t *found = rest->length == 0 ? NULL : memchr(rest->data, separator, rest->length);
    if (found == NULL) {
        *piece = *rest;
        *rest = (struct bytes){ 0 };
        return true;
    }
    *piece = bytes_of(rest->data, (size_t)(found - rest->data));
    *rest = bytes_of(found + 1, rest->length - piece->length - 1);
    return true;
}

static bool is_blank(uint8_t character)
{
    return character == ' ' || (character >= '\t' && character <= '\r');
}

struct bytes bytes_trim(struct bytes text)
{
    while (text.length > 0 && is_blank(text.data[0])) {
        text.data++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.data[text.length - 1])) {
        text.length--;
    }
    return text;
}

/* The table of RFC 3629 §4. */
size_t bytes_utf8_length(struct bytes text)
{
    if (text.length == 0) {
        return 0;
    }
    uint8_t first = text.data[0];
    uint8_t second_minimum = 0x80, second_maximum = 0xBF;
    size_t length;
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xC2 && first <= 0xDF) {
        length = 2;
    } else if (first >= 0xE0 && first <= 0xEF) {
        length = 3;
        second_minimum = first == 0xE0 ? 0xA0 : 0x80; /* overlong */
        second_maximum = first == 0xED ? 0x9F : 0xBF; /* surrogates */
    } else if (first >= 0xF0 && first <= 0xF4) {
        length = 4;
        second_minimum = first == 0xF0 ? 0x90 : 0x80; /* overlong */
        second_maximum = first == 0xF4 ? 0x8F : 0xBF; /* above U+10FFFF */
    } else {
        return 0;
    }
    if (text.length < length || text.data[1] < second_minimum || text.data[1] > second_maximum) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if ((text.data[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return length;
}

/* How many of the first bytes are ASCII, eight at a time. */
static size_t ascii_length(struct bytes text)
{
    size_t length = 0;
    while (text.length - length >= sizeof(uint64_t)) {
        uint64_t eight;
        memcpy(&eight, text.data + length, sizeof eight);
        if ((eight & 0x8080808080808080ULL) != 0) {
            break;
        }
        length += sizeof eight;
    }
    while (length < text.length && text.data[length] < 0x80) {
        length++;
    }
    return length;
}

bool bytes_starts_with_control(struct bytes text)
{
    if (text.length > 1 && text.data[0] == 0xC2) {
        return text.data[1] < 0xA0;
    }
    return text.length > 0 && (text.data[0] < ' ' || text.data[0] == 0x7F);
}

bool bytes_is_utf8(struct bytes text)
{
    while (text.length > 0) { /* nothing at all may be a null pointer, to which not even 0 is added */
        size_t ascii = ascii_length(text);
        text = bytes_of(text.data + ascii, text.length - ascii);
        if (text.length == 0) {
            break;
        }
        size_t length = bytes_utf8_length(text);
        if (length == 0) {
            return false;
        }
        text = bytes_of(text.data + length, text.length - length);
    }
    return true;
}

static int hexadecimal_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'a' && digit <= 'f') {
        return digit - 'a' + 10;
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return -1;
}

bool text_from_hexadecimal(const char *text, uint8_t *bytes, size_t capacity, size_t *length)
{
    size_t digits = strlen(text);
    if (digits % 2 != 0 || digits / 2 > capacity) {
        return false;
    }
    for (size_t i = 0; i < digits / 2; i++) {
        int high = hexadecimal_value(text[2 * i]);
        int low = hexadecimal_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    *length = digits / 2;
    return true;
}

static const char base64_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void add_base64(struct writer *writer, struct bytes bytes, const char *alphabet, bool is_padded)
{
    for (size_t i = 0; i < bytes.length; i += 3) {
        size_t left = bytes.length - i < 3 ? bytes.length - i : 3;
        uint32_t group = (uint32_t)bytes.data[i] << 16;
        group |= left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0;
        group |= left > 2 ? bytes.data[i + 2] : 0;
        char text[4];
        for (size_t digit = 0; digit < 4; digit++) {
            text[digit] = digit <= left ? alphabet[group >> (18 - 6 * digit) & 0x3F] : '=';
        }
        writer_add(writer, text, is_padded ? 4 : left + 1);
    }
}

void writer_add_base64(struct writer *writer, struct bytes bytes)
{
    add_base64(writer, bytes, base64_alphabet, true);
}

void writer_add_base64url(struct writer *writer, struct bytes bytes)
{
    add_base64(writer, bytes, base64url_alphabet, false);
}

static int base64url_value(uint8_t digit)
{
    const char *found = digit == '\0' ? NULL : strchr(base64url_alphabet, digit);
    return found == NULL ? -1 : (int)(found - base64url_alphabet);
}

bool bytes_from_base64url(struct bytes text, struct writer *out)
{
    uint32_t pending = 0;
    unsigned pending_bits = 0;
    if (text.length % 4 == 1) {
        return false;
    }
    for (size_t i = 0; i < text.length; i++) {
        int value = base64url_value(text.data[i]);
        if (value < 0) {
            return false;
        }
        pending = (pending << 6 | (uint32_t)value) & 0xFFFF;
        pending_bits += 6;
        if (pending_bits >= 8) {
            pending_bits -= 8;
            writer_add_u8(out, (uint8_t)(pending >> pending_bits));
        }
    }
    /* Left-over bits must be zero: one text for one value (RFC 4648 §3.5). */
    return (pending & ((1U << pending_bits) - 1)) == 0;
}
