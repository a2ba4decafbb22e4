#include "ztunnel/dns_stream.h"

#include "base/memory.h"
#include "ztunnel/dns_proxy.h"
#include "ztunnel/worker.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH_BYTES 2

struct dns_stream {
    struct list link; /* proxy->streams */
    struct dns_proxy *proxy;
    struct io_watch watch;
    struct timer idle;
    struct writer input;  /* length and query, as far as they came */
    struct writer output; /* length and answer */
    size_t sent_bytes;
    struct dns_query query;
    bool is_draining;
};

static void end(struct dns_stream *stream)
{
    int descriptor = stream->watch.descriptor;
    dns_query_cancel(&stream->query);
    timer_disarm(&stream->idle);
    loop_unwatch(&stream->watch);
    (void)close(descriptor);
    list_remove(&stream->link);
    stream->proxy->stream_count--;
    dns_proxy_note_end(stream->proxy);
    writer_free(&stream->input);
    writer_free(&stream->output);
    memory_free(stream);
}

static void on_idle(struct timer *timer)
{
    end(CONTAINER_OF(timer, struct dns_stream, idle));
}

static void wait_for(struct dns_stream *stream, uint32_t events)
{
    loop_watch_for(&stream->watch, events);
    timer_arm_after_ms(stream->proxy->pod->worker->loop, &stream->idle, DNS_STREAM_IDLE_MS);
}

static void wait_for_query(struct dns_stream *stream)
{
    writer_clear(&stream->input);
    writer_clear(&stream->output);
    stream->sent_bytes = 0;
    if (stream->is_draining) {
        end(stream);
    } else {
        wait_for(stream, EPOLLIN);
    }
}

static void write_answer(struct dns_stream *stream)
{
    while (stream->sent_bytes < stream->output.length) {
        ssize_t sent = send(stream->watch.descriptor, stream->output.data + stream->sent_bytes,
            stream->output.length - stream->sent_bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            wait_for(stream, EPOLLOUT);
            return;
        }
        if (sent < 0) {
            end(stream);
            return;
        }
        stream->sent_bytes += (size_t)sent;
    }
    wait_for_query(stream);
}

static void on_answer(struct dns_query *query, struct bytes answer)
{
    struct dns_stream *stream = CONTAINER_OF(query, struct dns_stream, query);
    if (answer.length == 0 || answer.length > DNS_MESSAGE_BYTES_MAXIMUM) {
        wait_for_query(stream);
        return;
    }
    writer_add_u16(&stream->output, (uint16_t)answer.length);
    writer_add_bytes(&stream->output, answer);
    write_answer(stream);
}

/* Of the length and the query; 0 when both are there. */
static size_t missing_bytes(const struct writer *input)
{
    if (input->length < LENGTH_BYTES) {
        return LENGTH_BYTES - input->length;
    }
    size_t length = (size_t)input->data[0] << 8 | input->data[1];
    return LENGTH_BYTES + length - input->length;
}

static bool is_too_long(const struct writer *input)
{
    return missing_bytes(input) > DNS_QUERY_BYTES_MAXIMUM;
}

static void start_query(struct dns_stream *stream)
{
    struct bytes message = bytes_of(stream->input.data + LENGTH_BYTES, stream->input.length - LENGTH_BYTES);
    timer_disarm(&stream->idle);
    loop_watch_for(&stream->watch, 0); /* an end or a reset is noticed all the same */
    stream->query = (struct dns_query){ .on_answer = on_answer };
    dns_query_start(&stream->query, stream->proxy, message, true);
}

static void read_query(struct dns_stream *stream)
{
    size_t missing;
    while ((missing = missing_bytes(&stream->input)) > 0) {
        uint8_t *room = writer_reserve(&stream->input, missing);
        ssize_t length = recv(stream->watch.descriptor, room, missing, MSG_DONTWAIT);
        if (length < 0 && (errno == EAGAIN || errno == EINTR)) {
            return; /* the time for a whole query goes on */
        }
        if (length <= 0) {
            end(stream);
            return;
        }
        stream->input.length += (size_t)length;
        if (is_too_long(&stream->input)) {
            end(stream);
            return;
        }
    }
    start_query(stream);
}

static void on_ready(struct io_watch *watch, uint32_t events)
{
    struct dns_stream *stream = CONTAINER_OF(watch, struct dns_stream, watch);
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 && (events & (EPOLLIN | EPOLLOUT)) == 0) {
        end(stream);
    } else if ((events & EPOLLOUT) != 0) {
        write_answer(stream);
    } else {
        read_query(stream);
    }
}

void dns_stream_accept(struct dns_proxy *proxy, int descriptor)
{
    if (proxy->stream_count >= DNS_STREAMS_OF_POD_MAXIMUM) {
        (void)close(descriptor);
        return;
    }
    struct dns_stream *stream = NEW(struct dns_stream);
    stream->proxy = proxy;
    stream->input = writer_growing();
    stream->output = writer_growing();
    stream->idle.on_expire = on_idle;
    stream->watch.on_ready = on_ready;
    struct result watched = loop_watch(proxy->pod->worker->loop, &stream->watch, descriptor, EPOLLIN);
    if (!result_is_ok(&watched)) {
        (void)close(descriptor);
        memory_free(stream);
        return;
    }
    list_append(&proxy->streams, &stream->link);
    proxy->stream_count++;
    wait_for(stream, EPOLLIN);
}

void dns_stream_drain(struct list *link)
{
    struct dns_stream *stream = LIST_ENTRY(link, struct dns_stream, link);
    bool is_answering = stream->query.is_running || stream->output.length > 0;
    stream->is_draining = true;
    if (!is_answering) {
        end(stream);
    }
}

void dns_stream_cut(struct list *link)
{
    end(LIST_ENTRY(link, struct dns_stream, link));
}
