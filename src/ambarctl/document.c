/* Fetching and reading the documents of the admin port. */
#include "ambarctl/admin_client.h"
#include "ambarctl/commands.h"
#include "ambarctl/table.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdio.h>

int fail_with(const struct result *failure)
{
    struct writer text = writer_growing();
    terminal_add(&text, failure->message);
    fprintf(stderr, "ambarctl: %s\n", writer_string(&text));
    writer_free(&text);
    return EXIT_FAILED;
}

void print_text(struct writer *out)
{
    fwrite(out->data, 1, out->length, stdout);
    writer_free(out);
}

/* A refusal is one line of text. */
static struct result refusal(const struct invocation *invocation, struct admin_answer *answer)
{
    if (answer->status == 404 && answer->body.length == 0) {
        return result_fail(
            RESULT_UNSUPPORTED, "%s does not know this request: is it a ztunnel of this project?", invocation->admin);
    }
    while (answer->body.length > 0 && answer->body.data[answer->body.length - 1] == '\n') {
        answer->body.length--;
    }
    return result_fail(RESULT_INVALID, "%s", writer_string(&answer->body));
}

static int parse(struct admin_answer *answer, json_t **document)
{
    json_error_t problem;
    *document = json_loadb((const char *)answer->body.data, answer->body.length, JSON_REJECT_DUPLICATES, &problem);
    if (*document == NULL || !json_is_object(*document)) {
        const char *because = *document == NULL ? problem.text : "it is no object";
        struct result failure = result_fail(RESULT_INVALID, "the answer is not the expected JSON: %s", because);
        json_decref(*document);
        *document = NULL;
        return fail_with(&failure);
    }
    return EXIT_GOOD;
}

int get_document(const struct invocation *invocation, const char *target, json_t **document)
{
    struct admin_answer answer;
    *document = NULL;
    struct result asked = admin_request(invocation->admin, "GET", target, &answer);
    if (result_is_ok(&asked) && answer.status != 200) {
        asked = refusal(invocation, &answer);
    }
    int status = EXIT_GOOD;
    if (!result_is_ok(&asked)) {
        status = fail_with(&asked);
    } else if (invocation->wants_json) {
        print_text(&answer.body);
        puts("");
    } else {
        status = parse(&answer, document);
    }
    writer_free(&answer.body);
    return status;
}

const char *member_text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

bool member_equals(const json_t *object, const char *key, const char *text)
{
    const char *value = member_text(object, key);
    return value != NULL && text_equal(value, text);
}

unsigned long long member_number(const json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));
    return value > 0 ? (unsigned long long)value : 0;
}

bool member_is_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}
