#include "xds/zds.h"

#include "base/cursor.h"
#include "base/text.h"
#include "base/writer.h"
#include "xds/protobuf.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* SCM_MAX_FD of the kernel: no datagram brings more, so none is ever cut for lack of room. */
#define DESCRIPTORS_MAXIMUM 253

/* Tag and length of the two messages around an error text of this size. */
#define RESPONSE_OVERHEAD_BYTES 6

enum hello_field { HELLO_VERSION = 1 };
enum add_field { ADD_UID = 1, ADD_WORKLOAD_INFO = 2 };
enum info_field { INFO_NAME = 1, INFO_NAMESPACE = 2, INFO_SERVICE_ACCOUNT = 3 };
enum keep_field { KEEP_UID = 1 };
enum delete_field { DELETE_UID = 2 };
enum response_field { RESPONSE_ACK = 1 };
enum ack_field { ACK_ERROR = 1 };

void zds_hello_encode(struct writer *out)
{
    protobuf_add_varint(out, HELLO_VERSION, ZDS_VERSION_1);
}

struct result zds_hello_decode(struct bytes message, uint32_t *version)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    *version = 0;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == HELLO_VERSION) {
            if (field.wire != PROTOBUF_VARINT) {
                return result_fail(RESULT_INVALID, "ZdsHello.version: not a number");
            }
            *version = (uint32_t)field.value;
        }
    }
    return cursor.has_failed ? result_fail(RESULT_INVALID, "ZdsHello: malformed field") : result_ok();
}

static void add_workload_info(const struct zds_request *request, struct writer *out)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer info = writer_fixed(memory, sizeof memory);
    protobuf_add_string(&info, INFO_NAME, request->name);
    protobuf_add_string(&info, INFO_NAMESPACE, request->namespace_);
    protobuf_add_string(&info, INFO_SERVICE_ACCOUNT, request->service_account);
    protobuf_add_message(out, ADD_WORKLOAD_INFO, writer_bytes(&info));
    /* Whatever is too long for a datagram must not go out shorter than it is. */
    out->has_overflowed = out->has_overflowed || info.has_overflowed;
}

void zds_request_encode(const struct zds_request *request, struct writer *out)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer payload = writer_fixed(memory, sizeof memory);
    switch (request->kind) {
    case ZDS_ADD:
        protobuf_add_string(&payload, ADD_UID, request->uid);
        if (request->has_workload_info) {
            add_workload_info(request, &payload);
        }
        break;
    case ZDS_KEEP:
        protobuf_add_string(&payload, KEEP_UID, request->uid);
        break;
    case ZDS_DELETE:
        protobuf_add_string(&payload, DELETE_UID, request->uid);
        break;
    case ZDS_SNAPSHOT_SENT:
        break;
    case ZDS_NO_REQUEST:
        return;
    }
    protobuf_add_message(out, (uint32_t)request->kind, writer_bytes(&payload));
    out->has_overflowed = out->has_overflowed || payload.has_overflowed;
}

/* A string or message field. */
static struct result take_bytes(const struct protobuf_field *field, const char *name, struct bytes *bytes)
{
    if (field->wire != PROTOBUF_BYTES) {
        return result_fail(RESULT_INVALID, "%s: wrong wire type", name);
    }
    *bytes = field->bytes;
    return result_ok();
}

static struct result take_text(const struct protobuf_field *field, const char *name, struct bytes *text)
{
    RESULT_TRY(take_bytes(field, name, text));
    if (!bytes_is_utf8(*text) || (text->length > 0 && memchr(text->data, '\0', text->length) != NULL)) {
        return result_fail(RESULT_INVALID, "%s: not UTF-8 text", name);
    }
    return result_ok();
}

static struct result decode_workload_info(struct bytes message, struct zds_request *request)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    request->has_workload_info = true;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == INFO_NAME) {
            RESULT_TRY(take_text(&field, "WorkloadInfo.name", &request->name));
        } else if (field.number == INFO_NAMESPACE) {
            RESULT_TRY(take_text(&field, "WorkloadInfo.namespace", &request->namespace_));
        } else if (field.number == INFO_SERVICE_ACCOUNT) {
            RESULT_TRY(take_text(&field, "WorkloadInfo.service_account", &request->service_account));
        }
    }
    return cursor.has_failed ? result_fail(RESULT_INVALID, "WorkloadInfo: malformed field") : result_ok();
}

static struct result decode_add(struct bytes message, struct zds_request *request)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == ADD_UID) {
            RESULT_TRY(take_text(&field, "AddWorkload.uid", &request->uid));
        } else if (field.number == ADD_WORKLOAD_INFO) {
            struct bytes info = { NULL, 0 };
            RESULT_TRY(take_bytes(&field, "AddWorkload.workload_info", &info));
            RESULT_TRY(decode_workload_info(info, request));
        }
    }
    return cursor.has_failed ? result_fail(RESULT_INVALID, "AddWorkload: malformed field") : result_ok();
}

/* KeepWorkload, DelWorkload and SnapshotSent (whose `uid_field` is 0: none). */
static struct result decode_uid_alone(struct bytes message, uint32_t uid_field, struct zds_request *request)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == uid_field) {
            RESULT_TRY(take_text(&field, "uid", &request->uid));
        }
    }
    return cursor.has_failed ? result_fail(RESULT_INVALID, "WorkloadRequest: malformed payload") : result_ok();
}

static struct result decode_payload(const struct protobuf_field *field, struct zds_request *request)
{
    struct bytes message;
    RESULT_TRY(take_bytes(field, "WorkloadRequest.payload", &message));
    /* Of a oneof the last member counts; the same member twice is merged. */
    if (request->kind != (enum zds_request_kind)field->number) {
        *request = (struct zds_request){ .kind = (enum zds_request_kind)field->number };
    }
    switch (request->kind) {
    case ZDS_ADD:
        return decode_add(message, request);
    case ZDS_DELETE:
        return decode_uid_alone(message, DELETE_UID, request);
    case ZDS_KEEP:
        return decode_uid_alone(message, KEEP_UID, request);
    case ZDS_SNAPSHOT_SENT:
    case ZDS_NO_REQUEST:
        break;
    }
    return decode_uid_alone(message, 0, request);
}

static bool is_request_kind(uint32_t number)
{
    return number == ZDS_ADD || number == ZDS_DELETE || number == ZDS_SNAPSHOT_SENT || number == ZDS_KEEP;
}

struct result zds_request_decode(struct bytes message, struct zds_request *request)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    *request = (struct zds_request){ .kind = ZDS_NO_REQUEST };
    while (protobuf_next_field(&cursor, &field)) {
        if (is_request_kind(field.number)) {
            RESULT_TRY(decode_payload(&field, request));
        }
    }
    if (cursor.has_failed) {
        return result_fail(RESULT_INVALID, "WorkloadRequest: malformed field");
    }
    return request->kind == ZDS_NO_REQUEST ? result_fail(RESULT_INVALID, "no payload") : result_ok();
}

/* As much of `text` as fits into `maximum` bytes without cutting a character. */
static struct bytes text_at_most(struct bytes text, size_t maximum)
{
    if (text.length <= maximum) {
        return text;
    }
    size_t length = maximum;
    while (length > 0 && (text.data[length] & 0xc0) == 0x80) {
        length--;
    }
    return bytes_of(text.data, length);
}

void zds_response_encode(const char *error, struct writer *out)
{
    uint8_t memory[ZDS_MESSAGE_BYTES_MAXIMUM];
    struct writer ack = writer_fixed(memory, sizeof memory);
    struct bytes text = bytes_of_string(error == NULL ? "" : error);
    protobuf_add_string(&ack, ACK_ERROR, text_at_most(text, ZDS_MESSAGE_BYTES_MAXIMUM - RESPONSE_OVERHEAD_BYTES));
    protobuf_add_message(out, RESPONSE_ACK, writer_bytes(&ack));
}

static struct result decode_ack(struct bytes message, struct bytes *error)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == ACK_ERROR) {
            RESULT_TRY(take_text(&field, "Ack.error", error));
        }
    }
    return cursor.has_failed ? result_fail(RESULT_INVALID, "Ack: malformed field") : result_ok();
}

struct result zds_response_decode(struct bytes message, struct bytes *error)
{
    struct cursor cursor = cursor_of(message);
    struct protobuf_field field;
    bool has_ack = false;
    *error = (struct bytes){ NULL, 0 };
    while (protobuf_next_field(&cursor, &field)) {
        if (field.number == RESPONSE_ACK) {
            struct bytes ack = { NULL, 0 };
            RESULT_TRY(take_bytes(&field, "WorkloadResponse.ack", &ack));
            RESULT_TRY(decode_ack(ack, error));
            has_ack = true;
        }
    }
    if (cursor.has_failed) {
        return result_fail(RESULT_INVALID, "WorkloadResponse: malformed field");
    }
    return has_ack ? result_ok() : result_fail(RESULT_INVALID, "no payload");
}

union control_space {
    struct cmsghdr alignment;
    uint8_t data[CMSG_SPACE(DESCRIPTORS_MAXIMUM * sizeof(int))];
};

/* Keeps the first descriptor in `*first`, closes the others; `*count` counts all. False for control data of another kind. */
static bool collect_descriptors(struct msghdr *header, int *first, size_t *count)
{
    bool is_known = true;
    *first = -1;
    *count = 0;
    for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) {
            is_known = false;
            continue;
        }
        size_t here = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(control) + i * sizeof(int), sizeof descriptor);
            if ((*count)++ == 0) {
                *first = descriptor;
            } else {
                (void)close(descriptor);
            }
        }
    }
    return is_known;
}

static void close_descriptor(struct zds_datagram *datagram)
{
    if (datagram->descriptor >= 0) {
        (void)close(datagram->descriptor);
        datagram->descriptor = -1;
    }
}

static struct result check_datagram(const struct msghdr *header, size_t descriptors, bool control_is_known)
{
    if ((header->msg_flags & MSG_CTRUNC) != 0) {
        return result_fail(RESULT_INVALID, "control message truncated");
    }
    if ((header->msg_flags & MSG_TRUNC) != 0) {
        return result_fail(RESULT_INVALID, "message truncated: more than %d bytes", ZDS_MESSAGE_BYTES_MAXIMUM);
    }
    if (descriptors > 1) {
        return result_fail(RESULT_INVALID, "Expected 1 FD, got %zu", descriptors);
    }
    return control_is_known ? result_ok() : result_fail(RESULT_INVALID, "Unexpected control message");
}

static ssize_t receive_message(int socket, struct msghdr *header)
{
    ssize_t length;
    do {
        length = recvmsg(socket, header, MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    return length;
}

enum zds_receipt zds_receive(int socket, struct zds_datagram *datagram, struct result *reason)
{
    union control_space control;
    struct iovec piece = { datagram->data, sizeof datagram->data };
    struct msghdr header = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.data, .msg_controllen = sizeof control.data
    };
    datagram->descriptor = -1;
    datagram->length = 0;
    *reason = result_ok();
    ssize_t length = receive_message(socket, &header);
    if (length < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return ZDS_NOTHING_YET;
        }
        *reason = result_system(errno, "receiving a ZDS message");
        return ZDS_BROKEN;
    }
    size_t descriptors;
    bool control_is_known = collect_descriptors(&header, &datagram->descriptor, &descriptors);
    datagram->length = (size_t)length;
    *reason = check_datagram(&header, descriptors, control_is_known);
    if (!result_is_ok(reason)) {
        close_descriptor(datagram);
        return ZDS_REFUSED;
    }
    if (length == 0) {
        close_descriptor(datagram);
        return ZDS_ENDED;
    }
    return ZDS_RECEIVED;
}

enum zds_receipt zds_receive_request(
    int socket, struct zds_datagram *datagram, struct zds_request *request, struct result *reason)
{
    enum zds_receipt receipt = zds_receive(socket, datagram, reason);
    if (receipt != ZDS_RECEIVED) {
        return receipt;
    }
    *reason = zds_request_decode(bytes_of(datagram->data, datagram->length), request);
    if (result_is_ok(reason)) {
        bool has_descriptor = datagram->descriptor >= 0;
        if (request->kind == ZDS_ADD && !has_descriptor) {
            *reason = result_fail(RESULT_INVALID, "No control message");
        } else if (request->kind != ZDS_ADD && has_descriptor) {
            *reason = result_fail(RESULT_INVALID, "Unexpected control message");
        }
    }
    if (!result_is_ok(reason)) {
        close_descriptor(datagram);
        return ZDS_REFUSED;
    }
    return ZDS_RECEIVED;
}

int zds_send(int socket, struct bytes message, int descriptor)
{
    union {
        struct cmsghdr alignment;
        uint8_t data[CMSG_SPACE(sizeof(int))];
    } control;
    uint8_t copy[ZDS_MESSAGE_BYTES_MAXIMUM];
    if (message.length == 0 || message.length > sizeof copy) {
        return EMSGSIZE;
    }
    memcpy(copy, message.data, message.length);
    struct iovec piece = { copy, message.length };
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
    ssize_t sent;
    do {
        sent = sendmsg(socket, &header, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}
