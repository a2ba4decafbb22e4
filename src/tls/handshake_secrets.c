#include "tls/handshake_secrets.h"

#include "base/cursor.h"
#include "tls/openssl_layer.h"
#include "tls/secret_memory.h"

#define CLIENT_LABEL "CLIENT_TRAFFIC_SECRET_0 "
#define SERVER_LABEL "SERVER_TRAFFIC_SECRET_0 "
#define CLIENT_RANDOM_DIGITS 64

_Static_assert(sizeof(struct handshake_secrets) <= SECRET_SLOT_BYTES, "the secrets fit a slot of secret memory");

struct handshake_secrets *handshake_secrets_new(void)
{
    return secret_memory_take();
}

void handshake_secrets_free(struct handshake_secrets *secrets)
{
    secret_memory_give(secrets);
}

static int digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The bytes of the digits left; 0 when they are none or too many. */
static uint8_t read_digits(struct cursor *cursor, uint8_t out[static TRAFFIC_SECRET_MAXIMUM_BYTES])
{
    uint8_t length = 0;
    while (cursor_left(cursor) >= 2 && length < TRAFFIC_SECRET_MAXIMUM_BYTES) {
        int high = digit_value(cursor_u8(cursor));
        int low = digit_value(cursor_u8(cursor));
        if (high < 0 || low < 0) {
            return 0;
        }
        out[length++] = (uint8_t)(high * 16 + low);
    }
    return cursor_is_at_end(cursor) ? length : 0;
}

void handshake_secrets_read(struct handshake_secrets *secrets, const char *line)
{
    struct cursor cursor = cursor_of(bytes_of_string(line));
    struct bytes label = cursor_take(&cursor, strlen(CLIENT_LABEL));
    bool is_client = bytes_equal_string(label, CLIENT_LABEL);
    cursor_skip(&cursor, CLIENT_RANDOM_DIGITS);
    if (cursor_u8(&cursor) != ' ' || (!is_client && !bytes_equal_string(label, SERVER_LABEL))) {
        return;
    }
    if (is_client) {
        secrets->client_length = read_digits(&cursor, secrets->client);
    } else {
        secrets->server_length = read_digits(&cursor, secrets->server);
    }
}

void handshake_secrets_on_line(const struct ssl_st *ssl, const char *line)
{
    struct openssl_layer *layer = openssl_layer_of(ssl);
    if (layer != NULL && layer->secrets != NULL) {
        handshake_secrets_read(layer->secrets, line);
    }
}
