/* helper.c -- a process beside this one that answers: whole, within bounds, narrowed; and where
 * connections may lead. */
#define _GNU_SOURCE
#include "tests.h"
#include "support/must.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* What a question has it do. */
static bool play(void *arg, Arena *a, Str question, Str *answer, Err *err) {
    const char *const word = str_copy(a, question).p;
    (void)arg;
    if (!strcmp(word, "fail")) return err_set(err, ERR_FORMAT, "a pity");
    if (!strcmp(word, "odd")) return err_set(err, ERR_FORMAT, "a\n\x1b[31m\xff路\x7f");
    if (!strcmp(word, "end")) _exit(3);
    if (!strcmp(word, "sleep")) os_sleep(1);
    if (!strcmp(word, "sleep and end")) os_sleep(1), _exit(3);
    if (!strcmp(word, "long")) *answer = (Str){PUSH(a, char, HELPER_ANSWER + 1), HELPER_ANSWER + 1};
    if (!strcmp(word, "most")) *answer = (Str){PUSH(a, char, HELPER_ANSWER), HELPER_ANSWER};
    if (answer->n == 0) *answer = str_fmt(a, "%s!", word);
    return true;
}

static void asks(Helper *h, Arena *a, const char *question, Str want) {
    Err err = {0};
    Str answer;
    must(helper_ask(h, a, str_of(question), &answer, 60, &err), &err);
    if (!str_eq(answer, want)) fail_msg("%s: %lld bytes", question, (long long)answer.n);
}

static void fails(Helper *h, Arena *a, const char *question, ErrCode code, const char *says) {
    Err err = {0};
    Str answer;
    assert_false(helper_ask(h, a, str_of(question), &answer, 0.3, &err));
    assert_int_equal(err.code, code);
    if (!strstr(err.msg, says)) fail_msg("%s: %s", question, err.msg);
}

static void questions_are_answered(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Helper *h;
    Err err = {0};
    (void)state;
    must(helper_open(&h, a, HELPER_CONNECTS, play, NULL, &err), &err);
    asks(h, a, "who", STR("who!"));
    fails(h, a, "fail", ERR_FORMAT, "a pity");
    fails(h, a, "odd", ERR_FORMAT, "a??[31m?路?"); /* nothing that a log or terminal heeds */
    asks(h, a, "", STR("!"));
    asks(h, a, "most", (Str){PUSH(a, char, HELPER_ANSWER), HELPER_ANSWER});
    fails(h, a, "long", ERR_LIMIT, "more than 2097152 bytes");
    asks(h, a, "again", STR("again!"));
    assert_false(helper_gone(h));
    fails(h, a, "end", ERR_IO, "the helper has ended");
    assert_true(helper_gone(h));
    fails(h, a, "who", ERR_IO, "the helper has ended");
    must(helper_open(&h, a, HELPER_CONNECTS, play, NULL, &err), &err);
    fails(h, a, "sleep", ERR_IO, "took more than 0.3 s");
    fails(h, a, "who", ERR_IO, "took more than 0.3 s"); /* it sleeps yet, and hears of none */
    assert_false(helper_gone(h));
    asks(h, a, "again", STR("again!")); /* not "sleep!" */
    fails(h, a, "sleep and end", ERR_IO, "took more than 0.3 s");
    os_sleep(1);
    fails(h, a, "who", ERR_IO, "the helper has ended");
    assert_true(helper_gone(h));
    helper_close(h);
    helper_close(NULL);
    for (int i = 0; i < 2; i++) assert_true(waitpid(-1, NULL, 0) > 0); /* both end */
    arena_close(a);
}

/* ---- what it may not do ---------------------------------------------------------------------- */

static int port; /* of a socket here that takes connections */

static int connects(void) {
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    return connect(fd, (const struct sockaddr *)&at, sizeof at) ? errno : 0;
}

static int listens(void) {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    return listen(fd, 1) ? errno : 0;
}

static int executes(void) {
    char *const argv[] = {"true", NULL};
    return execv("/bin/true", argv) ? errno : 0;
}

static int opens(const char *path, int how) { return open(path, how, 0600) < 0 ? errno : 0; }

static bool try(void *arg, Arena *a, Str question, Str *answer, Err *err) {
    const char *const mine = arg;
    const int got[] = {connects(),
                       opens("/etc/passwd", O_RDONLY),
                       listens(),
                       executes(),
                       opens(mine, O_RDONLY),
                       opens(mine, O_WRONLY),
                       opens("/dev/shm/lisao-helper", O_CREAT | O_WRONLY),
                       opens("/proc/1/stat", O_RDONLY),
                       kill(getppid(), 0) ? errno : 0,
                       fcntl(9, F_GETFD) < 0 ? errno : 0,
                       signal(SIGTERM, SIG_IGN) == SIG_IGN ? 0 : 1};
    Buf b = {.a = a};
    (void)question, (void)err;
    for (int64_t i = 0; i < COUNT(got); i++) buf_fmt(&b, "%d ", got[i]);
    *answer = buf_str(&b);
    return true;
}

static bool can_narrow(void) {
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        Err err = {0};
        _exit(!sandbox_client(&err));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status == 0;
}

static void it_connects_and_does_no_more(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const char *folder = folder_new(a), *mine = str_fmt(a, "%s/mine", folder).p;
    Helper *h;
    Err err = {0};
    int fd;
    (void)state;
    need_native();
    if (!can_narrow()) skip_for("no-sandbox");
    must(os_put(a, mine, STR("secret"), &err), &err);
    must(net_listen(&fd, "127.0.0.1", 0, &err), &err);
    port = (int)net_port(fd);
    assert_int_equal(dup2(fd, 9), 9);
    must(helper_open(&h, a, HELPER_CONNECTS, try, (void *)(uintptr_t)mine, &err), &err);
    asks(h, a, "",
         str_fmt(a, "0 0 %d %d %d %d %d %d %d %d 0 ", EPERM, EPERM, EACCES, EACCES, EACCES, EACCES,
                 EPERM, EBADF));
    helper_close(h);
    close(9), close(fd);
    assert_true(waitpid(-1, NULL, 0) > 0); /* and it ends */
    folder_remove(folder);
    arena_close(a);
}

/* ---- one that starts programs ---------------------------------------------------------------- */

/* What a shell says. */
static bool shell(void *arg, Arena *a, Str question, Str *answer, Err *err) {
    const char *const argv[] = {"bash", NULL};
    (void)arg;
    return filter_bytes(a, answer, argv, question, 1 << 20, 2, err);
}

static void one_starts_programs_and_has_no_network(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    Helper *h;
    Err err = {0};
    (void)state;
    assert_int_equal(setenv("LISAO_SECRET", "secret", 1), 0);
    must(helper_open(&h, a, HELPER_STARTS, shell, NULL, &err), &err);
    assert_int_equal(unsetenv("LISAO_SECRET"), 0);
    asks(h, a, "echo $((6 * 7)) $LISAO_SECRET", STR("42\n"));
    Buf large = {.a = a};
    while (large.n < 16 << 20) buf_add(&large, STR("# 16 MB of this\n"));
    asks(h, a, str_copy(a, (Str){large.p, 16 << 20}).p, STR(""));
    fails(h, a, "exit 3", ERR_IO, "status 3");
    Str answer;
    assert_false(helper_ask(h, a, STR("sleep 60"), &answer, 60, &err));
    assert_non_null(strstr(err.msg, "took more than 2 s")); /* it can end what it has started */
    asks(h, a, "echo again", STR("again\n"));
    helper_close(h);
    assert_true(waitpid(-1, NULL, 0) > 0);
    arena_close(a);
}

/* ---- several --------------------------------------------------------------------------------- */

typedef struct Asker {
    Helpers *helpers;
    Arena *a;
    bool fine;
} Asker;

static void ask_slowly(void *arg) {
    Asker *k = arg;
    Str answer;
    bool busy = true;
    while (busy) {
        Err err = {0};
        k->fine = helpers_ask(k->helpers, k->a, STR("sleep"), &answer, 60, &busy, &err);
    }
}

static void one_of_several_is_asked(void **state) {
    Arena *a = arena_open("test", ARENA_NO_LIMIT);
    const HelpersSpec spec = {.fn = play, .n = 1, .at_work = "plays go on"};
    Asker k = {.a = arena_open("asker", ARENA_NO_LIMIT)};
    LoneThread *thread;
    Err err = {0};
    Str answer;
    bool busy = false;
    (void)state;
    must(helpers_open(&k.helpers, a, &spec, &err), &err);
    must(lone_start(&thread, a, ask_slowly, &k, &err), &err);
    for (const double until = os_now() + 60; !busy && os_now() < until; os_sleep(0.01)) {
        err = (Err){0};
        (void)!helpers_ask(k.helpers, a, STR("who"), &answer, 60, &busy, &err);
    }
    lone_join(thread);
    assert_true(busy && k.fine);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_string_equal(err.msg, "1 plays go on already");
    err = (Err){0};
    must(helpers_ask(k.helpers, a, STR("who"), &answer, 60, &busy, &err), &err);
    assert_true(str_eq(answer, STR("who!")) && !busy);
    assert_false(helpers_ask(k.helpers, a, STR("end"), &answer, 60, &busy, &err));
    err = (Err){0};
    assert_false(helpers_ask(k.helpers, a, STR("who"), &answer, 60, &busy, &err));
    assert_true(!busy && strstr(err.msg, "start the service again"));
    helpers_close(k.helpers);
    helpers_close(NULL);
    assert_true(waitpid(-1, NULL, 0) > 0);
    arena_close(k.a);
    arena_close(a);
}

/* ---- where connections lead ------------------------------------------------------------------ */

static void addresses_are_told_apart(void **state) {
    static const char *const
        open_to_all[] = {"1.1.1.1",     "9.255.255.255",  "11.0.0.0",        "100.63.255.255",
                         "100.128.0.0", "172.15.255.255", "172.32.0.0",      "192.167.255.255",
                         "192.169.0.0", "198.20.0.0",     "223.255.255.255", "[2606:4700::1111]",
                         "2a00::1",     "::ffff:1.1.1.1", "64:ff9b::101:101"},
        *const closed[] = {"0.0.0.0",        "10.0.0.1",        "10.255.255.255",
                           "100.64.0.1",     "100.127.255.255", "169.254.169.254",
                           "172.16.0.1",     "172.31.255.255",  "192.0.0.1",
                           "192.168.1.1",    "198.18.0.1",      "198.19.255.255",
                           "224.0.0.1",      "255.255.255.255", "::",
                           "fe80::1",        "fc00::1",         "fd12::1",
                           "ff02::1",        "2001:db8::1",     "2001::1",
                           "2002:a00:1::",   "::ffff:10.0.0.1", "[::ffff:192.168.0.1]",
                           "64:ff9b::a00:1", "::10.0.0.1",      "3fff::1"},
        *const here[] = {"127.0.0.1", "127.255.255.255", "::1", "[::1]", "::ffff:127.0.0.1"};
    const struct sockaddr unix_one = {.sa_family = AF_UNIX};
    (void)state;
    for (int64_t i = 0; i < COUNT(open_to_all); i++)
        if (!net_host_reaches(NET_PUBLIC, open_to_all[i])
            || net_host_reaches(NET_THIS_MACHINE, open_to_all[i]))
            fail_msg("%s is public", open_to_all[i]);
    for (int64_t i = 0; i < COUNT(closed); i++)
        if (net_host_reaches(NET_PUBLIC, closed[i]) || net_host_reaches(NET_THIS_MACHINE, closed[i])
            || !net_host_reaches(NET_ANYWHERE, closed[i]))
            fail_msg("%s is neither public nor here", closed[i]);
    for (int64_t i = 0; i < COUNT(here); i++)
        if (net_host_reaches(NET_PUBLIC, here[i]) || !net_host_reaches(NET_THIS_MACHINE, here[i]))
            fail_msg("%s is here", here[i]);
    assert_true(net_host_reaches(NET_PUBLIC, "example.org"));
    assert_false(net_reaches(NET_PUBLIC, &unix_one));
    assert_int_equal(net_socket(NET_THIS_MACHINE, &unix_one, SOCK_STREAM, 0), -1);
}

int test_helper(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(questions_are_answered), cmocka_unit_test(it_connects_and_does_no_more),
        cmocka_unit_test(one_starts_programs_and_has_no_network),
        cmocka_unit_test(one_of_several_is_asked), cmocka_unit_test(addresses_are_told_apart)};
    return cmocka_run_group_tests_name("helper", tests, NULL, NULL);
}
