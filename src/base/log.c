#include "base/log.h"

#include "base/clock.h"
#include "base/log_filter.h"
#include "base/log_line.h"
#include "base/log_queue.h"
#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LINES_PER_WRITE 64
/* A pause between waking and writing gathers lines: while it lasts, no producer pays for a wake-up. */
#define GATHER_NS (1 * 1000 * 1000)
#define TARGET "log"

/* A filter in use now or earlier. Readers hold no reference, so a replaced one is kept, and used again when the same
 * filter comes back: there are as many as there were different filters, up to LOG_FILTERS_MAXIMUM. */
struct published_filter {
    struct log_filter *filter;
    struct published_filter *next;
};

static struct log_filter first_filter = { .highest = LOG_INFO, .otherwise = LOG_INFO, .has_otherwise = true };
static _Atomic(const struct log_filter *) current_filter = &first_filter;

static struct {
    pthread_mutex_t mutex; /* of the list of filters, and held where a queue is taken off its list */
    struct published_filter *filters;
    size_t filter_count;
    pthread_t writer;
    int output;
    int wake_descriptor;
    const char *always;
    bool is_json;
} state = { .mutex = PTHREAD_MUTEX_INITIALIZER, .output = STDERR_FILENO, .wake_descriptor = -1 };

static _Atomic bool is_running;
static _Atomic bool is_writer_asleep;
static _Atomic bool is_stopping;
/* Producers push in front; only the consumer (the writer thread, or log_stop after it) unlinks. */
static _Atomic(struct log_queue *) all_queues;

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t queue_key;
static _Thread_local struct log_queue *own_queue;
static uint64_t dropped_before; /* by queues that are gone; with the mutex */
static _Atomic uint64_t dropped_by_limits;

static void abandon_queue(void *queue)
{
    own_queue = NULL;
    atomic_store_explicit(&((struct log_queue *)queue)->is_abandoned, true, memory_order_release);
}

static void make_queue_key(void)
{
    (void)pthread_key_create(&queue_key, abandon_queue);
}

static struct log_queue *queue_of_thread(void)
{
    if (own_queue == NULL) {
        own_queue = log_queue_new();
        pthread_once(&key_once, make_queue_key);
        pthread_setspecific(queue_key, own_queue);
        own_queue->next = atomic_load_explicit(&all_queues, memory_order_relaxed);
        while (!atomic_compare_exchange_weak(&all_queues, &own_queue->next, own_queue)) {
        }
    }
    return own_queue;
}

static void write_whole(int output, struct bytes bytes)
{
    while (bytes.length > 0) {
        ssize_t written = write(output, bytes.data, bytes.length);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd ready = { .fd = output, .events = POLLOUT };
            (void)poll(&ready, 1, -1);
        } else if (written < 0 && errno != EINTR) {
            return; /* nowhere left to say so */
        } else if (written > 0) {
            bytes = bytes_of(bytes.data + written, bytes.length - (size_t)written);
        }
    }
}

static void format_line(const struct log_line *line, bool is_json, struct writer *out)
{
    (is_json ? log_line_write_json : log_line_write_plain)(line, out);
}

/* The dropped lines of a queue, once there is room to say so. */
static void report_dropped(struct log_queue *queue, struct writer *out)
{
    uint64_t dropped = atomic_load_explicit(&queue->dropped, memory_order_relaxed);
    if (dropped == queue->dropped_reported) {
        return;
    }
    struct log_field count = LOG_NUMBER("lines", dropped - queue->dropped_reported);
    struct log_line line = { clock_wall_ns(), LOG_WARN, TARGET, "log queue was full, lines were dropped", &count, 1,
        NULL };
    format_line(&line, state.is_json, out);
    queue->dropped_reported = dropped;
}

/* Writes what is queued, up to LINES_PER_WRITE lines a call of write. */
static void write_queue(struct log_queue *queue, struct writer *batch)
{
    size_t lines = 0;
    while (log_queue_take(queue, batch)) {
        if (++lines == LINES_PER_WRITE) {
            write_whole(state.output, writer_bytes(batch));
            writer_clear(batch);
            lines = 0;
        }
    }
    report_dropped(queue, batch);
    write_whole(state.output, writer_bytes(batch));
    writer_clear(batch);
}

static void unlink_queue(struct log_queue *queue)
{
    struct log_queue *head = queue;
    if (atomic_compare_exchange_strong(&all_queues, &head, queue->next)) {
        return;
    }
    /* `head` is now the front, which is another queue, as queues are only pushed there. */
    while (head->next != queue) {
        head = head->next;
    }
    head->next = queue->next;
}

static void write_all_queues(struct writer *batch)
{
    struct log_queue *queue = atomic_load(&all_queues);
    while (queue != NULL) {
        struct log_queue *next = queue->next;
        /* Read first: what an ended thread queued is all there. */
        bool is_abandoned = atomic_load_explicit(&queue->is_abandoned, memory_order_acquire);
        write_queue(queue, batch);
        if (is_abandoned) {
            pthread_mutex_lock(&state.mutex);
            unlink_queue(queue);
            dropped_before += atomic_load(&queue->dropped);
            pthread_mutex_unlock(&state.mutex);
            log_queue_free(queue);
        }
        queue = next;
    }
}

static bool is_all_empty(void)
{
    for (struct log_queue *queue = atomic_load(&all_queues); queue != NULL; queue = queue->next) {
        if (!log_queue_is_empty(queue)) {
            return false;
        }
    }
    return true;
}

static void wait_for_lines(void)
{
    atomic_store(&is_writer_asleep, true);
    /* After saying so, look once more: a producer that did not see it has queued its line before. */
    if (is_all_empty() && !atomic_load(&is_stopping)) {
        uint64_t count;
        ssize_t got = read(state.wake_descriptor, &count, sizeof count);
        (void)got;
    }
    atomic_store(&is_writer_asleep, false);
}

static void *run_writer(void *unused)
{
    struct writer batch = writer_growing();
    /* By the thread itself: naming another one writes to a file, which a sandboxed process may not. */
    (void)pthread_setname_np(pthread_self(), "log");
    while (!atomic_load(&is_stopping)) {
        wait_for_lines();
        nanosleep(&(struct timespec){ .tv_nsec = GATHER_NS }, NULL);
        write_all_queues(&batch);
    }
    writer_free(&batch);
    return unused;
}

static void wake_writer(void)
{
    uint64_t one = 1;
    ssize_t written = write(state.wake_descriptor, &one, sizeof one);
    (void)written;
}

/* The writer takes no signals: those are for the threads that asked for them. */
static int start_writer(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&state.writer, NULL, run_writer, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

struct result log_start(const struct log_settings *settings)
{
    state.always = settings->always;
    RESULT_TRY(log_set_filter(settings->filter == NULL ? "info" : settings->filter));
    state.is_json = settings->is_json;
    state.output = settings->output;
    state.wake_descriptor = eventfd(0, EFD_CLOEXEC);
    if (state.wake_descriptor < 0) {
        return result_system(errno, "cannot make an eventfd for the log");
    }
    atomic_store(&is_stopping, false);
    atomic_store(&is_writer_asleep, false);
    int error = start_writer();
    if (error != 0) {
        close(state.wake_descriptor);
        return result_system(error, "cannot start the log's writer thread");
    }
    atomic_store(&is_running, true);
    return result_ok();
}

void log_stop(void)
{
    if (!atomic_exchange(&is_running, false)) {
        return;
    }
    atomic_store(&is_stopping, true);
    wake_writer();
    pthread_join(state.writer, NULL);
    struct writer batch = writer_growing();
    write_all_queues(&batch);
    writer_free(&batch);
    close(state.wake_descriptor);
    state.wake_descriptor = -1;
}

/* With the mutex. Takes `filter`, and makes it or its equal the current one. */
static struct result publish(struct log_filter *filter)
{
    for (struct published_filter *known = state.filters; known != NULL; known = known->next) {
        if (log_filter_equal(known->filter, filter)) {
            log_filter_free(filter);
            atomic_store_explicit(&current_filter, known->filter, memory_order_release);
            return result_ok();
        }
    }
    if (state.filter_count == LOG_FILTERS_MAXIMUM) {
        log_filter_free(filter);
        return result_fail(RESULT_LIMIT,
            "%d different log filters were set since the start, and no further one is taken: set one of those again, "
            "or restart",
            LOG_FILTERS_MAXIMUM);
    }
    struct published_filter *published = NEW(struct published_filter);
    published->filter = filter;
    published->next = state.filters;
    state.filters = published;
    state.filter_count++;
    atomic_store_explicit(&current_filter, filter, memory_order_release);
    return result_ok();
}

struct result log_set_filter(const char *filter)
{
    struct log_filter *parsed;
    RESULT_TRY(log_filter_parse(state.always, filter, &parsed));
    pthread_mutex_lock(&state.mutex);
    struct result published = publish(parsed);
    pthread_mutex_unlock(&state.mutex);
    return published;
}

void log_describe_filter(char *out, size_t capacity)
{
    log_filter_describe(atomic_load_explicit(&current_filter, memory_order_acquire), out, capacity);
}

bool log_is_enabled(enum log_level level, const char *target)
{
    return log_filter_allows(atomic_load_explicit(&current_filter, memory_order_acquire), level, target);
}

static void deliver(struct log_queue *queue, struct bytes line)
{
    if (!atomic_load_explicit(&is_running, memory_order_acquire)) {
        write_whole(STDERR_FILENO, line);
        return;
    }
    if (log_queue_put(queue, line) && atomic_load(&is_writer_asleep) && atomic_exchange(&is_writer_asleep, false)) {
        wake_writer();
    }
}

void log_write(
    enum log_level level, const char *target, const char *message, const struct log_field *fields, size_t field_count)
{
    log_write_in(NULL, level, target, message, fields, field_count);
}

void log_write_in(const struct log_spans *spans, enum log_level level, const char *target, const char *message,
    const struct log_field *fields, size_t field_count)
{
    struct log_queue *queue = queue_of_thread();
    bool is_json = atomic_load_explicit(&is_running, memory_order_acquire) && state.is_json;
    struct log_line line = { clock_wall_ns(), level, target, message, fields, field_count, spans };
    struct writer out = writer_fixed(queue->line, sizeof queue->line);
    format_line(&line, is_json, &out);
    if (out.has_overflowed) {
        /* Half a line helps nobody who reads it as JSON. */
        struct log_line instead = { line.wall_ns, level, target, "a line too long for the log was left out", NULL, 0,
            NULL };
        writer_clear(&out);
        format_line(&instead, is_json, &out);
    }
    deliver(queue, writer_bytes(&out));
}

static void print(const struct log_spans *spans, enum log_level level, const char *target, uint64_t dropped,
    const char *format, va_list arguments)
{
    struct log_field count = LOG_NUMBER("dropped", dropped);
    struct writer text = writer_growing();
    struct writer message = writer_growing();
    writer_print_list(&text, format, arguments);
    log_line_add_harmless(&message, writer_string(&text));
    log_write_in(spans, level, target, writer_string(&message), &count, dropped > 0 ? 1 : 0);
    writer_free(&message);
    writer_free(&text);
}

void log_print(enum log_level level, const char *target, const char *format, ...)
{
    if (log_is_enabled(level, target)) {
        va_list arguments;
        va_start(arguments, format);
        print(NULL, level, target, 0, format, arguments);
        va_end(arguments);
    }
}

void log_print_in(const struct log_spans *spans, enum log_level level, const char *target, const char *format, ...)
{
    if (log_is_enabled(level, target)) {
        va_list arguments;
        va_start(arguments, format);
        print(spans, level, target, 0, format, arguments);
        va_end(arguments);
    }
}

void log_print_dropped(
    const struct log_spans *spans, enum log_level level, const char *target, uint64_t dropped, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print(spans, level, target, dropped, format, arguments);
    va_end(arguments);
}

struct log_statistics log_statistics(void)
{
    struct log_statistics statistics = { .dropped_rate =
                                             atomic_load_explicit(&dropped_by_limits, memory_order_relaxed) };
    pthread_mutex_lock(&state.mutex);
    statistics.dropped_full = dropped_before;
    for (struct log_queue *queue = atomic_load(&all_queues); queue != NULL; queue = queue->next) {
        statistics.dropped_full += atomic_load_explicit(&queue->dropped, memory_order_relaxed);
        statistics.queued_bytes += log_queue_waiting_bytes(queue);
    }
    pthread_mutex_unlock(&state.mutex);
    return statistics;
}

bool log_limit_allows(struct log_limit *limit, uint32_t burst, uint64_t *dropped)
{
    uint64_t now_s = clock_monotonic_ns() / NANOSECONDS_PER_SECOND;
    uint64_t window_s = atomic_load_explicit(&limit->window_s, memory_order_relaxed);
    if (window_s != now_s && atomic_compare_exchange_strong(&limit->window_s, &window_s, now_s)) {
        atomic_store_explicit(&limit->in_window, 0, memory_order_relaxed);
    }
    *dropped = 0;
    if (atomic_fetch_add_explicit(&limit->in_window, 1, memory_order_relaxed) >= burst) {
        atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&dropped_by_limits, 1, memory_order_relaxed);
        return false;
    }
    *dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
    return true;
}
