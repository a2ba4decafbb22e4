/* Removing one pod from the mesh. The proxy first: until the rules are gone its connections fail, none goes out in the clear. Whatever is
 * gone already counts as removed, the namespace itself included. */
#include "cni/agent.h"

#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cni/namespace_pin.h"
#include "kube/yaml.h"

#define TARGET "cni::agent"

struct removal {
    struct operation operation;
    struct enrolment *pod; /* borrowed from the table */
};

static void removal_free(struct removal *removal)
{
    list_remove(&removal->operation.link);
    memory_free(removal);
}

static void fail(struct removal *removal, const char *step, const struct result *result)
{
    char key[ENROLMENT_KEY_SIZE];
    removal->pod->is_leaving = false;
    LOG_EVENT(LOG_WARN, TARGET, "removal failed", LOG_STRING("pod", enrolment_key_of(removal->pod, key)),
        LOG_STRING("step", step), LOG_STRING("error", result->message));
    agent_answer_failure(removal->operation.call, step, result);
    removal_free(removal);
}

static void proxies_answered(void *context, const struct result *told)
{
    struct removal *removal = context;
    struct agent *agent = removal->operation.agent;
    struct enrolment *pod = removal->pod;
    char key[ENROLMENT_KEY_SIZE];
    (void)told; /* a proxy that did not hear it learns it from its next snapshot */
    if (pod->network.descriptor >= 0) {
        struct result result = capture_remove(&agent->capture, &pod->network);
        if (!result_is_ok(&result)) {
            fail(removal, "releasing the traffic", &result);
            return;
        }
    }
    struct result result = enrolment_store_remove_overlay(&agent->store, pod);
    if (!result_is_ok(&result)) {
        fail(removal, "removing the overlay", &result);
        return;
    }
    result = enrolment_store_forget(&agent->store, pod);
    if (!result_is_ok(&result)) {
        fail(removal, "forgetting the state", &result);
        return;
    }
    namespace_pin_remove(agent->pin_directory, pod->uid);
    LOG_EVENT(
        LOG_INFO, TARGET, "pod removed", LOG_STRING("pod", enrolment_key_of(pod, key)), LOG_DISPLAY("uid", pod->uid));
    agent_answer(removal->operation.call, pod);
    enrolment_table_remove(&agent->enrolments, key);
    removal_free(removal);
}

static const char *text_of(const struct yaml_node *request, const char *key)
{
    const struct yaml_node *value = yaml_get(request, key);
    return value != NULL && value->kind == YAML_STRING ? value->text : "";
}

void agent_remove(struct agent *agent, struct control_call *call, const struct yaml_node *request)
{
    char key[ENROLMENT_KEY_SIZE];
    enrolment_key(text_of(request, "namespace"), text_of(request, "name"), key);
    struct enrolment *pod = enrolment_table_find(&agent->enrolments, key);
    struct result result = result_ok();
    if (pod == NULL) {
        result = result_fail(RESULT_NOT_FOUND, "pod %s is not enrolled", key);
    } else if (agent_is_busy_with(agent, pod)) {
        result = result_fail(RESULT_UNAVAILABLE, "pod %s: another request about it is in progress", key);
    }
    if (!result_is_ok(&result)) {
        agent_answer_failure(call, "finding the pod", &result);
        return;
    }
    struct removal *removal = NEW(struct removal);
    removal->operation = (struct operation){ .agent = agent, .call = call, .pod = pod };
    removal->pod = pod;
    list_initialise(&removal->operation.link);
    list_append(&agent->operations, &removal->operation.link);
    pod->is_leaving = true; /* no snapshot brings it back meanwhile */
    proxy_server_delete(agent->proxies, pod->uid, proxies_answered, removal);
}
