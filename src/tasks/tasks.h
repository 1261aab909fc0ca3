/* tasks.h -- the public header of tasks/: problems whose answers can be checked, made without end.
 *
 * Promises: a problem is a function of task, seed, index, difficulty and held_out, on every
 * machine. A problem is held out or it is not, whatever its wording: the hash of its canonical
 * form, in which operands are sorted, says so. No training problem is ever held out, and the other
 * way round. A check is exact: it reads an answer by a grammar, computes with exact numbers,
 * evaluates nothing, and takes at most a time linear in the answer's length, whatever the answer
 * holds.
 * Ownership: a Problem's strings live in the arena that it was made in.
 * Threads: no state; any number of threads may make and check problems, each with its own arena.
 *
 * docs/tasks.md shows a problem of each task, and says how thoughts are written. */
#pragma once
#include "base/base.h"

typedef struct Problem {
    Str prompt;          /* what is asked, in plain language */
    Str thought;         /* how to find the answer step by step, failures included; one line */
    Str answer;          /* an answer that the check takes: what follows the thought */
    Str canonical;       /* the problem itself: "addition 356 478" */
    const char *stratum; /* the part of the task that it belongs to: "plain"; "": has no parts */
} Problem;

struct Draws; /* private: random numbers of one problem */
enum { STRATA_MAX = 2 };
typedef struct Task {
    const char *name, *help;         /* "addition"; one line */
    int easiest, hardest;            /* the range of difficulties ... */
    const char *difficulty;          /* ... and what they count: "digits" */
    const char *stratum[STRATA_MAX]; /* its parts, which take turns by index; NULL: none */
    void (*draw)(Problem *p, Arena *a, struct Draws *d, int difficulty); /* private */
    bool (*check)(const Problem *p, Str answer);                         /* private */
    const Problem *read; /* (reads) problems that were read; NULL: they are made, without end */
    int64_t reads;
} Task;

/* All of them, by name. */
extern const Task *const tasks[];
extern const int64_t tasks_n;
/* ERR_USAGE for an unknown name, with the nearest and all others. */
bool task_find(const Task **t, Str name, Err *err) CHECKED;
/* The same; or of "file:PATH" the problems of a JSONL file (docs/tasks.md), as a task in `a`. Its
 * rows begin anew at the end of the file. Nothing of it is held out: the file is the range. */
bool task_open(const Task **t, Arena *a, Str name, Err *err) CHECKED;

/* A row of problems without end. */
typedef struct TaskStream {
    const Task *task;
    uint64_t seed;
    int easiest,
        hardest;    /* each problem's difficulty is drawn from this range; within the task's */
    bool held_out;  /* problems that no training stream has */
    bool canonical; /* the first wording only, not all of them */
    bool direct;    /* no thoughts: the answers alone */
} TaskStream;
/* The task's whole range of difficulties. */
TaskStream task_stream(const Task *t, uint64_t seed, bool held_out);
/* The row that a text names: "addition", "countdown:3", "addition:1-3", and with ":canonical"
 * behind it the first wording alone, with ":direct" no thoughts; or "file:PATH", whose problems are
 * read into `a`. ERR_USAGE says what there is. */
bool task_named(TaskStream *s, Arena *a, Str name, uint64_t seed, bool held_out, Err *err) CHECKED;
/* Problem number `index` of the row. */
void task_problem(Problem *p, Arena *a, const TaskStream *s, int64_t index);

/* Whether the answer, the text behind the thought, is right. Blanks and line breaks around it do
 * not count; anything else does: a second answer, a sentence, a leading zero. */
bool task_check(const Task *t, const Problem *p, Str answer);
/* Whether the problem of this canonical form belongs to the held-out range: one of eight does. */
bool task_held_out(Str canonical);
