#include "tls/authority_internal.h"

#include "base/memory.h"
#include "base/writer.h"
#include "tls/certificate_path.h"
#include "tls/pem_file.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <unistd.h>

/* The two forms of Istio's `cacerts`. */
enum authority_form { FORM_KUBERNETES_TLS, FORM_CACERTS };

struct authority_files {
    char *signer;
    char *key;
    char *chain; /* NULL: the form has none */
    char *root;
};

static struct authority_files files_in(const char *directory, enum authority_form form)
{
    if (form == FORM_KUBERNETES_TLS) {
        return (struct authority_files){
            .signer = string_format("%s/tls.crt", directory),
            .key = string_format("%s/tls.key", directory),
            .root = string_format("%s/ca.crt", directory),
        };
    }
    return (struct authority_files){
        .signer = string_format("%s/ca-cert.pem", directory),
        .key = string_format("%s/ca-key.pem", directory),
        .chain = string_format("%s/cert-chain.pem", directory),
        .root = string_format("%s/root-cert.pem", directory),
    };
}

static void files_clear(struct authority_files *files)
{
    memory_free(files->signer);
    memory_free(files->key);
    memory_free(files->chain);
    memory_free(files->root);
}

static bool exists(const char *path)
{
    return path != NULL && access(path, F_OK) == 0;
}

static struct result check_presence(const struct authority_files *files, const char *directory)
{
    const char *needed[] = { files->signer, files->key, files->root, files->chain };
    const char *missing = NULL;
    size_t present = 0;
    size_t count = files->chain == NULL ? 3 : 4;
    for (size_t i = 0; i < count; i++) {
        if (exists(needed[i])) {
            present++;
        } else {
            missing = needed[i];
        }
    }
    if (present == 0) {
        return result_fail(RESULT_NOT_FOUND, "%s: no certificate authority there", directory);
    }
    if (missing != NULL) {
        return result_fail(RESULT_INVALID, "%s: missing beside the other files of the certificate authority", missing);
    }
    return result_ok();
}

/* cert-chain.pem of a self-signed root is empty, with nothing but blanks allowed. */
static struct result read_chain_file(const char *path, struct certificate_list *chain)
{
    struct writer text = writer_growing();
    struct result result = pem_file_read(path, &text);
    if (result_is_ok(&result) && strspn(writer_string(&text), " \t\r\n") != text.length) {
        result = certificate_list_parse_pem(writer_bytes(&text), path, chain);
    }
    writer_free(&text);
    return result;
}

static void append_all(struct certificate_list *to, const struct certificate_list *from)
{
    for (size_t i = 0; i < from->count; i++) {
        certificate_list_append(to, from->items[i]);
    }
}

static struct result read_files(const struct authority_files *files, struct certificate_authority *authority)
{
    struct certificate_list signers;
    RESULT_TRY(private_key_read_file(files->key, &authority->key));
    RESULT_TRY(certificate_list_read_file(files->root, &authority->roots));
    if (files->chain != NULL) {
        RESULT_TRY(read_chain_file(files->chain, &authority->chain));
    }
    RESULT_TRY(certificate_list_read_file(files->signer, &signers));
    authority->signer = signers.items[0];
    X509_up_ref(authority->signer);
    if (files->chain == NULL) {
        append_all(&authority->chain, &signers);
        append_all(&authority->chain, &authority->roots);
    }
    certificate_list_clear(&signers);
    return result_ok();
}

static struct result check_signer(
    const struct authority_files *files, const struct certificate_authority *authority, int64_t now_s)
{
    if (!X509_check_private_key(authority->signer, authority->key)) {
        ERR_clear_error();
        return result_fail(RESULT_INVALID, "%s: not the key of %s", files->key, files->signer);
    }
    if (X509_check_ca(authority->signer) != 1 || !(X509_get_key_usage(authority->signer) & KU_KEY_CERT_SIGN)) {
        return result_fail(RESULT_INVALID, "%s: not the certificate of a CA that may sign certificates", files->signer);
    }
    return result_in(
        certificate_path_check(authority->signer, &authority->chain, &authority->roots, now_s), "%s", files->signer);
}

static struct result load(const struct authority_files *files, struct certificate_authority *authority, int64_t now_s)
{
    RESULT_TRY(read_files(files, authority));
    RESULT_TRY(check_signer(files, authority, now_s));
    struct writer pem = writer_growing();
    certificate_list_write_pem(&authority->roots, &pem);
    authority->root_pem = writer_take_string(&pem);
    return result_ok();
}

struct result certificate_authority_load(const char *directory, int64_t now_s, struct certificate_authority **authority)
{
    *authority = NULL;
    struct authority_files files = files_in(directory, FORM_KUBERNETES_TLS);
    if (!exists(files.signer)) {
        files_clear(&files);
        files = files_in(directory, FORM_CACERTS);
    }
    struct certificate_authority *loaded = NEW(struct certificate_authority);
    struct result result = check_presence(&files, directory);
    if (result_is_ok(&result)) {
        result = load(&files, loaded, now_s);
    }
    if (result_is_ok(&result)) {
        *authority = loaded;
    } else {
        certificate_authority_free(loaded);
    }
    files_clear(&files);
    return result;
}

static struct result save_key(const struct certificate_authority *authority, const char *path)
{
    struct writer pem = writer_growing();
    private_key_write_pem(authority->key, &pem);
    struct result result = pem_file_replace(path, writer_bytes(&pem));
    secret_writer_free(&pem);
    return result;
}

static struct result save_list(const struct certificate_list *list, const char *path)
{
    struct writer pem = writer_growing();
    certificate_list_write_pem(list, &pem);
    struct result result = pem_file_replace(path, writer_bytes(&pem));
    writer_free(&pem);
    return result;
}

static struct result save(const struct certificate_authority *authority, const struct authority_files *files)
{
    struct x509_st *signer = authority->signer;
    struct certificate_list signers = { &signer, 1 };
    RESULT_TRY(save_key(authority, files->key));
    RESULT_TRY(save_list(&authority->chain, files->chain));
    RESULT_TRY(save_list(&authority->roots, files->root));
    return save_list(&signers, files->signer);
}

struct result certificate_authority_save(const struct certificate_authority *authority, const char *directory)
{
    struct authority_files files = files_in(directory, FORM_CACERTS);
    struct result result = save(authority, &files);
    files_clear(&files);
    return result;
}

struct result certificate_authority_resume(
    const char *directory, const char *trust_domain, int64_t now_s, struct certificate_authority **authority)
{
    *authority = NULL;
    struct authority_files files = files_in(directory, FORM_CACERTS);
    struct result result = result_fail(RESULT_NOT_FOUND, "%s: nothing to resume", directory);
    struct evp_pkey_st *key = NULL;
    if (!exists(files.signer) && exists(files.key)) {
        result = private_key_read_file(files.key, &key);
    }
    if (key != NULL) {
        *authority = certificate_authority_of_key(key, trust_domain, now_s);
        result = save(*authority, &files);
    }
    files_clear(&files);
    return result;
}
