/* made.c -- documents of a source as rows: questions are read, answers are learned. */
#include "tests.h"

/* Document d asks "d?" and answers "d+d" after a thought, or is a text, every third one. */
static bool document(void *self, int64_t number, Document *d, Arena *a, Err *err) {
    const int64_t *last = self;
    if (number == *last) return err_set(err, ERR_FORMAT, "there is no such document");
    if (number % 3 == 2) {
        d->text = str_fmt(a, "text %lld", (long long)number);
        return true;
    }
    Message *m = PUSH(a, Message, 2);
    m[0] = (Message){.role = ROLE_USER, .content = str_fmt(a, "%lld?", (long long)number)};
    m[1] = (Message){.role = ROLE_ASSISTANT,
                     .reasoning = STR("hm"),
                     .content = str_fmt(a, "%lld", (long long)(2 * number))};
    *d = (Document){.message = m, .n = 2};
    return true;
}

typedef struct Words {
    Tokenizer *tok;
    Chat chat;
} Words;

static Words words_of_bytes(Arena *a) {
    static const char chat_template[] =
        "{%- for m in messages -%}{%- if m.role == 'user' -%}<|user|>{{ m.content }}{%- else -%}"
        "<|assistant|><think>{{ m.reasoning_content }}</think>{{ m.content }}<|end|>{%- endif -%}"
        "{%- endfor -%}{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}";
    Words w;
    Err err = {0};
    if (!tokenizer_open_json(&w.tok, a, byte_tokenizer_json(a), "bytes", &err)
        || !chat_init(&w.chat, a, w.tok, str_of(chat_template), STR(""), STR("<|end|>"), &err))
        fail_msg("%s", err.msg);
    return w;
}

static Str decoded(Arena *a, const Words *w, const int32_t *id, int64_t n) {
    Buf b = {.a = a};
    text_decode(&b, w->tok, id, n, false);
    return buf_str(&b);
}

static void answers_are_learned(void **state) {
    Arena *a = *state;
    const Words w = words_of_bytes(a);
    int64_t last = -1;
    const Source source = {"test", &last, document};
    const MadeSpec spec = {&source, 30, w.tok, &w.chat, token_named(w.tok, STR("<|endoftext|>"))};
    Shard s, again;
    Err err = {0};
    Loader *l;
    assert_true(shard_of_source(&s, a, &spec, &err) && shard_of_source(&again, a, &spec, &err));
    assert_string_equal(s.key, again.key);
    assert_int_equal(s.docs, 30);
    assert_true(loader_new(&l, a, &s, 64, false, (LoaderState){0}, &err));
    Packed b = packed_new(a, 64);
    int64_t targets = 0, pieces = 0;
    for (int64_t row = 0; row < loader_rows(l); row++) {
        loader_next(l, &b, 1);
        int64_t learned = 0;
        for (int64_t p = 0; p < b.n_pieces; p++, pieces++) {
            int32_t said[64];
            int64_t n = 0;
            for (int64_t i = b.at[p]; i < b.at[p] + b.len[p]; i++)
                if (b.target[i] >= 0) said[n++] = b.target[i];
            learned += n;
            const Str all = decoded(a, &w, b.token + b.at[p], b.len[p]),
                      learn = decoded(a, &w, said, n);
            if (str_starts(all, STR("text "))) {
                assert_int_equal(n, b.len[p]); /* all but its first token */
                assert_true(str_ends(learn, STR("<|endoftext|>")));
                continue;
            }
            assert_true(str_starts(all, STR("<|user|>")) && str_starts(learn, STR("<think>hm")));
            assert_true(str_ends(learn, STR("<|end|>")));
            assert_null(memchr(learn.p, '?', (size_t)learn.n));
        }
        assert_int_equal(learned, b.targets);
        targets += learned;
    }
    assert_int_equal(pieces, 30);
    assert_int_equal(targets, loader_targets(l));
    last = 7; /* a document that cannot be made is named */
    assert_false(shard_of_source(&s, a, &spec, &err));
    assert_non_null(strstr(err.msg, "test, document 7: there is no such document"));
    tokenizer_close(w.tok);
}

/* A question that fills rows of its own has places but no targets there. */
static void long_questions_are_cut(void **state) {
    Arena *a = *state;
    const int64_t border[] = {0, 10, 14};
    const int32_t token[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13};
    const uint8_t learned[] = {0x80, 0x3f}; /* of the first document only the last three */
    const Shard s = {.path = STR("memory"),
                     .tokens = 14,
                     .docs = 2,
                     .vocab = 14,
                     .border = border,
                     .token = token,
                     .width = 4,
                     .learned = learned};
    Loader *l;
    Err err = {0};
    assert_true(loader_new(&l, a, &s, 4, false, (LoaderState){0}, &err));
    Packed b = packed_new(a, 4);
    int64_t targets = 0;
    for (int64_t row = 0; row < loader_rows(l); row++) {
        loader_next(l, &b, 1);
        for (int64_t i = 0; i < b.n; i++) {
            const bool question = b.token[i] < 6; /* whose next token is read, too */
            assert_int_equal(b.target[i], question ? -1 : b.token[i] + 1);
            targets += !question;
        }
    }
    assert_int_equal(targets, 3 + 3);
    assert_int_equal(targets, loader_targets(l));
}

int made_tests(void) {
    const struct CMUnitTest tests[] = {
        ARENA_TEST(answers_are_learned),
        ARENA_TEST(long_questions_are_cut),
    };
    return cmocka_run_group_tests_name("made", tests, NULL, NULL);
}
