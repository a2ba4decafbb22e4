/* The state of a connection from a process that may not be what it says: refused, or a layer that can be used and freed. */
#include "base/memory.h"
#include "net/buffer_pool.h"
#include "tls/native_layer.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void use(struct record_layer *layer)
{
    struct bytes runs[2];
    struct iovec slot;
    int count = 0;
    if (record_reserve(layer, &slot, 1) == 1) {
        memset(slot.iov_base, 'x', slot.iov_len < 10 ? slot.iov_len : 10);
        record_commit(layer, 0, slot.iov_len < 10 ? slot.iov_len : 10);
    }
    (void)record_flush(layer);
    (void)record_receive(layer, BUFFER_SHARED_BYTES, runs, 2, &count);
    record_close(layer);
    (void)record_flush(layer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buffer_pool *pool;
    int ends[2];
    struct record_layer *layer = NULL;
    if (pool == NULL) {
        pool = buffer_pool_new();
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) != 0) {
        abort();
    }
    struct result imported = native_layer_import(bytes_of(data, size), &record_cipher_evp, pool, ends[0], &layer);
    if (result_is_ok(&imported) != (layer != NULL)) {
        abort();
    }
    if (layer != NULL) {
        use(layer);
    }
    record_free(layer);
    close(ends[0]);
    close(ends[1]);
    if (buffer_pool_lent_bytes(pool) != 0) {
        abort();
    }
    return 0;
}
