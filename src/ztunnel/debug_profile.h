/* /debug/pprof/profile?seconds=1..300&frequency=1..1000 (ztunnel-management §7): a CPU profile as raw pprof protobuf. Control thread. */
#ifndef AMBAR_ZTUNNEL_DEBUG_PROFILE_H
#define AMBAR_ZTUNNEL_DEBUG_PROFILE_H

#include "http/http1_server.h"

struct loop;
struct debug_profile;

struct debug_profile *debug_profile_new(struct loop *control);
void debug_profile_free(struct debug_profile *profile); /* ends one that runs, without an answer; NULL is allowed */
void debug_answer_profile(struct http1_exchange *exchange, struct debug_profile *profile);

#endif
