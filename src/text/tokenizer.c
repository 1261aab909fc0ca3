/* tokenizer.c -- making and asking a tokenizer, whichever file it came from. */
#include "text/tokenizer.h"

bool ids_add(Ids *ids, int32_t id) {
    if (ids->n == ids->cap) {
        int64_t cap = MAX(2 * ids->cap, 64);
        int32_t *v = arena_try(ids->a, cap * (int64_t)sizeof *v);
        if (v == NULL) return false;
        if (ids->n > 0) memcpy(v, ids->v, (size_t)ids->n * sizeof *v);
        ids->v = v;
        ids->cap = cap;
    }
    ids->v[ids->n++] = id;
    return true;
}

Tokenizer *tokenizer_new(Arena *a, const char *name) {
    Tokenizer *t = PUSH(a, Tokenizer, 1);
    t->name = str_copy(a, str_of(name)).p;
    t->memory = regex_memory(a);
    t->unknown = t->begin = -1;
    return t;
}

void tokenizer_bytes(Tokenizer *t) {
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        t->byte_id[b] = vocab_find(&t->vocab, (Str){&c, 1}, t->unit == UNIT_CHARS);
    }
    for (int64_t i = 0; i < t->vocab.n_ids; i++)
        t->longest = MAX(t->longest, (int64_t)t->vocab.tokens[i].len);
}

void tokenizer_close(Tokenizer *t) {
    for (int i = 0; t && i < t->n_stages; i++) pcre2_code_free(t->stages[i].code);
}

int64_t tokenizer_size(const Tokenizer *t) { return t->vocab.n_ids; }

static bool is_there(const Tokenizer *t, int32_t id) {
    return id >= 0 && id < t->vocab.n_ids && (t->vocab.tokens[id].flags & TOKEN_THERE);
}

Str token_bytes(const Tokenizer *t, int32_t id) {
    return is_there(t, id) ? vocab_bytes(&t->vocab, id) : (Str){"", 0};
}

bool token_is_special(const Tokenizer *t, int32_t id) {
    return is_there(t, id) && (t->vocab.tokens[id].flags & TOKEN_SPECIAL);
}

int32_t token_named(const Tokenizer *t, Str content) {
    int64_t at, len;
    int32_t id;
    const Trie *tries[] = {&t->raw, &t->normal};
    for (int i = 0; i < 2; i++)
        if (trie_find(tries[i], content, NULL, 0, &at, &len, &id) && at == 0 && len == content.n)
            return id;
    return -1;
}

int32_t token_begin(const Tokenizer *t) { return t->begin; }
