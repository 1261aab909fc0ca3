/* source.c -- tasks as a source of documents: a problem becomes a question, a thought and an
 * answer. */
#include "train/grpo.h"

#define PREFIX "task:"

typedef struct Tasks {
    TaskStream stream[STREAMS_MAX];
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

/* The part of s before c, and s behind it; all of s where there is none. */
static Str cut(Str *s, char c) {
    const char *at = s->n ? memchr(s->p, c, (size_t)s->n) : NULL;
    const Str first = {s->p, at ? at - s->p : s->n};
    *s = at ? (Str){at + 1, s->p + s->n - at - 1} : (Str){0};
    return first;
}

/* "3" or "1-3", and perhaps ":canonical". */
static bool range_read(TaskStream *t, Str range, Err *err) {
    int64_t lo, hi;
    const Str all = range;
    Str rest = cut(&range, ':');
    const bool more = memchr(rest.p, '-', (size_t)rest.n), first = str_i64(cut(&rest, '-'), &lo);
    const bool fits = first && (more ? str_i64(rest, &hi) : (hi = lo, true));
    const Task *task = t->task;
    t->canonical = str_eq(range, STR("canonical"));
    if (!fits || lo < task->easiest || hi > task->hardest || lo > hi || (range.n && !t->canonical))
        return err_set(err, ERR_USAGE,
                       "task \"%s\" of \"%.*s\": expected a range of %s within %d-%d, and perhaps "
                       ":canonical",
                       task->name, STRF(all), task->difficulty, task->easiest, task->hardest);
    t->easiest = (int)lo, t->hardest = (int)hi;
    return true;
}

bool task_streams(TaskStream *stream, int64_t *n, const char *name, uint64_t seed, bool held_out,
                  Err *err) {
    CHECK(names_tasks(name));
    *n = 0;
    Str rest = str_of(name + STR(PREFIX).n);
    for (bool more = true; more;) {
        more = rest.n && memchr(rest.p, '+', (size_t)rest.n);
        Str range = cut(&rest, '+'), task = cut(&range, ':');
        const Task *t;
        if (*n == STREAMS_MAX)
            return err_set(err, ERR_USAGE, "%s: there are more than %d tasks", name, STREAMS_MAX);
        if (!task_find(&t, task, err)) return false;
        stream[*n] = task_stream(t, seed, held_out);
        if (range.n && !range_read(&stream[*n], range, err)) return false;
        ++*n;
    }
    return true;
}

bool task_source(Source *s, Arena *a, const char *name, uint64_t seed, bool held_out, Err *err) {
    Tasks *m = PUSH(a, Tasks, 1);
    if (!task_streams(m->stream, &m->n, name, seed, held_out, err)) return false;
    *s = (Source){.name = name, .self = m, .document = document};
    return true;
}
