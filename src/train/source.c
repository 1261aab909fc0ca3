/* source.c -- tasks as a source of documents: a problem becomes a question, a thought and an
 * answer. */
#include "train/streams.h"

#define PREFIX "task:"

typedef struct Tasks {
    TaskStream stream[TASKS_MOST];
    int64_t n;
} Tasks;

bool names_tasks(const char *data) { return str_starts(str_of(data), STR(PREFIX)); }

/* Document d is problem d / n of task d % n. */
static bool document(void *self, int64_t number, Document *d, Arena *a, Err *err) {
    const Tasks *m = self;
    Problem p;
    (void)err;
    task_problem(&p, a, &m->stream[number % m->n], number / m->n);
    Message *said = PUSH(a, Message, 2);
    said[0] = (Message){.role = ROLE_USER, .content = p.prompt};
    said[1] = (Message){.role = ROLE_ASSISTANT, .content = p.answer, .reasoning = p.thought};
    *d = (Document){.message = said, .n = 2};
    return true;
}

bool task_streams(TaskStream stream[TASKS_MOST], int64_t *n, Arena *a, const char *name,
                  uint64_t seed, bool held_out, Err *err) {
    CHECK(names_tasks(name));
    Str rest = str_of(name + STR(PREFIX).n);
    *n = 0;
    for (bool more = true; more;) {
        const Str task = str_cut(&rest, '+');
        more = rest.p != NULL;
        if (*n == TASKS_MOST)
            return err_set(err, ERR_USAGE, "%s: there are more than %d tasks", name, TASKS_MOST);
        if (!task_named(&stream[(*n)++], a, task, seed, held_out, err)) return false;
    }
    return true;
}

bool task_source(Source *s, Arena *a, const char *name, uint64_t seed, bool held_out, Err *err) {
    Tasks *m = PUSH(a, Tasks, 1);
    if (!task_streams(m->stream, &m->n, a, name, seed, held_out, err)) return false;
    *s = (Source){.name = name, .self = m, .document = document};
    return true;
}
