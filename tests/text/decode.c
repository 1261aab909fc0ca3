/* decode.c -- the streaming decoder against a plain reading of the whole. */
#include "tests.h"

/* Whether some character begins with the n bytes at p, by trying all ends. */
static bool is_prefix(const char *p, int64_t n) {
    for (int c = 0; c < 64 * 64 * 64; c++) {
        char whole[4];
        memcpy(whole, p, (size_t)n);
        int rest = c;
        for (int64_t i = n; i < 4; i++, rest >>= 6) whole[i] = (char)(0x80 | (rest & 63));
        int length = utf8_length((Str){whole, 4});
        if (length > n) return true;
        if (n > 1 && c >= 64 * 64) return false;
    }
    return false;
}

/* U+FFFD for each longest prefix of a character that is cut off, and for each byte that begins none
 * (Unicode, chapter 3, "maximal subparts"). */
static Str lossy(Bench *b, Str s) {
    Buf out = {.a = b->keep};
    buf_add(&out, STR(""));
    for (int64_t i = 0, n; i < s.n; i += n) {
        n = utf8_length((Str){s.p + i, s.n - i});
        buf_add(&out, n ? (Str){s.p + i, n} : STR("\xef\xbf\xbd"));
        for (n = MAX(n, 1); (uint8_t)s.p[i] >= 0x80 && utf8_length((Str){s.p + i, s.n - i}) == 0
                            && n < 3 && i + n < s.n && is_prefix(s.p + i, n + 1);)
            n++;
    }
    return buf_str(&out);
}

static void bytes_push(Decoder *d, Str s, Buf *out) {
    for (int64_t i = 0; i < s.n; i++) decoder_push(d, d->t->byte_id[(uint8_t)s.p[i]], out);
}

static void same_as_whole(Bench *b, const Tokenizer *t, Str s) {
    Decoder d;
    Buf out = {.a = b->keep};
    buf_add(&out, STR(""));
    decoder_init(&d, t, false);
    for (int64_t i = 0; i < s.n; i++) {
        int64_t before = out.n;
        bytes_push(&d, (Str){s.p + i, 1}, &out);
        /* whole characters only, and none is held back: what is held has no whole character in it
         */
        for (int64_t k = before, n; k < out.n; k += n)
            assert_true((n = utf8_length((Str){out.p + k, out.n - k})) > 0);
        assert_int_equal(utf8_length((Str){(char *)d.held, d.n_held}), 0);
        assert_true(d.n_held < 4);
        if (utf8_length((Str){s.p + i, 1})) assert_int_equal(d.n_held, 0);
    }
    decoder_end(&d, &out);
    same_str(buf_str(&out), lossy(b, s));
}

static void streaming(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    static const char interesting[] = "\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xa9\x41\xed\xa0\x80\xc0\xaf"
                                      "\xf4\x90\xe0\x80\xf8\xff\xbf\xc2";
    for (uint64_t k = 0; k < 2000; k++) {
        char s[16];
        int64_t n = draw(100 * k, 16);
        for (int64_t i = 0; i < n; i++)
            s[i] = interesting[draw(100 * k + (uint64_t)i + 1, sizeof interesting - 1)];
        same_as_whole(b, t, (Str){s, n});
    }
    tokenizer_close(t);
}

/* What Python's bytes.decode(errors="replace") and Rust's from_utf8_lossy give. */
static void known(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    static const struct {
        Str bytes, text;
    } cases[] = {{STR("\xf0\x9f\x98"), STR("\xef\xbf\xbd")},
                 {STR("\xf0\x9f\x98\x41"), STR("\xef\xbf\xbd\x41")},
                 {STR("\xed\xa0\x80"), STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")},
                 {STR("\xe2\x82\xe2\x82\xac"), STR("\xef\xbf\xbd\xe2\x82\xac")},
                 {STR("\xc0\xaf"), STR("\xef\xbf\xbd\xef\xbf\xbd")},
                 {STR("\xf4\x90\x80\x80"), STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")},
                 {STR("\x80\xff\xc2"), STR("\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd")}};
    for (int i = 0; i < COUNT(cases); i++) {
        same_str(decode(b, t, encode(b, t, cases[i].bytes, TEXT_PLAIN)), cases[i].text);
        same_as_whole(b, t, cases[i].bytes);
    }
    tokenizer_close(t);
}

static void special(void **state) {
    Bench *b = *state;
    Tokenizer *t = tiny(b);
    Ids ids = encode(b, t, STR("a<|im_start|>b<think>c"), TEXT_PARSED);
    Buf out = {.a = b->keep};
    text_decode(&out, t, ids.v, ids.n, true);
    same_str(buf_str(&out), STR("ab<think>c"));
    same_str(decode(b, t, ids), STR("a<|im_start|>b<think>c"));
    /* ids that are none give nothing */
    const int32_t none[] = {-1, 1 << 30, (int32_t)tokenizer_size(t)};
    out.n = 0;
    text_decode(&out, t, none, 3, false);
    assert_int_equal(out.n, 0);
    tokenizer_close(t);
}

int decode_tests(void) {
    const struct CMUnitTest tests[] = {TEXT_TEST(known), TEXT_TEST(streaming), TEXT_TEST(special)};
    return cmocka_run_group_tests_name("decoding", tests, NULL, NULL);
}
