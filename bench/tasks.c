/* tasks.c -- how long a problem of each task takes to make, easy and hard, for training and held
 * out.
 *
 *     build/bench/tasks [NAME [PROBLEMS]]      all tasks, 200 problems at a time */
#include "bench.h"
#include "tasks/tasks.h"
#include <stdlib.h>

static void measure(Arena *a, const Task *task, int difficulty, bool held_out, int64_t problems) {
    TaskStream s = task_stream(task, 1, held_out);
    Times t = {0};
    int64_t longest = 0, thought = 0;
    s.easiest = s.hardest = difficulty;
    for (int64_t round = 0, k = 0; round < 10; round++) {
        const double start = os_now();
        for (int64_t i = 0; i < problems; i++, k++) {
            Problem p;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            longest = MAX(longest, p.thought.n);
            thought += p.thought.n;
            arena_pop(a, mark);
        }
        times_add(&t, (os_now() - start) / (double)problems);
    }
    char shape[64];
    snprintf(shape, sizeof shape, "%d_%s%s", difficulty, task->difficulty,
             held_out ? "_held_out" : "");
    bench_row("-", 1, task->name, shape, 1e6 * times_best(&t), "us_best");
    bench_row("-", 1, task->name, shape, 1e6 * times_median(&t), "us_median");
    if (held_out) return;
    bench_row("-", 1, task->name, shape, (double)thought / (double)(10 * problems),
              "bytes_of_thought");
    bench_row("-", 1, task->name, shape, (double)longest, "bytes_of_the_longest");
}

int main(int argc, char **argv) {
    Arena *a = arena_open("tasks", ARENA_NO_LIMIT);
    const int64_t problems = argc > 2 ? atoll(argv[2]) : 200;
    for (int64_t i = 0; i < tasks_n; i++) {
        const Task *t = tasks[i];
        if (argc > 1 && strcmp(argv[1], t->name) != 0) continue;
        for (int held_out = 0; held_out < 2; held_out++) {
            const int middle = (t->easiest + t->hardest) / 2;
            measure(a, t, t->easiest, held_out, problems);
            if (middle > t->easiest) measure(a, t, middle, held_out, problems);
            measure(a, t, t->hardest, held_out, problems);
        }
    }
    arena_close(a);
    return 0;
}
