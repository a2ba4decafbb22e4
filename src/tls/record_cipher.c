#include "tls/record_cipher.h"

const struct record_cipher *record_cipher_best(void)
{
    const struct record_cipher *fast = record_cipher_ipsec_mb();
    return fast == NULL ? &record_cipher_evp : fast;
}
