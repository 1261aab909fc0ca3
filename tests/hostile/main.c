/* main.c -- hostile input against the whole way of a model, from the file to tokens drawn. Holds
 * what the groups share. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NOTE = 512, SPARE = 96 << 20 }; /* beside twice the file: the program, plans of TRY_BYTES */

typedef struct Shared {
    char note[NOTE], why[NOTE];
} Shared;
static Shared *shared; /* by parent and children */

/* ---- files ----------------------------------------------------------------------------------- */

int scratch_open(void **state) {
    static Scratch s;
    static char folder[64];
    snprintf(folder, sizeof folder, "%s/lisao-hostile-XXXXXX", P_tmpdir);
    if (!mkdtemp(folder)) return -1;
    s = (Scratch){arena_open("hostile", (int64_t)1 << 32), folder};
    *state = &s;
    return 0;
}

int scratch_close(void **state) {
    Scratch *s = *state;
    Err err = {0};
    bool ok = os_remove(s->folder, &err);
    arena_close(s->a);
    return ok ? 0 : -1;
}

Str bytes_of(Arena *a, const char *path) {
    Str bytes;
    Err err = {0};
    if (!os_read(a, &bytes, path, 1 << 28, &err)) fail_msg("%s", err.msg);
    return bytes;
}

const char *file_put(Scratch *s, const char *name, Str bytes) {
    const char *path = str_fmt(s->a, "%s/%s", s->folder, name).p;
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes.p, 1, (size_t)bytes.n, f) == (size_t)bytes.n && fclose(f) == 0);
    return path;
}

/* ---- children -------------------------------------------------------------------------------- */

void note(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(shared->note, NOTE, fmt, args);
    va_end(args);
}

void trial_fail(const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(shared->why, NOTE, fmt, args);
    va_end(args);
    _exit(1);
}

void trial_run(Scratch *s, Trial *fn, void *arg, unsigned seconds) {
    int status;
    *shared = (Shared){0};
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        static const int faults[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS};
        for (int64_t i = 0; i < COUNT(faults); i++) signal(faults[i], SIG_DFL); /* not cmocka's */
        alarm(seconds);
        fn(s, arg);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        fail_msg("%s: ended by signal %d (%u s were given)", shared->note, WTERMSIG(status),
                 seconds);
    if (WEXITSTATUS(status)) fail_msg("%s: %s", shared->note, shared->why);
}

bool model_tried(Scratch *s, const char *path, int64_t bytes, Team *team, Err *err) {
    int64_t before = os_memory_peak();
    Arena *a = arena_open("try", (int64_t)1 << 32);
    bool ok = try_model(a, path, team, err);
    arena_close(a);
    if (ok != (err->code == ERR_NONE)) trial_fail("result and error do not agree");
    /* A plan that is refused names no file, and logits that are no numbers have none. */
    bool named =
        strstr(err->msg, s->folder) || err->code == ERR_LIMIT || strstr(err->msg, "no numbers");
    if (!ok && !named) trial_fail("the message names no file: %s", err->msg);
    int64_t took = os_memory_peak() - before;
    if (memory_is_own() && took > 2 * bytes + SPARE) trial_fail("took %lld bytes", (long long)took);
    return ok;
}

int main(void) {
    Err err = {0};
    log_set(LOG_ERROR);
    float_mode_enter();
    CHECK(kern_init(LEVEL_N, &err));
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    int failed = damage_tests();
    return failed + shape_tests() != 0;
}
