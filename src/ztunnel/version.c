#include "ztunnel/version.h"

#include <openssl/crypto.h>

#ifdef __OPTIMIZE__
#define BUILD_PROFILE "release"
#else
#define BUILD_PROFILE "debug"
#endif

void version_write(const char *istio_version, struct writer *out)
{
    writer_print(out,
        "version.BuildInfo{Version:\"%s\", GitRevision:\"%s\", RustVersion:\"%s\", BuildProfile:\"%s\", "
        "BuildStatus:\"%s\", "
        "IstioVersion:\"%s\", CryptoProvider:\"%s\"}",
        AMBAR_VERSION, AMBAR_GIT_REVISION, __VERSION__, BUILD_PROFILE, AMBAR_BUILD_STATUS,
        istio_version != NULL ? istio_version : "unknown", OpenSSL_version(OPENSSL_VERSION));
}

void version_dump(const struct configuration *configuration, struct json_writer *json)
{
    json_write_object_begin(json);
    json_write_member_string(json, "buildProfile", BUILD_PROFILE);
    json_write_member_string(json, "buildStatus", AMBAR_BUILD_STATUS);
    json_write_member_string(json, "cryptoProvider", OpenSSL_version(OPENSSL_VERSION));
    json_write_member_string(json, "gitRevision", AMBAR_GIT_REVISION);
    json_write_member_string(json, "istioVersion", configuration->istio_version);
    json_write_member_string(json, "rustVersion", __VERSION__);
    json_write_member_string(json, "version", AMBAR_VERSION);
    json_write_object_end(json);
}
