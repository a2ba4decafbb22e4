/* Tables that say which fields an object has, and the one decoder that reads YAML by them into a struct.
 *
 * A strict schema refuses fields it does not name; a lenient one passes over them. Wrong types, unknown words and numbers
 * out of range are errors that name file, line and field; what a table cannot say a schema's `validate` checks. */
#ifndef AMBAR_KUBE_SCHEMA_H
#define AMBAR_KUBE_SCHEMA_H

#include "base/arena.h"
#include "base/memory.h"
#include "base/writer.h"
#include "kube/yaml.h"

struct kube_problems;
struct kube_schema;

enum kube_field_kind {
    KUBE_FIELD_IGNORED,       /* known, not read */
    KUBE_FIELD_STRING,        /* const char *, "" when absent */
    KUBE_FIELD_BOOL,          /* bool */
    KUBE_FIELD_TRISTATE,      /* int: enum kube_tristate */
    KUBE_FIELD_NUMBER,        /* uint32_t, minimum..maximum */
    KUBE_FIELD_TIME,          /* int64_t nanoseconds, RFC 3339 */
    KUBE_FIELD_CHOICE,        /* int: index into choices; index 0 when absent */
    KUBE_FIELD_STRINGS,       /* struct kube_strings */
    KUBE_FIELD_STRING_MAP,    /* struct kube_labels */
    KUBE_FIELD_NUMBER_MAP,    /* struct kube_number_map, values minimum..maximum */
    KUBE_FIELD_INT_OR_STRING, /* struct kube_int_or_string */
    KUBE_FIELD_EMBEDDED,      /* a struct of `schema` */
    KUBE_FIELD_POINTER,       /* a pointer to one; NULL when absent */
    KUBE_FIELD_LIST,          /* { T *items; size_t count; } of `schema` */
    KUBE_FIELD_KEYED_LIST,    /* a mapping to structs of `schema`, which begin with a `const char *` for the key */
};

enum kube_tristate { KUBE_UNSET, KUBE_FALSE, KUBE_TRUE };

struct kube_int_or_string {
    uint32_t number;  /* 0 when a name is given or nothing */
    const char *name; /* "" unless a name is given */
};

struct kube_number {
    const char *key;
    uint32_t value;
};

struct kube_number_map {
    struct kube_number *items; /* in the order written */
    size_t count;
};

struct kube_field {
    const char *name;
    enum kube_field_kind kind;
    size_t offset;
    const struct kube_schema *schema;
    const char *const *choices; /* NULL-terminated */
    uint64_t minimum, maximum;  /* of numbers; maximum 0 means 2^32-1 */
    bool is_required;
};

struct kube_decode {
    struct arena *arena; /* where the result lives */
    struct kube_problems *problems;
    const char *file;
    const char *object;     /* "Pod shop/web" */
    const char *namespace_; /* of the object */
    uint32_t line_offset;   /* added to every line: YAML inside a string of YAML */
    size_t error_count;
    struct writer path; /* of the value being read */
};

struct kube_schema {
    size_t size;
    bool is_strict;
    const struct kube_field *fields;
    size_t field_count;
    void (*validate)(struct kube_decode *decode, const struct yaml_node *node, void *value); /* may be NULL */
};

#define KUBE_FIELD(type, member, name_, kind_, ...)                                                                    \
    {                                                                                                                  \
        .name = (name_), .kind = (kind_), .offset = offsetof(type, member), __VA_ARGS__                                \
    }
#define KUBE_IGNORED(name_)                                                                                            \
    {                                                                                                                  \
        .name = (name_), .kind = KUBE_FIELD_IGNORED                                                                    \
    }
#define KUBE_SCHEMA(type, is_strict_, fields_, validate_)                                                              \
    {                                                                                                                  \
        .size = sizeof(type), .is_strict = (is_strict_), .fields = (fields_), .field_count = ARRAY_LENGTH(fields_),    \
        .validate = (validate_)                                                                                        \
    }

/* Fills `value` (zeroed, of schema->size); says whether it did so without an error. `node` may be NULL: nothing is given. */
bool kube_decode_value(
    struct kube_decode *decode, const struct kube_schema *schema, const struct yaml_node *node, void *value);

/* An error at `field` of the value being read ("" for itself), at [position] of that when it is not negative. */
void kube_decode_error(struct kube_decode *decode, const struct yaml_node *node, const char *field, long position,
    const char *format, ...) __attribute__((format(printf, 5, 6)));

#endif
