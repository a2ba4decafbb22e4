#include "net/resolver_file.h"

#include "base/memory.h"
#include "base/text.h"

#include <errno.h>
#include <stdio.h>

#define SERVER_PORT 53
#define TIMEOUT_DEFAULT_S 5
#define TIMEOUT_MAXIMUM_S 30
#define ATTEMPTS_DEFAULT 2
#define ATTEMPTS_MAXIMUM 5

/* The next word of a line, empty at the end. */
static struct bytes take_word(struct bytes *line)
{
    *line = bytes_trim(*line);
    size_t length = 0;
    while (length < line->length && line->data[length] != ' ' && line->data[length] != '\t') {
        length++;
    }
    struct bytes word = bytes_of(line->data, length);
    *line = bytes_of(line->data + length, line->length - length);
    return word;
}

static void add_server(struct resolver_file *file, struct bytes word)
{
    struct ip_address ip;
    /* An address with a zone ("fe80::1%eth0") would mean another interface in each pod. */
    if (file->server_count < RESOLVER_SERVERS_MAXIMUM && ip_parse_bytes(word, &ip)) {
        file->servers[file->server_count++] = (struct socket_address){ ip, SERVER_PORT };
    }
}

static void add_search_domain(struct resolver_file *file, struct bytes word)
{
    while (word.length > 0 && word.data[word.length - 1] == '.') {
        word.length--;
    }
    if (word.length == 0 || word.length >= RESOLVER_DOMAIN_SIZE || file->search_count == RESOLVER_SEARCH_MAXIMUM) {
        return;
    }
    char *domain = file->search[file->search_count];
    for (size_t i = 0; i < word.length; i++) {
        uint8_t character = word.data[i];
        if (character <= ' ' || character >= 0x7f) {
            return; /* no host name has that */
        }
        domain[i] = (char)(character >= 'A' && character <= 'Z' ? character + ('a' - 'A') : character);
    }
    domain[word.length] = '\0';
    file->search_count++;
}

/* "name:NUMBER", held within bounds as the C library does. */
static void note_number(struct bytes word, const char *name, unsigned maximum, unsigned *value)
{
    size_t length = strlen(name);
    uint64_t number;
    if (word.length > length && memcmp(word.data, name, length) == 0 &&
        bytes_to_u64(bytes_of(word.data + length, word.length - length), UINT32_MAX, &number)) {
        number = number < 1 ? 1 : number;
        *value = number < maximum ? (unsigned)number : maximum;
    }
}

static void parse_line(struct bytes line, struct resolver_file *file)
{
    struct bytes keyword = take_word(&line);
    bool is_search = bytes_equal_string(keyword, "search") || bytes_equal_string(keyword, "domain");
    if (is_search) {
        file->search_count = 0; /* the last one counts */
    }
    for (struct bytes word = take_word(&line); word.length > 0; word = take_word(&line)) {
        if (bytes_equal_string(keyword, "nameserver")) {
            add_server(file, word);
            return;
        }
        if (is_search) {
            add_search_domain(file, word);
        } else if (bytes_equal_string(keyword, "options")) {
            note_number(word, "timeout:", TIMEOUT_MAXIMUM_S, &file->timeout_s);
            note_number(word, "attempts:", ATTEMPTS_MAXIMUM, &file->attempts);
        } else {
            return;
        }
    }
}

void resolver_file_parse(struct bytes text, struct resolver_file *file)
{
    *file = (struct resolver_file){ .timeout_s = TIMEOUT_DEFAULT_S, .attempts = ATTEMPTS_DEFAULT };
    struct bytes line;
    while (bytes_split(&text, '\n', &line)) {
        parse_line(line, file);
    }
    if (file->server_count == 0) {
        add_server(file, bytes_of_string("127.0.0.1"));
    }
}

struct result resolver_file_read(const char *path, struct resolver_file *file)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        resolver_file_parse(bytes_of("", 0), file);
        return errno == ENOENT ? result_ok() : result_system(errno, "cannot read %s", path);
    }
    char *AUTO_FREE text = memory_allocate(RESOLVER_FILE_BYTES_MAXIMUM);
    size_t length = fread(text, 1, RESOLVER_FILE_BYTES_MAXIMUM, stream);
    bool has_failed = ferror(stream) != 0;
    (void)fclose(stream);
    resolver_file_parse(bytes_of(text, length), file);
    return has_failed ? result_fail(RESULT_SYSTEM, "cannot read %s", path) : result_ok();
}
