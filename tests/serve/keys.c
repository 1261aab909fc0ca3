/* keys.c -- tests of keys, usage and limits: what is stored says nothing about keys, what was
 * acknowledged survives a kill, several processes at once, buckets by a clock of the test's. */
#define _GNU_SOURCE
#include "serve/keys.h"
#include "serve/limiter.h"
#include "serve/sql.h"
#include "tests.h"
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *data_new(Arena *a) {
    const char *base = os_env("TMPDIR");
    char *path = PUSH(a, char, 4096);
    snprintf(path, 4096, "%s/lisao-keys-XXXXXX", base ? base : P_tmpdir);
    assert_non_null(mkdtemp(path));
    return path;
}

static Key key_like(const char *name) {
    Key k = {.scopes = SCOPE_CHAT, .limits.weight = 1};
    snprintf(k.name, sizeof k.name, "%s", name);
    snprintf(k.tenant, sizeof k.tenant, "team");
    return k;
}

static bool stored_anywhere(Arena *a, const char *data, const char *text) {
    Str *name, bytes;
    int64_t n;
    Err err = {0};
    const char *folder = str_fmt(a, "%s/keys", data).p;
    must(os_list(a, &name, &n, folder, &err), &err);
    assert_true(n >= 2);
    for (int64_t i = 0; i < n; i++) {
        must(os_read(a, &bytes, str_fmt(a, "%s/%.*s", folder, STRF(name[i])).p, 1 << 24, &err),
             &err);
        if (bytes.n && memmem(bytes.p, (size_t)bytes.n, text, strlen(text))) return true;
    }
    return false;
}

/* The clock was a day ahead when the key was last used. */
static void use_is_noted_after_the_clock_was_set_back(void **state) {
    enum { DAY = 86400 };
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key key = key_like("laptop"), who;
    char text[KEY_TEXT];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    clock_ahead = DAY;
    assert_true(keys_check(k, str_of(text), &who));
    const int64_t then = who.used;
    clock_ahead = 0;
    assert_true(keys_check(k, str_of(text), &who));
    assert_true(who.used >= then - DAY && who.used < then - DAY / 2);
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

static void a_key_is_known_by_its_text_alone(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key key = key_like("laptop"), who;
    key.limits.tokens_day = 77;
    char text[KEY_TEXT], other[KEY_TEXT];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    assert_int_equal(strlen(text), KEY_TEXT - 1);
    assert_true(str_starts(str_of(text), STR("lisao-sk-")));
    assert_true(keys_check(k, str_of(text), &who));
    assert_int_equal(who.id, key.id);
    assert_string_equal(who.name, "laptop");
    assert_string_equal(who.tenant, "team");
    assert_int_equal(who.scopes, SCOPE_CHAT);
    assert_int_equal(who.limits.tokens_day, 77);
    assert_true(who.used > 0);
    assert_true(keys_check(k, str_fmt(a, "Bearer %s", text), &who));
    assert_true(keys_check(k, str_fmt(a, "bearer  %s ", text), &who));
    assert_false(keys_check(k, str_fmt(a, "Basic %s", text), &who));
    assert_false(keys_check(k, STR(""), &who));
    assert_false(keys_check(k, STR("Bearer "), &who));
    assert_int_equal(who.id, 0);
    for (int i = 0; i < KEY_TEXT - 1; i++) { /* every character counts */
        memcpy(other, text, KEY_TEXT);
        other[i] = other[i] == 'x' ? 'y' : 'x';
        assert_false(keys_check(k, str_of(other), &who));
    }
    assert_false(keys_check(k, (Str){text, KEY_TEXT - 2}, &who));
    assert_false(stored_anywhere(a, data, text));
    assert_false(stored_anywhere(a, data, text + 9));
    assert_true(stored_anywhere(a, data, "laptop"));
    keys_close(k);
    /* No other user may read it. */
    struct stat st;
    const char *private[] = {"keys", "keys/pepper", "keys/keys.db"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(str_fmt(a, "%s/%s", data, private[i]).p, &st), 0);
        assert_int_equal(st.st_mode & 077, 0);
    }
    /* Under another pepper it is nobody's. */
    must(os_put(a, str_fmt(a, "%s/keys/pepper", data).p, STR("01234567890123456789012345678901"),
                &err),
         &err);
    must(keys_open(&k, a, data, &err), &err);
    assert_false(keys_check(k, str_of(text), &who));
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

static void revoked_rotated_expired(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k, *second; /* of another process, as it were */
    Key one = key_like("one"), two = key_like("two"), late = key_like("late"), who, *list;
    char text[3][KEY_TEXT], anew[KEY_TEXT];
    int64_t n;
    must(keys_open(&k, a, data, &err), &err);
    must(keys_open(&second, a, data, &err), &err);
    late.expires = os_time() - 1;
    must(keys_create(k, &one, text[0], &err), &err);
    must(keys_create(k, &two, text[1], &err), &err);
    must(keys_create(k, &late, text[2], &err), &err);
    assert_false(keys_check(k, str_of(text[2]), &who));
    assert_int_equal(keys_count(k), 2);
    must(keys_revoke(second, one.id, &err), &err);
    assert_false(keys_check(k, str_of(text[0]), &who));
    assert_true(keys_check(k, str_of(text[1]), &who));
    must(keys_rotate(second, two.id, anew, &err), &err);
    assert_false(keys_check(k, str_of(text[1]), &who));
    assert_true(keys_check(k, str_of(anew), &who));
    assert_int_equal(who.id, two.id);
    assert_false(keys_revoke(k, one.id, &(Err){0}));
    assert_false(keys_rotate(k, one.id, anew, &(Err){0}));
    assert_false(keys_revoke(k, 99, &err));
    assert_non_null(strstr(err.msg, "there is no key 99"));
    must(keys_list(k, a, &list, &n, &(Err){0}), &err);
    assert_int_equal(n, 3);
    assert_true(list[0].revoked > 0 && !list[1].revoked);
    assert_int_equal(keys_count(k), 1);
    int64_t scopes;
    assert_true(scopes_parse(&scopes, STR("chat,train:read"), &(Err){0}));
    assert_int_equal(scopes, SCOPE_CHAT | SCOPE_TRAIN_READ);
    assert_true(str_eq(scopes_text(a, scopes), STR("chat,train:read")));
    assert_false(scopes_parse(&scopes, STR("chat,cat"), &(Err){0}));
    assert_false(scopes_parse(&scopes, STR(""), &(Err){0}));
    snprintf(one.name, sizeof one.name, "a\nb");
    assert_false(keys_create(k, &one, anew, &(Err){0}));
    keys_close(k), keys_close(second);
    tree_remove(a, data);
    arena_close(a);
}

/* Uses a link's token; what it says of it. */
static LinkState used(Keys *k, const char *token, Key *who, char text[KEY_TEXT]) {
    LinkState state;
    Err err = {0};
    must(links_use(k, str_of(token), &state, who, text, &err), &err);
    assert_int_equal(*text != 0, state == LINK_OPEN);
    return state;
}

static void link_new(Keys *k, int64_t key, KeyLink *link, char token[KEY_TEXT]) {
    Err err = {0};
    *link = (KeyLink){.key = key, .expires = os_time() + 3600};
    must(links_create(k, link, token, &err), &err);
}

static void a_link_lets_one_in_as_its_key(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k, *second; /* of another process, as it were */
    Key key = key_like("ann"), who, *list;
    KeyLink link, other, *links;
    char text[KEY_TEXT], token[KEY_TEXT], wrong[KEY_TEXT], session[KEY_TEXT], again[KEY_TEXT];
    int64_t n;
    key.limits.tokens_day = 77;
    must(keys_open(&k, a, data, &err), &err);
    must(keys_open(&second, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    link_new(k, key.id, &link, token);
    assert_true(str_starts(str_of(token), STR("lisao-in-")));
    assert_false(keys_check(k, str_of(token), &who));             /* it is no key, */
    assert_int_equal(used(k, text, &who, session), LINK_UNKNOWN); /* nor a key a link */
    for (int i = 0; i < KEY_TEXT - 1; i++) {
        memcpy(wrong, token, KEY_TEXT);
        wrong[i] = wrong[i] == 'x' ? 'y' : 'x';
        assert_int_equal(used(k, wrong, &who, session), LINK_UNKNOWN);
        assert_int_equal(who.id, 0);
    }
    assert_int_equal(used(k, "", &who, session), LINK_UNKNOWN);
    assert_int_equal(used(k, token, &who, session), LINK_OPEN);
    assert_int_equal(who.id, key.id);
    assert_int_equal(used(second, token, &who, again), LINK_USED);
    /* What it was exchanged for is the same key: its id, limits, scopes, tenant. */
    assert_string_not_equal(session, text);
    assert_true(keys_check(second, str_fmt(a, "Bearer %s", session), &who));
    assert_int_equal(who.id, key.id);
    assert_string_equal(who.tenant, "team");
    assert_int_equal(who.scopes, SCOPE_CHAT);
    assert_int_equal(who.limits.tokens_day, 77);
    must(keys_list(k, a, &list, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(keys_count(k), 1);
    must(links_list(k, a, &links, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_int_equal(links[0].id, link.id);
    assert_int_equal(links[0].key, key.id);
    assert_true(links[0].used > 0 && !links[0].revoked);
    const char *never[] = {text, token, session};
    for (int i = 0; i < 3; i++) assert_false(stored_anywhere(a, data, never[i] + 9));
    /* Ended alone, the key goes on, and so does another link. */
    link_new(k, key.id, &other, token);
    must(links_revoke(second, link.id, &err), &err);
    assert_false(keys_check(k, str_of(session), &who));
    assert_true(keys_check(k, str_of(text), &who));
    assert_int_equal(used(k, token, &who, session), LINK_OPEN);
    assert_false(links_revoke(k, link.id, &(Err){0}));
    assert_false(links_revoke(k, 99, &err));
    assert_non_null(strstr(err.msg, "there is no link 99"));
    /* Revoked with the key. */
    link_new(k, key.id, &link, token);
    must(keys_revoke(k, key.id, &(Err){0}), &err);
    assert_false(keys_check(k, str_of(session), &who));
    assert_int_equal(used(k, token, &who, again), LINK_REVOKED);
    err = (Err){0};
    assert_false(links_create(k, &link, token, &err));
    assert_non_null(strstr(err.msg, "there is no key 1 that is in use"));
    keys_close(k), keys_close(second);
    tree_remove(a, data);
    arena_close(a);
}

static void links_expire_and_end(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key key = key_like("ann"), late = key_like("late"), who;
    KeyLink link;
    char text[KEY_TEXT], token[KEY_TEXT], session[KEY_TEXT], other[KEY_TEXT];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    late.expires = os_time() + 60;
    must(keys_create(k, &late, text, &err), &err);
    link_new(k, key.id, &link, token);
    clock_ahead = 3599;
    link_new(k, key.id, &link, other);
    clock_ahead = 3601;
    assert_int_equal(used(k, token, &who, session), LINK_EXPIRED);
    assert_int_equal(who.id, key.id);
    assert_int_equal(used(k, other, &who, session), LINK_OPEN);
    clock_ahead = 86400; /* what was let in stays */
    assert_true(keys_check(k, str_of(session), &who));
    clock_ahead = 0;
    /* It ends when the key does, */
    link_new(k, late.id, &link, token);
    assert_int_equal(used(k, token, &who, other), LINK_OPEN);
    link_new(k, late.id, &link, token);
    clock_ahead = 61;
    assert_false(keys_check(k, str_of(other), &who));
    assert_int_equal(used(k, token, &who, other), LINK_REVOKED);
    clock_ahead = 0;
    /* and where the key gets another text, with the links that are open. */
    link_new(k, key.id, &link, token);
    must(keys_rotate(k, key.id, text, &err), &err);
    assert_false(keys_check(k, str_of(session), &who));
    assert_int_equal(used(k, token, &who, other), LINK_REVOKED);
    assert_true(keys_check(k, str_of(text), &who));
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

/* Waits until `go` can be read no more, then uses the link and ends with 0 where it was let in. */
static void use_at_once(const char *data, int go, const char *token) {
    Arena *a = arena_open("child", 1 << 26);
    Err err = {0};
    Keys *k;
    Key who;
    LinkState link;
    char text[KEY_TEXT], c;
    if (!keys_open(&k, a, data, &err)) _exit(3);
    if (read(go, &c, 1) != 0) _exit(4);
    if (!links_use(k, str_of(token), &link, &who, text, &err)) _exit(5);
    _exit(link == LINK_OPEN ? 0 : link == LINK_USED ? 1 : 6);
}

static void of_many_at_once_one_gets_it(void **state) {
    enum { MANY = 6 };
    (void)state;
    need_native();
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key key = key_like("ann");
    KeyLink link;
    char text[KEY_TEXT], token[KEY_TEXT];
    int go[2], status, in = 0, refused = 0;
    pid_t pid[MANY];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    link_new(k, key.id, &link, token);
    assert_int_equal(pipe(go), 0);
    for (int i = 0; i < MANY; i++) {
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (pid[i] == 0) close(go[1]), use_at_once(data, go[0], token);
    }
    close(go[0]), close(go[1]);
    for (int i = 0; i < MANY; i++) {
        waitpid(pid[i], &status, 0);
        assert_true(WIFEXITED(status));
        in += WEXITSTATUS(status) == 0, refused += WEXITSTATUS(status) == 1;
    }
    assert_int_equal(in, 1);
    assert_int_equal(refused, MANY - 1);
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

/* A store as the program before links has made it, with a key in it, and again behind that one. */
static void an_older_store_is_brought_along(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key key = key_like("old"), who;
    KeyLink link;
    Sql sql;
    char text[KEY_TEXT], token[KEY_TEXT], session[KEY_TEXT];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    must(usage_add(k, key.id, 0, &(Usage){1, 10, 20, 3, 0}, &err), &err);
    keys_close(k);
    for (int i = 0; i < 2; i++) {
        must(sql_open(&sql, str_fmt(a, "%s/keys/keys.db", data).p, &err), &err);
        if (i == 0)
            must(sql_do(&sql, "DROP TABLE links; DROP TABLE refusals;", "making it old", &err),
                 &err);
        must(sql_do(&sql, "PRAGMA user_version = 1;", "making it old", &err), &err);
        sql_close(&sql);
        must(keys_open(&k, a, data, &err), &err);
        assert_true(keys_check(k, str_of(text), &who));
        if (i == 0) link_new(k, key.id, &link, token);
        if (i == 1) assert_int_equal(used(k, token, &who, session), LINK_OPEN);
        keys_close(k);
    }
    tree_remove(a, data);
    arena_close(a);
}

static void usage_adds_up(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    UsageDay *day;
    int64_t n;
    Key key = key_like("one");
    char text[KEY_TEXT];
    must(keys_open(&k, a, data, &err), &err);
    must(keys_create(k, &key, text, &err), &err);
    for (int i = 0; i < 10; i++)
        must(usage_add(k, key.id, 86400 * (100 + i / 5), &(Usage){1, 10, 20, 3, 0}, &err), &err);
    for (int i = 0; i < 3; i++)
        must(usage_add(k, key.id, 86400 * 101, &(Usage){.refused = 2}, &err), &err);
    assert_false(usage_add(k, 99, 0, &(Usage){1, 1, 1, 1, 0}, &(Err){0})); /* nobody's */
    must(usage_show(k, a, 0, 0, &day, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(day[1].day, 101);
    assert_int_equal(day[1].key, key.id);
    assert_int_equal(day[1].usage.requests, 5);
    assert_int_equal(day[1].usage.tokens_in, 50);
    assert_int_equal(day[1].usage.tokens_out, 100);
    assert_int_equal(day[1].usage.tokens_cached, 15);
    assert_int_equal(day[1].usage.refused, 6);
    assert_int_equal(day[0].usage.refused, 0);
    must(usage_show(k, a, key.id, 101, &day, &n, &err), &err);
    assert_int_equal(n, 1);
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

/* Creates keys and writes each to the pipe when it is acknowledged. */
static void create_many(const char *data, int to, int count) {
    Arena *a = arena_open("child", 1 << 26);
    Err err = {0};
    Keys *k;
    if (!keys_open(&k, a, data, &err)) _exit(3);
    for (int i = 0; i < count; i++) {
        Key key = key_like("many");
        char text[KEY_TEXT];
        if (!keys_create(k, &key, text, &err)) _exit(4);
        if (write(to, text, KEY_TEXT) != KEY_TEXT) _exit(5);
    }
    _exit(0);
}

/* Two processes that begin at once create 50 keys each; where `killed`, they are. */
static void acknowledged_keys_stay(bool killed) {
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Err err = {0};
    Keys *k;
    Key who;
    int pipes[2][2], status, known = 0;
    pid_t pid[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe(pipes[i]), 0);
        pid[i] = fork();
        assert_true(pid[i] >= 0);
        if (pid[i] == 0) create_many(data, pipes[i][1], 50);
        close(pipes[i][1]);
    }
    char text[100][KEY_TEXT];
    for (int i = 0; i < 2; i++) {
        while (read(pipes[i][0], text[known], KEY_TEXT) == KEY_TEXT) {
            known++;
            if (killed && known >= 20) kill(pid[0], SIGKILL), kill(pid[1], SIGKILL);
        }
        close(pipes[i][0]);
    }
    for (int i = 0; i < 2; i++) {
        waitpid(pid[i], &status, 0);
        if (!killed) assert_int_equal(status, 0);
    }
    must(keys_open(&k, a, data, &err), &err);
    for (int i = 0; i < known; i++) assert_true(keys_check(k, str_of(text[i]), &who));
    assert_true(killed ? known >= 20 : known == 100);
    assert_true(keys_count(k) >= known && keys_count(k) <= known + (killed ? 2 : 0));
    keys_close(k);
    tree_remove(a, data);
    arena_close(a);
}

static void two_processes_at_once(void **state) {
    (void)state;
    need_native();
    acknowledged_keys_stay(false);
}

static void killed_in_the_middle(void **state) {
    (void)state;
    need_native();
    for (int i = 0; i < (full_run() ? 20 : 3); i++) acknowledged_keys_stay(true);
}

static void damaged_files_are_errors(void **state) {
    (void)state;
    Arena *a = arena_open("keys", 1 << 28);
    const char *data = data_new(a);
    Keys *k;
    Err err = {0}, why = {0};
    must(os_mkdir(str_fmt(a, "%s/keys", data).p, &err), &err);
    must(os_put(a, str_fmt(a, "%s/keys/pepper", data).p, STR("short"), &err), &err);
    assert_false(keys_open(&k, a, data, &why));
    assert_non_null(strstr(why.msg, "restore it from a copy"));
    why = (Err){0};
    must(os_put(a, str_fmt(a, "%s/keys/pepper", data).p, STR("01234567890123456789012345678901"),
                &err),
         &err);
    must(os_put(a, str_fmt(a, "%s/keys/keys.db", data).p,
                STR("this is no database at all, but a text of some length that says so; and more"),
                &err),
         &err);
    assert_false(keys_open(&k, a, data, &why));
    assert_non_null(strstr(why.msg, "keys.db"));
    tree_remove(a, data);
    arena_close(a);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void near(double x, double wanted) {
    if (x < wanted - 1e-6 || x > wanted + 1e-6) fail_msg("%.9f, not %.9f", x, wanted);
}

static void buckets(void **state) {
    (void)state;
    Arena *a = arena_open("limits", 1 << 20);
    Limiter *l = limiter_new(a, 3);
    const KeyLimits none = {0}, requests = {.requests_minute = 6}, tokens = {.tokens_minute = 600},
                    day = {.tokens_day = 86400}, two = {.concurrent = 2};
    for (int i = 0; i < 1000; i++) near(limiter_admit(l, 1, &none, 1000000, 5), 0);
    for (int i = 0; i < 6; i++) near(limiter_admit(l, 2, &requests, 0, 100), 0);
    near(limiter_admit(l, 2, &requests, 0, 100), 10); /* one every ten seconds */
    near(limiter_admit(l, 2, &requests, 0, 104), 6);  /* a refusal costs nothing */
    near(limiter_wait(l, 2, &requests, 104), 6);      /* nor does asking */
    near(limiter_admit(l, 2, &requests, 0, 110), 0);
    near(limiter_admit(l, 2, &requests, 0, 110), 10);
    near(limiter_admit(l, 2, &requests, 0, 109),
         10); /* a clock never goes back: nothing is given */
    for (int i = 0; i < 6; i++)
        near(limiter_admit(l, 2, &requests, 0, 100000), 0); /* and not more */
    near(limiter_admit(l, 2, &requests, 0, 100000), 10);
    near(limiter_admit(l, 3, &tokens, 500, 0), 0);
    near(limiter_admit(l, 3, &tokens, 200, 0), 10);
    limiter_spend(l, 3, &tokens, 400, 0); /* 300 are owed */
    near(limiter_admit(l, 3, &tokens, 200, 0), 50);
    near(limiter_admit(l, 3, &tokens, 5000, 0),
         90);                                   /* more than the limit: when all of it is there */
    near(limiter_wait(l, 3, &tokens, 0), 30.1); /* there is one token */
    near(limiter_admit(l, 3, &tokens, 5000, 90), 0);
    near(limiter_wait(l, 3, &tokens, 90), 440.1); /* 4400 are owed */
    for (int i = 0; i < 1000; i++) limiter_done(l, 1);
    near(limiter_admit(l, 4, &day, 86400, 0), 0); /* in the place of 1, which is idle */
    near(limiter_admit(l, 4, &day, 3600, 0), 3600);
    near(limiter_admit(l, 5, &none, 0, 0), 1); /* all three are at work */
    limiter_done(l, 4);
    near(limiter_admit(l, 6, &two, 0, 7), 0);
    near(limiter_admit(l, 6, &two, 0, 7), 0);
    near(limiter_admit(l, 6, &two, 0, 7), 1);
    limiter_done(l, 6);
    near(limiter_admit(l, 6, &two, 0, 7), 0);
    limiter_done(l, 77);
    arena_close(a);
}

int test_keys(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(use_is_noted_after_the_clock_was_set_back),
        cmocka_unit_test(a_key_is_known_by_its_text_alone),
        cmocka_unit_test(revoked_rotated_expired),
        cmocka_unit_test(a_link_lets_one_in_as_its_key),
        cmocka_unit_test(links_expire_and_end),
        cmocka_unit_test(of_many_at_once_one_gets_it),
        cmocka_unit_test(an_older_store_is_brought_along),
        cmocka_unit_test(usage_adds_up),
        cmocka_unit_test(two_processes_at_once),
        cmocka_unit_test(killed_in_the_middle),
        cmocka_unit_test(damaged_files_are_errors),
        cmocka_unit_test(buckets),
    };
    return cmocka_run_group_tests_name("serve keys", tests, NULL, NULL);
}
