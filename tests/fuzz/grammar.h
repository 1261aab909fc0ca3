/* grammar.h -- what the fuzz targets of grammars share: compiling, and drawing an answer. */
#pragma once
#include "text/text.h"

/* Compiles over the byte tokenizer. What is compiled is walked: of the tokens allowed one is drawn,
 * by the bytes of the text, up to 200; there is always one, and what was taken back comes again. */
static inline void grammar_try(Str text, GrammarSpec spec) {
    static Arena *keep, *a;
    static Tokenizer *t;
    static Lexicon *l;
    Grammar *g;
    Err err = {0};
    if (!keep) {
        keep = arena_open("vocabulary", ARENA_NO_LIMIT), a = arena_open("grammar", ARENA_NO_LIMIT);
        CHECK(tokenizer_open_json(&t, keep, byte_tokenizer_json(keep), "bytes", &err));
        const int32_t end = token_named(t, STR("<|end|>"));
        CHECK(lexicon_new(&l, keep, t, tokenizer_size(t), &end, 1, &err));
    }
    const Mark mark = arena_mark(a);
    spec.text = text;
    if (!grammar_new(&g, a, l, &spec, &err)) {
        CHECK(err.code != ERR_NONE && err.msg[0]);
        return arena_pop(a, mark);
    }
    Constraint c;
    grammar_constraint(&c, a, g, false);
    bool more = true;
    for (int64_t i = 0; i < 200 && more; i++) {
        uint64_t bits[5] = {0}, again[5] = {0};
        int32_t id, forced;
        CHECK(c.mask(c.self, bits, tokenizer_size(t)));
        int64_t n = 0, left = text.n ? (uint8_t)text.p[i % text.n] + 7 * i : i;
        for (int k = 0; k < 5; k++) n += __builtin_popcountll(bits[k]);
        CHECK(n > 0);
        left %= n;
        for (id = 0; !(bits[id / 64] >> id % 64 & 1) || left-- > 0;) id++;
        CHECK(c.forced(c.self, &forced, 1) == 0 || (n == 1 && forced == id));
        (void)c.accept(c.self, id);
        c.rollback(c.self, 1);
        CHECK(c.mask(c.self, again, tokenizer_size(t)) && !memcmp(bits, again, sizeof bits));
        more = c.accept(c.self, id);
    }
    arena_pop(a, mark);
}
