#include "tls/openssl_layer.h"

#include "tls/openssl_error.h"

#include <openssl/bio.h>
#include <pthread.h>

static int bio_read(BIO *bio, char *out, int capacity)
{
    struct openssl_layer *layer = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t taken = capacity <= 0 ? 0 : record_input_take(&layer->input, (uint8_t *)out, (size_t)capacity);
    if (taken == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    return (int)taken;
}

/* Every call is one record, or a flight of the handshake of up to a buffer. */
static int bio_write(BIO *bio, const char *data, int length)
{
    struct openssl_layer *layer = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (length <= 0 || !send_queue_add(&layer->queue, bytes_of(data, (size_t)length))) {
        return -1; /* the bound on records of our own: the peer makes us answer without reading; no retry */
    }
    return length;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "record layer");
    openssl_must(method != NULL && BIO_meth_set_read(method, bio_read) && BIO_meth_set_write(method, bio_write) &&
                     BIO_meth_set_ctrl(method, bio_control) && BIO_meth_set_create(method, bio_create),
        "make a BIO method");
}

struct bio_st *openssl_bio_new(struct openssl_layer *layer)
{
    (void)pthread_once(&method_once, make_method);
    BIO *bio = BIO_new(method);
    openssl_must(bio != NULL, "make a BIO");
    BIO_set_data(bio, layer);
    return bio;
}
