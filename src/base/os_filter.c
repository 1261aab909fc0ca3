/* os_filter.c -- what another program makes of a file, with nothing but that file at hand. */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/os_machine.h"
#include "base/sanitizer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 400, READ = 1 << 16, MEMORY = 1 << 30, NOT_THERE = 127, FILES = 32 };

typedef struct Filter {
    const char *name;
    const char *const *argv; /* the program; NULL: */
    ConfinedFn *fn;          /* the function, for `bytes` */
    Str bytes;
    double seconds;
    pid_t pid;
    int out, errors; /* -1: closed */
    Buf *text;
    int64_t most;
    char words[WORDS]; /* the beginning of what it said is wrong */
    int64_t n_words;
} Filter;

/* ---- in the other process -------------------------------------------------------------------- */

/* A function says what is wrong as a program does: by its status, which is the ErrCode, and words.
 */
static _Noreturn void call(const Filter *f) {
    Arena *a = arena_open(f->name, ARENA_NO_LIMIT);
    Str out;
    Err err = {0};
    const int to = f->fn(a, &out, f->bytes, &err) ? 1 : 2;
    if (to == 2) out = str_of(err.msg);
    for (ssize_t n; out.n > 0; out.p += n, out.n -= n)
        if ((n = write(to, out.p, (size_t)out.n)) <= 0) _exit(ERR_IO);
    _exit(err.code);
}

/* What cannot be narrowed here stays as it is. */
static _Noreturn void become(const Filter *f, int in, int out, int errors) {
    Err ignored = {0};
    dup2(in, 0), dup2(out, 1), dup2(errors, 2);
    closefrom(3);
    if (f->argv || !UNDER_SANITIZER) process_limit(RLIMIT_AS, MEMORY);
    process_limit(RLIMIT_CPU, (rlim_t)f->seconds + 1);
    process_limit(RLIMIT_FSIZE, 0);
    process_limit(RLIMIT_NOFILE, FILES);
    process_limit(RLIMIT_CORE, 0);
    (void)!sandbox_program(&ignored);
    if (f->fn) call(f);
    execvp(f->argv[0], (char *const *)(uintptr_t)f->argv);
    _exit(NOT_THERE);
}

/* ---- in this one ----------------------------------------------------------------------------- */

static void shut(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Takes over `in`. */
static bool started(Filter *f, int in, Err *err) {
    int out[2] = {-1, -1}, errors[2] = {-1, -1};
    bool fine = true;
    if (pipe2(out, O_CLOEXEC) || pipe2(errors, O_CLOEXEC) || (f->pid = fork()) < 0)
        fine = err_set(err, ERR_IO, "starting %s: %s", f->name, strerror(errno));
    if (fine && f->pid == 0) become(f, in, out[1], errors[1]);
    f->out = out[0], f->errors = errors[0];
    shut(&in), shut(&out[1]), shut(&errors[1]);
    return fine;
}

/* false: its output is too long. */
static bool output_read(Filter *f) {
    char buf[READ];
    const ssize_t n = read(f->out, buf, sizeof buf);
    if (n == 0 || (n < 0 && errno != EINTR)) shut(&f->out);
    if (n > 0) buf_add(f->text, (Str){buf, n});
    return f->text->n <= f->most;
}

static void errors_read(Filter *f) {
    char buf[READ];
    const ssize_t n = read(f->errors, buf, sizeof buf);
    if (n == 0 || (n < 0 && errno != EINTR)) shut(&f->errors);
    const int64_t more = MIN(MAX(n, 0), WORDS - f->n_words);
    memcpy(f->words + f->n_words, buf, (size_t)more);
    f->n_words += more;
}

static bool read_all(Filter *f, Err *err) {
    const double until = os_now() + f->seconds;
    while (f->out >= 0 || f->errors >= 0) {
        struct pollfd fd[] = {{.fd = f->out, .events = POLLIN},
                              {.fd = f->errors, .events = POLLIN}};
        const double left = until - os_now();
        if (left <= 0) return err_set(err, ERR_IO, "%s took more than %g s", f->name, f->seconds);
        poll(fd, COUNT(fd), (int)(1000 * left) + 1);
        if (fd[1].revents) errors_read(f);
        if (fd[0].revents && !output_read(f))
            return err_set(err, ERR_LIMIT, "%s wrote more than %lld bytes", f->name,
                           (long long)f->most);
    }
    return true;
}

/* Its end, by itself where `fine`; that it failed is an error. */
static bool ended(Filter *f, bool fine, Err *err) {
    int status = 0;
    const Str words = str_trim((Str){f->words, f->n_words}, " \n\r\t");
    if (!fine) kill(f->pid, SIGKILL);
    while (waitpid(f->pid, &status, 0) < 0 && errno == EINTR) {}
    if (!fine || (WIFEXITED(status) && WEXITSTATUS(status) == 0)) return fine;
    if (f->fn && WIFEXITED(status))
        return err_set(err, (ErrCode)MIN(WEXITSTATUS(status), ERR_INTERRUPTED), "%.*s",
                       STRF(words));
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE)
        return err_set(err, ERR_UNSUPPORTED, "%s is not installed", f->name);
    if (WIFSIGNALED(status))
        return err_set(err, ERR_IO, "%s was ended by signal %d", f->name, WTERMSIG(status));
    return err_set(err, ERR_IO, "%s ended with status %d%s%.*s", f->name, WEXITSTATUS(status),
                   words.n ? ": " : "", STRF(words));
}

/* What the process makes of `in`, which it takes over; where that is -1 there is an Err. */
static bool filtered(Arena *a, Str *out, Filter *f, int in, Err *err) {
    Buf text = {.a = a};
    f->out = f->errors = -1, f->text = &text;
    const bool fine = in >= 0 && started(f, in, err) && ended(f, read_all(f, err), err);
    shut(&f->out), shut(&f->errors);
    *out = fine ? buf_str(&text) : (Str){0};
    return fine;
}

/* A file that is nowhere but in memory, to be read from its beginning. */
static int memory_file(Str bytes, Err *err) {
    int fd = memfd_create("filter", MFD_CLOEXEC);
    bool fine = fd >= 0;
    for (ssize_t n; fine && bytes.n > 0; bytes.p += n, bytes.n -= n)
        fine = (n = write(fd, bytes.p, (size_t)bytes.n)) > 0;
    fine = fine && lseek(fd, 0, SEEK_SET) == 0;
    if (fine) return fd;
    (void)err_set(err, ERR_IO, "bytes for another process: %s", strerror(errno));
    shut(&fd);
    return -1;
}

bool filter_file(Arena *a, Str *out, const char *const *argv, const char *path, int64_t most,
                 double seconds, Err *err) {
    Filter f = {.name = argv[0], .argv = argv, .seconds = seconds, .most = most};
    const int in = open(path, O_RDONLY | O_CLOEXEC);
    if (in < 0) (void)err_set(err, ERR_IO, "opening %s: %s", path, strerror(errno));
    return filtered(a, out, &f, in, err);
}

bool filter_bytes(Arena *a, Str *out, const char *const *argv, Str in, int64_t most, double seconds,
                  Err *err) {
    Filter f = {.name = argv[0], .argv = argv, .seconds = seconds, .most = most};
    return filtered(a, out, &f, memory_file(in, err), err);
}

bool filter_call(Arena *a, Str *out, const char *name, ConfinedFn *fn, Str in, int64_t most,
                 double seconds, Err *err) {
    Filter f = {.name = name, .fn = fn, .bytes = in, .seconds = seconds, .most = most};
    return filtered(a, out, &f, memory_file(STR(""), err), err);
}
