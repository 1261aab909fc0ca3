/* sandbox.c -- what is left to a process that serves: each thing that it may do no more is tried by
 * a process that has given it up, and each that it must still do. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/must.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NO_SANDBOX = 77 };

typedef struct Place {
    const char *inside, *outside; /* folders */
} Place;

/* Runs `deed` in a process of its own, narrowed to `inside`; its wait status. */
static int narrowed(const Place *p, int (*deed)(const Place *p)) {
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        Err err = {0};
        if (!sandbox_files(p->inside, NULL, &err) || !sandbox_calls(&err)) {
            fprintf(stderr, "# %s\n", err.msg);
            _exit(NO_SANDBOX);
        }
        _exit(deed(p));
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_SANDBOX) skip_for("no-sandbox");
    return status;
}

static int file_make(const char *folder) {
    char path[4200];
    snprintf(path, sizeof path, "%s/f", folder);
    const int fd = open(path, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return errno;
    const bool fine = write(fd, "x", 1) == 1 && fsync(fd) == 0 && unlink(path) == 0;
    return close(fd) == 0 && fine ? 0 : 99;
}

static int deed_write_inside(const Place *p) { return file_make(p->inside); }
static int deed_write_outside(const Place *p) { return file_make(p->outside); }
static int deed_truncate_outside(const Place *p) {
    char path[4200];
    snprintf(path, sizeof path, "%s/kept", p->outside);
    return open(path, O_WRONLY | O_TRUNC) < 0 ? errno : 0;
}
static int deed_read(const Place *p) {
    (void)p;
    return open("/proc/self/status", O_RDONLY) < 0 ? errno : 0;
}
static int deed_socket(const Place *p) {
    (void)p;
    return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0;
}
static int deed_code(const Place *p) {
    (void)p;
    void *m =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m == MAP_FAILED ? errno : 0;
}
static int deed_memory(const Place *p) {
    (void)p;
    void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return m == MAP_FAILED ? errno : 0;
}
static int deed_execute(const Place *p) {
    char *const argv[] = {"true", NULL};
    (void)p;
    execv("/bin/true", argv);
    return 0;
}
static int deed_fork(const Place *p) {
    (void)p;
    return fork() < 0 ? errno : 0;
}

static void ends_with(const Place *p, int (*deed)(const Place *p), int code) {
    const int status = narrowed(p, deed);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), code);
}

static void what_is_left(void **state) {
    (void)state;
    need_native(); /* an emulator has no system calls of its own */
    Arena *a = arena_open("sandbox", 1 << 20);
    const Place p = {folder_new(a), folder_new(a)};
    Err err = {0};
    must(os_put(a, str_fmt(a, "%s/kept", p.outside).p, STR("kept"), &err), &err);
    assert_int_equal(file_make(p.outside), 0);
    ends_with(&p, deed_write_inside, 0);
    ends_with(&p, deed_read, 0);
    ends_with(&p, deed_memory, 0);
    ends_with(&p, deed_write_outside, EACCES);
    ends_with(&p, deed_truncate_outside, EACCES);
    ends_with(&p, deed_socket, EPERM);
    ends_with(&p, deed_code, EPERM);
    ends_with(&p, deed_fork, EPERM);
    const int status = narrowed(&p, deed_execute);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
    Str kept;
    must(os_read(a, &kept, str_fmt(a, "%s/kept", p.outside).p, 10, &err), &err);
    assert_int_equal(kept.n, 4);
    folder_remove(p.inside), folder_remove(p.outside);
    arena_close(a);
}

int test_sandbox(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_is_left)};
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
