/* texts.c -- documents of files, folders and patterns, as they are and packed; what is damaged or
 * means something else is an error that says so. */
#define _GNU_SOURCE
#include "tests.h"
#include "data/documents.h"

#include <archive.h>
#include <archive_entry.h>
#include <stdio.h>
#include <stdlib.h>

static char folder[64];

static int folder_setup(void **state) {
    strcpy(folder, "/tmp/lisao-texts-XXXXXX");
    return mkdtemp(folder) ? arena_setup(state) : -1;
}

static int folder_teardown(void **state) {
    Err err = {0};
    const char *deep = str_fmt(*state, "%s/deep", folder).p;
    if (os_exists(deep) && !os_remove(deep, &err)) return -1;
    return os_remove(folder, &err) ? arena_teardown(state) : -1;
}
#define FOLDER_TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

static const char *path_of(Arena *a, const char *name) {
    return str_fmt(a, "%s/%s", folder, name).p;
}

typedef int Filter(struct archive *);

static Str packed(Arena *a, Str text, Filter *filter) {
    const int64_t room = text.n + (1 << 16);
    char *to = PUSH(a, char, room);
    size_t used = 0;
    struct archive *x = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    archive_write_set_format_raw(x);
    CHECK(filter(x) == ARCHIVE_OK);
    archive_write_set_bytes_in_last_block(x, 1);
    CHECK(archive_write_open_memory(x, to, (size_t)room, &used) == ARCHIVE_OK);
    archive_entry_set_filetype(entry, AE_IFREG);
    CHECK(archive_write_header(x, entry) == ARCHIVE_OK);
    CHECK(archive_write_data(x, text.p, (size_t)text.n) == (la_ssize_t)text.n);
    CHECK(archive_write_close(x) == ARCHIVE_OK);
    archive_write_free(x);
    archive_entry_free(entry);
    return (Str){to, (int64_t)used};
}

/* All documents, each with "|" behind it; or the error. */
static const char *documents_of(Arena *a, const char *name, const char *field) {
    Texts *t = NULL;
    TextUnit unit[7];
    Err err = {0};
    Buf all = {.a = a};
    int64_t n = -1;
    if (texts_open(&t, a, name, "--", field, &err))
        while ((n = texts_next(t, unit, COUNT(unit), 4 << 20, &err)) > 0)
            for (int64_t i = 0; i < n; i++) {
                buf_add(&all, unit[i].text);
                if (unit[i].ends) buf_add(&all, STR("|"));
            }
    texts_close(t);
    buf_add(&all, (Str){"", 1});
    return n < 0 ? str_copy(a, str_of(err.msg)).p : all.p;
}

static void assert_says(const char *said, const char *piece) {
    if (!strstr(said, piece)) fail_msg("\"%s\" is not in: %.300s", piece, said);
}

/* The same documents, packed or not, in text or in JSON. */
static void test_kinds(void **state) {
    Arena *a = *state;
    const Str text = STR("one\ntwo\n--\n\n--\nthree\n--\n"),
              json = STR("{\"id\": 1, \"text\": \"one\\ntwo\"}\n\n{\"text\": \"\"}\n{\"text\": "
                         "\"three\"}");
    Filter *filters[] = {archive_write_add_filter_none, archive_write_add_filter_gzip,
                         archive_write_add_filter_xz, archive_write_add_filter_zstd};
    const char *const endings[] = {"", ".gz", ".xz", ".zst"};
    for (int i = 0; i < 4; i++) {
        const char *t = path_of(a, str_fmt(a, "a.txt%s", endings[i]).p),
                   *j = path_of(a, str_fmt(a, "a.jsonl%s", endings[i]).p);
        file_write(a, t, i ? packed(a, text, filters[i]) : text);
        file_write(a, j, i ? packed(a, json, filters[i]) : json);
        assert_string_equal(documents_of(a, t, "text"), "one\ntwo|three|");
        assert_string_equal(documents_of(a, j, "text"), "one\ntwo|three|");
        assert_says(documents_of(a, j, "body"), "line 1: there is no string \"body\"");
    }
}

/* More than a window, with documents longer than one. */
static void test_windows(void **state) {
    Arena *a = *state;
    const int64_t n = 20 << 20;
    char *text = PUSH(a, char, n);
    for (int64_t i = 0; i < n; i++) text[i] = "etaoin shrdlu\n"[(i * 7 + i / 1000) % 14];
    for (int64_t at = 12 << 20; at < n - 64; at += 500000) memcpy(text + at, "\n--\n", 4);
    const char *plain = path_of(a, "plain"), *gz = path_of(a, "packed");
    file_write(a, plain, (Str){text, n});
    file_write(a, gz, packed(a, (Str){text, n}, archive_write_add_filter_gzip));
    const char *x = documents_of(a, plain, "text"), *y = documents_of(a, gz, "text");
    assert_int_equal(strlen(x), strlen(y));
    assert_memory_equal(x, y, strlen(x));
    assert_in_range(strlen(x), n - 200, n);
}

/* A long line is looked through in parts; where one begins with what separates documents, it does
 * not separate there. */
static void test_line_parts(void **state) {
    Arena *a = *state;
    const int64_t n = PART_BYTES;
    const Str end = STR("--\nend");
    char *text = PUSH(a, char, n + end.n);
    memset(text, 'x', (size_t)n);
    memcpy(text + n, end.p, (size_t)end.n);
    file_write(a, path_of(a, "plain"), (Str){text, n + end.n});
    const char *all = documents_of(a, path_of(a, "plain"), "text");
    assert_int_equal(strlen(all), n + end.n + 1);
    assert_string_equal(all + n, "--\nend|");
}

/* A long document of JSON is cut in parts, which outlive the call that found it. */
static void test_long_json(void **state) {
    Arena *a = *state;
    const int64_t n = 9 << 20;
    char *text = PUSH(a, char, n + 64);
    int64_t at = (int64_t)sprintf(text, "{\"text\": \"");
    for (int64_t i = 0; i < n; i++) text[at++] = "etaoin shrdlu"[i % 13];
    at += sprintf(text + at, "\"}\n{\"text\": \"end\"}\n");
    file_write(a, path_of(a, "a.jsonl"), (Str){text, at});
    const char *all = documents_of(a, path_of(a, "a.jsonl"), "text");
    assert_int_equal(strlen(all), n + 5);
    assert_memory_equal(all, text + 10, n);
    assert_string_equal(all + n, "|end|");
}

static void test_names(void **state) {
    Arena *a = *state;
    assert_true(os_mkdir(path_of(a, "deep"), &(Err){0}));
    file_write(a, path_of(a, "b.txt"), STR("b"));
    file_write(a, path_of(a, "a.txt"), STR("a"));
    file_write(a, path_of(a, "c[1].txt"), STR("c"));
    file_write(a, path_of(a, "picture.png"), STR("\x89PNG"));
    file_write(a, path_of(a, ".hidden.txt"), STR("h"));
    file_write(a, path_of(a, "deep/d.jsonl"), STR("{\"text\": \"d\"}"));
    assert_string_equal(documents_of(a, folder, "text"), "a|b|c|d|");
    assert_string_equal(documents_of(a, path_of(a, "[ab].txt"), "text"), "a|b|");
    assert_string_equal(documents_of(a, path_of(a, "*.txt"), "text"), "a|b|c|");
    assert_string_equal(documents_of(a, path_of(a, "c[1].txt"), "text"), "c|");
    assert_string_equal(documents_of(a, path_of(a, "d*/*.jsonl"), "text"), "d|");
    assert_string_equal(documents_of(a, path_of(a, "d?ep"), "text"), "d|");
    assert_says(documents_of(a, path_of(a, "*.md"), "text"), "no file has a name that fits");
    assert_says(documents_of(a, path_of(a, "absent.txt"), "text"), "absent.txt");
}

/* Errors name the file, and the line where there is one. */
static void test_bad(void **state) {
    Arena *a = *state;
    const Str gz = packed(a, STR("one\n--\ntwo\n"), archive_write_add_filter_gzip);
    const Str xz = packed(a, STR("one\n--\ntwo\n"), archive_write_add_filter_xz);
    char *flipped = PUSH(a, char, xz.n);
    memcpy(flipped, xz.p, (size_t)xz.n);
    flipped[xz.n / 2] ^= 16;
    const struct {
        const char *name;
        Str bytes;
        const char *says;
    } cases[] = {
        {"cut.txt.gz", {gz.p, gz.n / 2}, "cut.txt.gz"},
        {"flipped.txt.xz", {flipped, xz.n}, "flipped.txt.xz"},
        {"empty.txt", STR(""), "is empty"},
        {"a.jsonl", STR("{\"text\": \"a\"}\n{\"text\": }\n"), "a.jsonl, line 2"},
        {"b.jsonl", STR("{\"text\": \"a\"}\n{\"text\": 3}\n"),
         "b.jsonl, line 2: there is no string"},
        {"c.jsonl", STR("[]\n"), "c.jsonl, line 1"},
        {"zip.txt.gz", packed(a, STR("PK\x03\x04\x14\0\0\0\x08\0"), archive_write_add_filter_gzip),
         "zip"},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        file_write(a, path_of(a, cases[i].name), cases[i].bytes);
        assert_says(documents_of(a, path_of(a, cases[i].name), "text"), cases[i].says);
    }
}

int texts_tests(void) {
    const struct CMUnitTest tests[] = {FOLDER_TEST(test_kinds),      FOLDER_TEST(test_windows),
                                       FOLDER_TEST(test_line_parts), FOLDER_TEST(test_long_json),
                                       FOLDER_TEST(test_names),      FOLDER_TEST(test_bad)};
    return cmocka_run_group_tests_name("texts", tests, NULL, NULL);
}
