#include "base/spiffe.h"

#include "base/memory.h"
#include "base/text.h"
#include "base/writer.h"

/* A URI SAN is an IA5String, so ASCII only; what separates or encodes in a URI has no place inside a segment. */
static bool is_clean(struct bytes text)
{
    for (size_t i = 0; i < text.length; i++) {
        uint8_t character = text.data[i];
        if (character <= ' ' || character >= 0x7F || character == '?' || character == '#' || character == '%') {
            return false;
        }
    }
    return true;
}

bool spiffe_parse(struct bytes uri, struct spiffe_parts *parts)
{
    const size_t prefix_length = strlen(SPIFFE_PREFIX);
    if (uri.length <= prefix_length || memcmp(uri.data, SPIFFE_PREFIX, prefix_length) != 0 || !is_clean(uri)) {
        return false;
    }
    struct bytes rest = bytes_of(uri.data + prefix_length, uri.length - prefix_length);
    struct bytes segments[5];
    size_t count = 0;
    struct bytes segment;
    while (bytes_split(&rest, '/', &segment)) {
        if (count == ARRAY_LENGTH(segments) || segment.length == 0) {
            return false;
        }
        segments[count++] = segment;
    }
    if (count != ARRAY_LENGTH(segments) || !bytes_equal_string(segments[1], "ns") ||
        !bytes_equal_string(segments[3], "sa")) {
        return false;
    }
    *parts = (struct spiffe_parts){ segments[0], segments[2], segments[4] };
    return true;
}

/* Writes a part and its NUL behind what is there and returns where it begins. */
static char *place(struct writer *writer, struct bytes text)
{
    char *placed = (char *)writer->data + writer->length;
    writer_add_bytes(writer, text);
    writer_add_u8(writer, '\0');
    return placed;
}

static struct spiffe_identity *identity_of(const struct spiffe_parts *parts)
{
    size_t names = parts->trust_domain.length + parts->namespace_.length + parts->service_account.length;
    size_t text_size = names + 3 + strlen(SPIFFE_PREFIX "/ns//sa/") + names + 1;
    struct spiffe_identity *identity = memory_allocate(sizeof *identity + text_size);
    struct writer writer = writer_fixed(identity + 1, text_size);
    identity->trust_domain = place(&writer, parts->trust_domain);
    identity->namespace_ = place(&writer, parts->namespace_);
    identity->service_account = place(&writer, parts->service_account);
    identity->uri = (char *)writer.data + writer.length;
    writer_add_string(&writer, SPIFFE_PREFIX);
    writer_add_bytes(&writer, parts->trust_domain);
    writer_add_string(&writer, "/ns/");
    writer_add_bytes(&writer, parts->namespace_);
    writer_add_string(&writer, "/sa/");
    writer_add_bytes(&writer, parts->service_account);
    writer_add_u8(&writer, '\0');
    return identity;
}

struct spiffe_identity *spiffe_identity_parse(struct bytes uri)
{
    struct spiffe_parts parts;
    return spiffe_parse(uri, &parts) ? identity_of(&parts) : NULL;
}

struct spiffe_identity *spiffe_identity_new(
    const char *trust_domain, const char *namespace_, const char *service_account)
{
    struct spiffe_parts parts = { bytes_of_string(trust_domain), bytes_of_string(namespace_),
        bytes_of_string(service_account) };
    return identity_of(&parts);
}

void spiffe_identity_free(struct spiffe_identity *identity)
{
    memory_free(identity);
}
