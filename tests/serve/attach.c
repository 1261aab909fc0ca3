/* attach.c -- tests of files that are attached to questions: what a PDF and a page of HTML say,
 * what means harm, what the route refuses, and that a missing pdftotext is told. */
#define _GNU_SOURCE
#include "fuzz/desk.h"
#include "serve/extract.h"
#include "tests.h"
#include <sys/wait.h>
#include <unistd.h>

typedef struct Room {
    Arena *a;
    Helpers *readers;
    bool pdf; /* pdftotext is installed */
} Room;

static int room_setup(void **state) {
    static Room r;
    Err err = {0};
    Str text;
    const char *const argv[] = {"pdftotext", "-v", NULL};
    r = (Room){.a = arena_open("attached", ARENA_NO_LIMIT)};
    r.pdf =
        filter_bytes(r.a, &text, argv, STR(""), 1 << 20, 60, &err) || err.code != ERR_UNSUPPORTED;
    err = (Err){0};
    must(readers_open(&r.readers, r.a, &err), &err);
    *state = &r;
    return 0;
}

static int room_teardown(void **state) {
    Room *r = *state;
    helpers_close(r->readers);
    for (int64_t i = 0; i < FILE_READERS; i++) assert_true(waitpid(-1, NULL, 0) > 0); /* they end */
    arena_close(r->a);
    return 0;
}

static void says(Room *r, bool pdf, Str file, const char *want) {
    Err err = {0};
    Str text;
    bool busy;
    must(reader_ask(r->readers, r->a, &text, pdf, file, &busy, &err), &err);
    if (!str_eq(text, str_of(want))) fail_msg("it says %.*s", STRF(text));
}

static void fails(Room *r, bool pdf, Str file, const char *why) {
    Err err = {0};
    Str text;
    bool busy;
    assert_false(reader_ask(r->readers, r->a, &text, pdf, file, &busy, &err));
    assert_int_equal(err.code, ERR_FORMAT);
    if (busy || !strstr(err.msg, why)) fail_msg("%s, not %s", err.msg, why);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A PDF by hand, of `pages` pages that all show the same content; readers rebuild its table of
 * objects. `more`: of the trailer. */
static Str pdf_of(Arena *a, int64_t pages, Str content, const char *more) {
    Buf b = {.a = a};
    buf_fmt(&b,
            "%%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
            "2 0 obj<</Type/Pages/Count %lld/Kids[",
            (long long)pages);
    for (int64_t i = 0; i < pages; i++) buf_fmt(&b, "%lld 0 R ", (long long)i + 5);
    buf_fmt(&b,
            "]>>endobj\n3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n"
            "4 0 obj<</Length %lld>>stream\n%.*s\nendstream endobj\n",
            (long long)content.n, STRF(content));
    for (int64_t i = 0; i < pages; i++)
        buf_fmt(&b,
                "%lld 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
                "/Resources<</Font<</F 3 0 R>>>>>>endobj\n",
                (long long)i + 5);
    buf_fmt(&b, "trailer<</Size %lld/Root 1 0 R%s>>\n%%%%EOF\n", (long long)pages + 5, more);
    return buf_str(&b);
}

#define HELLO "BT /F 12 Tf 72 700 Td (The impeller turns left.) Tj ET"
static const char page_says[] = "# page 1\n\nThe impeller turns left.\n\n";

static void files_are_read(void **state) {
    Room *r = *state;
    says(r, false,
         STR("<title>Pump</title><h1>Seals</h1><p>Change the gasket &amp; ring.<script>x"),
         "# Pump\n\n# Seals\n\nChange the gasket & ring.\n");
    says(r, false, STR(""), "");
    if (r->pdf) {
        says(r, true, pdf_of(r->a, 1, STR(HELLO), ""), page_says);
        return;
    }
    Err err = {0};
    Str text;
    bool busy;
    assert_false(reader_ask(r->readers, r->a, &text, true, STR("x"), &busy, &err));
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_non_null(strstr(err.msg, "pdftotext is not installed"));
}

static void harmful_pages_are_errors(void **state) {
    Room *r = *state;
    Buf deep = {.a = r->a}, wide = {.a = r->a};
    while (deep.n < 1 << 20) buf_add(&deep, STR("<div><b>"));
    fails(r, false, buf_str(&deep), "nested too deep");
    while (wide.n < EXTRACT_MOST - 64) buf_add(&wide, STR("<p>many words that are read</p>\n"));
    for (int64_t i = 0; i <= FILE_READERS; i++)
        fails(r, false, buf_str(&wide), "the reader of HTML");
    says(r, false, STR("<p>still here"), "still here\n");
}

static void harmful_pdfs_are_errors(void **state) {
    Room *r = *state;
    if (!r->pdf) return;
    fails(r, true, STR(""), "pdftotext ended with status");
    fails(r, true, STR("%PDF-1.4 and then nothing"), "pdftotext ended with status");
    fails(r, true, STR("\xff\xfe no PDF at all \x01"), "pdftotext ended with status");
    const char *const locked =
        "/ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4"
        "/O<0000000000000000000000000000000000000000000000000000000000000000>"
        "/U<0000000000000000000000000000000000000000000000000000000000000000>>>";
    fails(r, true, pdf_of(r->a, 1, STR(HELLO), locked), "Incorrect password");
    /* Every page shows the same lines: 100 KB that say 8 MB. */
    Buf b = {.a = r->a};
    buf_add(&b, STR("BT /F 2 Tf 2 TL 2 780 Td"));
    for (int64_t i = 0; i < 100; i++) buf_fmt(&b, " (%0200lld) Tj T*", (long long)i);
    buf_add(&b, STR(" ET"));
    fails(r, true, pdf_of(r->a, 400, buf_str(&b), ""), "pdftotext wrote more than");
    says(r, true, pdf_of(r->a, 1, STR(HELLO), ""), page_says);
}

/* Each form shows the next one ten times: what is small to write takes for ever. */
static void one_that_does_not_end_is_ended(void **state) {
    Room *r = *state;
    Buf b = {.a = r->a};
    Err err = {0};
    Str text;
    if (!r->pdf) return;
    buf_add(&b, STR("%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n"
                    "2 0 obj<</Type/Pages/Count 1/Kids[3 0 R]>>endobj\n"
                    "3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]/Contents 4 0 R"
                    "/Resources<</XObject<</X 5 0 R>>>>>>endobj\n"
                    "4 0 obj<</Length 5>>stream\n/X Do\nendstream endobj\n"));
    for (int i = 5; i < 20; i++)
        buf_fmt(&b,
                "%d 0 obj<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X %d 0 "
                "R>>>>/Length 60>>stream\n%60s\nendstream endobj\n",
                i, i + 1, "/X Do /X Do /X Do /X Do /X Do /X Do /X Do /X Do /X Do /X Do");
    buf_add(&b, STR("trailer<</Size 20/Root 1 0 R>>\n%%EOF\n"));
    assert_false(pdf_bytes_text(r->a, &text, buf_str(&b), 1 << 20, 0.5, &err));
    assert_string_equal(err.msg, "pdftotext took more than 0.5 s");
}

/* ---- the route ------------------------------------------------------------------------------- */

static void refused(Desk *d, const char *body, int64_t status, const char *code) {
    Exchange x;
    Call c;
    assert_null(desk_ask(d, &c, &x, answer_extract, str_of(body)));
    if (c.fault.status != status || strcmp(c.fault.code, code))
        fail_msg("%.80s: %lld %s %s", body, (long long)c.fault.status, c.fault.code,
                 c.fault.message);
    desk_drop(&c, NULL);
}

static void odd_files_are_refused(void **state) {
    Room *r = *state;
    static const char *const odd[] = {
        "{}",
        "{\"type\":\"text/plain\",\"data\":\"AAAA\"}",
        "{\"type\":5,\"data\":\"AAAA\"}",
        "{\"type\":\"text/html\"}",
        "{\"type\":\"text/html\",\"data\":[1]}",
        "{\"type\":\"text/html\",\"data\":\"AAA\"}",
        "{\"type\":\"text/html\",\"data\":\"AA==AAAA\"}",
        "{\"type\":\"text/html\",\"data\":\"A?AA\"}",
        "{\"type\":\"text/html\",\"data\":\"AA\\u0000A\"}",
    };
    Desk *d = desk_open();
    Buf large = {.a = r->a};
    d->spec.readers = r->readers;
    for (int64_t i = 0; i < COUNT(odd); i++) refused(d, odd[i], 400, "invalid_value");
    buf_add(&large, STR("{\"type\":\"text/html\",\"data\":\""));
    while (large.n < (EXTRACT_MOST / 3 + 32) * 4) buf_add(&large, STR("AAAAAAAAAAAAAAAA"));
    buf_add(&large, STR("\"}"));
    refused(d, buf_str(&large).p, 400, "invalid_value");
    if (r->pdf)
        refused(d, "{\"type\":\"application/pdf\",\"data\":\"AAAA\"}", 400, "unreadable_file");
    else
        refused(d, "{\"type\":\"application/pdf\",\"data\":\"AAAA\"}", 501, "not_installed");
    d->spec.readers = NULL;
    refused(d, "{\"type\":\"text/html\",\"data\":\"AAAA\"}", 501, "not_installed");
}

/* Takes its time, or ends. */
static bool play(void *arg, Arena *a, Str question, Str *answer, Err *err) {
    (void)arg, (void)a, (void)err;
    if (question.p[0] == 'e') _exit(1);
    os_sleep(1);
    *answer = STR("text");
    return true;
}

static void read_slowly(void *arg) {
    Room *r = arg;
    Err err = {0};
    Str text;
    bool busy;
    must(reader_ask(r->readers, r->a, &text, false, STR("x"), &busy, &err), &err);
}

static void readers_at_work_are_told(void **state) {
    const HelpersSpec spec = {
        .kind = HELPER_STARTS, .fn = play, .n = 1, .at_work = "files are being read"};
    Room r = {.a = arena_open("room", ARENA_NO_LIMIT)};
    Desk *d = desk_open();
    LoneThread *thread;
    Exchange x;
    Call c;
    Err err = {0};
    (void)state;
    must(helpers_open(&r.readers, d->keep, &spec, &err), &err);
    must(lone_start(&thread, d->keep, read_slowly, &r, &err), &err);
    os_sleep(0.3);
    d->spec.readers = r.readers;
    assert_null(desk_ask(d, &c, &x, answer_extract, STR("{\"type\":\"text/html\",\"data\":\"\"}")));
    assert_int_equal(c.fault.status, 503); /* which has retry-after: 1 */
    assert_string_equal(c.fault.message, "1 files are being read already: try again in a moment");
    desk_drop(&c, NULL);
    lone_join(thread);
    refused(d, "{\"type\":\"text/html\",\"data\":\"ZW5k\"}", 500, "internal_error"); /* "end" */
    refused(d, "{\"type\":\"text/html\",\"data\":\"\"}", 500, "internal_error");
    helpers_close(r.readers);
    assert_true(waitpid(-1, NULL, 0) > 0);
    arena_close(r.a);
}

int test_attach(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read), cmocka_unit_test(harmful_pages_are_errors),
        cmocka_unit_test(harmful_pdfs_are_errors), cmocka_unit_test(one_that_does_not_end_is_ended),
        cmocka_unit_test(odd_files_are_refused)};
    const struct CMUnitTest alone[] = {cmocka_unit_test(readers_at_work_are_told)};
    return cmocka_run_group_tests_name("serve attach", tests, room_setup, room_teardown)
           + cmocka_run_group_tests_name("serve attach busy", alone, NULL, NULL);
}
