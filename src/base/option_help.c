/* The two texts made from a settings table: --help and the reference page. */
#include "base/option.h"
#include "base/option_value.h"
#include "base/text.h"
#include "base/writer.h"

#define HELP_COLUMNS 100
#define HELP_INDENT "      "

/* Appends words, beginning a new indented line where the next one would not fit. */
static void add_wrapped(struct writer *out, const char *text)
{
    struct bytes rest = bytes_of_string(text);
    struct bytes word;
    size_t column = 0;
    while (bytes_split(&rest, ' ', &word)) {
        if (column == 0 || column + 1 + word.length > HELP_COLUMNS) {
            writer_add_string(out, column == 0 ? HELP_INDENT : "\n" HELP_INDENT);
            column = strlen(HELP_INDENT);
        } else {
            writer_add_u8(out, ' ');
            column++;
        }
        writer_add_bytes(out, word);
        column += word.length;
    }
    writer_add_u8(out, '\n');
}

static void add_choices(const struct option *option, const char *separator, struct writer *out)
{
    for (size_t i = 0; option->choices[i] != NULL; i++) {
        writer_print(out, "%s%s", i > 0 ? separator : "", option->choices[i]);
    }
}

static void add_placeholder(const struct option *option, struct writer *out)
{
    writer_add_u8(out, '<');
    if (option->choices != NULL) {
        add_choices(option, "|", out);
    } else {
        writer_add_string(out, option_value_placeholder(option));
    }
    writer_add_u8(out, '>');
}

static void add_names(const struct option *option, struct writer *out)
{
    writer_add_string(out, "  ");
    if (option->flag != NULL) {
        writer_print(out, "--%s", option->flag);
        if (option->kind != OPTION_BOOL) {
            writer_add_u8(out, ' ');
            add_placeholder(option, out);
        }
    }
    if (option->environment != NULL) {
        writer_print(out, "%s%s=", option->flag != NULL ? ", or " : "", option->environment);
        add_placeholder(option, out);
    }
    writer_add_u8(out, '\n');
}

static bool begins_group(const struct option *options, size_t i)
{
    return options[i].group != NULL &&
           (i == 0 || options[i - 1].group == NULL || !text_equal(options[i - 1].group, options[i].group));
}

void options_write_help(const struct option *options, size_t count, struct writer *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct option *option = &options[i];
        if (begins_group(options, i)) {
            writer_print(out, "%s%s:\n", i > 0 ? "\n" : "", option->group);
        }
        add_names(option, out);
        add_wrapped(out, option->help);
        if (!text_is_empty(option->default_text)) {
            writer_print(out, HELP_INDENT "Default: %s\n", option->default_text);
        }
    }
}

/* A cell of a Markdown table: a bar would end it. */
static void add_cell(struct writer *out, const char *text)
{
    for (; *text != '\0'; text++) {
        writer_add_string(out, *text == '|' ? "\\" : "");
        writer_add_u8(out, (uint8_t)*text);
    }
}

static void add_reference_row(const struct option *option, struct writer *out)
{
    writer_add_string(out, "| ");
    if (option->environment != NULL) {
        writer_print(out, "`%s`", option->environment);
    }
    if (option->flag != NULL) {
        writer_print(out, "%s`--%s`", option->environment != NULL ? ", " : "", option->flag);
    }
    writer_add_string(out, " | ");
    if (option->choices != NULL) {
        add_choices(option, ", ", out);
    } else {
        add_cell(out, option_value_placeholder(option));
    }
    writer_add_string(out, " | ");
    if (!text_is_empty(option->default_text)) {
        writer_print(out, "`%s`", option->default_text);
    }
    writer_add_string(out, " | ");
    add_cell(out, option->help);
    writer_add_string(out, " |\n");
}

void options_write_reference(const struct option *options, size_t count, struct writer *out)
{
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || begins_group(options, i)) {
            const char *group = options[i].group != NULL ? options[i].group : "Options";
            writer_print(
                out, "%s### %s\n\n| name | value | default | meaning |\n|---|---|---|---|\n", i > 0 ? "\n" : "", group);
        }
        add_reference_row(&options[i], out);
    }
}
