#include "cni/command.h"

#include "base/json_writer.h"
#include "base/memory.h"
#include "base/text.h"
#include "cni/control_server.h"
#include "cni/enrolment.h"
#include "cni/unix_socket.h"
#include "kube/yaml.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* Longer than everything that the agent may do for one request: its nft runs and the proxy's answer. */
#define ANSWER_TIMEOUT_S 60

/* Sends the whole request; `descriptor` (-1: none) travels beside its first byte. 0 or an error number. */
static int send_request(int socket, struct bytes request, int descriptor)
{
    union {
        struct cmsghdr alignment;
        uint8_t data[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t first = request.data[0];
    struct iovec piece = { &first, 1 };
    struct msghdr header = { .msg_iov = &piece, .msg_iovlen = 1 };
    if (descriptor >= 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.data;
        header.msg_controllen = sizeof control.data;
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof descriptor);
        memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
    }
    if (sendmsg(socket, &header, MSG_NOSIGNAL) < 0) {
        return errno;
    }
    size_t sent = 1;
    while (sent < request.length) {
        ssize_t now = send(socket, request.data + sent, request.length - sent, MSG_NOSIGNAL);
        if (now < 0) {
            return errno;
        }
        sent += (size_t)now;
    }
    return shutdown(socket, SHUT_WR) != 0 ? errno : 0;
}

static struct result receive_answer(int socket, struct writer *answer)
{
    uint8_t buffer[8192];
    for (;;) {
        ssize_t length = recv(socket, buffer, sizeof buffer, 0);
        if (length < 0 && errno == EINTR) {
            continue;
        }
        if (length < 0 && errno == EAGAIN) {
            return result_fail(RESULT_TIMEOUT, "the agent did not answer within %d s", ANSWER_TIMEOUT_S);
        }
        if (length < 0) {
            return result_system(errno, "hearing the agent");
        }
        if (length == 0) {
            return answer->length > 0 ? result_ok()
                                      : result_fail(RESULT_UNAVAILABLE, "the agent closed without an answer");
        }
        writer_add(answer, buffer, (size_t)length);
        if (answer->length > CONTROL_ANSWER_BYTES_MAXIMUM) {
            return result_fail(RESULT_LIMIT, "the agent's answer is too long");
        }
    }
}

static struct result exchange(int socket, struct bytes request, int descriptor, struct writer *answer)
{
    struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    int error = send_request(socket, request, descriptor);
    return error != 0 ? result_system(error, "asking the agent") : receive_answer(socket, answer);
}

static const char *text_of(const struct yaml_node *object, const char *key)
{
    const struct yaml_node *value = yaml_get(object, key);
    return value != NULL && value->text != NULL ? value->text : "";
}

static bool is_true(const struct yaml_node *object, const char *key)
{
    const struct yaml_node *value = yaml_get(object, key);
    return value != NULL && value->kind == YAML_BOOL && value->boolean;
}

/* The agent's refusal as a result. */
static struct result check_answer(const struct yaml_stream *answer)
{
    const struct yaml_node *root = answer->count == 1 ? answer->documents[0].root : NULL;
    if (is_true(root, "ok")) {
        return result_ok();
    }
    return result_fail(RESULT_DENIED, "%s: %s", text_of(root, "step"), text_of(root, "error"));
}

/* Asks and parses; on success `answer` is the caller's to free, with its text in `raw` (may be NULL). */
static struct result ask(
    const char *path, struct writer *request, int descriptor, struct yaml_stream *answer, struct writer *raw)
{
    int socket;
    RESULT_TRY(unix_connect(path, &socket));
    struct writer text = writer_growing();
    struct result result = exchange(socket, writer_bytes(request), descriptor, &text);
    (void)close(socket);
    if (!result_is_ok(&result)) {
        writer_free(&text);
        return result;
    }
    result = yaml_parse(writer_bytes(&text), true, answer);
    if (result_is_ok(&result)) {
        result = check_answer(answer);
    }
    if (!result_is_ok(&result)) {
        yaml_stream_free(answer);
    } else if (raw != NULL) {
        writer_add_bytes(raw, writer_bytes(&text));
    }
    writer_free(&text);
    return result;
}

static struct result required(const char *flag, const char *value)
{
    return text_is_empty(value) ? result_fail(RESULT_INVALID, "--%s: missing", flag) : result_ok();
}

static struct result read_addresses(const struct option_list *list, struct enrolment *pod)
{
    if (list->count > ENROLMENT_ADDRESSES_MAXIMUM) {
        return result_fail(
            RESULT_LIMIT, "--address: given %zu times, more than %d", list->count, ENROLMENT_ADDRESSES_MAXIMUM);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (!ip_parse(list->items[i], &pod->addresses[i])) {
            return result_fail(RESULT_INVALID, "--address %s: not an IP address", list->items[i]);
        }
        pod->address_count++;
    }
    return result_ok();
}

static char *duplicate_or_null(const char *text)
{
    return text_is_empty(text) ? NULL : string_duplicate(text);
}

/* As the agent will find it. Links stay as they are: those of /proc/PID/ns lead nowhere that has a name. */
static char *absolute_path(const char *path)
{
    char directory[PATH_MAX];
    if (path[0] == '/' || getcwd(directory, sizeof directory) == NULL) {
        return string_duplicate(path);
    }
    return string_format("%s/%s", directory, path);
}

/* What the command line says, checked as the agent will, so that mistakes are told without an agent. */
static struct result read_pod(const struct enroll_settings *settings, struct enrolment *pod)
{
    RESULT_TRY(required("netns", settings->namespace_path));
    RESULT_TRY(required("namespace", settings->namespace_));
    RESULT_TRY(required("name", settings->name));
    RESULT_TRY(required("service-account", settings->service_account));
    pod->namespace_ = string_duplicate(settings->namespace_);
    pod->name = string_duplicate(settings->name);
    pod->service_account = string_duplicate(settings->service_account);
    pod->uid = duplicate_or_null(settings->uid);
    RESULT_TRY(read_addresses(&settings->addresses, pod));
    RESULT_TRY(enrolment_check(pod));
    RESULT_TRY(result_in(network_namespace_open(settings->namespace_path, &pod->network), "--netns"));
    pod->namespace_path = absolute_path(settings->namespace_path);
    return result_ok();
}

static struct result enroll_pod(const struct enroll_settings *settings, const struct enrolment *pod)
{
    struct writer request = writer_growing();
    struct json_writer json = json_writer_of(&request, false);
    struct yaml_stream answer;
    json_write_object_begin(&json);
    json_write_member_string(&json, "operation", "enroll");
    enrolment_write_members(pod, &json);
    json_write_object_end(&json);
    struct result result = ask(settings->control_path, &request, pod->network.descriptor, &answer, NULL);
    writer_free(&request);
    if (result_is_ok(&result)) {
        const struct yaml_node *enrolled = yaml_get(answer.documents[0].root, "enrolment");
        (void)printf("%s/%s is enrolled as %s, uid %s\n", pod->namespace_, pod->name, pod->service_account,
            text_of(enrolled, "uid"));
        yaml_stream_free(&answer);
    }
    return result;
}

struct result command_enroll(const struct enroll_settings *settings)
{
    struct enrolment *pod = enrolment_new();
    struct result result = read_pod(settings, pod);
    if (result_is_ok(&result)) {
        result = enroll_pod(settings, pod);
    }
    enrolment_free(pod);
    return result;
}

struct result command_remove(const struct remove_settings *settings)
{
    RESULT_TRY(required("namespace", settings->namespace_));
    RESULT_TRY(required("name", settings->name));
    struct writer request = writer_growing();
    struct json_writer json = json_writer_of(&request, false);
    struct yaml_stream answer;
    json_write_object_begin(&json);
    json_write_member_string(&json, "operation", "remove");
    json_write_member_string(&json, "namespace", settings->namespace_);
    json_write_member_string(&json, "name", settings->name);
    json_write_object_end(&json);
    struct result result = ask(settings->control_path, &request, -1, &answer, NULL);
    writer_free(&request);
    if (result_is_ok(&result)) {
        (void)printf("%s/%s is removed\n", settings->namespace_, settings->name);
        yaml_stream_free(&answer);
    }
    return result;
}

/* "10.77.1.2,fd77:1::2" */
static void join_addresses(const struct yaml_node *pod, struct writer *out)
{
    const struct yaml_node *addresses = yaml_get(pod, "addresses");
    if (addresses == NULL || addresses->kind != YAML_SEQUENCE) {
        return;
    }
    for (size_t i = 0; i < addresses->children.count; i++) {
        writer_print(out, "%s%s", i > 0 ? "," : "", addresses->children.items[i].value->text);
    }
}

static void print_row(const struct yaml_node *pod)
{
    struct writer addresses = writer_growing();
    join_addresses(pod, &addresses);
    (void)printf("%-16s %-24s %-20s %-36s %-9s %s\n", text_of(pod, "namespace"), text_of(pod, "name"),
        text_of(pod, "serviceAccount"), text_of(pod, "uid"), is_true(pod, "found") ? "enrolled" : "gone",
        writer_string(&addresses));
    writer_free(&addresses);
}

static void print_table(const struct yaml_node *root)
{
    const struct yaml_node *pods = yaml_get(root, "enrolments");
    if (pods == NULL || pods->kind != YAML_SEQUENCE || pods->children.count == 0) {
        (void)printf("no pod is enrolled\n");
    } else {
        (void)printf(
            "%-16s %-24s %-20s %-36s %-9s %s\n", "NAMESPACE", "NAME", "SERVICE ACCOUNT", "UID", "NETNS", "ADDRESSES");
        for (size_t i = 0; i < pods->children.count; i++) {
            print_row(pods->children.items[i].value);
        }
    }
    (void)printf("ztunnel connections: %s\n", text_of(root, "ztunnelConnections"));
}

struct result command_list(const struct list_settings *settings)
{
    struct writer request = writer_growing();
    struct writer raw = writer_growing();
    struct yaml_stream answer;
    writer_add_string(&request, "{\"operation\":\"list\"}");
    struct result result = ask(settings->control_path, &request, -1, &answer, &raw);
    writer_free(&request);
    if (result_is_ok(&result)) {
        if (settings->is_json) {
            (void)fputs(writer_string(&raw), stdout);
        } else {
            print_table(answer.documents[0].root);
        }
        yaml_stream_free(&answer);
    }
    writer_free(&raw);
    return result;
}
