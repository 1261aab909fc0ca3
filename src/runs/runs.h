/* runs.h -- the public header of runs/: what training runs have left in their folders so far, for
 * those who show it (`lisao report`, the page of `lisao serve`). train/ writes it (its metrics.c).
 *
 * Promises: what a file says is foreign. A line that is damaged or longer than RUN_LINE is passed
 * over, numbers and texts that are kept have bounds, and memory does not grow with the files.
 * Beneath a folder of runs no symbolic link is followed. Nothing is written.
 * Threads: any; a RunView or a RunTail by one at a time. */
#pragma once
#include "base/base.h"

#include <jansson.h>

enum { RUN_LINE = 256 << 10, RUN_ID = 17 }; /* bytes of a line; of an id, with its NUL */

/* ---- lines ----------------------------------------------------------------------------------- */

/* A line that is an object with a step of 0 or more; borrowed. */
typedef void RunLineFn(void *arg, json_t *line);
/* Calls fn for each whole line of a text, and counts those that are no such object. Returns the
 * bytes of all whole lines: what has no line break yet is being written. */
int64_t run_lines(Str text, RunLineFn *fn, void *arg, int64_t *unreadable);
int64_t run_step(const json_t *line);
/* What a curve shows of a value: a number itself; of a list of numbers, one for each layer, the
 * mean, and of max_vio the largest. false: it is none of these. */
bool run_number(const json_t *value, const char *key, double *out);
/* How many numbers [[one for each expert] for each layer] has, none negative; 0: it is no such
 * thing, or has more than RUN_LINE. */
int64_t run_load(const json_t *load);

/* Seconds of training until a step: of the steps between two lines only the last one's is known,
 * and stands for all. */
typedef struct RunClock {
    double elapsed;
    int64_t step;
} RunClock;
bool run_clock(RunClock *c, const json_t *line); /* true: the line brings it on */

/* ---- a folder of runs ------------------------------------------------------------------------ */

enum { RUNS_MOST = 256 };

/* A run of a folder: the folder itself, one in it, or one in one of those, that has a
 * metrics.jsonl. */
typedef struct Run {
    const char *name;         /* "tiny-en", "reason/2-reinforce"; bytes of file names; "." */
    char id[RUN_ID];          /* hexadecimal, of the name */
    const char *objective;    /* "pretrain", ...; NULL: no checkpoint tells yet */
    int64_t step, steps;      /* of the last line; that were asked for, 0: not known yet */
    int64_t checkpoint;       /* step of the newest; -1: there is none */
    double loss, reward;      /* last ones; NaN: none */
    double valid, bits, pass; /* held-out: loss, bits per byte, pass rate; the newest, NaN: none */
    int64_t written;          /* when the last line was; seconds since 1970 */
    bool alive;               /* more lines are to be expected */
} Run;
/* Names and ids, by name; left_off: how many are not among the RUNS_MOST. */
bool runs_list(Arena *a, const char *folder, Run **run, int64_t *n, int64_t *left_off,
               Err *err) CHECKED;
/* The rest, from the end of its metrics.jsonl and its newest checkpoint; now: s since 1970. */
bool run_look(Arena *a, const char *folder, Run *r, int64_t now, Err *err) CHECKED;
/* The path of a run's file in the folder of runs. */
const char *run_file(Arena *a, const char *name, const char *file);
/* The folder of a run's newest checkpoint, and its step; NULL: it has none. */
const char *run_checkpoint(Arena *a, const char *folder, const Run *r, int64_t *step);
/* Name and id of the run that has this id; false: the folder has none. */
bool run_find(Arena *a, const char *folder, Str id, Run *r);

/* ---- a file as it grows ---------------------------------------------------------------------- */

typedef struct RunTail {
    const char *folder, *path; /* of runs; of the file in it */
    int64_t at;                /* bytes that were read */
    int64_t inode, size;       /* of the file, when it was last looked at; 0: never */
    bool again;                /* it is another file than before, or shorter: `at` is 0 */
} RunTail;
/* Reads on, RUN_LINE bytes at most, into `to`, which has as many. Where `again` turns up nothing is
 * read. *more: there may be more. */
bool run_tail(RunTail *t, char *to, RunLineFn *fn, void *arg, bool *more, int64_t *unreadable,
              Err *err) CHECKED;
/* It goes on from `at`, or from the last `back` bytes where that is later (0: from `at`). Within a
 * line the rest of it is passed over. */
bool run_tail_place(RunTail *t, int64_t at, int64_t back, Err *err) CHECKED;

/* ---- what a run's files say, kept in bounds -------------------------------------------------- */

/* Curves, each of RUN_POINTS points at most: of a long run the least and the largest of equal
 * stretches; the newest load of the experts, samples and answers. */
enum { RUN_POINTS = 2000, RUN_CURVES = 64, RUN_SAMPLES = 32, RUN_ANSWERS = 64 };
enum { RUN_KEY = 64, RUN_TEXT = 8 << 10 }; /* bytes of a key, with its NUL; of a text */
typedef struct RunView RunView;
RunView *run_view_open(const char *folder, const char *name);
void run_view_close(RunView *v); /* NULL is fine */
const char *run_view_name(const RunView *v);
/* Reads what has come since, `most` bytes or a little more. whole: it has all there is. */
bool run_view_read(RunView *v, int64_t most, bool *whole, Err *err) CHECKED;
/* Members of a JSON object, with commas between them: "at" (bytes of metrics.jsonl that were read),
 * "unreadable" (lines), "curves" and "experts". */
void run_view_curves(const RunView *v, Buf *out);
/* "samples" and "answers", the newest first. */
void run_view_texts(const RunView *v, Buf *out);
/* A line as its reader gets it, in the same bounds: {"step", "values", "experts"?, "sample"?} of
 * metrics.jsonl, {"step", "answer"} of rollouts.jsonl. NULL: it says nothing. */
json_t *run_news(json_t *line);
