/* tasks.c -- the table of tasks, a problem by its index, the range that is held out, and the frame
 * of a check. */
#include "tasks/parts.h"

#include <stdio.h>

/* ---- problems -------------------------------------------------------------------------------- */

bool task_held_out(Str canonical) {
    Sha256 h;
    char hex[65];
    sha256_init(&h);
    sha256_add(&h, canonical.p, canonical.n);
    sha256_hex(&h, hex);
    return hex[63] == '0' || hex[63] == '8'; /* the last three bits are 0 */
}

TaskStream task_stream(const Task *t, uint64_t seed, bool held_out) {
    return (TaskStream){.task = t,
                        .seed = seed,
                        .easiest = t->easiest,
                        .hardest = t->hardest,
                        .held_out = held_out};
}

/* Every task has problems of both ranges at each difficulty, so an attempt fits at last. */
void task_problem(Problem *p, Arena *a, const TaskStream *s, int64_t index) {
    const Task *t = s->task;
    CHECK(index >= 0 && s->easiest >= t->easiest && s->easiest <= s->hardest
          && s->hardest <= t->hardest);
    if (t->read) {
        *p = t->read[index % t->reads];
        return;
    }
    Draws d = {.seed = s->seed, .index = index, .canonical = s->canonical};
    const Mark mark = arena_mark(a);
    for (;; d.attempt++, d.n = 0) {
        const int difficulty = s->easiest + (int)draw_below(&d, s->hardest - s->easiest + 1);
        t->draw(p, a, &d, difficulty);
        if (task_held_out(p->canonical) == s->held_out) break;
        arena_pop(a, mark);
    }
    if (s->direct) p->thought = (Str){0};
}

bool task_check(const Task *t, const Problem *p, Str answer) {
    return t->check(p, str_trim(answer, " \n"));
}

/* ---- the table ------------------------------------------------------------------------------- */

const Task *const tasks[] = {&task_about,       &task_addition,     &task_countdown,
                             &task_division,    &task_liars,        &task_multiplication,
                             &task_subtraction, &task_word_problems};
const int64_t tasks_n = COUNT(tasks);

bool task_find(const Task **t, Str name, Err *err) {
    const char *names[16];
    char all[256] = "";
    CHECK(tasks_n <= COUNT(names));
    for (int64_t i = 0, n = 0; i < tasks_n; i++) {
        names[i] = tasks[i]->name;
        if (str_eq(str_of(names[i]), name)) return *t = tasks[i], true;
        n += snprintf(all + n, sizeof all - (size_t)n, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = str_nearest(name, names, tasks_n);
    return err_set(err, ERR_USAGE, "there is no task \"%.*s\"%s%s%s; there are: %s, and file:PATH",
                   STRF(name), near ? " (did you mean \"" : "", near ? near : "",
                   near ? "\"?)" : "", all);
}

bool task_open(const Task **t, Arena *a, Str name, Err *err) {
    const Str file = STR("file:");
    if (!str_starts(name, file)) return task_find(t, name, err);
    return task_from_file(t, a, str_copy(a, (Str){name.p + file.n, name.n - file.n}).p, err);
}
