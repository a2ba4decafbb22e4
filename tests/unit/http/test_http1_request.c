#include "cmocka_all.h"
#include "http/http1_request.h"

static enum http1_parse parse(const char *text, struct http1_head *head)
{
    size_t consumed = 0;
    enum http1_parse outcome = http1_head_parse(bytes_of_string(text), head, &consumed);
    if (outcome == HTTP1_DONE) {
        assert_int_equal(consumed, strlen(text));
    }
    return outcome;
}

static void assert_bytes(struct bytes bytes, const char *text)
{
    assert_int_equal(bytes.length, strlen(text));
    assert_memory_equal(bytes.data, text, bytes.length);
}

static void a_request_is_taken_apart(void **state)
{
    (void)state;
    struct http1_head head;
    assert_int_equal(parse("GET /logging?level=debug HTTP/1.1\r\nHost: x\r\nX-A:  b c \r\n\r\n", &head), HTTP1_DONE);
    assert_bytes(head.method, "GET");
    assert_bytes(head.path, "/logging");
    assert_bytes(head.query, "level=debug");
    assert_true(head.keeps_alive);
    assert_bytes(http1_head_find(&head, "x-a")->value, "b c");
    assert_null(http1_head_find(&head, "x-b"));
}

static void every_beginning_of_a_request_asks_for_more(void **state)
{
    (void)state;
    static const char text[] = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n";
    struct http1_head head;
    size_t consumed;
    for (size_t length = 0; length < sizeof text - 1; length++) {
        assert_int_equal(http1_head_parse(bytes_of(text, length), &head, &consumed), HTTP1_MORE);
    }
}

static void malformed_heads_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET  / HTTP/1.1\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1 x\r\n\r\n",
        "G@T / HTTP/1.1\r\n\r\n",
        "GET x HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nA: \x01\r\n\r\n",
        "\r\n\r\n",
    };
    struct http1_head head;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(parse(bad[i], &head), HTTP1_BAD);
    }
}

static void other_versions_and_codings_are_not_supported(void **state)
{
    (void)state;
    struct http1_head head;
    assert_int_equal(parse("GET / HTTP/2.0\r\n\r\n", &head), HTTP1_UNSUPPORTED);
    assert_int_equal(parse("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", &head), HTTP1_UNSUPPORTED);
}

static void connections_persist_as_the_version_and_the_client_say(void **state)
{
    (void)state;
    struct http1_head head;
    assert_int_equal(parse("GET / HTTP/1.1\r\nConnection: x, close\r\n\r\n", &head), HTTP1_DONE);
    assert_false(head.keeps_alive);
    assert_int_equal(parse("GET / HTTP/1.0\r\n\r\n", &head), HTTP1_DONE);
    assert_false(head.keeps_alive);
    assert_int_equal(parse("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", &head), HTTP1_DONE);
    assert_true(head.keeps_alive);
}

static void gzip_is_accepted_unless_its_weight_is_zero(void **state)
{
    (void)state;
    struct http1_head head;
    assert_int_equal(parse("GET / HTTP/1.1\r\nAccept-Encoding: br, gzip\r\n\r\n", &head), HTTP1_DONE);
    assert_true(head.accepts_gzip);
    assert_int_equal(parse("GET / HTTP/1.1\r\nAccept-Encoding: gzip;q=0.0\r\n\r\n", &head), HTTP1_DONE);
    assert_false(head.accepts_gzip);
    assert_int_equal(parse("GET / HTTP/1.1\r\nAccept-Encoding: gzip; q=0.5\r\n\r\n", &head), HTTP1_DONE);
    assert_true(head.accepts_gzip);
}

static void query_parameters_are_decoded(void **state)
{
    (void)state;
    struct writer value = writer_growing();
    struct bytes query = bytes_of_string("level=a%3Ddebug%2Cinfo+x&reset&empty=&bad=%zz");
    assert_true(http1_query_find(query, "level", &value));
    assert_string_equal(writer_string(&value), "a=debug,info x");
    writer_clear(&value);
    assert_true(http1_query_find(query, "reset", &value));
    assert_true(http1_query_find(query, "empty", &value));
    assert_int_equal(value.length, 0);
    assert_true(http1_query_find(query, "bad", &value));
    assert_string_equal(writer_string(&value), "%zz");
    assert_false(http1_query_find(query, "lev", &value));
    assert_false(http1_query_find(bytes_of(NULL, 0), "level", &value));
    writer_free(&value);
}

static enum http1_parse decode(const char *text, size_t cut, struct writer *body)
{
    struct http1_chunks chunks = { 0 };
    struct writer input = writer_growing();
    enum http1_parse outcome = HTTP1_MORE;
    size_t length = strlen(text);
    for (size_t at = 0; at < length && outcome == HTTP1_MORE; at += cut) {
        writer_add(&input, text + at, cut < length - at ? cut : length - at);
        struct bytes rest = writer_bytes(&input);
        size_t before;
        do {
            struct bytes piece;
            before = rest.length;
            outcome = http1_chunks_next(&chunks, &rest, &piece);
            writer_add_bytes(body, piece);
        } while (outcome == HTTP1_MORE && rest.length > 0 && rest.length < before);
        memmove(input.data, input.data + input.length - rest.length, rest.length);
        input.length = rest.length;
    }
    writer_free(&input);
    return outcome;
}

static void chunks_are_joined_however_they_are_cut(void **state)
{
    (void)state;
    for (size_t cut = 1; cut < 40; cut++) {
        struct writer body = writer_growing();
        assert_int_equal(decode("3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nT: v\r\n\r\n", cut, &body), HTTP1_DONE);
        assert_string_equal(writer_string(&body), "abc0123456789");
        writer_free(&body);
    }
}

static void malformed_chunks_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = { "x\r\n", "\r\n", "3\r\nabcd\r\n", "fffffffff\r\n", "-1\r\n" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct writer body = writer_growing();
        assert_int_equal(decode(bad[i], 100, &body), HTTP1_BAD);
        writer_free(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(every_beginning_of_a_request_asks_for_more),
        cmocka_unit_test(malformed_heads_are_refused),
        cmocka_unit_test(other_versions_and_codings_are_not_supported),
        cmocka_unit_test(connections_persist_as_the_version_and_the_client_say),
        cmocka_unit_test(gzip_is_accepted_unless_its_weight_is_zero),
        cmocka_unit_test(query_parameters_are_decoded),
        cmocka_unit_test(chunks_are_joined_however_they_are_cut),
        cmocka_unit_test(malformed_chunks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
