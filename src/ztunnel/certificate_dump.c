#include "ztunnel/certificate_dump.h"

#include "base/clock.h"
#include "base/json_writer.h"
#include "base/text.h"
#include "tls/certificate_bundle.h"
#include "tls/identity.h"

#define PEM_LINE_CHARACTERS 60

/* The PEM text with the reference's length of lines, and then base64 of that text again. */
static void write_pem(const struct x509_st *certificate, struct json_writer *json)
{
    struct writer der = writer_growing();
    struct writer body = writer_growing();
    struct writer pem = writer_growing();
    struct writer encoded = writer_growing();
    certificate_write_der(certificate, &der);
    writer_add_base64(&body, writer_bytes(&der));
    writer_add_string(&pem, "-----BEGIN CERTIFICATE-----\n");
    for (size_t at = 0; at < body.length; at += PEM_LINE_CHARACTERS) {
        size_t left = body.length - at;
        writer_add(&pem, body.data + at, left < PEM_LINE_CHARACTERS ? left : PEM_LINE_CHARACTERS);
        writer_add_u8(&pem, '\n');
    }
    writer_add_string(&pem, "-----END CERTIFICATE-----\n");
    writer_add_base64(&encoded, writer_bytes(&pem));
    json_write_member_string(json, "pem", writer_string(&encoded));
    writer_free(&encoded);
    writer_free(&pem);
    writer_free(&body);
    writer_free(&der);
}

static void write_certificate(const struct x509_st *certificate, struct json_writer *json)
{
    int64_t not_before_s;
    int64_t not_after_s;
    char time[40];
    certificate_validity(certificate, &not_before_s, &not_after_s);
    char *AUTO_FREE serial = certificate_serial(certificate);
    json_write_object_begin(json);
    clock_format_rfc3339_s(not_after_s, time);
    json_write_member_string(json, "expirationTime", time);
    write_pem(certificate, json);
    json_write_member_string(json, "serialNumber", serial);
    clock_format_rfc3339_s(not_before_s, time);
    json_write_member_string(json, "validFrom", time);
    json_write_object_end(json);
}

char *certificate_state_text(const struct certificate_view *view)
{
    switch (view->state) {
    case CERTIFICATE_INITIALIZING:
        return string_duplicate("Initializing");
    case CERTIFICATE_AVAILABLE:
        return string_duplicate("Available");
    case CERTIFICATE_UNAVAILABLE:
        break;
    }
    return string_format("Unavailable: %s", view->failure);
}

void certificate_dump(const struct certificate_view *view, void *context)
{
    struct json_writer *json = context;
    const struct certificate_bundle *bundle = view->certificate != NULL ? view->certificate->bundle : NULL;
    json_write_object_begin(json);
    json_write_key(json, "certChain");
    json_write_array_begin(json);
    if (bundle != NULL) {
        write_certificate(bundle->leaf, json);
        for (size_t i = 0; i < bundle->intermediates.count; i++) {
            write_certificate(bundle->intermediates.items[i], json);
        }
    }
    json_write_array_end(json);
    json_write_member_string(json, "identity", view->identity);
    json_write_key(json, "rootCerts");
    json_write_array_begin(json);
    for (size_t i = 0; bundle != NULL && i < bundle->roots.count; i++) {
        write_certificate(bundle->roots.items[i], json);
    }
    json_write_array_end(json);
    char *AUTO_FREE state = certificate_state_text(view);
    json_write_member_string(json, "state", state);
    json_write_object_end(json);
}
