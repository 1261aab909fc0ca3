/* named.c -- a row of problems by its name, as recipes and commands write it. */
#include "tasks/tasks.h"

/* "3" or "1-3", and perhaps ":canonical"; "canonical" alone leaves the whole range. */
static bool range_read(TaskStream *s, Str range, Err *err) {
    const Task *t = s->task;
    const Str all = range;
    int64_t lo = t->easiest, hi = t->hardest;
    Str rest = str_cut(&range, ':');
    bool fits = true;
    if (!range.n && str_eq(rest, STR("canonical"))) {
        range = rest;
    } else {
        const Str first = str_cut(&rest, '-');
        fits = str_i64(first, &lo) && (rest.p ? str_i64(rest, &hi) : (hi = lo, true));
    }
    s->canonical = str_eq(range, STR("canonical"));
    if (!fits || lo < t->easiest || hi > t->hardest || lo > hi || (range.n && !s->canonical))
        return err_set(err, ERR_USAGE,
                       "task \"%s\" of \"%.*s\": expected a range of %s within %d-%d, and perhaps "
                       ":canonical",
                       t->name, STRF(all), t->difficulty, t->easiest, t->hardest);
    s->easiest = (int)lo, s->hardest = (int)hi;
    return true;
}

bool task_named(TaskStream *s, Arena *a, Str name, uint64_t seed, bool held_out, Err *err) {
    const Task *t;
    const bool file = str_starts(name, STR("file:"));
    const Str task = file ? name : str_cut(&name, ':');
    if (file) name = (Str){0};
    if (!task_open(&t, a, task, err)) return false;
    *s = task_stream(t, seed, held_out);
    return !name.n || range_read(s, name, err);
}
