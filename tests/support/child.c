/* child.c -- see child.h. */
#define _GNU_SOURCE
#include "support/child.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

int child(void (*fn)(void *arg), void *arg, char *said, int64_t size) {
    int pipes[2], status;
    assert_int_equal(pipe(pipes), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(pipes[1], 2);
        close(pipes[0]);
        fn(arg);
        _exit(0);
    }
    close(pipes[1]);
    int64_t n = 0;
    for (ssize_t got; n < size - 1 && (got = read(pipes[0], said + n, (size_t)(size - 1 - n))) > 0;)
        n += got;
    said[n] = 0;
    close(pipes[0]);
    assert_true(waitpid(pid, &status, 0) == pid);
    return status;
}

void assert_aborts(void (*fn)(void *arg), void *arg, const char *text) {
    char said[8192];
    int status = child(fn, arg, said, sizeof said);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (!strstr(said, text)) fail_msg("wanted \"%s\" in: %s", text, said);
}
