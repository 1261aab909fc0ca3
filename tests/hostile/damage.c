/* damage.c -- real models, cut at 200 places, changed at 1,000, mostly in what describes them, and
 * with 200 other lengths, and of small files each byte of the header: a message that names the
 * file, or a model that runs. No signal, no waiting, no memory that the file's size does not
 * explain. tests/file does the same with the formats alone, without a model. */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#include "tests.h"

typedef struct Victim {
    const char *open, *file; /* what is opened, and what of it is damaged */
    Str whole;
    int64_t header; /* bytes that describe */
    bool text;
} Victim;

enum { BATCH = 50, SECONDS = 120 };
typedef struct Job {
    const Victim *v;
    int64_t from, to;
} Job;

static uint32_t draw(int64_t i, uint32_t stream, int64_t below) {
    return (uint32_t)(philox(7, (uint64_t)i, stream).w[0] % (uint64_t)below);
}

/* ---- one damage ------------------------------------------------------------------------------ */

/* Another byte for `was`: in text a digit becomes a digit, so that numbers stay numbers; else a
 * bit, a byte by chance, or an extreme. */
static uint8_t changed(const Victim *v, int64_t i, uint8_t was) {
    bool digit = v->text && was >= '0' && was <= '9';
    if (digit && draw(i, 3, 4)) return (uint8_t)('0' + draw(i, 4, 10));
    switch (draw(i, 5, 4)) {
    case 0: return (uint8_t)draw(i, 6, 256);
    case 1: return draw(i, 6, 2) ? 0xff : 0;
    default: return (uint8_t)(was ^ 1u << draw(i, 6, 8));
    }
}

static void changes_run(Scratch *s, void *arg) {
    const Job *j = arg;
    const Victim *v = j->v;
    Team *team = team_open(1);
    int fd = open(v->file, O_RDWR);
    CHECK(fd >= 0);
    for (int64_t i = j->from; i < j->to; i++) {
        Err err = {0};
        bool each = i >= 1000; /* every byte of the header in turn */
        int64_t at = each            ? i - 1000
                     : draw(i, 1, 5) ? draw(i, 2, v->header)
                                     : draw(i, 2, v->whole.n);
        uint8_t was = (uint8_t)v->whole.p[at], is = changed(v, i, was);
        CHECK(pwrite(fd, &is, 1, at) == 1);
        note("%s: byte %lld changed from %d to %d", v->file, (long long)at, was, is);
        model_tried(s, v->open, v->whole.n, team, &err);
        CHECK(pwrite(fd, &was, 1, at) == 1);
    }
    close(fd);
    team_close(team);
}

static void cuts_run(Scratch *s, void *arg) {
    const Job *j = arg;
    const Victim *v = j->v;
    Team *team = team_open(1);
    for (int64_t i = j->to - 1; i >= j->from; i--) { /* from the end: one file serves all */
        Err err = {0};
        int64_t rest = v->whole.n - v->header;
        int64_t at = i < 100 ? v->header * i / 100 : v->header + rest * (i - 100) / 100;
        if (v->text) at = MAX(at, 1);   /* an empty tokenizer.json is none */
        if (at == v->whole.n) continue; /* all of it describes */
        CHECK(truncate(v->file, at) == 0);
        note("%s: cut at byte %lld", v->file, (long long)at);
        if (model_tried(s, v->open, v->whole.n, team, &err)) trial_fail("it ran");
    }
    team_close(team);
}

/* ---- one length ------------------------------------------------------------------------------ */

/* A number in what describes the file: digits in JSON, else 8 bytes. What is taken for one in
 * binary need not be, but whatever counts, measures or places something is. */
typedef struct Field {
    int64_t at, bytes;
    uint64_t value;
    bool text;
} Field;

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* JSON begins behind the first number of a safetensors file. */
static int64_t fields_find(Field *f, const Victim *v) {
    const char *p = v->whole.p;
    int64_t n = 0, json = v->text ? 0 : 8, end;
    if (str_ends(str_of(v->file), STR(".gguf"))) json = v->header;
    for (int64_t at = 0; at < v->header - 8; at = end) {
        Field one = {at, 8, 0, at >= json};
        end = at + 1;
        if (one.text) {
            if (!is_digit(p[at])) continue;
            while (end < v->header && is_digit(p[end])) end++;
            one.bytes = end - at;
            for (int64_t i = at; i < end; i++) one.value = 10 * one.value + (uint64_t)(p[i] - '0');
        } else {
            memcpy(&one.value, p + at, 8);
            if (one.value == 0 || one.value > (uint64_t)v->whole.n) continue;
        }
        f[n++] = one;
    }
    return n;
}

/* A neighbour, a multiple, or what overflows when something is added to it or multiplied. */
static uint64_t other_value(int64_t i, uint64_t was) {
    const uint64_t to[] = {0,
                           1,
                           was + 1,
                           was - 1,
                           2 * was,
                           was << 32 | was,
                           was + ((uint64_t)1 << draw(i, 8, 64)),
                           INT32_MAX,
                           UINT32_MAX,
                           INT64_MAX,
                           (uint64_t)1 << 63,
                           UINT64_MAX - 7};
    return to[draw(i, 9, COUNT(to))];
}

static void bytes_put(int fd, const void *p, int64_t n, int64_t at) {
    CHECK(pwrite(fd, p, (size_t)n, at) == n);
}

static void lengths_run(Scratch *s, void *arg) {
    const Job *j = arg;
    const Victim *v = j->v;
    Team *team = team_open(1);
    Field *field = PUSH(s->a, Field, v->header);
    int64_t n = fields_find(field, v);
    int fd = open(v->file, O_RDWR);
    CHECK(fd >= 0 && n > 0);
    for (int64_t i = j->from; i < j->to; i++) {
        Err err = {0};
        char digits[24];
        Field f = field[draw(i, 7, n)];
        uint64_t is = other_value(i, f.value);
        int64_t after = f.at + f.bytes, rest = v->whole.n - after, wide = 8;
        if (f.text) wide = snprintf(digits, sizeof digits, "%llu", (unsigned long long)is);
        bytes_put(fd, f.text ? digits : (const char *)&is, wide, f.at);
        bytes_put(fd, v->whole.p + after, rest, f.at + wide);
        CHECK(ftruncate(fd, f.at + wide + rest) == 0);
        note("%s: %llu at byte %lld is %llu", v->file, (unsigned long long)f.value, (long long)f.at,
             (unsigned long long)is);
        model_tried(s, v->open, v->whole.n, team, &err);
        bytes_put(fd, v->whole.p + f.at, v->whole.n - f.at, f.at);
        CHECK(ftruncate(fd, v->whole.n) == 0);
    }
    close(fd);
    team_close(team);
}

/* ---- many ------------------------------------------------------------------------------------ */

static void whole_run(Scratch *s, void *arg) {
    const Victim *v = ((Job *)arg)->v;
    Err err = {0};
    Team *team = team_open(1);
    note("%s, whole", v->file);
    if (!model_tried(s, v->open, v->whole.n, team, &err)) trial_fail("%s", err.msg);
    team_close(team);
}

static void file_restore(const Victim *v) {
    int fd = open(v->file, O_WRONLY | O_TRUNC);
    CHECK(fd >= 0 && write(fd, v->whole.p, (size_t)v->whole.n) == v->whole.n && close(fd) == 0);
}

static void batches(Scratch *s, const Victim *v, Trial *fn, int64_t n) {
    for (int64_t i = 0; i < n; i += BATCH) {
        Job j = {v, i, MIN(i + BATCH, n)};
        trial_run(s, fn, &j, SECONDS);
        file_restore(v);
    }
}

/* All places, or some. */
static void damage(Scratch *s, const Victim *v, bool each_byte) {
    Job whole = {v, 0, 0};
    trial_run(s, whole_run, &whole, SECONDS);
    int64_t changes = each_byte ? 1000 + v->header : 1000;
    batches(s, v, changes_run, full_run() ? changes : BATCH);
    batches(s, v, lengths_run, full_run() ? 200 : BATCH / 2);
    batches(s, v, cuts_run, full_run() ? 200 : BATCH / 2);
}

/* ---- the victims ----------------------------------------------------------------------------- */

static int64_t safetensors_header(Str bytes) {
    uint64_t n;
    memcpy(&n, bytes.p, 8);
    return (int64_t)n + 8;
}

/* A folder with a tokenizer, each of whose files is damaged in turn. */
static void folder_damage(Scratch *s, const char *model, const char *const *names, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        bool tokenizer = !strcmp(names[i], "tokenizer.json");
        const char *from = str_fmt(s->a, "models/%s/%s", model, names[i]).p;
        from = need_reference(s->a, tokenizer ? "tokenizers/tiny.json" : from);
        file_put(s, names[i], bytes_of(s->a, from));
    }
    for (int64_t i = 0; i < n; i++) {
        const char *file = str_fmt(s->a, "%s/%s", s->folder, names[i]).p;
        Victim v = {.open = s->folder, .file = file, .whole = bytes_of(s->a, file)};
        while (v.whole.n && v.whole.p[v.whole.n - 1] == '\n') v.whole.n--; /* whole without it */
        v.text = str_ends(str_of(names[i]), STR(".json"));
        v.header = v.text ? v.whole.n : safetensors_header(v.whole);
        damage(s, &v, false);
    }
}

static void test_llama(void **state) {
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json"};
    folder_damage(*state, "llama-tiny", names, COUNT(names));
}

static void test_deepseek(void **state) {
    static const char *const names[] = {"config.json", "model.safetensors"};
    folder_damage(*state, "deepseek-v3-tiny", names, COUNT(names));
}

static void test_shards(void **state) {
    static const char *const names[] = {"config.json", "model.safetensors.index.json",
                                        "model-00001-of-00002.safetensors",
                                        "model-00002-of-00002.safetensors"};
    folder_damage(*state, "deepseek-v3-bf16-tiny", names, COUNT(names));
}

static void gguf_damage(Scratch *s, const char *from, int64_t header) {
    Victim v = {.whole = bytes_of(s->a, from)};
    v.open = v.file = file_put(s, "model.gguf", v.whole);
    v.header = MIN(header, v.whole.n);
    damage(s, &v, header < 8192);
}

static void test_gguf_q8(void **state) {
    Scratch *s = *state;
    gguf_damage(s, "tests/fuzz/corpus/gguf_model/llama_q8", 2272);
}
static void test_gguf_q4(void **state) {
    Scratch *s = *state;
    gguf_damage(s, "tests/fuzz/corpus/gguf_model/llama_q4", 2240);
}
static void test_gguf_deepseek(void **state) {
    Scratch *s = *state;
    gguf_damage(s, "tests/fuzz/corpus/gguf_model/deepseek_v3_split", 4128);
}

/* A type and a vocabulary of another kind. Each byte of such long headers would take too long. */
static void test_gguf_real(void **state) {
    Scratch *s = *state;
    need_full();
    gguf_damage(s, need_reference(s->a, "gguf-types/Q8_0.gguf"), 12625);
    gguf_damage(s, need_reference(s->a, "stories260K/stories260K-f16.gguf"), 14240);
}

/* Too large to run here; a cut must be refused before that. */
static void test_gguf_large(void **state) {
    Scratch *s = *state;
    need_full();
    const char *from = need_smollm2(s->a);
    Victim v = {.whole = bytes_of(s->a, from), .header = 1 << 21};
    v.open = v.file = file_put(s, "model.gguf", v.whole);
    batches(s, &v, cuts_run, 200);
}

int damage_tests(void) {
    const struct CMUnitTest tests[] = {
        HOSTILE_TEST(test_llama),     HOSTILE_TEST(test_deepseek),
        HOSTILE_TEST(test_shards),    HOSTILE_TEST(test_gguf_q8),
        HOSTILE_TEST(test_gguf_q4),   HOSTILE_TEST(test_gguf_deepseek),
        HOSTILE_TEST(test_gguf_real), HOSTILE_TEST(test_gguf_large),
    };
    return cmocka_run_group_tests_name("damage", tests, NULL, NULL);
}
