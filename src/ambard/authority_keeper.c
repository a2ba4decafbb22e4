#include "ambard/authority_keeper.h"

#include "base/log.h"
#include "base/memory.h"

#define KEEPER_TARGET "ambard::ca"

struct authority_keeper {
    const char *ca_directory; /* NULL: the authority is our own */
    const char *state_directory;
    struct certificate_authority *current;
};

/* Ours: loaded, or what an interrupted save left is completed, or made. */
static struct result open_own(struct authority_keeper *keeper, const char *trust_domain, int64_t now_s)
{
    struct result resumed =
        certificate_authority_resume(keeper->state_directory, trust_domain, now_s, &keeper->current);
    if (resumed.code != RESULT_NOT_FOUND) {
        return resumed;
    }
    struct result loaded = certificate_authority_load(keeper->state_directory, now_s, &keeper->current);
    if (loaded.code != RESULT_NOT_FOUND) {
        return loaded;
    }
    keeper->current = certificate_authority_new(trust_domain, now_s);
    RESULT_TRY(certificate_authority_save(keeper->current, keeper->state_directory));
    log_print(LOG_INFO, KEEPER_TARGET, "made a root certificate in %s", keeper->state_directory);
    return result_ok();
}

struct result authority_keeper_open(const char *ca_directory, const char *state_directory, const char *trust_domain,
    int64_t now_s, struct authority_keeper **keeper)
{
    struct authority_keeper *opened = NEW(struct authority_keeper);
    opened->ca_directory = ca_directory;
    opened->state_directory = state_directory;
    struct result result = ca_directory != NULL ? certificate_authority_load(ca_directory, now_s, &opened->current)
                                                : open_own(opened, trust_domain, now_s);
    *keeper = opened;
    if (!result_is_ok(&result)) {
        authority_keeper_free(opened);
        *keeper = NULL;
    }
    return result;
}

void authority_keeper_free(struct authority_keeper *keeper)
{
    if (keeper != NULL) {
        certificate_authority_free(keeper->current);
        memory_free(keeper);
    }
}

const struct certificate_authority *authority_keeper_current(const struct authority_keeper *keeper)
{
    return keeper->current;
}

static void replace(struct authority_keeper *keeper, struct certificate_authority *authority)
{
    certificate_authority_free(keeper->current);
    keeper->current = authority;
}

static bool renew_own(struct authority_keeper *keeper, int64_t now_s)
{
    if (!certificate_authority_is_ageing(keeper->current, now_s)) {
        return false;
    }
    struct certificate_authority *renewed = certificate_authority_renew(keeper->current, now_s);
    struct result saved = certificate_authority_save(renewed, keeper->state_directory);
    if (!result_is_ok(&saved)) {
        log_print(LOG_ERROR, KEEPER_TARGET, "the root certificate was not renewed: %s", saved.message);
        certificate_authority_free(renewed);
        return false;
    }
    log_print(
        LOG_INFO, KEEPER_TARGET, "renewed the root certificate in %s, with the same key", keeper->state_directory);
    replace(keeper, renewed);
    return true;
}

static bool read_again(struct authority_keeper *keeper, int64_t now_s)
{
    struct certificate_authority *found = NULL;
    struct result loaded = certificate_authority_load(keeper->ca_directory, now_s, &found);
    if (!result_is_ok(&loaded)) {
        log_print(LOG_ERROR, KEEPER_TARGET, "the CA in use stays, its files have a fault: %s", loaded.message);
        return false;
    }
    if (certificate_authority_is_same(found, keeper->current)) {
        certificate_authority_free(found);
        return false;
    }
    log_print(LOG_INFO, KEEPER_TARGET, "the CA in %s has changed and is in use from now on", keeper->ca_directory);
    replace(keeper, found);
    return true;
}

bool authority_keeper_check(struct authority_keeper *keeper, int64_t now_s)
{
    return keeper->ca_directory != NULL ? read_again(keeper, now_s) : renew_own(keeper, now_s);
}
