#include "ztunnel/early_data.h"

#include "base/memory.h"
#include "http/hbone_session.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static ssize_t receive(int descriptor, void *memory, size_t room)
{
    ssize_t length;
    do {
        length = recv(descriptor, memory, room, MSG_DONTWAIT);
    } while (length < 0 && errno == EINTR);
    return length;
}

static void keep(struct early_data *early, const void *bytes, size_t length)
{
    early->bytes = memory_resize(early->bytes, early->length + length, 1);
    memcpy(early->bytes + early->length, bytes, length);
    early->length = (uint16_t)(early->length + length);
}

bool early_data_send(struct early_data *early, struct hbone_stream *stream, int descriptor, uint32_t *seen_events)
{
    const struct hbone_session *session = hbone_stream_session(stream);
    size_t allowed = session != NULL ? hbone_session_early_bytes(session) : 0;
    allowed = allowed < UINT16_MAX ? allowed : UINT16_MAX;
    while (early->length < allowed && !early->has_end) {
        struct iovec hole;
        if (hbone_stream_reserve(stream, &hole, 1) == 0) {
            return true;
        }
        size_t left = allowed - early->length;
        size_t room = hole.iov_len < left ? hole.iov_len : left;
        ssize_t length = receive(descriptor, hole.iov_base, room);
        int error = errno;
        if (length > 0) {
            keep(early, hole.iov_base, (size_t)length);
        }
        hbone_stream_commit(stream, length > 0 ? (size_t)length : 0);
        if (length < 0) {
            *seen_events &= ~(uint32_t)EPOLLIN;
            return error == EAGAIN || error == EWOULDBLOCK;
        }
        if (length == 0) {
            early->has_end = true;
            *seen_events = 0;
            hbone_stream_end(stream);
        } else if ((size_t)length < room && (*seen_events & EPOLLRDHUP) == 0) {
            *seen_events &= ~(uint32_t)EPOLLIN;
            return true;
        }
    }
    if (early->length > 0 && !early->has_end) {
        *seen_events |= EPOLLIN;
    }
    return true;
}

void early_data_take_back(struct early_data *early, uint32_t *seen_events)
{
    early->is_unsent = early->is_unsent || early->length > 0;
    if (early->has_end) {
        early->has_end = false;
        *seen_events |= EPOLLIN | EPOLLRDHUP;
    }
}

bool early_data_repeat(struct early_data *early, struct hbone_stream *stream)
{
    return !early->is_unsent || hbone_stream_write(stream, early->bytes, early->length) == early->length;
}

bool early_data_repeat_plain(struct early_data *early, int descriptor)
{
    return !early->is_unsent || send(descriptor, early->bytes, early->length, MSG_NOSIGNAL) == early->length;
}

void early_data_free(struct early_data *early)
{
    memory_free(early->bytes);
    *early = (struct early_data){ 0 };
}
