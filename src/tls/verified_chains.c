#include "tls/verified_chains.h"

#include "base/memory.h"
#include "tls/openssl_error.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <pthread.h>

#define ROW_ENTRIES 4
#define ROWS (VERIFIED_CHAINS_MAXIMUM / ROW_ENTRIES)

struct chain_entry {
    struct chain_digest digest;
    X509 *peer;
    int64_t from_s, until_s; /* until 0: free */
    uint64_t last_use;
};

static struct {
    pthread_mutex_t mutex;
    uint64_t uses;
    struct verified_chains_statistics statistics;
    struct chain_entry rows[ROWS][ROW_ENTRIES];
} known = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static EVP_MD_CTX *hash_begin(void)
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    openssl_must(hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL), "hash a chain");
    return hash;
}

static void hash_add(EVP_MD_CTX *hash, const void *data, size_t length)
{
    openssl_must(EVP_DigestUpdate(hash, data, length), "hash a chain");
}

/* Length first: no two lists of certificates give the same bytes. */
static void hash_add_certificate(EVP_MD_CTX *hash, const X509 *certificate)
{
    unsigned char *der = NULL;
    int length = i2d_X509(certificate, &der);
    openssl_must(length > 0, "encode a certificate");
    hash_add(hash, &length, sizeof length);
    hash_add(hash, der, (size_t)length);
    OPENSSL_free(der);
}

static struct chain_digest hash_end(EVP_MD_CTX *hash)
{
    struct chain_digest digest;
    openssl_must(EVP_DigestFinal_ex(hash, digest.bytes, NULL), "hash a chain");
    EVP_MD_CTX_free(hash);
    return digest;
}

struct chain_digest chain_digest_of_roots(const struct certificate_list *roots)
{
    EVP_MD_CTX *hash = hash_begin();
    for (size_t i = 0; i < roots->count; i++) {
        hash_add_certificate(hash, roots->items[i]);
    }
    return hash_end(hash);
}

struct chain_digest chain_digest_of_peer(
    const struct stack_st_X509 *sent, const struct chain_digest *roots, bool is_for_server)
{
    EVP_MD_CTX *hash = hash_begin();
    hash_add(hash, roots->bytes, sizeof roots->bytes);
    hash_add(hash, is_for_server ? "s" : "c", 1);
    for (int i = 0; i < sk_X509_num(sent); i++) {
        hash_add_certificate(hash, sk_X509_value(sent, i));
    }
    return hash_end(hash);
}

/* A digest is as good an index as any. */
static struct chain_entry *row_of(const struct chain_digest *digest)
{
    return known.rows[(digest->bytes[0] * 256u + digest->bytes[1]) % ROWS];
}

static struct chain_entry *find(const struct chain_digest *digest)
{
    struct chain_entry *row = row_of(digest);
    for (size_t i = 0; i < ROW_ENTRIES; i++) {
        if (row[i].until_s != 0 && memcmp(&row[i].digest, digest, sizeof *digest) == 0) {
            return &row[i];
        }
    }
    return NULL;
}

struct x509_st *verified_chains_find(const struct chain_digest *digest, int64_t now_s)
{
    X509 *peer = NULL;
    (void)pthread_mutex_lock(&known.mutex);
    struct chain_entry *entry = find(digest);
    if (entry != NULL && entry->from_s <= now_s && now_s <= entry->until_s) {
        entry->last_use = ++known.uses;
        known.statistics.hits++;
        peer = entry->peer;
        openssl_must(X509_up_ref(peer), "reference a certificate");
    } else {
        known.statistics.misses++;
    }
    (void)pthread_mutex_unlock(&known.mutex);
    return peer;
}

static struct chain_entry *find_place(const struct chain_digest *digest, int64_t now_s)
{
    struct chain_entry *row = row_of(digest), *oldest = find(digest);
    for (size_t i = 0; oldest == NULL && i < ROW_ENTRIES; i++) {
        oldest = row[i].until_s < now_s ? &row[i] : NULL;
    }
    if (oldest != NULL) {
        return oldest;
    }
    oldest = &row[0];
    for (size_t i = 1; i < ROW_ENTRIES; i++) {
        oldest = row[i].last_use < oldest->last_use ? &row[i] : oldest;
    }
    return oldest;
}

void verified_chains_remember(const struct chain_digest *digest, const struct stack_st_X509 *path, int64_t now_s)
{
    struct chain_entry entry = { .digest = *digest, .from_s = INT64_MIN, .until_s = INT64_MAX };
    for (int i = 0; i < sk_X509_num(path); i++) {
        int64_t from_s, until_s;
        certificate_validity(sk_X509_value(path, i), &from_s, &until_s);
        entry.from_s = from_s > entry.from_s ? from_s : entry.from_s;
        entry.until_s = until_s < entry.until_s ? until_s : entry.until_s;
    }
    if (sk_X509_num(path) < 1 || now_s < entry.from_s || now_s > entry.until_s) {
        return;
    }
    entry.peer = sk_X509_value(path, 0);
    openssl_must(X509_up_ref(entry.peer), "reference a certificate");
    (void)pthread_mutex_lock(&known.mutex);
    entry.last_use = ++known.uses;
    struct chain_entry *place = find_place(digest, now_s);
    X509 *forgotten = place->peer;
    *place = entry;
    (void)pthread_mutex_unlock(&known.mutex);
    certificate_release(forgotten);
}

struct verified_chains_statistics verified_chains_statistics(void)
{
    (void)pthread_mutex_lock(&known.mutex);
    struct verified_chains_statistics statistics = known.statistics;
    (void)pthread_mutex_unlock(&known.mutex);
    return statistics;
}
