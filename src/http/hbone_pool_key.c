#include "http/hbone_pool_key.h"

#include "base/memory.h"

/* Length before each text, so that no two keys are written alike. */
static void write_text(struct writer *out, const char *text)
{
    writer_add_varint(out, strlen(text));
    writer_add_string(out, text);
}

struct writer hbone_pool_key_write(const struct hbone_pool_key *key)
{
    struct writer out = writer_growing();
    write_text(&out, key->source_identity);
    write_text(&out, key->destination_uid);
    writer_add_u8(&out, key->destination.ip.family);
    writer_add(&out, key->destination.ip.bytes, sizeof key->destination.ip.bytes);
    writer_add_u16(&out, key->destination.port);
    writer_add_u8(&out, key->source.family);
    writer_add(&out, key->source.bytes, sizeof key->source.bytes);
    for (size_t i = 0; i < key->san_count; i++) {
        write_text(&out, key->sans[i]);
    }
    return out;
}

struct hbone_pool_key hbone_pool_key_copy(const struct hbone_pool_key *key)
{
    struct hbone_pool_key copy = *key;
    const char **sans = memory_allocate_zeroed(key->san_count, sizeof(const char *));
    for (size_t i = 0; i < key->san_count; i++) {
        sans[i] = string_duplicate(key->sans[i]);
    }
    copy.source_identity = string_duplicate(key->source_identity);
    copy.destination_uid = string_duplicate(key->destination_uid);
    copy.sans = sans;
    return copy;
}

static void free_borrowed(const void *text)
{
    void *memory;
    memcpy(&memory, &text, sizeof memory);
    memory_free(memory);
}

void hbone_pool_key_free(struct hbone_pool_key *key)
{
    for (size_t i = 0; i < key->san_count; i++) {
        free_borrowed(key->sans[i]);
    }
    free_borrowed(key->sans);
    free_borrowed(key->source_identity);
    free_borrowed(key->destination_uid);
}
