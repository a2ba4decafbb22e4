#include "ambarctl/table.h"

#include "base/memory.h"
#include "base/text.h"

#define ABSENT "(unknown)"

static bool is_layout(uint8_t character)
{
    return character == '\n' || character == '\t';
}

static void add_harmless(struct writer *out, struct bytes left, bool keeps_layout)
{
    while (left.length > 0) {
        size_t length = bytes_utf8_length(left);
        bool is_kept = keeps_layout && is_layout(left.data[0]);
        if (length == 0 || (bytes_starts_with_control(left) && !is_kept)) {
            writer_add_u8(out, '?');
        } else {
            writer_add(out, left.data, length);
        }
        length = length == 0 ? 1 : length;
        left = bytes_of(left.data + length, left.length - length);
    }
}

void terminal_add(struct writer *out, const char *text)
{
    add_harmless(out, bytes_of_string(text != NULL ? text : ABSENT), false);
}

void terminal_add_lines(struct writer *out, struct bytes text)
{
    add_harmless(out, text, true);
}

/* Characters, not bytes. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return width;
}

struct table table_new(const char *const *heading, size_t columns)
{
    struct table table = { .columns = columns };
    table_add(&table, heading);
    return table;
}

void table_add(struct table *table, const char *const *cells)
{
    table->cells = memory_resize(table->cells, (table->rows + 1) * table->columns, sizeof *table->cells);
    for (size_t i = 0; i < table->columns; i++) {
        struct writer cell = writer_growing();
        terminal_add(&cell, text_is_empty(cells[i]) ? "-" : cells[i]);
        table->cells[table->rows * table->columns + i] = writer_take_string(&cell);
    }
    table->rows++;
}

void table_write(const struct table *table, struct writer *out)
{
    size_t widths[TABLE_COLUMNS_MAXIMUM] = { 0 };
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        size_t width = width_of(table->cells[i]);
        size_t *widest = &widths[i % table->columns];
        *widest = width > *widest ? width : *widest;
    }
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        size_t column = i % table->columns;
        writer_add_string(out, table->cells[i]);
        if (column + 1 == table->columns) {
            writer_add_u8(out, '\n');
        } else {
            writer_print(out, "%*s", (int)(widths[column] - width_of(table->cells[i]) + 2), "");
        }
    }
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->rows * table->columns; i++) {
        memory_free(table->cells[i]);
    }
    memory_free(table->cells);
    *table = (struct table){ 0 };
}
