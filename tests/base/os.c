/* os.c -- tests of the OS seam: whole files or none, whatever fails, whoever writes beside,
 * whenever killed. */
#define _GNU_SOURCE
#include "tests.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Place {
    Arena *a;
    const char *folder, *file;
} Place;

static int place_open(void **state) {
    static Place p;
    p.a = arena_open("os", 1 << 26);
    p.folder = folder_new(p.a);
    p.file = str_fmt(p.a, "%s/file", p.folder).p;
    *state = &p;
    return 0;
}

static int place_close(void **state) {
    Place *p = *state;
    folder_remove(p->folder);
    arena_close(p->a);
    return 0;
}

static bool write_file(Arena *a, const char *path, const void *bytes, int64_t n, Err *err) {
    OutFile *o = os_create(a, path, err);
    if (!o) return false;
    bool fine = os_write(o, bytes, n / 2, err)
                && os_write(o, (const char *)bytes + n / 2, n - n / 2, err) && os_commit(o, err);
    os_abandon(o);
    return fine;
}

static int64_t entries(Place *p) {
    Str *names;
    int64_t n;
    Err err = {0};
    assert_true(os_list(p->a, &names, &n, p->folder, &err));
    return n;
}

static void assert_content(Place *p, const char *path, const char *want) {
    Str s;
    Err err = {0};
    if (!os_read(p->a, &s, path, 1 << 20, &err)) fail_msg("%s", err.msg);
    assert_int_equal(s.n, strlen(want));
    assert_memory_equal(s.p, want, s.n + 1); /* the NUL too */
}

static void test_write_read(void **state) {
    Place *p = *state;
    Err err = {0};
    Map m;
    assert_true(write_file(p->a, p->file, "one", 3, &err));
    assert_content(p, p->file, "one");
    assert_true(write_file(p->a, p->file, "second", 6, &err));
    assert_content(p, p->file, "second");
    assert_true(os_map(&m, p->file, &err));
    assert_true(str_eq((Str){(const char *)m.p, m.n}, STR("second")));
    os_drop(&m, 0, m.n);
    assert_true(m.p[5] == 'd');
    os_unmap(&m);
    assert_true(write_file(p->a, p->file, "", 0, &err));
    assert_content(p, p->file, "");
    assert_true(os_map(&m, p->file, &err) && m.n == 0);
    os_unmap(&m);
    assert_int_equal(entries(p), 1);
}

static void test_append(void **state) {
    Place *p = *state;
    Err err = {0}, fault = {0};
    assert_true(os_append(p->file, STR("one\n"), &err) && os_append(p->file, STR("two\n"), &err));
    assert_content(p, p->file, "one\ntwo\n");
    os_fail_after(1);
    assert_false(os_append(p->file, STR("three\n"), &fault));
    assert_content(p, p->file, "one\ntwo\n");
}

static void test_abandon(void **state) {
    Place *p = *state;
    Err err = {0};
    assert_true(write_file(p->a, p->file, "old", 3, &err));
    OutFile *o = os_create(p->a, p->file, &err);
    assert_true(os_write(o, "new", 3, &err));
    os_abandon(o);
    os_abandon(o);
    os_abandon(NULL);
    assert_content(p, p->file, "old");
    assert_int_equal(entries(p), 1);
}

/* A killed process of the same number may have left the temporary file that we would make. */
static void test_stale_temp(void **state) {
    Place *p = *state;
    Err err = {0};
    for (int i = 0; i < 300; i++) {
        int fd = open(str_fmt(p->a, "%s.tmp-%d-%d", p->file, (int)getpid(), i).p,
                      O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_true(write_file(p->a, p->file, "new", 3, &err));
    assert_content(p, p->file, "new");
    assert_int_equal(entries(p), 301);
}

/* The n-th call fails, for every n until all goes well: old or new, never a mixture, nothing
 * left over. */
static void test_write_faults(void **state) {
    Place *p = *state;
    Err first = {0};
    assert_true(write_file(p->a, p->file, "old content", 11, &first));
    for (int64_t n = 1;; n++) {
        Err err = {0};
        os_fail_after(n);
        bool fine = write_file(p->a, p->file, "new", 3, &err);
        os_fail_after(0);
        assert_int_equal(entries(p), 1);
        if (fine) {
            assert_content(p, p->file, "new");
            assert_int_equal(n, 6); /* two writes, fsync, rename, fsync of the folder */
            return;
        }
        assert_int_equal(err.code, ERR_IO);
        assert_non_null(strstr(err.msg, n == 5 ? p->folder : p->file));
        assert_content(p, p->file, n == 5 ? "new" : "old content");
    }
}

static void test_read_faults(void **state) {
    Place *p = *state;
    Err err = {0};
    Str s;
    assert_true(write_file(p->a, p->file, "text", 4, &err));
    for (int64_t n = 1; n <= 2; n++) { /* the read, and the one that finds the end */
        Err e = {0};
        os_fail_after(n);
        assert_false(os_read(p->a, &s, p->file, 100, &e));
        assert_int_equal(e.code, ERR_IO);
    }
    os_fail_after(3);
    assert_true(os_read(p->a, &s, p->file, 100, &err));
    os_fail_after(0);
}

static void test_limits(void **state) {
    Place *p = *state;
    Err err = {0};
    Str s;
    assert_true(write_file(p->a, p->file, "12345", 5, &err));
    assert_true(os_read(p->a, &s, p->file, 5, &err));
    assert_int_equal(s.n, 5);
    assert_false(os_read(p->a, &s, p->file, 4, &err));
    assert_int_equal(err.code, ERR_LIMIT);
}

/* Standard input has no size to ask for: short, just at the limit, and one beyond. */
static void test_stdin(void **state) {
    Place *p = *state;
    int keep = dup(0);
    static char bytes[20001];
    memset(bytes, 'x', sizeof bytes);
    for (int64_t n = 0; n <= 20001; n += n < 19998 ? 3333 : 1) {
        int pipes[2];
        Str s;
        Err err = {0};
        assert_int_equal(pipe(pipes), 0);
        assert_int_equal(write(pipes[1], bytes, (size_t)n), n);
        close(pipes[1]);
        dup2(pipes[0], 0);
        bool fine = os_read_stdin(p->a, &s, 20000, &err);
        assert_int_equal(fine, n <= 20000);
        if (fine)
            assert_true(s.n == n && s.p[n] == 0);
        else
            assert_int_equal(err.code, ERR_LIMIT);
        close(pipes[0]);
    }
    dup2(keep, 0);
    close(keep);
}

static void test_messages(void **state) {
    Place *p = *state;
    Map m;
    Str s;
    Err a = {0}, b = {0}, c = {0}, d = {0};
    assert_false(os_map(&m, p->file, &a));
    assert_non_null(strstr(a.msg, p->file));
    assert_non_null(strstr(a.msg, "No such file"));
    assert_false(os_read(p->a, &s, p->folder, 100, &b));
    assert_non_null(strstr(b.msg, "is a folder"));
    assert_null(os_create(p->a, str_fmt(p->a, "%s/no/file", p->folder).p, &c));
    assert_non_null(strstr(c.msg, "cannot create"));
    assert_false(os_remove(p->file, &d));
}

/* A stamp is that of the file as it is; one that has just been written is not settled. */
static void test_stamp(void **state) {
    Place *p = *state;
    Err err = {0};
    FileStamp a, b, c;
    assert_false(os_stamp(&a, p->file, &err));
    assert_non_null(strstr(err.msg, p->file));
    err = (Err){0};
    assert_true(os_append(p->file, STR("one"), &err) && os_stamp(&a, p->file, &err));
    assert_true(os_stamp(&b, p->file, &err) && stamp_same(&a, &b));
    assert_int_equal(a.size, 3);
    assert_false(a.settled);
    assert_true(os_append(p->file, STR("two"), &err) && os_stamp(&c, p->file, &err));
    assert_false(stamp_same(&a, &c));
    assert_true(os_stamp(&c, "/bin/sh", &err) && c.settled);
    assert_true(os_sync(p->file, &err));
    assert_true(os_remove(p->file, &err));
    assert_false(os_sync(p->file, &err));
}

/* In a process of its own: 0 once it has the lock, 130 when interrupted. */
static pid_t lock_waiter(const char *folder, int held) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid > 0) return pid;
    Err err = {0};
    os_catch_interrupt();
    os_unlock(held); /* its copy: the lock is the parent's */
    _exit(os_lock_wait(folder, &err) >= 0 ? 0 : err_exit_code(&err));
}

static int waited(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void lock_waits(const char *folder) {
    Err err = {0};
    int status, lock = os_lock(folder, &err);
    assert_true(lock >= 0);
    pid_t patient = lock_waiter(folder, lock), stopped = lock_waiter(folder, lock);
    usleep(100000);
    assert_int_equal(waitpid(patient, &status, WNOHANG), 0); /* it waits */
    kill(stopped, SIGINT);
    assert_int_equal(waited(stopped), 130);
    os_unlock(lock);
    assert_int_equal(waited(patient), 0);
}

static void test_lock(void **state) {
    Place *p = *state;
    Err first = {0}, second = {0}, third = {0}, absent = {0};
    int lock = os_lock(p->folder, &first);
    assert_true(lock >= 0);
    assert_int_equal(os_lock(p->folder, &second), -1);
    assert_non_null(strstr(second.msg, p->folder));
    os_unlock(lock);
    lock = os_lock(p->folder, &third);
    assert_true(lock >= 0);
    os_unlock(lock);
    assert_int_equal(os_lock(p->file, &absent), -1);
    absent = (Err){0};
    assert_int_equal(os_lock_wait(p->file, &absent), -1);
    lock_waits(p->folder);
    const char *inner = str_fmt(p->a, "%s/inner", p->folder).p;
    assert_true(os_mkdir(inner, &third));
    os_remove_empty(p->folder); /* it is not: it stays */
    assert_true(os_is_dir(inner));
    os_remove_empty(inner);
    assert_false(os_exists(inner));
}

/* Pipes and devices: never waited for, never mapped, never replaced by a file. */
static void test_not_files(void **state) {
    Place *p = *state;
    Map m;
    Str s;
    Err map = {0}, write = {0}, read = {0};
    struct stat st;
    assert_int_equal(mkfifo(p->file, 0666), 0);
    assert_false(os_map(&m, p->file, &map));
    assert_non_null(strstr(map.msg, "it is a pipe"));
    assert_null(os_create(p->a, p->file, &write));
    assert_non_null(strstr(write.msg, "it is a pipe"));
    assert_true(os_read(p->a, &s, p->file, 100, &read) && s.n == 0);
    assert_true(stat(p->file, &st) == 0 && S_ISFIFO(st.st_mode));
    assert_null(os_create(p->a, "/dev/null", &read));
    assert_non_null(strstr(read.msg, "it is a device"));
    assert_true(stat("/dev/null", &st) == 0 && S_ISCHR(st.st_mode));
}

/* A pipe that is being written is read to its end. */
static void test_slow_pipe(void **state) {
    Place *p = *state;
    int pipes[2];
    Str s;
    Err err = {0};
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; i++) {
            usleep(20000);
            if (write(pipes[1], "abc", 3) != 3) _exit(1);
        }
        _exit(0);
    }
    close(pipes[1]);
    const char *path = str_fmt(p->a, "/dev/fd/%d", pipes[0]).p;
    assert_true(os_read(p->a, &s, path, 100, &err) && str_eq(s, STR("abcabcabc")));
    close(pipes[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* Files that are opened take none of the numbers 0 to 2, even when these were closed. */
static void test_std(void **state) {
    Place *p = *state;
    int status;
    pid_t child = fork();
    if (child == 0) {
        Err err = {0};
        close(0), close(1), close(2);
        os_claim_std();
        bool kept = write_file(p->a, p->file, "mine", 4, &err) && write(1, "x", 1) < 0
                    && write(2, "x", 1) < 0 && open("/dev/null", O_RDONLY) > 2;
        _exit(kept ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_content(p, p->file, "mine");
}

static void test_folders(void **state) {
    Place *p = *state;
    Err err = {0};
    const char *deep = str_fmt(p->a, "%s/a/b//c/", p->folder).p;
    assert_true(os_mkdir(deep, &err) && os_mkdir(deep, &err));
    assert_true(os_is_dir(deep) && os_exists(deep) && !os_is_dir(p->file));
    for (int i = 99; i >= 0; i--)
        assert_true(write_file(p->a, str_fmt(p->a, "%s/%02d", deep, i).p, "x", 1, &err));
    Str *names;
    int64_t n;
    assert_true(os_list(p->a, &names, &n, deep, &err));
    assert_int_equal(n, 100);
    for (int i = 0; i < 100; i++) assert_true(str_eq(names[i], str_fmt(p->a, "%02d", i)));
    const char *b = str_fmt(p->a, "%s/a/b", p->folder).p, *to = str_fmt(p->a, "%s/to", p->folder).p;
    assert_true(os_rename(b, to, &err) && !os_exists(b) && os_is_dir(to));
    assert_true(os_remove(str_fmt(p->a, "%s/c", to).p, &err) && os_remove(to, &err));
    Err full = {0}, clash = {0};
    assert_false(os_remove(p->folder, &full)); /* a folder in it is not taken along */
    assert_true(os_remove(str_fmt(p->a, "%s/a", p->folder).p, &err));
    assert_true(write_file(p->a, p->file, "x", 1, &err));
    assert_false(os_mkdir(p->file, &clash));
}

/* ---- writers beside each other, and killed --------------------------------------------------- */

enum { LONG = 40000 };

/* Writes files of LONG equal bytes, one letter after another, until it is killed or `times` is
 * over. */
static void write_letters(Place *p, char first, int times) {
    char *bytes = PUSH(p->a, char, LONG);
    for (int i = 0; i < times; i++) {
        Err err = {0};
        Mark m = arena_mark(p->a);
        memset(bytes, first + i % 10, LONG);
        if (!write_file(p->a, p->file, bytes, LONG, &err)) {
            fprintf(stderr, "%s\n", err.msg);
            _exit(1);
        }
        arena_pop(p->a, m);
    }
    _exit(0);
}

static pid_t start_writer(Place *p, char first, int times) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) write_letters(p, first, times);
    return pid;
}

static void assert_whole(Place *p) {
    Err err = {0};
    Str s;
    Mark m = arena_mark(p->a);
    if (!os_read(p->a, &s, p->file, LONG, &err)) fail_msg("%s", err.msg);
    assert_int_equal(s.n, LONG);
    for (int64_t i = 1; i < s.n; i++)
        if (s.p[i] != s.p[0]) fail_msg("a mixture of %c and %c", s.p[0], s.p[i]);
    arena_pop(p->a, m);
}

static void write_first(Place *p) {
    Err err = {0};
    char *bytes = PUSH(p->a, char, LONG);
    assert_true(write_file(p->a, p->file, bytes, LONG, &err));
}

static void test_two_writers(void **state) {
    Place *p = *state;
    write_first(p);
    pid_t one = start_writer(p, '0', 30), two = start_writer(p, 'a', 30);
    int status, left = 2;
    while (left > 0) {
        assert_whole(p);
        for (pid_t done; (done = waitpid(-1, &status, WNOHANG)) > 0; left--) {
            assert_true(done == one || done == two);
            assert_int_equal(status, 0);
        }
    }
    assert_whole(p);
    assert_int_equal(entries(p), 1);
}

static void test_killed_writer(void **state) {
    Place *p = *state;
    write_first(p);
    for (int i = 0; i < (full_run() ? 40 : 10); i++) {
        pid_t pid = start_writer(p, '0', 1000000);
        usleep((useconds_t)(500 + 977 * i % 5000));
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        assert_whole(p);
    }
}

/* ---- the machine ----------------------------------------------------------------------------- */

static void test_own_machine(void **state) {
    (void)state;
    double t = os_now(), used = os_cpu_time();
    usleep(2000);
    assert_true(os_now() - t >= 0.002 && os_now() - t < 10);
    assert_true(os_cpu_time() - used < 0.002); /* sleeping takes none */
    while (os_cpu_time() - used < 0.002) {}
    assert_true(os_cpus() >= 1 && os_cpus() <= sysconf(_SC_NPROCESSORS_ONLN));
    assert_true(os_memory_free() > 1 << 20);
    assert_true(os_memory_peak() > 1 << 19);
    setenv("LISAO_TEST_EMPTY", "", 1);
    assert_null(os_env("LISAO_TEST_EMPTY"));
    assert_null(os_env("LISAO_TEST_ABSENT"));
    assert_true(os_columns() >= 20);
}

static void read_what_is_cut(void *arg) {
    Place *p = arg;
    Map m;
    Err err = {0};
    if (!os_map(&m, p->file, &err) || truncate(p->file, 0)) _exit(2);
    _exit(m.p[0] == 'a' ? 3 : 4); /* does not come so far */
}

static void other_bus_error(void *arg) {
    Place *p = arg;
    Map m;
    Err err = {0};
    if (!os_map(&m, p->file, &err)) _exit(2);
    raise(SIGBUS);
    _exit(3);
}

/* A file that is cut while it is read ends the program with a message. */
static void test_cut_file(void **state) {
    Place *p = *state;
    Err err = {0};
    char said[1000] = "";
    assert_true(write_file(p->a, p->file, "a", 1, &err));
    int status = child(other_bus_error, p, said, sizeof said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    status = child(read_what_is_cut, p, said, sizeof said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    assert_non_null(strstr(said, "is shorter than it was: it was cut or overwritten"));
}

static void interrupt_twice(void *arg) {
    (void)arg;
    os_catch_interrupt();
    raise(SIGINT);
    if (!os_interrupted()) _exit(1);
    os_interrupt_clear();
    if (os_interrupted()) _exit(2);
    raise(SIGTERM);
    raise(SIGTERM); /* does not return */
    _exit(0);
}

/* A read that waits ends when the user wants to stop. */
static void interrupt_read(void *arg) {
    Place *p = arg;
    int pipes[2];
    Err err = {0};
    Str s;
    os_catch_interrupt();
    if (pipe(pipes) || dup2(pipes[0], 0)) _exit(1);
    if (fork() == 0) {
        usleep(20000);
        kill(getppid(), SIGINT);
        _exit(0);
    }
    bool fine = os_read_stdin(p->a, &s, 100, &err);
    _exit(!fine && err.code == ERR_INTERRUPTED ? 42 : 1);
}

static void test_interrupt(void **state) {
    char said[1000];
    int status = child(interrupt_twice, NULL, said, sizeof said);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    status = child(interrupt_read, *state, said, sizeof said);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

#define IN_PLACE(f) cmocka_unit_test_setup_teardown(f, place_open, place_close)

int test_os(void) {
    const struct CMUnitTest tests[] = {
        IN_PLACE(test_write_read),  IN_PLACE(test_cut_file),
        IN_PLACE(test_append),      IN_PLACE(test_abandon),
        IN_PLACE(test_stale_temp),  IN_PLACE(test_write_faults),
        IN_PLACE(test_read_faults), IN_PLACE(test_limits),
        IN_PLACE(test_stdin),       IN_PLACE(test_messages),
        IN_PLACE(test_not_files),   IN_PLACE(test_slow_pipe),
        IN_PLACE(test_std),         IN_PLACE(test_lock),
        IN_PLACE(test_stamp),       IN_PLACE(test_folders),
        IN_PLACE(test_two_writers), IN_PLACE(test_killed_writer),
        IN_PLACE(test_interrupt),   cmocka_unit_test(test_own_machine),
    };
    return cmocka_run_group_tests_name("os", tests, NULL, NULL);
}
