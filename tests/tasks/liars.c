/* liars.c -- puzzles read from their text and solved by another way: one solution each, thoughts
 * that leave out no way and stop at the first contradiction, canonical forms without names. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST = 4 };

typedef struct Puzzle {
    int n;
    char name[MOST][8];   /* "Ann" or "小明" */
    char said[MOST][160]; /* by each, without its full stop */
} Puzzle;

static bool is_name(const char *z) {
    return !strncmp(z, "小", 3)
           || (z[0] >= 'A' && z[0] <= 'Z' && z[1] >= 'a' && z[1] <= 'z' && strncmp(z, "Who", 3));
}

static void puzzle_read(Puzzle *z, Str prompt) {
    char text[2048];
    snprintf(text, sizeof text, "%.*s", STRF(prompt));
    const bool zh = !strncmp(text, "小", 3);
    const char *says = zh ? "说：" : " says: ", *stop = zh ? "。" : ".";
    *z = (Puzzle){0};
    for (char *at = text; (at = strstr(at, says)); z->n++) {
        assert_true(z->n < MOST);
        const int length = zh ? 6 : 3;
        memcpy(z->name[z->n], at - length, (size_t)length);
        at += strlen(says);
        snprintf(z->said[z->n], sizeof z->said[0], "%.*s", (int)(strstr(at, stop) - at), at);
    }
    char *at = text; /* the people are presented in the order in which they speak */
    for (int i = 0; i < z->n; i++) {
        assert_int_equal(strncmp(at, z->name[i], strlen(z->name[i])), 0);
        for (at++; i + 1 < z->n && !is_name(at);) at++;
    }
}

/* The people that a claim names, in order; the speaker as I or 我. */
static int people_of(const Puzzle *z, int speaker, const char *claim, int *who) {
    int n = 0;
    for (const char *at = claim; *at; at++) {
        int found = -1;
        if (!strncmp(at, "I ", 2) || !strcmp(at, "I")
            || (!strncmp(at, "我", 3) && strncmp(at, "我们", 6)))
            found = speaker;
        for (int i = 0; i < z->n; i++)
            if (!strncmp(at, z->name[i], strlen(z->name[i]))) found = i;
        if (found < 0) continue;
        assert_true(n < 2);
        who[n++] = found;
    }
    return n;
}

static bool one_holds(const char *said, bool lies) {
    return (strstr(said, " lie") || strstr(said, "说谎")) == lies;
}

static bool holds(const Puzzle *z, int speaker, const bool *lies) {
    const char *claim = z->said[speaker];
    int who[2], liars = 0, number;
    const int n = people_of(z, speaker, claim, who);
    for (int i = 0; i < z->n; i++) liars += lies[i];
    if (n == 0) {
        if (!strncmp(claim, "none of us", 10) || strstr(claim, "没有人")) return liars == 0;
        if (!strncmp(claim, "all of us", 9) || !strncmp(claim, "both of us", 10)
            || strstr(claim, "我们都"))
            return liars == z->n;
        if (sscanf(claim, "我们当中正好有%d人说谎", &number) == 1) return liars == number;
        static const char *const exactly[] = {"exactly one of us lies", "exactly two of us lie",
                                              "exactly three of us lie"};
        for (int i = 0; i < 3; i++)
            if (!strcmp(claim, exactly[i])) return liars == i + 1;
        fail_msg("not understood: %s", claim);
    }
    if (n == 1) return one_holds(claim, lies[who[0]]);
    if (strstr(claim, "different kinds") || strstr(claim, "不是同一种人"))
        return lies[who[0]] != lies[who[1]];
    if (strstr(claim, "the same kind") || strstr(claim, "是同一种人"))
        return lies[who[0]] == lies[who[1]];
    const char *joints[] = {" and ", " or ", "，而且", "，或者"};
    for (int i = 0; i < 4; i++) {
        const char *at = strstr(claim, joints[i]);
        if (!at) continue;
        char first[160];
        snprintf(first, sizeof first, "%.*s", (int)(at - claim), claim);
        const bool x = one_holds(first, lies[who[0]]), y = one_holds(at, lies[who[1]]);
        assert_true(i % 2 == 0 || strstr(at, ", or both") || strstr(at, "，或者两者都对"));
        return i % 2 ? x || y : x && y;
    }
    fail_msg("not understood: %s", claim);
    return false;
}

/* The ways to be as they are tried: the last person's changes first. */
static void way(bool *lies, int n, int k) {
    for (int i = 0; i < n; i++) lies[i] = k >> (n - 1 - i) & 1;
}

static int agree(const Puzzle *z, const bool *lies) {
    int i = 0;
    while (i < z->n && holds(z, i, lies) != lies[i]) i++;
    return i;
}

static char *put(char *to, const char *s) { return to + sprintf(to, "%s", s); }

static char *letter(char *to, const char *name) {
    const bool zh = !strncmp(name, "小", 3);
    return to + sprintf(to, "%.*s", zh ? 3 : 1, zh ? name + 3 : name);
}

static char *sign(char *to, const char *name, bool lies) {
    return put(letter(to, name), lies ? "-" : "+");
}

/* How many must lie for a claim about a number; -1: it is about people. */
static int number_claimed(const Puzzle *z, int speaker) {
    bool lies[MOST] = {false};
    int who[2], number = 0;
    if (people_of(z, speaker, z->said[speaker], who)) return -1;
    while (!holds(z, speaker, lies)) lies[number++] = true;
    return number;
}

/* What a thought says of a claim, found by asking when it holds. */
static char *claim(char *to, const Puzzle *z, int speaker) {
    int who[2];
    const int number = number_claimed(z, speaker);
    if (number >= 0) return to + sprintf(to, "#%d", number);
    const int n = people_of(z, speaker, z->said[speaker], who);
    bool holds_for[4], lies[MOST] = {false};
    int sum = 0;
    for (int i = 0; i < 4; i++) {
        lies[who[0]] = i & 1;
        if (n > 1) lies[who[1]] = i & 2;
        sum += holds_for[i] = holds(z, speaker, lies);
    }
    if (n == 1) return sign(to, z->name[who[0]], holds_for[1]);
    if (holds_for[0] == holds_for[3] && sum == 2) {
        to = put(letter(to, z->name[who[0]]), holds_for[0] ? "=" : "~");
        return letter(to, z->name[who[1]]);
    }
    const bool both = sum == 1; /* "or" fails in one case, and that is the other way round */
    int at = 0;
    while (holds_for[at] != both) at++;
    if (!both) at ^= 3;
    to = put(sign(to, z->name[who[0]], at & 1), both ? "&" : "|");
    return sign(to, z->name[who[1]], at & 2);
}

/* "A(B-)+": how those are that a claim is about, and what it makes its speaker. */
static char *verdict(char *to, const Puzzle *z, int speaker, const bool *lies) {
    int who[2], liars = 0;
    const int n = people_of(z, speaker, z->said[speaker], who);
    for (int i = 0; i < z->n; i++) liars += lies[i];
    to = put(letter(to, z->name[speaker]), "(");
    if (!n) to += sprintf(to, "#%d", liars);
    for (int i = 0; i < n; i++) to = sign(to, z->name[who[i]], lies[who[i]]);
    return put(to, holds(z, speaker, lies) ? ")+" : ")-");
}

static void puzzles_have_one_solution(void **state) {
    Arena *a = *state;
    int64_t nobody = 0, all_lie = 0;
    for (int level = 2; level <= MOST; level++)
        for (int64_t k = 0; k < 1000; k++) {
            TaskStream s = task_stream(task_of("liars"), 3, false);
            s.easiest = s.hardest = level, s.canonical = true;
            Problem p;
            Puzzle z;
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            puzzle_read(&z, p.prompt);
            assert_int_equal(z.n, level);
            char expected[2048] = "", answer[128] = "", *to = expected;
            for (int i = 0; i < level; i++) {
                if (i) *to++ = ' ';
                to = claim(put(letter(to, z.name[i]), ":"), &z, i);
            }
            int solutions = 0, liars = 0;
            for (int way_n = 0; way_n < 1 << level; way_n++) {
                bool lies[MOST];
                way(lies, level, way_n);
                const int stop = agree(&z, lies);
                if (solutions == 0) { /* what the thought should say up to the solution */
                    *to++ = ' ';
                    for (int i = 0; i < level; i++) to = sign(to, z.name[i], lies[i]);
                    to = put(to, ":");
                    for (int i = 0; i < level && i <= stop; i++) to = verdict(to, &z, i, lies);
                }
                if (stop < level) continue;
                solutions++;
                for (int i = 0; i < level; i++) {
                    if (!lies[i]) continue;
                    if (liars++) strcat(answer, k % 2 ? "、" : ", ");
                    strcat(answer, z.name[i]);
                }
            }
            if (!liars) strcpy(answer, k % 2 ? "没有人" : "nobody");
            assert_int_equal(solutions, 1);
            assert_string_equal(p.answer.p, answer);
            assert_string_equal(str_copy(a, p.thought).p, expected);
            assert_string_equal(p.stratum, k % 2 ? "chinese" : "english");
            nobody += liars == 0, all_lie += liars == level;
            arena_pop(a, mark);
        }
    assert_true(nobody > 50 && all_lie > 50);
}

/* ---- canonical forms ------------------------------------------------------------------------- */

/* A claim where person i has the letter of as[i], what may be exchanged in the order of letters. */
static void claim_form(char *to, const Puzzle *z, int speaker, const int *as) {
    const char *claim = z->said[speaker];
    bool lies[MOST] = {false};
    int who[2], number = 0;
    char part[2][4];
    const int n = people_of(z, speaker, claim, who);
    if (n == 0) {
        while (!holds(z, speaker, lies)) lies[number++] = true;
        sprintf(to, "%c:n%d", 'a' + as[speaker], number);
        return;
    }
    const bool kind = strstr(claim, "kind") || strstr(claim, "同一种");
    for (int i = 0; i < n; i++) {
        const char *at = claim;
        if (i) at = strstr(claim, " and ") ? strstr(claim, " and ") : strstr(claim, " or ");
        if (i && !at) at = strstr(claim, "，");
        char said[160];
        snprintf(said, sizeof said, "%s", at && !kind ? at : "");
        if (n == 2 && i == 0) said[strcspn(said, ",")] = 0;
        for (const char *const *j = (const char *const[]){" and ", " or ", "，", NULL}; !i && *j;
             j++)
            if (strstr(said, *j)) *strstr(said, *j) = 0;
        sprintf(part[i], "%c%c", 'a' + as[who[i]], kind ? '=' : one_holds(said, true) ? '-' : '+');
    }
    if (n == 2 && strcmp(part[0], part[1]) > 0)
        sprintf(to, "%c:%s%s", 'a' + as[speaker], part[1], part[0]);
    else
        sprintf(to, "%c:%s%s", 'a' + as[speaker], part[0], n == 2 ? part[1] : "");
    const bool any = strstr(claim, " or ") || strstr(claim, "或者");
    const bool differ = strstr(claim, "different") || strstr(claim, "不是同");
    strcat(to, any ? "|" : differ ? "!" : "");
}

static int by_text(const void *x, const void *y) { return strcmp(x, y); }

/* What is said, in the least of all orders of the people. */
static const char *form_of(Arena *a, const Puzzle *z) {
    const char *least = NULL;
    for (int code = 0; code < 1 << 2 * MOST; code++) {
        int as[MOST], seen = 0;
        char claim[MOST][32];
        for (int i = 0; i < z->n; i++) seen |= 1 << (as[i] = code >> 2 * i & 3);
        if (seen != (1 << z->n) - 1 || code >> 2 * z->n) continue;
        for (int i = 0; i < z->n; i++) claim_form(claim[i], z, i, as);
        qsort(claim, (size_t)z->n, sizeof *claim, by_text);
        Buf b = {.a = a};
        for (int i = 0; i < z->n; i++) buf_fmt(&b, "%s ", claim[i]);
        const char *form = str_copy(a, buf_str(&b)).p;
        if (!least || strcmp(form, least) < 0) least = form;
    }
    return least;
}

/* Puzzles have one canonical form exactly where the same is said, whoever is called how, in either
 * language and order. */
static void canonical_forms_have_no_names(void **state) {
    enum { N = 4000 };
    Arena *a = *state;
    Pair *pair = PUSH(a, Pair, N);
    TaskStream s = task_stream(task_of("liars"), 12, false);
    s.canonical = true;
    for (int64_t k = 0; k < N; k++) {
        Problem p;
        Puzzle z;
        task_problem(&p, a, &s, k);
        puzzle_read(&z, p.prompt);
        pair[k] = (Pair){form_of(a, &z), str_copy(a, p.canonical).p, k % 2};
    }
    pairs_agree(pair, N, 1000, 400);
}

static void answers_have_one_form(void **state) {
    (void)state;
    const Task *t = task_of("liars");
    const Problem p = {.answer = STR("Bob, Cat"), .canonical = STR("liars"), .stratum = "english"};
    static const char *const wrong[] = {"Cat, Bob",      "Bob and Cat",
                                        "Bob,Cat",       "Bob",
                                        "Cat",           "Bob, Cat, Ann",
                                        "Bob, Cat, Cat", "bob, cat",
                                        "Bob, Cat lie",  "Ann: truth, Bob: lie, Cat: lie",
                                        "nobody",        "Bob、Cat",
                                        "Bob,  Cat",     "Bob, Cat\n\nBob",
                                        "not Bob, Cat",  "A+B-C-:A+B-C-"};
    assert_true(takes(t, &p, "Bob, Cat") && takes(t, &p, " Bob, Cat\n"));
    for (int64_t i = 0; i < COUNT(wrong); i++) assert_false(takes(t, &p, wrong[i]));
}

int liars_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(puzzles_have_one_solution),
        ARENA_TEST(canonical_forms_have_no_names),
        ARENA_TEST(answers_have_one_form),
    };
    return cmocka_run_group_tests_name("liars", tests, NULL, NULL);
}
