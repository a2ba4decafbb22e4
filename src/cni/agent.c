#include "cni/agent.h"

#include "base/json_writer.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "cni/file.h"
#include "cni/namespace_pin.h"
#include "kube/yaml.h"
#include "net/stop_signals.h"

#include <unistd.h>

#define TARGET "cni::agent"

static bool concerns(const struct operation *operation, const struct enrolment *pod)
{
    const struct enrolment *other = operation->pod;
    bool is_same_pod = text_equal(other->namespace_, pod->namespace_) && text_equal(other->name, pod->name);
    bool is_same_network = other->network.descriptor >= 0 && pod->network.descriptor >= 0 &&
                           network_namespace_equal(&other->network, &pod->network);
    return is_same_pod || is_same_network || text_equal(other->uid, pod->uid);
}

bool agent_is_busy_with(const struct agent *agent, const struct enrolment *pod)
{
    LIST_FOR_EACH(link, &agent->operations) {
        if (concerns(LIST_ENTRY(link, struct operation, link), pod)) {
            return true;
        }
    }
    return false;
}

static void write_pod(struct json_writer *json, const struct enrolment *pod)
{
    json_write_object_begin(json);
    enrolment_write_members(pod, json);
    json_write_member_bool(json, "found", pod->network.descriptor >= 0);
    json_write_object_end(json);
}

void agent_answer(struct control_call *call, const struct enrolment *pod)
{
    struct writer answer = writer_growing();
    struct json_writer json = json_writer_of(&answer, false);
    json_write_object_begin(&json);
    json_write_member_bool(&json, "ok", true);
    json_write_key(&json, "enrolment");
    write_pod(&json, pod);
    json_write_object_end(&json);
    control_call_answer(call, &answer);
}

void agent_answer_failure(struct control_call *call, const char *step, const struct result *result)
{
    struct writer answer = writer_growing();
    struct json_writer json = json_writer_of(&answer, false);
    json_write_object_begin(&json);
    json_write_member_bool(&json, "ok", false);
    json_write_member_string(&json, "step", step);
    json_write_member_string(&json, "code", result_code_name(result->code));
    json_write_member_string(&json, "error", result->message);
    json_write_object_end(&json);
    control_call_answer(call, &answer);
}

static void answer_list(struct agent *agent, struct control_call *call)
{
    struct writer answer = writer_growing();
    struct json_writer json = json_writer_of(&answer, true);
    size_t position = 0;
    const struct enrolment *pod;
    json_write_object_begin(&json);
    json_write_member_bool(&json, "ok", true);
    json_write_member_unsigned(&json, "ztunnelConnections", proxy_server_connection_count(agent->proxies));
    json_write_key(&json, "enrolments");
    json_write_array_begin(&json);
    while ((pod = enrolment_table_next(&agent->enrolments, &position)) != NULL) {
        write_pod(&json, pod);
    }
    json_write_array_end(&json);
    json_write_object_end(&json);
    writer_add_string(&answer, "\n");
    control_call_answer(call, &answer);
}

static bool is_operation(const struct yaml_node *request, const char *name)
{
    const struct yaml_node *operation = yaml_get(request, "operation");
    return operation != NULL && operation->kind == YAML_STRING && text_equal(operation->text, name);
}

static void dispatch(struct agent *agent, struct control_call *call, const struct yaml_node *request, int *descriptor)
{
    if (is_operation(request, "enroll")) {
        int given = *descriptor;
        *descriptor = -1;
        agent_enrol(agent, call, request, given);
    } else if (is_operation(request, "remove")) {
        agent_remove(agent, call, request);
    } else if (is_operation(request, "list")) {
        answer_list(agent, call);
    } else {
        struct result result = result_fail(RESULT_UNSUPPORTED, "operation: not one of enroll, remove, list");
        agent_answer_failure(call, "reading the request", &result);
    }
}

static void on_request(void *context, struct control_call *call, struct bytes request, int descriptor)
{
    struct yaml_stream stream;
    struct result result = yaml_parse(request, true, &stream);
    if (result_is_ok(&result) && stream.count != 1) {
        result = result_fail(RESULT_INVALID, "the request is not one JSON object");
    }
    if (result_is_ok(&result)) {
        dispatch(context, call, stream.documents[0].root, &descriptor);
    } else {
        agent_answer_failure(call, "reading the request", &result);
    }
    yaml_stream_free(&stream);
    if (descriptor >= 0) {
        (void)close(descriptor);
    }
}

/* A namespace counts as the pod's when it is the very one that was enrolled and owns the pod's addresses: a number of the kernel may
 * come again after a reboot. */
static bool is_namespace_of(const struct enrolment *pod, const struct network_namespace *found)
{
    if (!network_namespace_equal(&pod->network, found)) {
        return false;
    }
    for (size_t i = 0; i < pod->address_count; i++) {
        bool owns = false;
        struct result result = network_namespace_owns(found, &pod->addresses[i], &owns);
        if (!result_is_ok(&result) || !owns) {
            return false;
        }
    }
    return true;
}

static bool find_namespace(const struct agent *agent, struct enrolment *pod)
{
    struct network_namespace found;
    struct result result = namespace_pin_open(agent->pin_directory, pod->uid, &found);
    if (result_is_ok(&result) && is_namespace_of(pod, &found)) {
        pod->network = found;
        return true;
    }
    network_namespace_close(&found);
    if (pod->namespace_path == NULL) {
        return false;
    }
    result = network_namespace_open(pod->namespace_path, &found);
    if (result_is_ok(&result) && is_namespace_of(pod, &found)) {
        pod->network = found;
        result = namespace_pin_make(agent->pin_directory, pod->uid, &found);
        return true;
    }
    network_namespace_close(&found);
    return false;
}

/* Failures are only logged: a pod that cannot be repaired must not keep the others from their proxy. */
static void restore(struct agent *agent, struct enrolment *pod)
{
    char key[ENROLMENT_KEY_SIZE];
    enrolment_key_of(pod, key);
    if (!find_namespace(agent, pod)) {
        LOG_EVENT(LOG_WARN, TARGET, "network namespace of an enrolled pod is gone", LOG_STRING("pod", key),
            LOG_DISPLAY("uid", pod->uid));
        return;
    }
    struct result result = capture_verify(&agent->capture, &pod->network);
    if (!result_is_ok(&result)) {
        LOG_EVENT(
            LOG_WARN, TARGET, "capture is applied again", LOG_STRING("pod", key), LOG_STRING("reason", result.message));
        result = capture_apply(&agent->capture, &pod->network);
    }
    if (result_is_ok(&result)) {
        result = enrolment_store_write_overlay(&agent->store, pod);
    }
    if (!result_is_ok(&result)) {
        LOG_EVENT(LOG_ERROR, TARGET, "enrolled pod could not be restored", LOG_STRING("pod", key),
            LOG_STRING("error", result.message));
    }
}

static struct result restore_all(struct agent *agent)
{
    size_t position = 0;
    struct enrolment *pod;
    RESULT_TRY(enrolment_store_load(&agent->store, &agent->enrolments));
    while ((pod = enrolment_table_next(&agent->enrolments, &position)) != NULL) {
        restore(agent, pod);
    }
    return result_ok();
}

static struct result start(struct agent *agent, const struct agent_settings *settings)
{
    if (access(settings->nft_path, X_OK) != 0) {
        return result_fail(
            RESULT_NOT_FOUND, "nft %s: not a program that can be run (package nftables)", settings->nft_path);
    }
    RESULT_TRY(network_namespace_open_current(&agent->home));
    RESULT_TRY(directory_make(settings->pin_directory, 0700));
    RESULT_TRY(enrolment_store_open(&agent->store, settings->state_directory, settings->overlay_directory));
    RESULT_TRY(restore_all(agent));
    RESULT_TRY(proxy_server_new(agent->loop, settings->zds_path, &agent->enrolments, &agent->proxies));
    return control_server_new(agent->loop, settings->control_path, on_request, agent, &agent->control);
}

struct result agent_new(struct loop *loop, const struct agent_settings *settings, struct agent **agent)
{
    struct agent *made = NEW(struct agent);
    made->loop = loop;
    made->pin_directory = settings->pin_directory;
    made->capture = (struct capture_settings){ settings->nft_path, settings->ipv6, settings->dns_capture };
    made->home.descriptor = -1;
    made->store.lock = -1;
    list_initialise(&made->operations);
    enrolment_table_open(&made->enrolments);
    struct result result = start(made, settings);
    if (!result_is_ok(&result)) {
        agent_free(made);
        return result;
    }
    *agent = made;
    return result_ok();
}

void agent_free(struct agent *agent)
{
    if (agent == NULL) {
        return;
    }
    proxy_server_free(agent->proxies); /* ends the operations in progress */
    control_server_free(agent->control);
    enrolment_table_close(&agent->enrolments);
    enrolment_store_close(&agent->store);
    network_namespace_close(&agent->home);
    memory_free(agent);
}

struct stop_signal {
    struct io_watch watch;
    struct loop *loop;
};

static void on_signal(struct io_watch *watch, uint32_t events)
{
    struct stop_signal *signal = CONTAINER_OF(watch, struct stop_signal, watch);
    (void)events;
    int number = stop_signals_take(watch);
    if (number != 0) {
        log_print(LOG_INFO, TARGET, "stopping after signal %d: enrolled pods stay enrolled", number);
        loop_stop(signal->loop);
    }
}

struct result agent_run(const struct agent_settings *settings)
{
    struct agent *agent = NULL;
    struct loop *loop = loop_new();
    struct stop_signal stop = { .watch = { .on_ready = on_signal }, .loop = loop };
    struct result result = stop_signals_watch(loop, &stop.watch);
    if (result_is_ok(&result)) {
        result = agent_new(loop, settings, &agent);
    }
    if (result_is_ok(&result)) {
        LOG_EVENT(LOG_INFO, TARGET, "agent is ready", LOG_DISPLAY("ztunnel_socket", settings->zds_path),
            LOG_DISPLAY("socket", settings->control_path),
            LOG_NUMBER("pods", enrolment_table_count(&agent->enrolments)));
        loop_run(loop);
    }
    agent_free(agent);
    stop_signals_unwatch(&stop.watch);
    loop_free(loop);
    return result;
}
