/* The list of problems. */
#include "kube/problem.h"

#include "base/memory.h"
#include "base/writer.h"

void kube_problems_free(struct kube_problems *problems)
{
    memory_free(problems->items);
    arena_free(&problems->texts);
    *problems = (struct kube_problems){ 0 };
}

void kube_problems_clear(struct kube_problems *problems)
{
    problems->count = 0;
    problems->error_count = 0;
    arena_free(&problems->texts);
}

/* A slot for one more, or NULL when the list is full: its last line then says how many there are in all. */
static struct kube_problem *add_slot(struct kube_problems *problems, enum kube_severity severity)
{
    problems->error_count += severity == KUBE_ERROR;
    if (problems->items != NULL && problems->count == KUBE_PROBLEMS_MAXIMUM) {
        struct kube_problem *last = &problems->items[problems->count - 1];
        *last = (struct kube_problem){ .severity = problems->error_count > 0 ? KUBE_ERROR : KUBE_NOTICE,
            .file = last->file,
            .object = "",
            .field = "",
            .message = "too many problems; the rest is not shown" };
        return NULL;
    }
    if (problems->count == problems->capacity) {
        problems->capacity = problems->capacity == 0 ? 8 : problems->capacity * 2;
        problems->items = memory_resize(problems->items, problems->capacity, sizeof *problems->items);
    }
    return &problems->items[problems->count++];
}

static void fill_slot(
    struct kube_problems *problems, struct kube_problem *slot, const struct kube_problem *where, const char *message)
{
    *slot = (struct kube_problem){
        .severity = where->severity,
        .file = arena_string(&problems->texts, where->file),
        .line = where->line,
        .object = arena_string(&problems->texts, where->object == NULL ? "" : where->object),
        .field = arena_string(&problems->texts, where->field == NULL ? "" : where->field),
        .message = arena_string(&problems->texts, message),
    };
}

void kube_problems_add_list(
    struct kube_problems *problems, const struct kube_problem *where, const char *format, va_list arguments)
{
    struct kube_problem *slot = add_slot(problems, where->severity);
    if (slot == NULL) {
        return;
    }
    struct writer message = writer_growing();
    writer_print_list(&message, format, arguments);
    fill_slot(problems, slot, where, writer_string(&message));
    writer_free(&message);
}

void kube_problems_add(struct kube_problems *problems, const struct kube_problem *where, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    kube_problems_add_list(problems, where, format, arguments);
    va_end(arguments);
}

void kube_problems_append(struct kube_problems *problems, const struct kube_problems *more)
{
    for (size_t i = 0; i < more->count; i++) {
        struct kube_problem *slot = add_slot(problems, more->items[i].severity);
        if (slot != NULL) {
            fill_slot(problems, slot, &more->items[i], more->items[i].message);
        }
    }
}

void kube_problem_format(const struct kube_problem *problem, struct writer *out)
{
    writer_add_string(out, problem->file);
    if (problem->line != 0) {
        writer_print(out, ":%u", problem->line);
    }
    writer_add_string(out, problem->severity == KUBE_ERROR ? ": error: " : ": notice: ");
    if (problem->object[0] != '\0') {
        writer_print(out, "%s: ", problem->object);
    }
    if (problem->field[0] != '\0') {
        writer_print(out, "%s: ", problem->field);
    }
    writer_add_string(out, problem->message);
}
