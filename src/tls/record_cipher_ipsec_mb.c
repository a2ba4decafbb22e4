#include "tls/record_cipher.h"

#if defined(AMBAR_HAS_IPSEC_MB) && defined(__x86_64__)

#include "base/loaded_code.h"
#include "base/memory.h"

#include <intel-ipsec-mb.h>
#include <pthread.h>

_Static_assert(sizeof(struct gcm_key_data) <= EXPANDED_KEY_BYTES, "an expanded key fits its memory");

/* The functions for this processor. The library's manager, of which they are a part, is only needed to find them. */
static struct {
    aes_gcm_pre_t expand[2];
    aes_gcm_enc_dec_t seal[2];
    aes_gcm_enc_dec_t open[2];
} functions;

static unsigned index_of(enum record_suite suite)
{
    return suite == RECORD_AES_128_GCM ? 0 : 1;
}

static void set_key(void *expanded, enum record_suite suite, const uint8_t *key)
{
    functions.expand[index_of(suite)](key, expanded);
}

static void clear_key(void *expanded)
{
    memory_wipe(expanded, EXPANDED_KEY_BYTES);
}

static void seal(void *expanded, enum record_suite suite, const struct record_cipher_text *text, uint8_t *tag)
{
    struct gcm_context_data state;
    functions.seal[index_of(suite)](expanded, &state, text->out, text->in, text->length, text->nonce, text->header,
        RECORD_HEADER_BYTES, tag, RECORD_TAG_BYTES);
    memory_wipe(&state, sizeof state); /* the key stream block of the tag is in there */
}

static bool open_text(
    void *expanded, enum record_suite suite, const struct record_cipher_text *text, const uint8_t *tag)
{
    struct gcm_context_data state;
    uint8_t expected[RECORD_TAG_BYTES];
    functions.open[index_of(suite)](expanded, &state, text->out, text->in, text->length, text->nonce, text->header,
        RECORD_HEADER_BYTES, expected, sizeof expected);
    bool is_right = memory_equal_constant_time(expected, tag, sizeof expected);
    memory_wipe(&state, sizeof state);
    memory_wipe(expected, sizeof expected);
    return is_right;
}

static struct record_cipher cipher = {
    .set_key = set_key,
    .clear_key = clear_key,
    .seal = seal,
    .open = open_text,
};

static bool has(const IMB_MGR *manager, uint64_t features)
{
    return (manager->features & features) == features;
}

static const char *name_for(const IMB_MGR *manager)
{
    if (!has(manager, IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_AVX2)) {
        return NULL;
    }
    if (has(manager, IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ)) {
        return "ipsec-mb avx512+vaes";
    }
    return has(manager, IMB_FEATURE_AVX512_SKX) ? "ipsec-mb avx512" : "ipsec-mb avx2";
}

/* Does it agree with OpenSSL on this machine? Lengths around the block sizes the code has special cases for. */
static bool agrees_with_evp(enum record_suite suite)
{
    static const uint8_t key[TRAFFIC_KEY_MAXIMUM_BYTES] = { 1, 2, 3 };
    static const uint8_t nonce[TRAFFIC_IV_BYTES] = { 4, 5, 6 };
    static const uint8_t header[RECORD_HEADER_BYTES] = { 23, 3, 3, 1, 2 };
    static const size_t lengths[] = { 1, 15, 16, 17, 255, 256, 257, 1025 };
    _Alignas(EXPANDED_KEY_ALIGNMENT) uint8_t expanded[EXPANDED_KEY_BYTES] = { 0 };
    void *of_evp[EXPANDED_KEY_BYTES / sizeof(void *)] = { NULL };
    uint8_t ours[1040], theirs[1040], our_tag[RECORD_TAG_BYTES], their_tag[RECORD_TAG_BYTES];
    bool is_same = true;
    set_key(expanded, suite, key);
    record_cipher_evp.set_key(of_evp, suite, key);
    for (size_t i = 0; i < ARRAY_LENGTH(lengths); i++) {
        memset(ours, (int)i, sizeof ours);
        memset(theirs, (int)i, sizeof theirs);
        struct record_cipher_text text = { nonce, header, ours, ours, lengths[i] };
        seal(expanded, suite, &text, our_tag);
        text.in = text.out = theirs;
        record_cipher_evp.seal(of_evp, suite, &text, their_tag);
        is_same &= memcmp(ours, theirs, sizeof ours) == 0 && memcmp(our_tag, their_tag, sizeof our_tag) == 0;
        is_same &= open_text(expanded, suite, &text, our_tag);
    }
    record_cipher_evp.clear_key(of_evp);
    clear_key(expanded);
    return is_same;
}

static void choose(void)
{
    IMB_MGR *manager = alloc_mb_mgr(0);
    if (manager == NULL) {
        return;
    }
    IMB_ARCH architecture = IMB_ARCH_NONE;
    init_mb_mgr_auto(manager, &architecture);
    const char *name = name_for(manager);
    bool is_sound = imb_get_errno(manager) == 0 && architecture != IMB_ARCH_NONE &&
                    (!has(manager, IMB_FEATURE_SELF_TEST) || has(manager, IMB_FEATURE_SELF_TEST_PASS));
    functions.expand[0] = manager->gcm128_pre;
    functions.expand[1] = manager->gcm256_pre;
    functions.seal[0] = manager->gcm128_enc;
    functions.seal[1] = manager->gcm256_enc;
    functions.open[0] = manager->gcm128_dec;
    functions.open[1] = manager->gcm256_dec;
    free_mb_mgr(manager);
    if (name != NULL && is_sound && agrees_with_evp(RECORD_AES_128_GCM) && agrees_with_evp(RECORD_AES_256_GCM)) {
        cipher.name = name;
    }
    /* The self-test has touched most of the library, of which a few functions are needed. */
    loaded_code_release((const void *)(uintptr_t)functions.seal[1]);
}

const struct record_cipher *record_cipher_ipsec_mb(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, choose);
    return cipher.name == NULL ? NULL : &cipher;
}

#else

#include <stddef.h>

const struct record_cipher *record_cipher_ipsec_mb(void)
{
    return NULL;
}

#endif
