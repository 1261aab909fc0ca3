/* shard.c -- texts become the tokens they should, whatever the threads; a shard that is not whole
 * is never used. */
#define _GNU_SOURCE
#include "tests.h"
#include "data/documents.h"
#include "data/shard.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "support/child.h"
#include "support/need.h"

static char folder[64];

static int folder_setup(void **state) {
    strcpy(folder, "/tmp/lisao-data-XXXXXX");
    return mkdtemp(folder) ? arena_setup(state) : -1;
}

static int folder_teardown(void **state) {
    Err err = {0};
    return os_remove(folder, &err) ? arena_teardown(state) : -1;
}

static const char ID[] = "0000000000000000000000000000000000000000000000000000000000000000";

/* Opens the shard of the text that lies at `path`. */
static bool shard_try(Shard *s, Arena *a, const char *path, const char *separator, int64_t threads,
                      Err *err) {
    Tokenizer *tok;
    assert_true(tokenizer_open_json(&tok, a, bytes_tokenizer(a), "bytes", err));
    ShardSpec spec = {.text = path,
                      .separator = separator,
                      .folder = folder,
                      .tok = tok,
                      .tok_id = ID,
                      .end = BYTES_END};
    Team *team = team_open(threads);
    const bool ok = shard_open(s, a, &spec, team, err);
    team_close(team);
    tokenizer_close(tok);
    return ok;
}

/* Writes the text and opens its shard. */
static Shard shard_of(Arena *a, Str text, const char *separator, int64_t threads) {
    Err err = {0};
    Shard s;
    const char *path = str_fmt(a, "%s/text", folder).p;
    file_write(a, path, text);
    if (!shard_try(&s, a, path, separator, threads, &err)) fail_msg("%s", err.msg);
    return s;
}

static void assert_document(const Shard *s, int64_t d, Str text) {
    assert_int_equal(s->border[d + 1] - s->border[d], text.n + 1);
    for (int64_t i = 0; i < text.n; i++)
        assert_int_equal(shard_token(s, s->border[d] + i), (uint8_t)text.p[i]);
    assert_int_equal(shard_token(s, s->border[d + 1] - 1), BYTES_END);
}

/* Line breaks at both ends go, inner ones stay; a separator counts only as a whole line; without a
 * last one the text ends. */
static void test_documents(void **state) {
    Shard s = shard_of(
        *state,
        STR("\n\none\n\ntwo \n<|endoftext|>\r\n<|endoftext|>\n\r\n<|endoftext|>\nx<|endoftext|>\n"
            " <|endoftext|>\n<|endoftext|>\nlast"),
        "<|endoftext|>", 2);
    assert_int_equal(s.docs, 3);
    assert_int_equal(s.width, 2);
    assert_int_equal(s.vocab, BYTES_SIZE);
    assert_document(&s, 0, STR("one\n\ntwo "));
    assert_document(&s, 1, STR("x<|endoftext|>\n <|endoftext|>"));
    assert_document(&s, 2, STR("last"));
    shard_close(&s);
    s = shard_of(*state, STR("one\ntwo\n\nthree"), "", 1);
    assert_int_equal(s.docs, 2);
    assert_document(&s, 0, STR("one\ntwo"));
    shard_close(&s);
}

static void test_nothing(void **state) {
    Arena *a = *state;
    const Str texts[] = {STR(""), STR("\n\n"), STR("--\n--\n\n")};
    for (int64_t i = 0; i < COUNT(texts); i++) {
        Err err = {0};
        Shard s;
        const char *path = str_fmt(a, "%s/text", folder).p;
        file_write(a, path, texts[i]);
        assert_false(shard_try(&s, a, path, "--", 1, &err));
        assert_non_null(strstr(err.msg, "no text to train on"));
    }
}

/* Long documents are encoded in parts; what comes out is the document all the same, on any number
 * of threads. */
static void test_threads(void **state) {
    Arena *a = *state;
    const int64_t n = 5 << 20;
    char *text = PUSH(a, char, n);
    for (int64_t i = 0; i < n; i++) text[i] = "etaoin shrdlu\n"[dice(14)];
    for (int64_t at = 3 << 20; at < n - 64; at += 1 + dice(9000)) memcpy(text + at, "\n--\n", 4);
    for (int64_t i = 100; i < 2 << 20; i++)
        if (text[i] == '\n') text[i] = ' ';          /* a line of 2 MiB */
    memcpy(text + (1 << 20) - 2, "\xe7\xa6\xbb", 3); /* a character where it would be cut */
    Sha256 h;
    char hex[65], first[65];
    const int64_t threads[] = {1, 2, 3, 5};
    for (int64_t i = 0; i < COUNT(threads); i += full_run() ? 1 : 2) {
        Shard s = shard_of(a, (Str){text, n}, "--", threads[i]);
        sha256_init(&h);
        sha256_add(&h, s.map.p, s.map.n);
        sha256_hex(&h, i ? hex : first);
        if (i) assert_string_equal(hex, first);
        const char *end = strstr(text, "\n--\n");
        if (!i) assert_document(&s, 0, (Str){text, end - text});
        Err err = {0};
        const char *path = str_copy(a, s.path).p;
        shard_close(&s);
        assert_true(os_remove(path, &err));
    }
}

/* One name a content: what decides a token decides the key, and a key that is there is opened, not
 * made. */
static void test_cache(void **state) {
    Arena *a = *state;
    Err err = {0};
    Shard s = shard_of(a, STR("one\n--\ntwo"), "--", 1),
          t = shard_of(a, STR("one\n--\ntwo"), "--", 2),
          u = shard_of(a, STR("one\n--\ntwo"), "-", 1),
          v = shard_of(a, STR("one\n--\ntwx"), "--", 1);
    assert_string_equal(s.key, t.key);
    assert_string_not_equal(s.key, u.key);
    assert_string_not_equal(s.key, v.key);
    /* A shard with other tokens under the first one's name and key: if it is opened, it was not
     * made again. */
    Str bytes = str_copy(a, (Str){(const char *)v.map.p, v.map.n});
    memcpy((char *)(uintptr_t)bytes.p + 16, s.map.p + 16, 32);
    Sha256 h;
    char hex[65];
    sha256_init(&h);
    sha256_add(&h, bytes.p, bytes.n - 32);
    sha256_hex(&h, hex);
    for (int i = 0; i < 32; i++)
        ((char *)(uintptr_t)bytes.p)[bytes.n - 32 + i] =
            (char)strtol((char[]){hex[2 * i], hex[2 * i + 1], 0}, NULL, 16);
    file_write(a, s.path.p, bytes);
    Shard w = shard_of(a, STR("one\n--\ntwo"), "--", 1);
    assert_int_equal(shard_token(&w, 6), 'x');
    assert_int_equal(err.code, ERR_NONE);
    shard_close(&s), shard_close(&t), shard_close(&u), shard_close(&v), shard_close(&w);
}

/* ---- notes ----------------------------------------------------------------------------------- */

static const char *note_of(Arena *a) {
    Str *name;
    int64_t n;
    assert_true(os_list(a, &name, &n, folder, &(Err){0}));
    for (int64_t i = 0; i < n; i++)
        if (str_ends(name[i], STR(".text"))) return str_fmt(a, "%s/%s", folder, name[i].p).p;
    return NULL;
}

static void times_set(const char *path, int64_t seconds) {
    const struct timespec at[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
}

/* The first byte of the text's shard when it is opened now. */
static int opened(Arena *a, const char *path) {
    Shard s;
    Err err = {0};
    if (!shard_try(&s, a, path, "--", 1, &err)) fail_msg("%s", err.msg);
    const int first = shard_token(&s, 0);
    shard_close(&s);
    return first;
}

/* A text whose size, times and inode are those that were noted is not read; every other is, and
 * then its content decides. That it was not read is seen by a note that names another text's
 * shard. */
static void test_notes(void **state) {
    Arena *a = *state;
    Err err = {0};
    Str note, other;
    const char *path = str_fmt(a, "%s/noted", folder).p;
    file_write(a, path, STR("Xwo\n--\nthree"));
    Shard x;
    assert_true(shard_try(&x, a, path, "--", 1, &err));
    file_write(a, path, STR("one\n--\nthree"));
    assert_int_equal(opened(a, path), 'o');
    assert_null(note_of(a)); /* a file this young might be changed once more at the same time */
    usleep(2100000);
    assert_int_equal(opened(a, path), 'o');
    assert_non_null(note_of(a));
    assert_int_equal(opened(a, path), 'o');

    assert_true(os_read(a, &note, note_of(a), 1 << 14, &err));
    other = str_copy(a, note);
    memcpy((char *)(uintptr_t)other.p + other.n - 65, x.key, 64);
    file_write(a, note_of(a), other);
    assert_int_equal(opened(a, path), 'X');
    times_set(path, 1000000000); /* another time, the same text */
    assert_int_equal(opened(a, path), 'o');
    /* The same size and time of writing, another text. */
    FILE *f = fopen(path, "r+");
    assert_true(f && fputc('q', f) == 'q' && fclose(f) == 0);
    times_set(path, 1000000000);
    assert_int_equal(opened(a, path), 'q');
    usleep(2100000);
    assert_int_equal(opened(a, path), 'q');
    /* A note that is cut or scribbled on is none; a shard that is gone is made again. */
    assert_true(os_read(a, &note, note_of(a), 1 << 14, &err));
    for (int64_t i = 0; i < note.n; i++) {
        file_write(a, note_of(a), (Str){note.p, i});
        assert_int_equal(opened(a, path), 'q');
        other = str_copy(a, note);
        ((char *)(uintptr_t)other.p)[i] ^= 1;
        file_write(a, note_of(a), other);
        assert_int_equal(opened(a, path), 'q');
    }
    Shard s;
    assert_true(shard_try(&s, a, path, "--", 1, &err));
    const char *shard = str_copy(a, s.path).p;
    shard_close(&s);
    assert_true(os_remove(shard, &err));
    assert_int_equal(opened(a, path), 'q');
    shard_close(&x);
}

/* ---- texts that are not what was meant ------------------------------------------------------- */

typedef struct Opening {
    Arena *a;
    const char *path;
} Opening;

static void open_said(void *arg) {
    const Opening *o = arg;
    Shard s;
    Err err = {0};
    log_set(LOG_WARN);
    if (!shard_try(&s, o->a, o->path, "<|endoftext|>", 1, &err))
        fprintf(stderr, "refused: %s\n", err.msg);
    else
        fprintf(stderr, "%lld documents\n", (long long)s.docs);
}

/* What the opening of this text says: warnings, then the refusal or the number of documents. */
static const char *said_of(Arena *a, Str text) {
    Opening o = {a, str_fmt(a, "%s/text", folder).p};
    char *said = PUSH(a, char, 8192);
    file_write(a, o.path, text);
    assert_int_equal(child(open_said, &o, said, 8192), 0);
    return said;
}

#define SEP "\n<|endoftext|>\n"
/* 50 documents with `separator` between them. */
static Str documents(Arena *a, const char *separator) {
    Buf b = {.a = a};
    for (int i = 0; i < 50; i++)
        buf_fmt(&b, "%sDas Mädchen Nummer %d geht über die Straße.", i ? separator : "", i);
    return buf_str(&b);
}

static void test_meant(void **state) {
    Arena *a = *state;
    const struct {
        Str text;
        const char *says[2];
    } cases[] = {
        {documents(a, SEP), {"50 documents\n", NULL}},
        {documents(a, "\r\n<|endoftext|>\r\n"), {"50 documents\n", NULL}},
        {str_fmt(a, "\xef\xbb\xbf%s", documents(a, SEP).p), {"50 documents\n", NULL}},
        {str_fmt(a, "<|endoftext|>\n%s" SEP, documents(a, SEP).p), {"50 documents\n", NULL}},
        {str_fmt(a, "%s" SEP SEP "x" SEP SEP SEP "y", documents(a, SEP).p),
         {"3 documents are empty", "52 documents\n"}},
        {documents(a, "\n<|endoftext|> \n"),
         {"49 lines are \"<|endoftext|>\" but for blanks", "refused"}},
        {documents(a, "\n\t<|endoftext|>\r\n"), {"49 lines", "refused"}},
        {documents(a, "<|endoftext|>"), {"stands 49 times inside a line", "refused"}},
        {str_fmt(a, "%s" SEP "one\n <|endoftext|>\ntwo", documents(a, SEP).p),
         {"1 lines are", "51 documents\n"}},
        {str_fmt(a, "%s" SEP "one<|endoftext|>two", documents(a, SEP).p),
         {"stands 1 time inside", "51 documents\n"}},
        {str_fmt(a, "%s\xff and \xc3", documents(a, SEP).p), {"refused", "2 places"}},
        {str_fmt(a, "%s\xc3", documents(a, SEP).p), {"1 places are not UTF-8", "50 documents\n"}},
        {str_fmt(a, "%s\x01", documents(a, SEP).p), {"1 characters are control", "50 documents\n"}},
        {(Str){documents(a, SEP).p, documents(a, SEP).n + 1},
         {"1 characters are control", "50 doc"}},
        {STR("\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\xcc\x4b\x2c\x49\xcd\0\0\xff"),
         {"unpacking", "gzip -t"}},
        {STR("PK\x03\x04\x14\0\0\0\x08\0\xb7\xac\xce\x34"), {"zip file", "refused"}},
        {STR("\xfd"
             "7zXZ\0\0\x04\xe6\xd6\xb4\x46"),
         {"unpacking", "refused"}},
        {STR("\x28\xb5\x2f\xfd\x24\x05\x29\0\0"), {"unpacking", "refused"}},
        {STR("BZh91AY&SY\x8c\x10\xd5\0\0\x02"), {"bzip2 file", "refused"}},
        {STR("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n\0\0"), {"PDF", "pdftotext"}},
        {STR("PAR1\x15\x04\x15\0\0\xff"), {"Parquet", "refused"}},
        {STR("GGUF is a format. PAR1 too."), {"1 documents\n", NULL}},
        {STR("\0\1\2\3\4\5\6\7\xff\xfe\xfd"), {"is not a text", "refused"}},
        {STR("Le caf\xe9, la fl\xe8"
             "che, la for\xeat."),
         {"not in UTF-8: 3 places", "the first in line 1"}},
        {STR("\xff\xfeh\0i\0\n\0"), {"is UTF-16,", "iconv -f UTF-16 -t UTF-8"}},
        {STR("\xfe\xff\0h\0i\0\n"), {"is UTF-16,", "refused"}},
        {STR("h\0i\0 \0y\0o\0u\0"), {"is UTF-16LE,", "iconv -f UTF-16LE -t"}},
        {STR("\0h\0i\0 \0y\0o\0u"), {"is UTF-16BE,", "refused"}},
        {STR("\xff\xfe\0\0h\0\0\0i\0\0\0"), {"is UTF-32,", "refused"}},
        {STR("\0\0\0h\0\0\0i\0\0\0 "), {"is UTF-32BE,", "refused"}},
        {STR(""), {"is empty", "refused"}},
    };
    for (int64_t i = 0; i < COUNT(cases); i++) {
        const char *said = said_of(a, cases[i].text);
        for (int64_t k = 0; k < 2 && cases[i].says[k]; k++)
            if (!strstr(said, cases[i].says[k]))
                fail_msg("case %d: \"%s\" is not in: %s", (int)i, cases[i].says[k], said);
        if (!cases[i].says[1] && strcmp(said, cases[i].says[0]) != 0)
            fail_msg("case %d says too much: %s", (int)i, said);
        /* What was warned of once is warned of when the shard is there already. */
        if (!strstr(said, "refused")) assert_string_equal(said_of(a, cases[i].text), said);
    }
}

/* One document where many were meant, and lines of JSON. */
static void test_one_document(void **state) {
    Arena *a = *state;
    Buf one = {.a = a}, json = {.a = a};
    for (int i = 0; i < 4000; i++) {
        buf_fmt(&one, "Sentence number %d.\n\n", i);
        buf_fmt(&json, "{\"id\": %d, \"text\": \"a\"}\n", i);
    }
    assert_non_null(strstr(said_of(a, buf_str(&one)), "is one document of 0.1 MB: no line"));
    assert_non_null(strstr(said_of(a, buf_str(&json)), "4000 of 4000 lines are JSON objects"));
    buf_fmt(&one, "<|endoftext|>\nand another\n");
    assert_string_equal(said_of(a, buf_str(&one)), "2 documents\n");
}

/* The lines of `head`, and a line of n letters. */
static const char *line_write(Arena *a, const char *name, const char *head, char of, int64_t n) {
    const char *path = str_fmt(a, "%s/%s", folder, name).p;
    static char part[1 << 16];
    memset(part, of, sizeof part);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(head, f);
    for (int64_t at = 0; at < n; at += (int64_t)sizeof part) fwrite(part, 1, sizeof part, f);
    assert_int_equal(fclose(f), 0);
    return path;
}

static int64_t peak_now(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (int64_t)u.ru_maxrss * 1024;
}

/* Inspects the text, which is refused at its end, and reads its documents all the same; says how
 * much higher its peak of memory is for it. */
static void line_read(void *arg) {
    Arena *a = arena_open("line", ARENA_NO_LIMIT);
    Err err = {0};
    Shard s;
    Texts *t;
    static TextUnit unit[16];
    const int64_t before = peak_now();
    int64_t n, bytes = 0;
    if (!shard_try(&s, a, arg, "--", 1, &err)) fprintf(stderr, "%s\n", err.msg);
    err = (Err){0};
    if (!texts_open(&t, a, arg, "--", "text", &err)) exit(1);
    while ((n = texts_next(t, unit, COUNT(unit), 1 << 20, &err)) > 0)
        for (int64_t i = 0; i < n; i++) bytes += unit[i].text.n;
    texts_close(t);
    fprintf(stderr, "%lld bytes, peak %lld MB\n", (long long)bytes,
            (long long)((peak_now() - before) >> 20));
}

/* A file that is one line is never in memory whole; a line of JSON that is too long is refused. */
static void test_one_line(void **state) {
    need_own_memory();
    Arena *a = *state;
    static char said[4096];
    long long bytes, peak;
    const int64_t n = 96 << 20;
    char *path = (char *)(uintptr_t)line_write(a, "line.txt", "-- \n", 'x', n);
    assert_int_equal(child(line_read, path, said, sizeof said), 0);
    assert_non_null(strstr(said, "would be one document"));
    const char *end = strstr(said, "separator\n");
    assert_non_null(end);
    assert_int_equal(sscanf(end, "separator\n%lld bytes, peak %lld", &bytes, &peak), 2);
    print_message("a line of %d MB: peak %lld MB\n", (int)(n >> 20), peak);
    assert_int_equal(bytes, n + 4);
    assert_in_range(peak, 0, 48);
    Err err = {0};
    Shard s;
    path = (char *)(uintptr_t)line_write(a, "tail.txt", "-- \n", 'x', PART_BYTES);
    FILE *f = fopen(path, "a"); /* begins a part, and no line */
    assert_true(f && fputs("--\nand more\n", f) >= 0 && fclose(f) == 0);
    assert_false(shard_try(&s, a, path, "--", 1, &err));
    assert_non_null(strstr(err.msg, "would be one document"));
    err = (Err){0};
    path = (char *)(uintptr_t)line_write(a, "line.jsonl", "{\"text\": \"", 'x', n);
    assert_false(shard_try(&s, a, path, "--", 1, &err));
    assert_non_null(strstr(err.msg, "line.jsonl, line 1: a line of more than 64 MB"));
    err = (Err){0};
    path = (char *)(uintptr_t)line_write(a, "blank.jsonl", "{\"text\": \"x\"}\n", ' ', n);
    assert_false(shard_try(&s, a, path, "--", 1, &err));
    assert_non_null(strstr(err.msg, "blank.jsonl, line 2: a line of more than 64 MB"));
}

/* Cut anywhere or changed anywhere, a shard is refused, and made again from its text. */
static void test_damage(void **state) {
    Arena *a = *state;
    Shard s = shard_of(a, STR("the first\n--\nthe second\n--\nand a third one"), "--", 1);
    const char *path = str_copy(a, s.path).p, *other = str_fmt(a, "%s/other.tokens", folder).p;
    Str whole = str_copy(a, (Str){(const char *)s.map.p, s.map.n});
    shard_close(&s);
    for (int64_t i = 0; i < whole.n; i++) {
        Err err = {0};
        file_write(a, other, (Str){whole.p, i});
        assert_false(shard_read(&s, a, other, &err));
        assert_non_null(strstr(err.msg, "other.tokens"));
        char *changed = (char *)(uintptr_t)str_copy(a, whole).p;
        changed[i] ^= (char)(1 << dice(8));
        file_write(a, other, (Str){changed, whole.n});
        assert_false(shard_read(&s, a, other, &(Err){0}));
        if (i % 64) continue;
        file_write(a, path, (Str){changed, whole.n});
        s = shard_of(a, STR("the first\n--\nthe second\n--\nand a third one"), "--", 1);
        assert_int_equal(s.map.n, whole.n);
        assert_memory_equal(s.map.p, whole.p, whole.n);
        shard_close(&s);
    }
}

/* A shard with these borders, its checksum right all the same. */
static Str forged(Arena *a, Str whole, const int64_t *border, int64_t n) {
    Str bytes = str_copy(a, whole);
    uint8_t *p = (uint8_t *)(uintptr_t)bytes.p;
    Sha256 h;
    char hex[65];
    memcpy(p + bytes.n - (int64_t)sizeof(ShardTrailer) - n * 8, border, (size_t)n * 8);
    sha256_init(&h);
    sha256_add(&h, p, bytes.n - 32);
    sha256_hex(&h, hex);
    hex_to_bytes(p + bytes.n - 32, hex);
    return bytes;
}

/* Who can write a shard can give it the right checksum. Borders that do not rise are refused, also
 * where their differences wrap round: 5 + INT64_MIN, seen as a difference, is a long document. */
static void test_borders(void **state) {
    Arena *a = *state;
    Shard s = shard_of(a, STR("one\n--\ntwo\n--\nthree\n--\nfour"), "--", 1);
    const char *other = str_fmt(a, "%s/other.tokens", folder).p;
    Str whole = str_copy(a, (Str){(const char *)s.map.p, s.map.n});
    const int64_t N = s.tokens, good[] = {0, 4, 8, 14, N};
    assert_memory_equal(s.border, good, sizeof good);
    shard_close(&s);
    const int64_t bad[][5] = {{0, 4, INT64_MIN, -4, N}, {0, 5, INT64_MIN + 3, INT64_MIN + 5, N},
                              {0, 4, INT64_MAX, 14, N}, {0, INT64_MIN, 8, 14, N},
                              {0, 4, 4, 14, N},         {0, 4, 5, 14, N},
                              {0, 8, 4, 14, N},         {1, 4, 8, 14, N},
                              {-1, 4, 8, 14, N},        {0, 4, 8, N, N},
                              {0, 4, 8, 14, N - 1},     {0, 4, 8, 14, N + 1}};
    for (int64_t i = -1; i < COUNT(bad); i++) {
        Err err = {0};
        file_write(a, other, forged(a, whole, i < 0 ? good : bad[i], 5));
        bool ok = shard_read(&s, a, other, &err);
        if (ok != (i < 0) || (!ok && !strstr(err.msg, "borders do not rise")))
            fail_msg("borders number %d: %s", (int)i, ok ? "accepted" : err.msg);
        if (ok) shard_close(&s);
    }
}

#define FOLDER_TEST(fn) cmocka_unit_test_setup_teardown(fn, folder_setup, folder_teardown)

int shard_tests(void) {
    const struct CMUnitTest tests[] = {FOLDER_TEST(test_documents),    FOLDER_TEST(test_nothing),
                                       FOLDER_TEST(test_threads),      FOLDER_TEST(test_cache),
                                       FOLDER_TEST(test_notes),        FOLDER_TEST(test_meant),
                                       FOLDER_TEST(test_one_document), FOLDER_TEST(test_one_line),
                                       FOLDER_TEST(test_damage),       FOLDER_TEST(test_borders)};
    return cmocka_run_group_tests_name("shard", tests, NULL, NULL);
}
