/* named.c -- a row of problems by its name, as recipes and commands write it. */
#include "tasks/tasks.h"

/* "3" or "1-3" */
static bool range_read(TaskStream *s, Str range) {
    int64_t lo, hi;
    const Str first = str_cut(&range, '-');
    if (!str_i64(first, &lo)) return false;
    hi = lo;
    if ((range.p && !str_i64(range, &hi)) || lo < s->task->easiest || hi > s->task->hardest
        || lo > hi)
        return false;
    s->easiest = (int)lo, s->hardest = (int)hi;
    return true;
}

/* A range, which may be left out, "canonical" and "direct", with a colon between them. */
static bool manner_read(TaskStream *s, Str manner, Err *err) {
    const Task *t = s->task;
    Str rest = manner;
    for (bool first = true; rest.p; first = false) {
        const Str word = str_cut(&rest, ':');
        if (!s->canonical && str_eq(word, STR("canonical")))
            s->canonical = true;
        else if (!s->direct && str_eq(word, STR("direct")))
            s->direct = true;
        else if (!first || !range_read(s, word))
            return err_set(err, ERR_USAGE,
                           "task \"%s\" of \"%.*s\": expected a range of %s within %d-%d, and "
                           "perhaps :canonical and :direct",
                           t->name, STRF(manner), t->difficulty, t->easiest, t->hardest);
    }
    return true;
}

bool task_named(TaskStream *s, Arena *a, Str name, uint64_t seed, bool held_out, Err *err) {
    const Task *t;
    const bool file = str_starts(name, STR("file:"));
    const Str task = file ? name : str_cut(&name, ':');
    if (file) name = (Str){0};
    if (!task_open(&t, a, task, err)) return false;
    *s = task_stream(t, seed, held_out);
    return !name.n || manner_read(s, name, err);
}
