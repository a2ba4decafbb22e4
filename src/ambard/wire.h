/* Protobuf written directly, fields in ascending order as the caller gives them; scalars at their default are left out. */
#ifndef AMBAR_AMBARD_WIRE_H
#define AMBAR_AMBARD_WIRE_H

#include "base/writer.h"

void wire_string(struct writer *out, unsigned field, const char *text); /* not when empty */
void wire_string_always(struct writer *out, unsigned field, const char *text);
void wire_bytes(struct writer *out, unsigned field, struct bytes bytes); /* always: an empty message or element */
void wire_number(struct writer *out, unsigned field, uint64_t value);    /* not when 0 */
void wire_bool(struct writer *out, unsigned field, bool value);
void wire_packed(struct writer *out, unsigned field, const uint32_t *values, size_t count); /* not when empty */

/* A message whose length is not known yet: `size_t mark = wire_begin(...)`, its fields, `wire_end(out, mark)`. */
size_t wire_begin(struct writer *out, unsigned field);
void wire_end(struct writer *out, size_t mark);

#endif
