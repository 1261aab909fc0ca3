/* terminal.c -- see terminal.h. */
#define _GNU_SOURCE
#include "support/terminal.h"
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { PATIENCE = 300000 }; /* ms; an emulator on a busy machine is slow */

void terminal_open(Terminal *t, Arena *a, int columns, void (*fn)(void *arg), void *arg,
                   char *const argv[]) {
    struct winsize size = {.ws_row = 24, .ws_col = (unsigned short)columns};
    *t = (Terminal){.said.a = a};
    fflush(NULL);
    t->pid = forkpty(&t->fd, NULL, NULL, &size);
    assert_true(t->pid >= 0);
    if (t->pid > 0) return;
    setenv("TERM", "dumb", 1);
    if (fn) {
        fn(arg);
        fflush(stdout);
        _exit(0);
    }
    execv(argv[0], argv);
    _exit(127);
}

void terminal_type(Terminal *t, Str bytes) {
    while (bytes.n > 0) {
        ssize_t n = write(t->fd, bytes.p, (size_t)bytes.n);
        assert_true(n > 0);
        bytes.p += n, bytes.n -= n;
    }
}

/* False at the end of the output. */
static bool more(Terminal *t) {
    char bytes[4096];
    struct pollfd p = {.fd = t->fd, .events = POLLIN};
    if (poll(&p, 1, PATIENCE) == 0) {
        kill(t->pid, SIGKILL);
        fail_msg("nothing came for five minutes; so far: %s", t->said.p ? t->said.p : "");
    }
    ssize_t n = read(t->fd, bytes, sizeof bytes); /* EIO: the other side is closed */
    if (n <= 0) return false;
    buf_add(&t->said, (Str){bytes, n});
    buf_add(&t->said, (Str){"", 1});
    t->said.n--;
    return true;
}

int64_t terminal_wait(Terminal *t, int64_t from, const char *text) {
    int64_t length = (int64_t)strlen(text);
    for (;;) {
        const char *at =
            t->said.n >= from + length
                ? memmem(t->said.p + from, (size_t)(t->said.n - from), text, strlen(text))
                : NULL;
        if (at) return at - t->said.p + length;
        if (!more(t)) fail_msg("\"%s\" did not come; so far: %s", text, t->said.p);
    }
}

int terminal_close(Terminal *t) {
    int status;
    while (more(t)) continue;
    close(t->fd);
    assert_int_equal(waitpid(t->pid, &status, 0), t->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
