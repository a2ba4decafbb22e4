/* What an unquoted scalar means: the YAML 1.1 rules as kubectl's parser applies them. */
#include "base/memory.h"
#include "base/text.h"
#include "kube/yaml.h"

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool digit_value(char character, unsigned base, unsigned *digit)
{
    unsigned value;
    if (character >= '0' && character <= '9') {
        value = (unsigned)(character - '0');
    } else if (character >= 'a' && character <= 'f') {
        value = (unsigned)(character - 'a') + 10;
    } else if (character >= 'A' && character <= 'F') {
        value = (unsigned)(character - 'A') + 10;
    } else {
        return false;
    }
    *digit = value;
    return value < base;
}

/* Optional sign; 0b, 0o, 0x or a leading zero choose the base; underscores between digits are ignored. */
static bool parse_integer(const char *text, uint64_t *magnitude, bool *is_negative)
{
    *is_negative = text[0] == '-';
    const char *at = text + (text[0] == '-' || text[0] == '+');
    unsigned base = 10;
    if (at[0] == '0' && at[1] != '\0') {
        char mark = at[1];
        base = mark == 'x' || mark == 'X' ? 16 : mark == 'b' || mark == 'B' ? 2 : 8;
        bool has_mark = base != 8 || mark == 'o' || mark == 'O';
        at += has_mark ? 2 : 1;
    }
    uint64_t value = 0;
    bool has_digit = false;
    for (; *at != '\0'; at++) {
        unsigned digit;
        if (*at == '_' && has_digit) {
            continue;
        }
        if (!digit_value(*at, base, &digit) || value > (UINT64_MAX - digit) / base) {
            return false;
        }
        value = value * base + digit;
        has_digit = true;
    }
    *magnitude = value;
    return has_digit;
}

static size_t count_digits(const char *text)
{
    return strspn(text, "0123456789_");
}

/* [-+]? digits [. digits] [e [-+]? digits], with a digit before the exponent; .inf and .nan. */
static bool is_float(const char *text)
{
    static const char *const words[] = { ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF",
        ".nan", ".NaN", ".NAN" };
    if (is_one_of(text, words, ARRAY_LENGTH(words))) {
        return true;
    }
    const char *at = text + (text[0] == '-' || text[0] == '+');
    if (*at == '_') {
        return false;
    }
    size_t before = count_digits(at);
    at += before;
    size_t after = 0;
    if (*at == '.') {
        after = count_digits(at + 1);
        at += 1 + after;
    }
    if (before + after == 0) {
        return false;
    }
    if (*at == 'e' || *at == 'E') {
        at += 1 + (at[1] == '-' || at[1] == '+');
        size_t exponent = count_digits(at);
        if (exponent == 0) {
            return false;
        }
        at += exponent;
    }
    return *at == '\0';
}

void yaml_resolve_plain(struct yaml_node *node)
{
    static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };
    static const char *const trues[] = { "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON" };
    static const char *const falses[] = { "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF" };

    const char *text = node->text;
    if (is_one_of(text, nulls, ARRAY_LENGTH(nulls))) {
        node->kind = YAML_NULL;
    } else if (is_one_of(text, trues, ARRAY_LENGTH(trues)) || is_one_of(text, falses, ARRAY_LENGTH(falses))) {
        node->kind = YAML_BOOL;
        node->boolean = is_one_of(text, trues, ARRAY_LENGTH(trues));
    } else if (parse_integer(text, &node->integer.magnitude, &node->integer.is_negative)) {
        node->kind = YAML_INTEGER;
    } else {
        node->kind = is_float(text) ? YAML_FLOAT : YAML_STRING;
    }
}
