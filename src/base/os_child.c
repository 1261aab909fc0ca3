/* os_child.c -- a program beside this one that answers line by line.
 *
 * All three pipes are read and written without blocking and under one deadline, so a program that
 * neither reads nor writes, or that fills its standard error, cannot stop this one. */
#define _GNU_SOURCE
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS = 400, READ = 4096 };

struct Child {
    const char *command;
    pid_t pid;            /* 0: it is waited for */
    int to, from, errors; /* -1: closed */
    char words[WORDS];    /* the end of what it wrote to standard error */
    int64_t n_words;
    char rest[READ]; /* read behind the last answer */
    int64_t n_rest;
};

extern char **environ;

static void shut(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

/* Its input is a socket, because writing to one that nobody reads need not raise a signal. */
static bool pipes_open(int p[3][2]) {
    for (int i = 0; i < 3; i++) p[i][0] = p[i][1] = -1;
    return !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p[0]) && !pipe2(p[1], O_CLOEXEC)
           && !pipe2(p[2], O_CLOEXEC);
}

/* p[0] is its input, p[1] its output, p[2] its errors. */
static int spawn(pid_t *pid, const char *command, int p[3][2]) {
    char *const argv[] = {"sh", "-c", (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&how);
    posix_spawn_file_actions_adddup2(&files, p[0][0], 0);
    posix_spawn_file_actions_adddup2(&files, p[1][1], 1);
    posix_spawn_file_actions_adddup2(&files, p[2][1], 2);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP);
    const int failed = posix_spawn(pid, "/bin/sh", &files, &how, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return failed;
}

bool child_open(Child **out, Arena *a, const char *command, Err *err) {
    int p[3][2];
    Child *c = PUSH(a, Child, 1);
    *c = (Child){.command = command};
    const int failed = pipes_open(p) ? spawn(&c->pid, command, p) : errno;
    shut(&p[0][0]), shut(&p[1][1]), shut(&p[2][1]);
    c->to = p[0][1], c->from = p[1][0], c->errors = p[2][0];
    const int fds[] = {c->to, c->from, c->errors};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0) fcntl(fds[i], F_SETFL, O_NONBLOCK);
    *out = c;
    if (!failed) return true;
    c->pid = 0;
    child_close(c);
    *out = NULL;
    return err_set(err, ERR_IO, "starting \"%s\": %s", command, strerror(failed));
}

/* ---- asking ---------------------------------------------------------------------------------- */

static void words_keep(Child *c, const char *p, int64_t n) {
    if (n > WORDS) p += n - WORDS, n = WORDS;
    const int64_t drop = MAX(c->n_words + n - WORDS, 0);
    memmove(c->words, c->words + drop, (size_t)(c->n_words - drop));
    memcpy(c->words + c->n_words - drop, p, (size_t)n);
    c->n_words += n - drop;
}

/* What can be read now; false at the end of the pipe. */
static bool drain(int fd, char buf[READ], int64_t *n) {
    const ssize_t got = read(fd, buf, READ);
    *n = MAX(got, 0);
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

static void errors_read(Child *c) {
    char buf[READ];
    int64_t n = 0;
    while (c->errors >= 0) {
        const bool open = drain(c->errors, buf, &n);
        words_keep(c, buf, n);
        if (!open) shut(&c->errors);
        if (n == 0) return;
    }
}

static bool failed(Child *c, const char *what, Err *err) {
    errors_read(c);
    const Str words = str_trim((Str){c->words, c->n_words}, " \n\r\t");
    return err_set(err, ERR_IO, "\"%s\" %s%s%.*s%s", c->command, what,
                   words.n ? "; its last words: \"" : "; it wrote nothing to standard error",
                   STRF(words), words.n ? "\"" : "");
}

/* Whether it has ended, waiting for that some seconds; it is not reaped yet, so that its number
 * stays its own. */
static bool is_over(const Child *c, double seconds) {
    for (const double until = os_now() + seconds;;) {
        siginfo_t info = {0};
        waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOHANG | WNOWAIT);
        if (info.si_pid) return true;
        if (os_now() > until) return false;
        os_sleep(0.002);
    }
}

/* The end of all its group; its status. */
static int reap(Child *c) {
    int status = 0;
    kill(-c->pid, SIGKILL);
    waitpid(c->pid, &status, 0);
    c->pid = 0;
    return status;
}

static bool ended(Child *c, Err *err) {
    char how[80] = "closed its input or output";
    if (c->pid && is_over(c, 1)) {
        const int status = reap(c);
        if (WIFSIGNALED(status))
            snprintf(how, sizeof how, "was ended by signal %d", WTERMSIG(status));
        else
            snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    }
    return failed(c, how, err);
}

/* Bytes of an answer, up to its line break; what stands behind it waits for the next. */
static bool take(Child *c, Buf *line, const char *p, int64_t n) {
    const char *end = n ? memchr(p, '\n', (size_t)n) : NULL;
    buf_add(line, (Str){p, end ? end - p : n});
    c->n_rest = end ? p + n - end - 1 : 0;
    if (end) memmove(c->rest, end + 1, (size_t)c->n_rest);
    return end;
}

bool child_ask(Child *c, Arena *a, Str line, Str *answer, double seconds, Err *err) {
    const double until = os_now() + seconds;
    const Str all = str_fmt(a, "%.*s\n", STRF(line));
    Buf got = {.a = a};
    int64_t sent = 0, n;
    char buf[READ];
    if (c->n_rest) {
        memcpy(buf, c->rest, (size_t)c->n_rest);
        if (take(c, &got, buf, c->n_rest))
            return failed(c, "wrote a line without being asked", err);
    }
    for (;;) {
        struct pollfd fd[] = {{.fd = c->from, .events = POLLIN},
                              {.fd = c->errors, .events = POLLIN},
                              {.fd = sent < all.n ? c->to : -1, .events = POLLOUT}};
        const double left = until - os_now();
        if (left <= 0) return failed(c, str_fmt(a, "did not answer within %g s", seconds).p, err);
        poll(fd, COUNT(fd), (int)(1000 * left) + 1);
        errors_read(c);
        if (fd[2].revents) {
            const ssize_t put = send(c->to, all.p + sent, (size_t)(all.n - sent), MSG_NOSIGNAL);
            if (put < 0 && errno != EAGAIN && errno != EINTR) return ended(c, err);
            sent += MAX(put, 0);
        }
        if (!fd[0].revents) continue;
        if (!drain(c->from, buf, &n)) return ended(c, err);
        if (take(c, &got, buf, n)) break;
        if (got.n > CHILD_LINE) return failed(c, "wrote a line of more than 1 MiB", err);
    }
    *answer = buf_str(&got);
    return true;
}

void child_close(Child *c) {
    if (!c) return;
    shut(&c->to);
    if (c->pid) (void)is_over(c, 1), (void)reap(c);
    shut(&c->from), shut(&c->errors);
}
