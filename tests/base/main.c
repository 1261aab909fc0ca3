/* main.c -- runs the groups of tests of base/, and holds what they share. */
#define _GNU_SOURCE
#include "tests.h"
#include <sys/wait.h>
#include <unistd.h>

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

const char *folder_new(Arena *a) {
    const char *base = os_env("TMPDIR");
    char *path = PUSH(a, char, 4096);
    snprintf(path, 4096, "%s/lisao-base-XXXXXX", base ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
    return path;
}

void folder_remove(const char *path) {
    Err err = {0};
    if (!os_remove(path, &err)) fail_msg("%s", err.msg);
}

int main(void) {
    float_mode_set();                           /* all of it must hold under FTZ and DAZ */
    return test_arena() + test_str() + test_digest() + test_math() + test_team() + test_os()
         + test_args() + test_log();
}
