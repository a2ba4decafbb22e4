/* A pool's keys as its table needs them: as bytes to compare, and as copies that own their texts. */
#ifndef AMBAR_HTTP_HBONE_POOL_KEY_H
#define AMBAR_HTTP_HBONE_POOL_KEY_H

#include "base/writer.h"
#include "http/hbone_pool.h"

/* Different keys give different bytes. The writer is the caller's to free. */
struct writer hbone_pool_key_write(const struct hbone_pool_key *key);

struct hbone_pool_key hbone_pool_key_copy(const struct hbone_pool_key *key);
void hbone_pool_key_free(struct hbone_pool_key *key); /* of a copy */

#endif
