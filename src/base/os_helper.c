/* os_helper.c -- a process beside this one, of the same program, that answers questions over a pair
 * of sockets. Each message is a head and its bytes. */
#define _GNU_SOURCE
#include "base/base.h"
#include "base/os_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FILES = 64, ARENA_BYTES = 64 << 20 };

struct Helper {
    int fd;    /* -1: it is gone */
    bool owes; /* an answer that came too late for whoever asked */
};

typedef struct Head {
    int32_t code; /* of an answer: an ErrCode; ERR_NONE: the bytes are the answer, else the error */
    int32_t n;
} Head;

/* ---- messages -------------------------------------------------------------------------------- */

/* Waits until `until` at most; 0: for good. */
static bool ready(int fd, short what, double until) {
    for (;;) {
        struct pollfd p = {.fd = fd, .events = what};
        const double left = until - os_now();
        if (until > 0 && left <= 0) return false;
        const int n = poll(&p, 1, until > 0 ? (int)(1000 * left) + 1 : -1);
        if (n > 0) return true;
        if (n < 0 && errno != EINTR) return false;
    }
}

static bool passed(ssize_t n) { return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)); }

static bool put(int fd, const void *bytes, int64_t n, double until) {
    const char *p = bytes;
    while (n > 0) {
        if (!ready(fd, POLLOUT, until)) return false;
        const ssize_t sent = send(fd, p, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (!passed(sent)) return false;
        p += MAX(sent, 0), n -= MAX(sent, 0);
    }
    return true;
}

static bool get(int fd, void *bytes, int64_t n, double until) {
    char *p = bytes;
    while (n > 0) {
        if (!ready(fd, POLLIN, until)) return false;
        const ssize_t got = recv(fd, p, (size_t)n, MSG_DONTWAIT);
        if (!passed(got)) return false;
        p += MAX(got, 0), n -= MAX(got, 0);
    }
    return true;
}

static bool message_put(int fd, ErrCode code, Str s, double until) {
    const Head head = {.code = (int32_t)code, .n = (int32_t)s.n};
    return put(fd, &head, sizeof head, until) && put(fd, s.p, s.n, until);
}

static bool message_get(int fd, Arena *a, ErrCode *code, Str *s, int64_t most, double until) {
    Head head;
    if (!get(fd, &head, sizeof head, until) || head.n < 0 || head.n > most || head.code < ERR_NONE
        || head.code > ERR_INTERRUPTED)
        return false;
    char *p = PUSH(a, char, head.n + 1);
    *code = (ErrCode)head.code, *s = (Str){p, head.n};
    return get(fd, p, head.n, until);
}

/* ---- in the other process -------------------------------------------------------------------- */

/* What starts programs has bytes for them in memory that the limit of files is for, too. */
static void narrow_to(HelperKind kind) {
    Err ignored = {0};
    process_limit(RLIMIT_FSIZE, kind == HELPER_STARTS ? HELPER_QUESTION : 0);
    if (kind == HELPER_CONNECTS) {
        (void)!sandbox_client(&ignored);
        return;
    }
    char kept[PATH_MAX] = "";
    const char *path = os_env("PATH");
    if (path) snprintf(kept, sizeof kept, "%s", path);
    clearenv();
    if (*kept) setenv("PATH", kept, 1);
    (void)!sandbox_starter(&ignored);
}

/* Keeps standard error; its standard input is the socket. */
static void narrow(int fd, HelperKind kind) {
    static const int not_heard[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    for (int64_t i = 0; i < COUNT(not_heard); i++) signal(not_heard[i], SIG_IGN);
    dup2(fd, 0);
    const int nowhere = open("/dev/null", O_WRONLY);
    if (nowhere >= 0) dup2(nowhere, 1);
    closefrom(3);
    process_limit(RLIMIT_NOFILE, FILES);
    process_limit(RLIMIT_CORE, 0);
    narrow_to(kind);
}

static _Noreturn void answer_all(int fd, HelperKind kind, HelperFn *fn, void *arg) {
    narrow(fd, kind);
    for (bool fine = true; fine;) {
        Arena *a = arena_open("a helper's question", ARENA_BYTES);
        Str question, answer = {0};
        ErrCode code;
        Err err = {0};
        fine = message_get(0, a, &code, &question, HELPER_QUESTION, 0);
        if (fine && fn(arg, a, question, &answer, &err) && answer.n > HELPER_ANSWER)
            err_set(&err, ERR_LIMIT, "the answer has more than %d bytes", HELPER_ANSWER);
        fine = fine && message_put(0, err.code, err.code ? str_of(err.msg) : answer, 0);
        arena_close(a);
    }
    _exit(0);
}

/* ---- in this one ----------------------------------------------------------------------------- */

bool helper_open(Helper **out, Arena *a, HelperKind kind, HelperFn *fn, void *arg, Err *err) {
    int fd[2] = {-1, -1};
    pid_t pid = -1;
    Helper *h = *out = PUSH(a, Helper, 1);
    h->owes = false;
    if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd)) pid = fork();
    if (pid == 0) answer_all(fd[1], kind, fn, arg);
    const int why = errno;
    if (fd[1] >= 0) close(fd[1]);
    h->fd = fd[0];
    if (pid > 0) return true;
    helper_close(h);
    return err_set(err, ERR_IO, "starting a process: %s", strerror(why));
}

/* One that has not begun to answer when the time is over does so later, for nobody. */
static bool answer_get(Helper *h, Arena *a, ErrCode *code, Str *answer, double until) {
    h->owes = !ready(h->fd, POLLIN, until);
    return !h->owes && message_get(h->fd, a, code, answer, HELPER_ANSWER, until);
}

/* What it says may be anything, and becomes one line of text. */
static bool failed(Err *err, ErrCode code, Str why) {
    int n;
    err_set(err, code, "%.*s", STRF(why));
    for (char *p = err->msg; *p; p += MAX(n, 1)) {
        n = utf8_length(str_of(p));
        if (n == 0 || utf8_control(str_of(p))) memset(p, '?', (size_t)MAX(n, 1));
    }
    return false;
}

bool helper_ask(Helper *h, Arena *a, Str question, Str *answer, double seconds, Err *err) {
    const double until = os_now() + seconds;
    ErrCode code;
    CHECK(question.n <= HELPER_QUESTION);
    if (h->fd < 0 || (h->owes && !answer_get(h, a, &code, answer, until))
        || !message_put(h->fd, ERR_NONE, question, until)
        || !answer_get(h, a, &code, answer, until)) {
        const bool late = h->fd >= 0 && os_now() >= until;
        if (!late || !h->owes) helper_close(h);
        return late ? err_set(err, ERR_IO, "the helper took more than %g s", seconds)
                    : err_set(err, ERR_IO, "the helper has ended");
    }
    return code == ERR_NONE || failed(err, code, *answer);
}

bool helper_gone(const Helper *h) { return h->fd < 0; }

void helper_close(Helper *h) {
    if (h && h->fd >= 0) close(h->fd);
    if (h) h->fd = -1;
}

/* ---- several --------------------------------------------------------------------------------- */

struct Helpers {
    HelpersSpec spec;
    Helper **helper; /* (n) */
    bool *busy;      /* (n) */
    Monitor *lock;   /* of busy */
};

bool helpers_open(Helpers **out, Arena *a, const HelpersSpec *spec, Err *err) {
    Helpers *h = *out = PUSH(a, Helpers, 1);
    *h = (Helpers){.spec = *spec,
                   .helper = PUSH(a, Helper *, spec->n),
                   .busy = PUSH(a, bool, spec->n),
                   .lock = monitor_new(a)};
    bool fine = true;
    for (int64_t i = 0; fine && i < spec->n; i++)
        fine = helper_open(&h->helper[i], a, spec->kind, spec->fn, spec->arg, err);
    return fine;
}

/* One that is free; -1 with an Err. */
static int64_t helper_take(Helpers *h, bool *busy, Err *err) {
    const int64_t n = h->spec.n;
    int64_t which = -1, gone = 0;
    monitor_enter(h->lock);
    for (int64_t i = 0; i < n; i++) {
        if (!h->busy[i] && helper_gone(h->helper[i]))
            gone++;
        else if (!h->busy[i])
            which = i;
    }
    if (which >= 0) h->busy[which] = true;
    monitor_leave(h->lock);
    *busy = which < 0 && gone < n;
    if (*busy)
        (void)err_set(err, ERR_LIMIT, "%lld %s already", (long long)(n - gone), h->spec.at_work);
    else if (which < 0)
        (void)err_set(err, ERR_IO, "the processes for it have ended: start the service again");
    return which;
}

bool helpers_ask(Helpers *h, Arena *a, Str question, Str *answer, double seconds, bool *busy,
                 Err *err) {
    const int64_t i = helper_take(h, busy, err);
    if (i < 0) return false;
    const bool fine = helper_ask(h->helper[i], a, question, answer, seconds, err);
    monitor_enter(h->lock);
    h->busy[i] = false;
    monitor_leave(h->lock);
    return fine;
}

void helpers_close(Helpers *h) {
    for (int64_t i = 0; h && i < h->spec.n; i++) helper_close(h->helper[i]);
}
