/* documents.c -- tests of the index of documents: where texts are cut, what is found, what changes
 * and what is forgotten. */
#define _GNU_SOURCE
#include "serve/documents.h"
#include "serve/extract.h"
#include "serve/passages.h"
#include "serve/sql.h"
#include "tests.h"

typedef struct Shelf {
    Arena *a;
    const char *data;
    Documents *d;
} Shelf;

static Shelf shelf_new(void) {
    const char *base = os_env("TMPDIR");
    Shelf s = {.a = arena_open("documents", 1 << 28)};
    Err err = {0};
    char *path = PUSH(s.a, char, 4096);
    snprintf(path, 4096, "%s/lisao-documents-XXXXXX", base ? base : P_tmpdir);
    s.data = mkdtemp(path);
    assert_non_null(s.data);
    must(documents_open(&s.d, s.a, s.data, &err), &err);
    return s;
}

static void shelf_end(Shelf *s) {
    documents_close(s->d);
    tree_remove(s->a, s->data);
    arena_close(s->a);
}

/* ---- passages -------------------------------------------------------------------------------- */

typedef struct Pieces {
    Passage piece[256];
    int64_t n;
} Pieces;

static bool piece_take(void *arg, const Passage *p) {
    Pieces *all = arg;
    assert_true(all->n < COUNT(all->piece));
    all->piece[all->n++] = *p;
    return true;
}

static Pieces *cut(Arena *a, DocumentKind kind, const char *text) {
    Pieces *all = PUSH(a, Pieces, 1);
    assert_true(passages_cut(a, str_of(text), kind, piece_take, all));
    return all;
}

static void headings_begin_passages(void **state) {
    Arena *a = *state;
    const Pieces *p = cut(a, DOCUMENT_MARKDOWN,
                          "Before.\n# Setup\n\n## Linux\nInstall it.\n```\n# no heading\n```\n"
                          "## macOS ##\nBrew it.\n#hash\n# Use\nRun it.");
    static const struct {
        const char *heading;
        int64_t line;
        const char *begins;
    } want[] = {{"", 1, "Before."},
                {"Setup > Linux", 2, "# Setup"},
                {"Setup > macOS", 9, "## macOS"},
                {"Use", 12, "# Use"}};
    assert_int_equal(p->n, COUNT(want));
    for (int64_t i = 0; i < p->n; i++) {
        assert_true(str_eq(p->piece[i].heading, str_of(want[i].heading)));
        assert_int_equal(p->piece[i].line, want[i].line);
        assert_true(str_starts(p->piece[i].text, str_of(want[i].begins)));
    }
    assert_int_equal(cut(a, DOCUMENT_TEXT, "# one\ntext\n# two\ntext\n")->n, 1);
    assert_int_equal(cut(a, DOCUMENT_MARKDOWN, "")->n, 0);
    assert_int_equal(cut(a, DOCUMENT_MARKDOWN, " \n\n\t\n")->n, 0);
}

/* Lines of all lengths, of letters of one to four bytes: the pieces are the text, each valid. */
static void pieces_are_the_text(void **state) {
    Arena *a = *state;
    static const char *const letter[] = {"a", " ", "é", "路", "。", "𝄞", ". ", "\n", "\n\n"};
    for (int round = 0; round < 200; round++) {
        Buf b = {.a = a};
        for (uint32_t i = 0; i < 4000; i++) {
            const Philox r = philox(7, ((uint64_t)round << 32) | i, 0);
            const int kinds = round % 4 == 0 ? 7 : 9; /* a quarter are one long line */
            buf_add(&b, str_of(letter[r.w[0] % (round % 8 == 4 ? 6 : kinds)]));
        }
        const Pieces *p = cut(a, round % 2, str_fmt(a, "%.*s", STRF(buf_str(&b))).p);
        int64_t at = 0, line = 1;
        for (int64_t i = 0; i < p->n; i++) {
            const Passage *x = &p->piece[i];
            for (; at < x->at; at++) {
                assert_true(char_in(b.p[at], " \n")); /* what is left out */
                line += b.p[at] == '\n';
            }
            assert_int_equal(x->line, line);
            assert_true(x->text.n > 0 && x->text.n <= PASSAGE_MOST && utf8_valid(x->text));
            assert_memory_equal(x->text.p, b.p + at, (size_t)x->text.n);
            for (int64_t end = at + x->text.n; at < end; at++) line += b.p[at] == '\n';
        }
        for (; at < b.n; at++) assert_true(char_in(b.p[at], " \n"));
    }
}

/* ---- what is no text ------------------------------------------------------------------------- */

static void pages_become_markdown(void **state) {
    static const char *const page[][2] = {
        {"<title>T</title><h1>A &amp; b</h1><p>One  <b>two</b>\n three.<p>Four<br>five",
         "# T\n\n# A & b\n\nOne two three.\n\nFour\nfive\n"},
        {"<ul><li>One<li>Two <i>x</i></ul><table><tr><th>A<th>B<tr><td>1<td> 2 </table>",
         "- One\n- Two x\n\n| A | B\n| 1 | 2\n"},
        {"<p>before<pre># code\n  x < 1\n</pre>after",
         "before\n\n```\n# code\n  x < 1\n```\n\nafter\n"},
        {"<p># no heading<div>a<div>b</div>c</div>", " # no heading\n\na\nb\nc\n"},
        {"<script>x='<p>'</script><style>p{}</style><svg><text>s</text></svg><p>只有<b>这个</b>。",
         "只有这个。\n"},
        {"<meta charset=gbk><p>\xc0\xeb\xc9\xa7", "离骚\n"},
        {"<h2></h2><p></p>", ""},
        {"plain & <", "plain & <\n"},
        {"", ""}};
    Arena *a = *state;
    for (int64_t i = 0; i < COUNT(page); i++) {
        Str text;
        Err err = {0};
        must(html_text(a, &text, str_of(page[i][0]), &err), &err);
        assert_string_equal(str_copy(a, text).p, page[i][1]);
    }
    Buf deep = {.a = a};
    Str text;
    Err err = {0};
    for (int i = 0; i < 100000; i++) buf_add(&deep, STR("<div>"));
    assert_false(html_text(a, &text, buf_str(&deep), &err));
    assert_non_null(strstr(err.msg, "nested too deep"));
}

/* ---- the index ------------------------------------------------------------------------------- */

static int64_t put(Shelf *s, const char *path, int64_t modified, const char *text) {
    const DocumentFile f = {str_of(path), (int64_t)strlen(text), modified};
    int64_t passages;
    Err err = {0};
    must(documents_put(s->d, &f, DOCUMENT_MARKDOWN, str_of(text), &passages, &err), &err);
    return passages;
}

static bool has(Shelf *s, const char *path, int64_t size, int64_t modified) {
    const DocumentFile f = {str_of(path), size, modified};
    bool known;
    Err err = {0};
    must(documents_has(s->d, &f, &known, &err), &err);
    return known;
}

static void begin(Shelf *s) {
    Err err = {0};
    must(documents_begin(s->d, &err), &err);
}

static int64_t end(Shelf *s, const char *root) {
    int64_t removed;
    Err err = {0};
    must(documents_end(s->d, str_of(root), &removed, &err), &err);
    return removed;
}

/* The path of the nearest passage; "" where there is none. */
static const char *nearest(Shelf *s, const char *question) {
    Passage p[3];
    int64_t n = COUNT(p);
    Err err = {0};
    must(documents_search(s->d, s->a, str_of(question), p, &n, &err), &err);
    assert_true(n >= 0 && n <= COUNT(p));
    for (int64_t i = 1; i < n; i++) assert_true(p[i - 1].score >= p[i].score);
    return n ? p[0].path.p : "";
}

static void questions_find_passages(void **state) {
    (void)state;
    Shelf s = shelf_new();
    begin(&s);
    put(&s, "/d/tls.md", 1, "# Certificates\nThe server renews its certificates at night.\n");
    put(&s, "/d/disk.md", 1, "# Disks\nA full disk ends nothing. The server goes on.\n");
    put(&s, "/d/zh.md", 1, "# 证书\n服务器在夜里更新证书。\n\n# 磁盘\n磁盘已满时服务继续。\n");
    assert_string_equal(nearest(&s, "How do I renew a certificate?"), "/d/tls.md");
    assert_string_equal(nearest(&s, "what if disks are full"), "/d/disk.md");
    assert_string_equal(nearest(&s, "怎样更新证书？"), "/d/zh.md");
    assert_string_equal(nearest(&s, "磁盘已满"), "/d/zh.md");
    assert_string_equal(nearest(&s, "giraffe"), "");
    assert_string_equal(nearest(&s, ""), "");
    assert_string_equal(nearest(&s, "  \"\" * ( ) : ^ - \t\n"), "");
    assert_string_equal(nearest(&s, "\"renew\" NEAR( AND OR NOT {heading}:certificates* ^"),
                        "/d/tls.md");
    shelf_end(&s);
}

static void what_changes_is_read_again_and_what_is_gone_forgotten(void **state) {
    (void)state;
    Shelf s = shelf_new();
    begin(&s);
    put(&s, "/d/a.md", 1, "The heron stands."), put(&s, "/d/b.md", 1, "The otter swims.");
    put(&s, "/d0", 1, "The lynx sleeps."), put(&s, "/d/x/c.md", 1, "The crane flies.");
    assert_int_equal(end(&s, "/d"), 0);
    begin(&s);
    assert_true(has(&s, "/d/a.md", 17, 1));
    assert_false(has(&s, "/d/a.md", 17, 2) || has(&s, "/d/a.md", 18, 1));
    put(&s, "/d/b.md", 2, "The beaver builds.");
    assert_int_equal(end(&s, "/d"), 1); /* c.md; d0 lies elsewhere */
    assert_string_equal(nearest(&s, "heron"), "/d/a.md");
    assert_string_equal(nearest(&s, "beavers"), "/d/b.md");
    assert_string_equal(nearest(&s, "otter"), "");
    assert_string_equal(nearest(&s, "crane"), "");
    assert_string_equal(nearest(&s, "lynx"), "/d0");
    int64_t files, passages;
    Err err = {0};
    must(documents_count(s.d, &files, &passages, &err), &err);
    assert_int_equal(files, 3);
    assert_int_equal(passages, 3);
    begin(&s);
    assert_int_equal(end(&s, "/d0"), 1);
    shelf_end(&s);
}

/* Another process that indexes at the same time: both are there, and searches go on. */
static void two_may_index_at_once(void **state) {
    (void)state;
    Shelf s = shelf_new();
    Documents *other;
    Err err = {0};
    int64_t n;
    must(documents_open(&other, s.a, s.data, &err), &err);
    begin(&s);
    must(documents_begin(other, &err), &err);
    for (int64_t i = 0; i < 20; i++) {
        const DocumentFile f = {str_fmt(s.a, "/b/%lld", (long long)i), 1, 1};
        put(&s, str_fmt(s.a, "/a/%lld", (long long)i).p, 1, "The heron stands.");
        must(documents_put(other, &f, DOCUMENT_TEXT, STR("The otter swims."), &n, &err), &err);
        assert_string_equal(nearest(&s, "otter"), "/b/0");
    }
    must(documents_end(other, STR("/b"), &n, &err), &err);
    assert_int_equal(n, 0);
    put(&s, "/b/7", 1, "The otter swims."); /* both walk /b now, and see all that the other saw */
    must(documents_begin(other, &err), &err);
    for (int64_t i = 0; i < 20; i++) {
        const char *path = str_fmt(s.a, "/b/%lld", (long long)i).p;
        const DocumentFile f = {str_of(path), 1, i == 7 ? 2 : 1};
        assert_true(has(&s, path, i == 7 ? 16 : 1, 1));
        must(documents_put(other, &f, DOCUMENT_TEXT, STR("The otter swims."), &n, &err), &err);
        if (i == 7) put(&s, path, 3, "The otter swims.");
    }
    must(documents_end(other, STR("/b"), &n, &err), &err);
    assert_int_equal(n, 0);
    assert_int_equal(end(&s, "/b"), 0);
    assert_int_equal(end(&s, "/a"), 0);
    documents_close(other);
    shelf_end(&s);
}

static void an_index_of_the_first_version_is_taken_over(void **state) {
    static const char *const first[] = {
        "CREATE TABLE source(n INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT "
        "NULL, modified INTEGER NOT NULL, round INTEGER NOT NULL);"
        "CREATE TABLE passage(n INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES source(n) "
        "ON DELETE CASCADE, heading TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT NULL, "
        "text TEXT NOT NULL);"
        "CREATE INDEX passage_source ON passage(source);"
        "CREATE VIRTUAL TABLE found USING fts5(heading, text, content = '', "
        "tokenize = 'porter unicode61');"};
    (void)state;
    Shelf s = shelf_new();
    Sql old;
    Passage p;
    bool there;
    Err err = {0};
    documents_close(s.d);
    tree_remove(s.a, str_fmt(s.a, "%s/documents", s.data).p);
    must(sql_store(&old, s.a, s.data, "documents", first, 1, &err), &err);
    must(sql_do(&old,
                "INSERT INTO source VALUES(1, '/d/a', 17, 1, 1);"
                "INSERT INTO passage VALUES(7, 1, 'Birds', 3, 9, 'The heron stands.');"
                "INSERT INTO found(rowid, heading, text) VALUES(7, words('Birds'), "
                "words('The heron stands.'))",
                "writing", &err),
         &err);
    sql_close(&old);
    must(documents_open(&s.d, s.a, s.data, &err), &err);
    assert_string_equal(nearest(&s, "herons"), "/d/a");
    must(documents_passage(s.d, s.a, 7, &p, &there, &err), &err);
    assert_true(there && str_eq(p.path, STR("/d/a")) && str_eq(p.heading, STR("Birds")));
    assert_true(p.id == 7 && p.line == 3 && p.at == 9 && str_eq(p.text, STR("The heron stands.")));
    begin(&s);
    put(&s, "/d/a", 2, "The otter swims."); /* 7 is nobody's from now on */
    assert_string_equal(nearest(&s, "herons"), "");
    must(documents_passage(s.d, s.a, 7, &p, &there, &err), &err);
    assert_false(there);
    shelf_end(&s);
}

static int arena_up(void **state) { return *state = arena_open("passages", 1 << 28), 0; }
static int arena_down(void **state) { return arena_close(*state), 0; }

int test_documents(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(headings_begin_passages, arena_up, arena_down),
        cmocka_unit_test_setup_teardown(pieces_are_the_text, arena_up, arena_down),
        cmocka_unit_test_setup_teardown(pages_become_markdown, arena_up, arena_down),
        cmocka_unit_test(questions_find_passages),
        cmocka_unit_test(what_changes_is_read_again_and_what_is_gone_forgotten),
        cmocka_unit_test(two_may_index_at_once),
        cmocka_unit_test(an_index_of_the_first_version_is_taken_over),
    };
    return cmocka_run_group_tests_name("documents", tests, NULL, NULL);
}
