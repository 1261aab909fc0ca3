/* word_problems.c -- word problems: what the sentences say, read and solved here by another way;
 * thoughts that say what the text says and then compute it step by step; canonical forms that
 * neither language, names, numbers nor order move. */
#include "tests.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- reading what is said -------------------------------------------------------------------- */

/* What a word of a sentence says about its kind; the first that is found counts. */
typedef struct Word {
    const char *word;
    char kind; /* p l m f t q s g, of questions a d b */
    int factor;
} Word;
static const Word english[] = {{" each", 'p', 0},     {"In each", 'p', 0},   {"gave away", 'l', 0},
                               {"lost", 'l', 0},      {"taken out", 'l', 0}, {"wanted", 'l', 0},
                               {" now ", 'l', 0},     {" more ", 'm', 0},    {" fewer", 'f', 0},
                               {" less ", 'f', 0},    {"cheaper", 'f', 0},   {"twice", 't', 2},
                               {" times ", 't', 0},   {" half ", 'q', 2},    {" third ", 'q', 3},
                               {" quarter ", 'q', 4}, {"ogether", 's', 0}};
static const Word chinese[] = {
    {"加起来", 's', 0},   {"总和", 's', 0},    {"之和", 's', 0}, {"每", 'p', 0},   {"送出", 'l', 0},
    {"丢了", 'l', 0},     {"拿走", 'l', 0},    {"想", 'l', 0},   {"原价", 'l', 0}, {"多", 'm', 0},
    {"贵", 'm', 0},       {"少", 'f', 0},      {"便宜", 'f', 0}, {"倍", 't', 0},   {"一半", 'q', 2},
    {"三分之一", 'q', 3}, {"四分之一", 'q', 4}};

typedef struct Said {
    char kind;
    int name[3], names;
    long number[2];
    int numbers, value; /* 0: not known yet */
} Said;

/* In which names are told from other words in different ways. */
typedef enum World { ENGLISH, PEOPLE_ZH, BOXES_ZH, GOODS_ZH } World;

static World world_of(Str prompt) {
    if ((uint8_t)prompt.p[0] < 0x80) return ENGLISH;
    return strstr(prompt.p, "箱子") ? BOXES_ZH : strstr(prompt.p, "小") ? PEOPLE_ZH : GOODS_ZH;
}

static bool word_in(const char *z, const char *list) {
    char word[16] = " ";
    const int n = (int)strspn(z, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (n > 12) return false;
    memcpy(word + 1, z, (size_t)n);
    strcat(word, " ");
    return strstr(list, word) != NULL;
}

/* A name gets a number. In English a person's has a capital, any other stands behind "the". */
static bool name_at(World world, const char *z, const char **end, int *name) {
    if (world == ENGLISH) {
        const char *from = z;
        if (!strncmp(z, "the ", 4) || !strncmp(z, "The ", 4)) from = z + 4;
        if (from == z && (*z < 'A' || *z > 'Z')) return false;
        if (word_in(from, " How What There Together Compared Of In The number price "))
            return false;
        const int n = (int)strspn(from, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
        *name = (int)(checksum(from, n, 1) >> 33);
        *end = from + n;
        return true;
    }
    const char *from = z;
    if (world == PEOPLE_ZH && strncmp(z, "小", 3) != 0) return false;
    if (world == PEOPLE_ZH) from += 3;
    if (world == BOXES_ZH && strncmp(z + 3, "箱子", 6) != 0) return false;
    if (world == GOODS_ZH) {
        const char *goods = "笔书球伞灯碗锅钟花糖茶鞋鼓琴刀画米油鱼瓜";
        char one[4] = "";
        memcpy(one, z, 3);
        if ((uint8_t)*z < 0x80 || !strstr(goods, one)) return false;
    }
    *name = (uint8_t)from[0] << 16 | (uint8_t)from[1] << 8 | (uint8_t)from[2];
    *end = from + 3;
    return true;
}

static void turn(int *name, int n) { /* the last one comes first */
    const int last = name[n - 1];
    memmove(name + 1, name, (size_t)(n - 1) * sizeof *name);
    name[0] = last;
}

static Said sentence_read(World world, const char *z, const char *end, bool question) {
    Said s = {.kind = question ? 'a' : 'g'};
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)(end - z), z);
    const Word *w = world == ENGLISH ? english : chinese;
    const int64_t words = world == ENGLISH ? COUNT(english) : COUNT(chinese);
    for (int64_t i = 0; i < words && !question; i++)
        if (strstr(text, w[i].word)) {
            s.kind = w[i].kind;
            if (w[i].factor) s.number[s.numbers++] = w[i].factor;
            break;
        }
    if (question && (strstr(text, " more ") || strstr(text, "比"))) s.kind = 'd';
    if (question && (strstr(text, "together") || strstr(text, "一共"))) s.kind = 'b';
    for (const char *at = text, *next; *at; at = next) {
        int name;
        next = at + ((uint8_t)*at >= 0xe0 ? 3 : 1);
        if (name_at(world, at, &next, &name)) {
            assert_true(s.names < 3);
            s.name[s.names++] = name;
        } else if (*at >= '0' && *at <= '9') {
            assert_true(s.numbers < 2);
            s.number[s.numbers++] = strtol(at, (char **)&next, 10);
        }
    }
    /* Sentences whose subject comes last. */
    if (strstr(text, "Compared") || strstr(text, "相比")) turn(s.name, 2);
    if (strstr(text, "Together")) turn(s.name, 3);
    return s;
}

/* The sentences, the question last. */
static int problem_read(Said *s, Str prompt) {
    static const char *const ends[] = {". ", "? ", "。", "？"};
    char text[2048];
    int n = 0;
    snprintf(text, sizeof text, "%.*s ", STRF(prompt));
    for (char *z = text; *z;) {
        char *first = NULL;
        int length = 0, which = 0;
        for (int i = 0; i < 4; i++) {
            char *at = strstr(z, ends[i]);
            if (at && (!first || at < first)) first = at, length = (int)strlen(ends[i]), which = i;
        }
        if (!first) break;
        assert_true(n < 20);
        s[n++] = sentence_read(world_of(prompt), z, first, which % 2);
        z = first + length;
    }
    return n;
}

static Said *of(Said *all, int n, int name) {
    for (int i = 0; i + 1 < n; i++)
        if (all[i].name[0] == name) return &all[i];
    fail_msg("a quantity that no sentence tells");
    return NULL;
}

/* ---- solving --------------------------------------------------------------------------------- */

static int value(Said *all, int n, Said *s) {
    if (s->value) return s->value;
    const int asked = s->kind == 'a' || s->kind == 'b' || s->kind == 'd';
    const int x = s->names > 1 - asked ? value(all, n, of(all, n, s->name[1 - asked])) : 0;
    const int y = s->names > 2 - asked ? value(all, n, of(all, n, s->name[2 - asked])) : 0;
    const int a = (int)s->number[0], b = (int)s->number[1];
    assert_int_equal(s->numbers, strchr("pl", s->kind) ? 2 : strchr("gmftq", s->kind) ? 1 : 0);
    assert_int_equal(s->names - 1 + asked, strchr("mftqa", s->kind) ? 1
                                           : strchr("sbd", s->kind) ? 2
                                                                    : 0);
    switch (s->kind) {
    case 'g': s->value = a; break;
    case 'p': s->value = a * b; break;
    case 'l': s->value = a - b; break;
    case 'm': s->value = x + a; break;
    case 'f': s->value = x - a; break;
    case 't': s->value = x * a; break;
    case 'q': assert_int_equal(x % a, 0), s->value = x / a; break;
    case 's':
    case 'b': s->value = x + y; break;
    case 'd': s->value = x - y; break;
    default: s->value = x;
    }
    assert_true(s->value > 0 && s->value <= 99);
    return s->value;
}

/* The operations that are needed for a quantity and not counted yet. */
static int operations(Said *all, int n, Said *s, bool *counted) {
    int sum = s->kind != 'g' && s->kind != 'a';
    if (counted[s - all]) return 0;
    counted[s - all] = true;
    for (int i = s == all + n - 1 ? 0 : 1; i < s->names; i++)
        sum += operations(all, n, of(all, n, s->name[i]), counted);
    return sum;
}

static TaskStream canonical_stream(int lo, int hi, uint64_t seed) {
    TaskStream s = task_stream(task_of("word-problems"), seed, false);
    s.easiest = lo, s.hardest = hi, s.canonical = true;
    return s;
}

static void sentences_say_the_problem(void **state) {
    Arena *a = *state;
    int64_t extras = 0;
    for (int level = 1; level <= 10; level++) {
        TaskStream s = canonical_stream(level, level, 3);
        for (int64_t k = 0; k < 600; k++) {
            s.canonical = k % 4 < 2;
            Problem p;
            Said all[20];
            bool counted[20] = {false};
            const Mark mark = arena_mark(a);
            task_problem(&p, a, &s, k);
            const int n = problem_read(all, p.prompt);
            assert_int_equal(value(all, n, &all[n - 1]), strtol(p.answer.p, NULL, 10));
            assert_int_equal(operations(all, n, &all[n - 1], counted), level);
            for (int i = 0; i < n; i++) {
                extras += !counted[i];
                value(all, n, &all[i]); /* of those that are not needed, too */
            }
            assert_string_equal(p.stratum, k % 2 ? "chinese" : "english");
            assert_int_equal((uint8_t)p.prompt.p[0] >= 0x80, k % 2);
            arena_pop(a, mark);
        }
    }
    assert_true(extras > 4000 && extras < 8000); /* up to two sentences that are not needed */
}

/* ---- thoughts -------------------------------------------------------------------------------- */

/* How a name that was read is written in a thought: an English one as its word, a Chinese one as
 * one character. */
static Str name_text(Arena *a, Str prompt, int id) {
    const World world = world_of(prompt);
    for (const char *z = prompt.p, *end; *z; z++) {
        int name;
        if (world == ENGLISH && z > prompt.p && z[-1] != ' ') continue;
        if (!name_at(world, z, &end, &name) || name != id) continue;
        const char *from = end - 3;
        while (world == ENGLISH && from > prompt.p && from[-1] != ' ') from--;
        return str_copy(a, (Str){from, end - from});
    }
    fail_msg("a name that is nowhere");
    return (Str){0};
}

/* What a thought should say, from what was read. */
typedef struct Thinking {
    Buf b;
    const Problem *p;
    const char *blank;
    Said *all;
    int n;
    bool begun[20];
} Thinking;

static bool asks(const Said *s) { return strchr("abd", s->kind); }
static int others(const Said *s) { return s->names - !asks(s); }
static const int *needs(const Said *s) { return s->name + !asks(s); }

static char op_of(const Said *s) {
    static const char kinds[] = "plmftqsbd", op[] = "*-+-*/++-";
    return op[strchr(kinds, s->kind) - kinds];
}

static void begin(Thinking *t, const Said *s) {
    const Str name = asks(s) ? STR("?") : name_text(t->b.a, t->p->prompt, s->name[0]);
    const char *between = t->b.n ? ";" : *t->blank ? "Given:" : "已知：";
    buf_fmt(&t->b, "%s%s%.*s%s", between, t->blank, STRF(name), t->blank);
}

static void say(Thinking *t, const Said *s) {
    begin(t, s);
    for (int i = 0; i < others(s); i++) {
        if (i) buf_fmt(&t->b, "%s%c%s", t->blank, op_of(s), t->blank);
        const Str name = name_text(t->b.a, t->p->prompt, needs(s)[i]);
        buf_fmt(&t->b, "%.*s", STRF(name));
    }
    if (others(s) == 1 && !asks(s)) buf_fmt(&t->b, "%s%c%s", t->blank, op_of(s), t->blank);
    if (s->numbers == 1) buf_fmt(&t->b, "%ld", s->number[0]);
    if (s->numbers < 2) return;
    /* "3 apples in each of 4 bags" may stand as 4*3. */
    const Str as_told = str_fmt(t->b.a, "%ld%c%ld", s->number[0], op_of(s), s->number[1]);
    const bool turned = s->kind == 'p' && !strstr(t->p->thought.p, as_told.p);
    buf_fmt(&t->b, "%ld%c%ld", s->number[turned], op_of(s), s->number[!turned]);
}

/* The last that was begun goes on when what it needs is known. */
static void work_out(Thinking *t, Said *s) {
    long known[2] = {0, s->number[0]};
    t->begun[s - t->all] = true;
    if (!asks(s)) say(t, s);
    for (int i = 0; i < others(s); i++) {
        Said *other = of(t->all, t->n, needs(s)[i]);
        known[i] = value(t->all, t->n, other);
        if (!t->begun[other - t->all])
            work_out(t, other);
        else
            begin(t, other), buf_fmt(&t->b, "%ld", known[i]);
    }
    if (s->kind == 'a') return;
    if (others(s)) begin(t, s), buf_fmt(&t->b, "%ld%c%ld", known[0], op_of(s), known[1]);
    if (s->kind != 'g') buf_fmt(&t->b, "=%d", value(t->all, t->n, s));
}

static void thought_is_right(Arena *a, const Problem *p) {
    Said all[20];
    Thinking t = {.b = {.a = a}, .p = p, .all = all};
    t.blank = world_of(p->prompt) == ENGLISH ? " " : "";
    t.n = problem_read(all, p->prompt);
    for (int i = 0; i < t.n; i++) say(&t, &all[i]);
    work_out(&t, &all[t.n - 1]);
    assert_string_equal(p->thought.p, buf_str(&t.b).p);
    assert_int_equal(value(all, t.n, &all[t.n - 1]), strtol(p->answer.p, NULL, 10));
}

static void thoughts_are_steps(void **state) {
    Arena *a = *state;
    int64_t longest = 0, sum = 0;
    const TaskStream s = task_stream(task_of("word-problems"), 9, false);
    for (int64_t k = 0; k < 3000; k++) {
        Problem p;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        thought_is_right(a, &p);
        longest = MAX(longest, p.thought.n);
        sum += p.thought.n;
        arena_pop(a, mark);
    }
    assert_true(longest < 600 && sum < 3000 * 250);
}

/* No sentence with a hole, doubled blanks, or a name that is not there. */
static void wordings_are_whole(void **state) {
    Arena *a = *state;
    const TaskStream s = task_stream(task_of("word-problems"), 4, true);
    for (int64_t k = 0; k < 2000; k++) {
        Problem p;
        const Mark mark = arena_mark(a);
        task_problem(&p, a, &s, k);
        assert_true(utf8_valid(p.prompt) && utf8_valid(p.thought));
        assert_null(strpbrk(p.prompt.p, "%\n()"));
        assert_null(strstr(p.prompt.p, "  "));
        assert_true(str_ends(p.prompt, k % 2 ? STR("？") : STR("?")));
        const uint8_t first = (uint8_t)p.prompt.p[0];
        assert_true(k % 2 ? first >= 0x80 : first >= 'A' && first <= 'Z');
        for (const char *z = p.prompt.p; (z = strstr(z, ". ")); z += 2)
            assert_true(z[2] >= 'A' && z[2] <= 'Z');
        if (k % 2 == 0)
            for (int64_t i = 0; i < p.prompt.n; i++) assert_true((uint8_t)p.prompt.p[i] < 0x80);
        arena_pop(a, mark);
    }
}

/* ---- canonical forms ------------------------------------------------------------------------- */

static int by_text(const void *x, const void *y) {
    return strcmp(*(const char *const *)x, *(const char *const *)y);
}

/* How a quantity is computed, written out: "s(m(g),g)". */
static void unfold(Buf *b, Said *all, int n, Said *s, int skip) {
    const char *side[2];
    const int sides = s->names - skip;
    for (int i = 0; i < sides; i++) {
        Buf x = {.a = b->a};
        unfold(&x, all, n, of(all, n, s->name[skip + i]), 1);
        side[i] = str_copy(b->a, buf_str(&x)).p;
    }
    if (sides == 2) qsort(side, 2, sizeof *side, by_text);
    buf_fmt(b, "%c", s->kind);
    for (int i = 0; i < sides; i++) buf_fmt(b, "%s%s", i ? "," : "(", side[i]);
    if (sides) buf_add(b, STR(")"));
}

/* All sentences so, sorted, and the question: what a problem is without names, numbers, order and
 * language. */
static Str form_of(Arena *a, Str prompt) {
    Said all[20];
    const char *form[20];
    const int n = problem_read(all, prompt);
    for (int i = 0; i < n; i++) {
        Buf b = {.a = a};
        unfold(&b, all, n, &all[i], i + 1 < n);
        form[i] = str_copy(a, buf_str(&b)).p;
    }
    Buf b = {.a = a};
    qsort(form, (size_t)n - 1, sizeof *form, by_text);
    for (int i = 0; i < n; i++) buf_fmt(&b, "%s ", form[i]);
    return buf_str(&b);
}

/* Two problems have the same canonical form exactly where they are the same but for names, numbers,
 * order and language; and there are such, in both languages. */
static void canonical_forms_are_the_problem(void **state) {
    enum { N = 6000 };
    Arena *a = *state;
    Pair *pair = PUSH(a, Pair, N);
    const TaskStream s = canonical_stream(1, 3, 5);
    for (int64_t k = 0; k < N; k++) {
        Problem p;
        task_problem(&p, a, &s, k);
        pair[k] = (Pair){str_copy(a, form_of(a, p.prompt)).p, str_copy(a, p.canonical).p, k % 2};
    }
    pairs_agree(pair, N, 1000, 400);
}

int word_problem_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(sentences_say_the_problem),
        ARENA_TEST(thoughts_are_steps),
        ARENA_TEST(wordings_are_whole),
        ARENA_TEST(canonical_forms_are_the_problem),
    };
    return cmocka_run_group_tests_name("word problems", tests, NULL, NULL);
}
