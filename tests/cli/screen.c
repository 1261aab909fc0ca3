/* screen.c -- a model's text on a terminal: wrapped at words, whatever their script, without its
 * control characters; the same in pieces as in one. */
#define _GNU_SOURCE
#include "tests.h"
#include "answer/answer.h"
#include "cli/screen.h"
#include "support/terminal.h"

typedef struct Shown {
    const char *text;
    int64_t piece; /* characters at a time */
} Shown;

static void show(void *arg) {
    const Shown *shown = arg;
    Screen s;
    Str rest = str_of(shown->text);
    setenv("NO_COLOR", "1", 1);
    screen_init(&s);
    while (rest.n > 0) {
        int64_t n = 0;
        for (int64_t i = 0; i < shown->piece && n < rest.n; i++)
            n += MAX(utf8_length((Str){rest.p + n, rest.n - n}), 1);
        screen_put(&s, (Str){rest.p, n}, false);
        rest.p += n, rest.n -= n;
    }
    screen_line(&s);
}

/* What a terminal of `columns` gets; line ends are \r\n there. */
static void shown_as(int columns, const char *text, const char *want) {
    for (int64_t piece = 1; piece <= 100; piece = 10 * piece) {
        Arena *a = arena_open("terminal", 1 << 24);
        Terminal t;
        Buf plain = {.a = a};
        buf_add(&plain, STR(""));
        terminal_open(&t, a, columns, show, &(Shown){text, piece}, NULL);
        assert_int_equal(terminal_close(&t), 0);
        for (int64_t i = 0; i < t.said.n; i++)
            if (t.said.p[i] != '\r') buf_add(&plain, (Str){t.said.p + i, 1});
        if (!str_eq(buf_str(&plain), str_of(want)))
            fail_msg("%d columns, %d at a time: \"%.*s\" instead of \"%s\"", columns, (int)piece,
                     STRF(buf_str(&plain)), want);
        arena_close(a);
    }
}

static void words_are_wrapped(void **state) {
    (void)state;
    shown_as(21, "The quick brown fox jumps over the dog.\n",
             "The quick brown fox\njumps over the dog.\n");
    shown_as(21, "exactly twenty cells and more", "exactly twenty cells\nand more\n");
    shown_as(31, "The quick brown fox jumps over the lazy dog.",
             "The quick brown fox jumps over\nthe lazy dog.\n");
    shown_as(200, "The quick brown fox jumps over the lazy dog.",
             "The quick brown fox jumps over the lazy dog.\n");
    /* words longer than a line; blanks begin a line as they are written, and end none */
    shown_as(21, "a http://example.org/a/long/path b", "a\nhttp://example.org/a\n/long/path b\n");
    shown_as(21, "if x:\n    return  x\n\n\tend", "if x:\n    return  x\n\n        end\n");
    shown_as(21, "twelve cells       and eight", "twelve cells\nand eight\n");
}

static void scripts_have_their_widths(void **state) {
    (void)state;
    /* wide characters have two cells, and a line may end between them */
    shown_as(21, "\u8def\u6f2b\u6f2b\u5176\u4fee\u8fdc\u516e\u543e\u5c06\u4e0a\u4e0b\u800c",
             "\u8def\u6f2b\u6f2b\u5176\u4fee\u8fdc\u516e\u543e\u5c06\u4e0a\n\u4e0b\u800c\n");
    shown_as(22, "a\u8def\u6f2b\u6f2b\u5176\u4fee\u8fdc\u516e\u543e\u5c06\u4e0a\u4e0b",
             "a\u8def\u6f2b\u6f2b\u5176\u4fee\u8fdc\u516e\u543e\u5c06\u4e0a\n\u4e0b\n");
    /* combining marks have none */
    shown_as(21, "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301 aaaaaaaaaa b",
             "e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301e\u0301 aaaaaaaaaa\nb\n");
}

static void controls_are_pictures(void **state) {
    (void)state;
    shown_as(80, "a\x1b[2Jb\x07\x08\rc\x7f", "a\u241b[2Jb\u2407\u2408\u240dc\u2421\n");
    shown_as(80,
             "a\xc2\x9b"
             "2Jb\u202ec\u2066d",
             "a\ufffd2Jb\ufffdc\ufffdd\n");
}

/* ---- the guard ------------------------------------------------------------------------------- */

static int64_t guarded(int64_t n, int32_t (*token)(int64_t i)) {
    static Guard g;
    guard_init(&g);
    for (int64_t i = 0; i < n; i++)
        if (guard_push(&g, token(i))) return i;
    return -1;
}

static int32_t same(int64_t i) { return (int32_t)(i * 0 + 5); }
static int32_t period7(int64_t i) { return (int32_t)(i % 7); }
static int32_t period400(int64_t i) { return (int32_t)philox(1, (uint64_t)(i % 400), 0).w[0] >> 8; }
/* a sentence of 40 tokens of which one counts up */
static int32_t counting(int64_t i) {
    return i % 40 < 39 ? (int32_t)(i % 40) : (int32_t)(1000 + i / 40);
}
static int32_t random_words(int64_t i) { return (int32_t)(philox(2, (uint64_t)i, 0).w[0] % 20000); }
/* a table: every fourth token is a separator, the rest is new */
static int32_t rows(int64_t i) {
    return i % 4 == 0 ? 7 : (int32_t)(philox(3, (uint64_t)i, 0).w[0] % 100);
}

static void loops_are_noticed_and_texts_are_not(void **state) {
    (void)state;
    assert_in_range(guarded(900, same), 250, 350);
    assert_in_range(guarded(900, period7), 250, 350);
    assert_in_range(guarded(900, period400), 600, 750);
    assert_in_range(guarded(900, counting), 200, 700);
    assert_int_equal(guarded(20000, random_words), -1);
    assert_int_equal(guarded(4000, rows), -1);
}

int test_screen(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_wrapped),
        cmocka_unit_test(scripts_have_their_widths),
        cmocka_unit_test(controls_are_pictures),
        cmocka_unit_test(loops_are_noticed_and_texts_are_not),
    };
    return cmocka_run_group_tests_name("screen", tests, NULL, NULL);
}
