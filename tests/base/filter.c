/* filter.c -- what another program makes of a file: whole, within bounds, with nothing else at
 * hand. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/must.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 1 << 20 };

typedef struct Made {
    bool fine;
    Str out;
    Err err;
} Made;

/* What a script of the shell makes of a file with this text. */
static Made made(Arena *a, const char *folder, const char *script, Str text, double seconds) {
    const char *const argv[] = {"bash", "-c", script, NULL};
    const char *path = str_fmt(a, "%s/file", folder).p;
    Made m = {0};
    Err err = {0};
    must(os_put(a, path, text, &err), &err);
    m.fine = filter_file(a, &m.out, argv, path, MOST, seconds, &m.err);
    return m;
}

static void output_comes_whole(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const char *folder = folder_new(a);
    char *x = arena_push(a, MOST);
    (void)state;
    for (int64_t i = 0; i < MOST; i++) x[i] = (char)(i * 7 % 251);
    const Made m = made(a, folder, "cat; printf %70000s x >&2", (Str){x, MOST}, 60);
    assert_true(m.fine && str_eq(m.out, (Str){x, MOST}));
    assert_true(made(a, folder, "exec >&- 2>&-; sleep 0.1", STR(""), 60).fine);
    folder_remove(folder);
    arena_close(a);
}

static void failures_are_told(void **state) {
    static const struct {
        const char *script, *says;
        ErrCode code;
    } wrong[] = {{"echo what; echo ' a pity ' >&2; exit 3", "status 3: a pity", ERR_IO},
                 {"exit 3", "bash ended with status 3", ERR_IO},
                 {"ulimit -t 1; while :; do :; done", "ended by signal", ERR_IO},
                 {"sleep 60", "took more than 0.5 s", ERR_IO},
                 {"yes", "wrote more than 1048576 bytes", ERR_LIMIT}};
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const char *folder = folder_new(a);
    (void)state;
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        const Made m = made(a, folder, wrong[i].script, STR("x"), i == 3 ? 0.5 : 60);
        assert_false(m.fine);
        assert_int_equal(m.err.code, wrong[i].code);
        if (!strstr(m.err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].script, m.err.msg);
    }
    const char *const none[] = {"no-such-program", NULL}, *const cat[] = {"cat", NULL};
    Str out;
    Err err = {0};
    assert_false(filter_file(a, &out, none, "/etc/passwd", 9, 9, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    err = (Err){0};
    assert_false(filter_file(a, &out, cat, "/no/such/file", 9, 9, &err));
    assert_non_null(strstr(err.msg, "/no/such/file"));
    folder_remove(folder);
    arena_close(a);
}

/* Whether this kernel can narrow a program; in a process of its own. */
static bool can_narrow(void) {
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        Err err = {0};
        _exit(!sandbox_program(&err));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

/* Neither other files nor the network nor what was open here. */
static void nothing_else_is_at_hand(void **state) {
    static const struct {
        const char *deed, *says;
    } deeds[] = {{"cat $1", "Permission denied"},
                 {"echo x >$1", "Permission denied"},
                 {"rm $1", "Permission denied"},
                 {"ls ${1%/*}", "Permission denied"},
                 {"echo x >>/dev/shm/lisao", "Permission denied"},
                 {"cat /proc/1/stat", "Permission denied"},
                 {"exec 3<>/dev/tcp/127.0.0.1/1", "Operation not permitted"},
                 {"kill -0 1", "Operation not permitted"},
                 {"cat <&9", "Bad file descriptor"}};
    need_native();
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const char *folder = folder_new(a);
    Err err = {0};
    (void)state;
    if (!can_narrow()) skip_for("no-sandbox");
    const char *mine = str_fmt(a, "%s/mine", folder).p;
    must(os_put(a, mine, STR("secret"), &err), &err);
    const int fd = open(mine, O_RDONLY);
    assert_int_equal(dup2(fd, 9), 9);
    for (int64_t i = 0; i < COUNT(deeds); i++) {
        const char *script = str_fmt(a, "set -- %s; %s", mine, deeds[i].deed).p;
        const Made m = made(a, folder, script, STR("x"), 60);
        assert_false(m.fine);
        if (!strstr(m.err.msg, deeds[i].says)) fail_msg("%s: %s", deeds[i].deed, m.err.msg);
    }
    close(9), close(fd);
    folder_remove(folder);
    arena_close(a);
}

/* ---- functions ------------------------------------------------------------------------------- */

static bool try(Arena *a, Str *out, Str in, Err *err) {
    const char *const word = str_copy(a, in).p;
    if (!strcmp(word, "fail")) return err_set(err, ERR_FORMAT, "a pity");
    if (!strcmp(word, "fault")) abort();
    while (!strcmp(word, "loop")) {}
    *out = !strcmp(word, "long")   ? (Str){PUSH(a, char, MOST + 1), MOST + 1}
           : !strcmp(word, "file") ? str_fmt(a, "%d", open("/proc/1/stat", O_RDONLY) >= 0)
                                   : str_fmt(a, "%s!", word);
    return true;
}

static void functions_are_called_apart(void **state) {
    static const struct {
        const char *in, *says;
        ErrCode code;
    } wrong[] = {{"fail", "a pity", ERR_FORMAT},
                 {"fault", "", ERR_IO},
                 {"loop", "it took more than 0.5 s", ERR_IO},
                 {"long", "it wrote more than 1048576 bytes", ERR_LIMIT}};
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Str out;
    Err err = {0};
    (void)state;
    must(filter_call(a, &out, "it", try, STR("who"), MOST, 60, &err), &err);
    assert_true(str_eq(out, STR("who!")));
    for (int64_t i = 0; i < COUNT(wrong); i++) {
        err = (Err){0};
        assert_false(
            filter_call(a, &out, "it", try, str_of(wrong[i].in), MOST, i == 2 ? 0.5 : 60, &err));
        if (i == 1) continue; /* a sanitizer ends it in its own way */
        assert_int_equal(err.code, wrong[i].code);
        if (!strstr(err.msg, wrong[i].says)) fail_msg("%s: %s", wrong[i].in, err.msg);
    }
    if (can_narrow()) {
        err = (Err){0};
        must(filter_call(a, &out, "it", try, STR("file"), MOST, 60, &err), &err);
        assert_true(str_eq(out, STR("0")));
    }
    arena_close(a);
}

/* Bytes come as a file does, and lie nowhere. */
static void bytes_come_whole(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const char *const cat[] = {"cat", NULL}, *const where[] = {"readlink", "/proc/self/fd/0", NULL};
    char *x = arena_push(a, MOST);
    Str out;
    Err err = {0};
    (void)state;
    for (int64_t i = 0; i < MOST; i++) x[i] = (char)(i * 7 % 251);
    must(filter_bytes(a, &out, cat, (Str){x, MOST}, MOST, 60, &err), &err);
    assert_true(str_eq(out, (Str){x, MOST}));
    must(filter_bytes(a, &out, cat, STR(""), MOST, 60, &err), &err);
    assert_int_equal(out.n, 0);
    if (filter_bytes(a, &out, where, STR("x"), MOST, 60, &err)) /* where /proc may be read */
        assert_true(str_starts(out, STR("/memfd:")));
    arena_close(a);
}

int test_filter(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_comes_whole), cmocka_unit_test(failures_are_told),
        cmocka_unit_test(bytes_come_whole), cmocka_unit_test(functions_are_called_apart),
        cmocka_unit_test(nothing_else_is_at_hand)};
    return cmocka_run_group_tests_name("filter", tests, NULL, NULL);
}
