/* history.c -- tests of the history: trees, tenants, search in both languages, what is gone, kills,
 * older schemas, full disks, two writers. */
#define _GNU_SOURCE
#include "serve/history.h"
#include "serve/grams.h"
#include "tests.h"
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct Place {
    Arena *a;
    const char *data;
    History *h;
} Place;

static History *opened(Place *p, int64_t days) {
    Err err = {0};
    must(history_open(&p->h, p->a, p->data, days, &err), &err);
    return p->h;
}

static Place place_new(void) {
    const char *base = os_env("TMPDIR");
    Place p = {.a = arena_open("history", 1 << 28)};
    char *path = PUSH(p.a, char, 4096);
    snprintf(path, 4096, "%s/lisao-history-XXXXXX", base ? base : P_tmpdir);
    p.data = mkdtemp(path);
    assert_non_null(p.data);
    return p;
}

static void place_end(Place *p) {
    history_close(p->h);
    tree_remove(p->a, p->data);
    arena_close(p->a);
}

static HistoryItem conversation(const char *id) {
    return (HistoryItem){.conversation = str_of(id), .body = STR("{\"title\":\"T\"}")};
}

/* Its body is {"id":ID,"text":TEXT}; parent NULL: none. */
static HistoryItem message(Arena *a, const char *conversation, const char *id, const char *parent,
                           const char *text) {
    return (HistoryItem){.conversation = str_of(conversation),
                         .id = str_of(id),
                         .parent = parent ? str_of(parent) : (Str){0},
                         .text = str_of(text),
                         .body = str_fmt(a, "{\"id\":\"%s\",\"text\":\"%s\"}", id, text)};
}

static bool put(Place *p, const char *tenant, HistoryItem i, Err *err) {
    return history_put(p->h, str_of(tenant), &i, 1, err);
}

static const char *read_all(Place *p, const char *tenant, const char *id) {
    Buf b = {.a = p->a};
    Err err = {0};
    bool known;
    must(history_read(p->h, str_of(tenant), str_of(id), &b, &known, &err), &err);
    if (!known) return NULL;
    return str_copy(p->a, buf_str(&b)).p;
}

static const char *found(Place *p, const char *tenant, const char *words) {
    Str word[8], rest = str_of(words);
    int64_t n = 0;
    Buf b = {.a = p->a};
    Err err = {0};
    while (rest.n > 0) word[n++] = str_cut(&rest, ' ');
    must(history_search(p->h, str_of(tenant), word, n, &b, &err), &err);
    return str_copy(p->a, buf_str(&b)).p;
}

#define AT(id, excerpt) "{\"conversation\":\"" id "\",\"excerpt\":\"" excerpt "\"}"

/* ---- what is written ------------------------------------------------------------------------- */

static void trees_are_kept(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    Buf b = {.a = p.a};
    opened(&p, 0);
    must(put(&p, "ann", conversation("c"), &err), &err);
    const HistoryItem both[] = {message(p.a, "c", "a", "q", "An answer"),
                                message(p.a, "c", "q", NULL, "A question")};
    must(history_put(p.h, STR("ann"), both, 2, &err), &err); /* in any order */
    must(put(&p, "ann", message(p.a, "c", "b", "q", "Another"), &err), &err);
    must(put(&p, "ann", message(p.a, "c", "a", "q", "A better answer"), &err), &err);
    assert_string_equal(read_all(&p, "ann", "c"), "{\"id\":\"a\",\"text\":\"A better answer\"},"
                                                  "{\"id\":\"q\",\"text\":\"A question\"},"
                                                  "{\"id\":\"b\",\"text\":\"Another\"}");
    /* A message without its parent or conversation takes all with it that was to be written. */
    const HistoryItem torn[] = {conversation("d"), message(p.a, "d", "x", "nobody", "Torn")};
    assert_false(history_put(p.h, STR("ann"), torn, 2, &err));
    assert_int_equal(err.code, ERR_USAGE);
    err = (Err){0};
    assert_false(put(&p, "ann", message(p.a, "e", "x", NULL, "Torn"), &err));
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.msg, "no conversation 'e'"));
    err = (Err){0};
    assert_null(read_all(&p, "ann", "d"));
    assert_string_equal(found(&p, "ann", "torn"), "");
    history_close(p.h);
    opened(&p, 0);
    must(put(&p, "ann", conversation("empty"), &err), &err);
    must(history_export(p.h, STR("ann"), &b, &err), &err);
    assert_string_equal(str_copy(p.a, buf_str(&b)).p,
                        "{\"title\":\"T\",\"messages\":[{\"id\":\"a\",\"text\":\"A better answer\"}"
                        ",{\"id\":\"q\",\"text\":\"A question\"},{\"id\":\"b\",\"text\":\"Another\""
                        "}]},{\"title\":\"T\",\"messages\":[]}");
    place_end(&p);
}

static void other_tenants_see_nothing(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    Buf b = {.a = p.a};
    int64_t n;
    opened(&p, 0);
    must(put(&p, "ann", conversation("c"), &err), &err);
    must(put(&p, "ann", message(p.a, "c", "q", NULL, "orchid"), &err), &err);
    assert_null(read_all(&p, "bob", "c"));
    assert_string_equal(found(&p, "bob", "orchid"), "");
    must(history_list(p.h, STR("bob"), &b, &err), &err);
    must(history_export(p.h, STR("bob"), &b, &err), &err);
    assert_int_equal(b.n, 0);
    assert_false(put(&p, "bob", message(p.a, "c", "q", NULL, "mine"), &err));
    err = (Err){0};
    must(put(&p, "bob", conversation("c"), &err), &err); /* the same id is another one */
    must(put(&p, "bob", message(p.a, "c", "q", NULL, "rose"), &err), &err);
    must(history_remove(p.h, STR("bob"), STR("c"), &n, &err), &err);
    assert_int_equal(n, 1);
    must(history_remove(p.h, STR("bob"), (Str){0}, &n, &err), &err);
    assert_int_equal(n, 0);
    assert_string_equal(found(&p, "ann", "orchid"), AT("c", "orchid"));
    place_end(&p);
}

/* ---- search ---------------------------------------------------------------------------------- */

static void pairs_of_characters(void **state) {
    (void)state;
    Arena *a = arena_open("grams", 1 << 20);
    static const char *const cases[][2] = {
        {"ab cd", "ab cd"},
        {"路", " 路 "},
        {"路漫", " 路漫  漫 "},
        {"ab路漫漫c", "ab 路漫  漫漫  漫 c"},
        {"漢字kanaかな", " 漢字  字 kana かな  な "},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        Buf b = {.a = a};
        grams_add(&b, str_of(cases[i][0]));
        assert_string_equal(str_copy(a, buf_str(&b)).p, cases[i][1]);
    }
    arena_close(a);
}

/* A model can write one: it is a character that nothing is found by. */
static void a_nul_ends_nothing(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    Buf b = {.a = p.a};
    HistoryItem i = message(p.a, "c", "1", NULL, "begin\\u0000 the river");
    opened(&p, 0);
    must(put(&p, "ann", conversation("c"), &err), &err);
    i.text = STR("begin\0 the river");
    must(put(&p, "ann", i, &err), &err);
    assert_string_equal(read_all(&p, "ann", "c"),
                        "{\"id\":\"1\",\"text\":\"begin\\u0000 the river\"}");
    assert_string_equal(found(&p, "ann", "river"), AT("c", "begin  the river"));
    const Str word = STR("begin\0 the");
    must(history_search(p.h, STR("ann"), &word, 1, &b, &err), &err);
    assert_string_equal(b.p, AT("c", "begin  the river"));
    place_end(&p);
}

static void both_languages_are_found(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    opened(&p, 0);
    must(put(&p, "ann", conversation("en"), &err), &err);
    must(put(&p, "ann", conversation("zh"), &err), &err);
    must(put(&p, "ann", message(p.a, "en", "1", NULL, "The Yangtze is long, and wide."), &err),
         &err);
    must(put(&p, "ann", message(p.a, "zh", "1", NULL, "路漫漫其修远兮，吾将上下而求索。"), &err),
         &err);
    const char *const en[] = {"yangtze", "YANG", "long yangtze", "wide."};
    for (int64_t i = 0; i < COUNT(en); i++)
        assert_non_null(strstr(found(&p, "ann", en[i]), "\"en\""));
    const char *const zh[] = {"求索", "索", "路", "漫漫其修远兮", "上下而求", "求索 路漫"};
    for (int64_t i = 0; i < COUNT(zh); i++)
        assert_non_null(strstr(found(&p, "ann", zh[i]), "\"zh\""));
    const char *const none[] = {"angtze",     "long short", "求路", "漫路", "\"",   "OR",
                                "words:long", "-",          "(",    "*",    "NEAR("};
    for (int64_t i = 0; i < COUNT(none); i++) assert_string_equal(found(&p, "ann", none[i]), "");
    assert_string_equal(found(&p, "ann", "求索"), AT("zh", "路漫漫其修远兮，吾将上下而求索。"));
    /* What was said before is not found any more. */
    must(put(&p, "ann", message(p.a, "en", "1", NULL, "Say \\\"rain\\\" and\nmore"), &err), &err);
    assert_string_equal(found(&p, "ann", "yangtze"), "");
    assert_string_equal(found(&p, "ann", "rain"), AT("en", "Say \\\\\\\"rain\\\\\\\" and more"));
    place_end(&p);
}

/* ---- what is gone ---------------------------------------------------------------------------- */

static bool stored_anywhere(Place *p, const char *text) {
    Str *name, bytes;
    int64_t n;
    Err err = {0};
    const char *folder = str_fmt(p->a, "%s/history", p->data).p;
    must(os_list(p->a, &name, &n, folder, &err), &err);
    assert_true(n >= 1);
    for (int64_t i = 0; i < n; i++) {
        const Mark m = arena_mark(p->a);
        const char *path = str_fmt(p->a, "%s/%.*s", folder, STRF(name[i])).p;
        must(os_read(p->a, &bytes, path, 1 << 26, &err), &err);
        const bool there = bytes.n && memmem(bytes.p, (size_t)bytes.n, text, strlen(text));
        arena_pop(p->a, m);
        if (there) return true;
    }
    return false;
}

static void much_put(Place *p, const char *id, const char *word) {
    Err err = {0};
    must(put(p, "ann", conversation(id), &err), &err);
    for (int i = 0; i < 30; i++) { /* some on pages of their own, each written twice */
        Buf text = {.a = p->a};
        for (int k = 0; k < 1 + i * i; k++) buf_fmt(&text, "%s%d ", word, i * 1000 + k);
        const char *whole = str_copy(p->a, buf_str(&text)).p;
        const char *name = str_fmt(p->a, "m%d", i).p;
        must(put(p, "ann", message(p->a, id, name, NULL, word), &err), &err);
        must(put(p, "ann", message(p->a, id, name, NULL, whole), &err), &err);
    }
}

static void what_is_deleted_is_gone(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    int64_t n;
    opened(&p, 0);
    much_put(&p, "keep", "orchid");
    much_put(&p, "lose", "secretive");
    assert_true(stored_anywhere(&p, "secretive") && stored_anywhere(&p, "orchid"));
    must(history_remove(p.h, STR("ann"), STR("lose"), &n, &err), &err);
    assert_int_equal(n, 1);
    assert_false(stored_anywhere(&p, "secretive"));
    assert_false(stored_anywhere(&p, "lose"));
    assert_true(stored_anywhere(&p, "orchid"));
    assert_non_null(strstr(found(&p, "ann", "orchid29840"), "keep"));
    must(history_remove(p.h, STR("ann"), (Str){0}, &n, &err), &err);
    assert_false(stored_anywhere(&p, "orchid"));
    place_end(&p);
}

static void raw(Place *p, const char *sql) {
    sqlite3 *db;
    const char *path = str_fmt(p->a, "%s/history/history.db", p->data).p;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void what_is_old_is_removed(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    opened(&p, 0);
    must(put(&p, "ann", conversation("old"), &err), &err);
    must(put(&p, "ann", message(p.a, "old", "q", NULL, "secretive"), &err), &err);
    must(put(&p, "bob", conversation("new"), &err), &err);
    history_close(p.h);
    raw(&p, "UPDATE conversation SET written = written - 10 * 86400 WHERE id = 'old'");
    opened(&p, 11);
    assert_non_null(read_all(&p, "ann", "old"));
    history_close(p.h);
    opened(&p, 9);
    assert_null(read_all(&p, "ann", "old"));
    assert_non_null(read_all(&p, "bob", "new"));
    assert_false(stored_anywhere(&p, "secretive"));
    place_end(&p);
}

/* ---- what happens to services ---------------------------------------------------------------- */

/* A clock that is set while the service runs, forward or back, removes nothing. */
static void a_clock_that_jumps_removes_nothing(void **state) {
    enum { DAY = 86400 };
    static const int64_t ahead[] = {400 * DAY, -400 * DAY, 0, 20 * DAY, 0};
    (void)state;
    Place p = place_new();
    Err err = {0};
    opened(&p, 7);
    must(put(&p, "ann", conversation("c"), &err), &err);
    for (int64_t i = 0; i < COUNT(ahead); i++) {
        clock_ahead = ahead[i];
        must(put(&p, "ann", conversation(str_fmt(p.a, "d%lld", (long long)i).p), &err), &err);
        assert_non_null(read_all(&p, "ann", "c"));
    }
    clock_ahead = -400 * DAY; /* nor does what was written by a clock that was late */
    must(put(&p, "ann", conversation("late"), &err), &err);
    clock_ahead = 0;
    history_close(p.h);
    opened(&p, 7);
    assert_non_null(read_all(&p, "ann", "late"));
    place_end(&p);
}

/* Writes messages, and says so of each once it is written. */
_Noreturn static void write_many(Place *p, const char *id, int to, int count) {
    Err err = {0};
    if (!history_open(&p->h, p->a, p->data, 0, &err)) _exit(3);
    if (!put(p, "ann", conversation(id), &err)) _exit(4);
    for (int i = 0; i < count; i++) {
        const char *name = str_fmt(p->a, "m%d", i).p, *before = i ? name : NULL;
        if (i) before = str_fmt(p->a, "m%d", i - 1).p;
        if (!put(p, "ann", message(p->a, id, name, before, "The river runs"), &err)) _exit(5);
        if (write(to, &i, sizeof i) != sizeof i) _exit(6);
    }
    _exit(0);
}

static int64_t messages_of(Place *p, const char *id) {
    const char *all = read_all(p, "ann", id);
    int64_t n = 0;
    for (; all && (all = strstr(all, "{\"id\"")); all++) n++;
    return n;
}

/* kill_at: the message after which the child is killed. */
static void killed_once(Place *p, int round, int kill_at) {
    int pipes[2], status, last = -1;
    const char *id = str_fmt(p->a, "c%d", round).p;
    assert_int_equal(pipe(pipes), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) write_many(p, id, pipes[1], 1000);
    close(pipes[1]);
    while (read(pipes[0], &last, sizeof last) == sizeof last)
        if (last == kill_at) kill(pid, SIGKILL);
    close(pipes[0]);
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_true(last >= kill_at);
    opened(p, 0);
    const int64_t n = messages_of(p, id);
    assert_true(n == last + 1 || n == last + 2); /* that which was being said may be there */
    assert_non_null(strstr(found(p, "ann", "river"), id));
    history_close(p->h);
}

static void no_kill_loses_what_was_acknowledged(void **state) {
    (void)state;
    need_native();
    Place p = place_new();
    const int rounds = full_run() ? 200 : 20;
    for (int i = 0; i < rounds; i++) {
        const Mark m = arena_mark(p.a);
        killed_once(&p, i, i % 7);
        arena_pop(p.a, m);
    }
    opened(&p, 0);
    for (int i = 0; i < rounds; i++) assert_true(messages_of(&p, str_fmt(p.a, "c%d", i).p) > i % 7);
    place_end(&p);
}

/* Nobody has opened the folder before these two: both make the file, the tables and the log. */
static void two_write_at_once(void **state) {
    (void)state;
    need_native();
    for (int round = 0; round < 8; round++) {
        Place p = place_new();
        int sink[2], status;
        pid_t pid[2];
        assert_int_equal(pipe(sink), 0);
        for (int i = 0; i < 2; i++) {
            pid[i] = fork();
            assert_true(pid[i] >= 0);
            if (pid[i] == 0) write_many(&p, i ? "one" : "two", sink[1], round ? 5 : 50);
        }
        for (int i = 0; i < 2; i++) {
            assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
            assert_int_equal(status, 0);
        }
        close(sink[0]), close(sink[1]);
        opened(&p, 0);
        assert_int_equal(messages_of(&p, "one"), round ? 5 : 50);
        assert_int_equal(messages_of(&p, "two"), round ? 5 : 50);
        place_end(&p);
    }
}

static void older_schemas_are_brought_along(void **state) {
    (void)state;
    Place p = place_new();
    Err err = {0};
    opened(&p, 0);
    must(put(&p, "ann", conversation("c"), &err), &err);
    must(put(&p, "ann", message(p.a, "c", "q", NULL, "吾将上下而求索"), &err), &err);
    history_close(p.h);
    raw(&p, "DROP TABLE found; PRAGMA user_version = 1"); /* as it was before there was search */
    opened(&p, 0);
    assert_non_null(strstr(found(&p, "ann", "求索"), "\"c\""));
    history_close(p.h);
    raw(&p, "PRAGMA user_version = 99");
    assert_false(history_open(&p.h, p.a, p.data, 0, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    assert_non_null(strstr(err.msg, "version 99"));
    raw(&p, "PRAGMA user_version = 2");
    opened(&p, 0);
    assert_non_null(read_all(&p, "ann", "c"));
    place_end(&p);
}

static void a_full_disk_loses_nothing(void **state) {
    (void)state;
    need_native();
    Place p = place_new();
    Err err = {0};
    struct rlimit before, small;
    char big[20000];
    memset(big, 'x', sizeof big - 1), big[sizeof big - 1] = 0;
    signal(SIGXFSZ, SIG_IGN);
    opened(&p, 0);
    must(put(&p, "ann", conversation("c"), &err), &err);
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){400000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int n = 0;
    while (n < 100 && put(&p, "ann", message(p.a, "c", str_fmt(p.a, "m%d", n).p, NULL, big), &err))
        n++;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(n > 2 && n < 100);
    assert_int_equal(err.code, ERR_LIMIT);
    assert_non_null(strstr(err.msg, "is the disk full?"));
    assert_int_equal(messages_of(&p, "c"), n);
    err = (Err){0};
    must(put(&p, "ann", message(p.a, "c", "later", NULL, "There is room again"), &err), &err);
    history_close(p.h);
    opened(&p, 0);
    assert_int_equal(messages_of(&p, "c"), n + 1);
    assert_non_null(strstr(found(&p, "ann", "room"), "\"c\""));
    place_end(&p);
}

int test_history(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trees_are_kept),
        cmocka_unit_test(other_tenants_see_nothing),
        cmocka_unit_test(pairs_of_characters),
        cmocka_unit_test(a_nul_ends_nothing),
        cmocka_unit_test(both_languages_are_found),
        cmocka_unit_test(what_is_deleted_is_gone),
        cmocka_unit_test(what_is_old_is_removed),
        cmocka_unit_test(a_clock_that_jumps_removes_nothing),
        cmocka_unit_test(no_kill_loses_what_was_acknowledged),
        cmocka_unit_test(two_write_at_once),
        cmocka_unit_test(older_schemas_are_brought_along),
        cmocka_unit_test(a_full_disk_loses_nothing),
    };
    return cmocka_run_group_tests_name("serve history", tests, NULL, NULL);
}
