/* export.c -- a tokenizer as files have it: the arrays of a GGUF file, and a tokenizer.json. Both
 * are made from the loaded tokenizer, so that any kind of file can become any other.
 *
 * GGUF has one name for how words are cut. It is found by cutting a text that holds what patterns
 * differ in, and taking the first name that cuts it alike. What was made is opened again and must
 * give the same ids for that text: a tokenizer that is nearly right is worse than none. */
#include <stdlib.h>
#include "text/tokenizer.h"

/* Contractions, digits in rows, indents, line ends, punctuation in rows, marks, letters of many
 * scripts, symbols, emoji with joiners, spaces of other kinds. */
static const char probe[] =
    "I'm sure it's WE'LL they'Ve don'T HelloWorld fooBar x1y22z333 1234567 3.14159 1,000,000 2nd\n"
    "  two\n\n\n   three \t\ttabs\t end  \r\n\r\n if (a[i]!=b){return x->y;}//!?... ###--- $$ ^^ "
    "~|\n"
    "na\xc3\xafve caf\x65\xcc\x81 \xc3\x85ngstr\xc3\xb6m \xe1\xbb\x87 \xd0\x9f\xd1\x80\xd0\xb8 "
    "\xce\xb1\xce\xb2\xce\xb3 \xd8\xb3\xd9\x84\xd8\xa7\xd9\x85 \xd7\xa9\xd7\x9c "
    "\xe0\xa4\xa8\xe0\xa4\xae\xe0\xa4\xb8\xe0\xa5\x8d\xe0\xa4\xa4\xe0\xa5\x87 "
    "\xe4\xbd\xa0\xe5\xa5\xbd\xe4\xb8\x96\xe7\x95\x8c\xef\xbc\x8c\xe6\xb7\xb1\xe5\xba\xa6"
    "abc\xe5\xad\xa6\xe4\xb9\xa0"
    "123\xe4\xb8\xaa \xe3\x81\x93\xe3\x82\x93\xe3\x82\xab\xe3\x83\x8a "
    "\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4 \xe2\x80\x9cquoted\xe2\x80\x9d \xe2\x80\x94 \xe2\x82\xac"
    "5 "
    "\xc2\xbd \xe2\x85\xa7 \xd9\xa3\xd9\xa4\xd9\xa5\xd9\xa6 "
    "\xf0\x9f\x98\x80\xf0\x9f\x91\x8d\xf0\x9f\x8f\xbd "
    "\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x94\xac \xc2\xa0\xe3\x80\x80 end _under_score_ a_b <tag> "
    "\xe2\x96\x81low (x)  [y] {z}'s \xc7\x85x \xca\xb0"
    "a i\xcd\x85 o\xe2\x83\x9d\n\n";

/* ---- how words are cut ----------------------------------------------------------------------- */

static bool word_note(void *arg, Str word) {
    buf_add(arg, word);
    buf_add(arg, (Str){"", 1});
    return true;
}

/* The words of the probe, each with a NUL behind it. */
static bool probe_cut(Buf *out, const Tokenizer *t, Arena *scratch, Err *err) {
    Pretok c = {.word = word_note, .arg = out, .first = true};
    return pretok_init(&c, t, scratch, err) && pretok_run(&c, str_of(probe));
}

static bool norms_same(const Tokenizer *a, const Tokenizer *b) {
    bool same = a->n_norms == b->n_norms;
    for (int i = 0; same && i < a->n_norms; i++) same = a->norms[i].kind == b->norms[i].kind;
    return same;
}

static bool pre_fits(const Tokenizer *t, Str words, const char *name, Arena *scratch) {
    Err ignored = {0};
    Tokenizer *like = tokenizer_new(scratch, name);
    Buf other = {.a = scratch};
    bool fits = pre_add(like, scratch, str_of(name), &ignored)
                && like->whole_words == t->whole_words && norms_same(like, t)
                && probe_cut(&other, like, scratch, &ignored) && str_eq(words, buf_str(&other));
    tokenizer_close(like);
    return fits;
}

/* Without merges a text is its bytes' tokens, wherever its words end: any name is right, as far as
 * the probe, which is encoded at the end, shows nothing that is left out or put in. */
static bool cuts_matter(const Tokenizer *t) {
    bool merges = t->merge_by != MERGE_TABLE || t->whole_words || t->n_norms;
    for (int64_t i = 0; !merges && i < t->merges.n_slots; i++)
        merges = t->merges.slots[i].rank != NO_RANK;
    return merges;
}

/* The name, or NULL with an Err. */
static const char *pre_find(const Tokenizer *t, Arena *scratch, Err *err) {
    Buf words = {.a = scratch};
    if (!cuts_matter(t)) return "gpt-2";
    if (!probe_cut(&words, t, scratch, err)) return NULL;
    for (int i = 0; pre_name(i); i++) {
        Mark mark = arena_mark(scratch);
        bool fits = pre_fits(t, buf_str(&words), pre_name(i), scratch);
        arena_pop(scratch, mark);
        if (fits) return pre_name(i);
    }
    err_set(err, ERR_UNSUPPORTED,
            "%s: pre_tokenizer: it cuts words in a way that GGUF has no known name for", t->name);
    return NULL;
}

/* ---- spellings ------------------------------------------------------------------------------- */

static Str spelling(Arena *a, const Tokenizer *t, Str bytes, bool literal) {
    char *to = arena_push(a, MAX(3 * bytes.n, 1));
    int64_t n = 0;
    if (literal) return bytes;
    for (int64_t i = 0; i < bytes.n; i++) {
        uint8_t b = (uint8_t)bytes.p[i];
        if (t->unit == UNIT_BYTES)
            n += utf8_put(to + n, byte_char(b));
        else if (b == ' ')
            n += utf8_put(to + n, 0x2581);
        else
            to[n++] = (char)b;
    }
    return (Str){to, n};
}

/* What stands for an id without a token. */
static Str padding(Arena *a, int64_t id) { return str_fmt(a, "[PAD%lld]", (long long)id); }

static bool is_padding(Str bytes, int32_t id) {
    int64_t n;
    return str_starts(bytes, STR("[PAD")) && str_ends(bytes, STR("]"))
           && str_i64((Str){bytes.p + 4, bytes.n - 5}, &n) && n == id;
}

static int32_t type_of(const Tokenizer *t, int32_t id) {
    unsigned flags = t->vocab.tokens[id].flags;
    Str bytes = vocab_bytes(&t->vocab, id);
    if (!(flags & TOKEN_THERE)) return TYPE_UNUSED;
    if (!(flags & TOKEN_SPECIAL) && is_padding(bytes, id)) return TYPE_UNUSED;
    if (t->unit == UNIT_CHARS && id == t->unknown) return TYPE_UNKNOWN;
    if (flags & TOKEN_SPECIAL) return TYPE_CONTROL;
    if (bytes.n && token_named(t, bytes) == id) return TYPE_USER_DEFINED;
    bool byte = t->unit == UNIT_CHARS && bytes.n == 1 && flags & TOKEN_LITERAL;
    return byte && t->byte_id[(uint8_t)bytes.p[0]] == id ? TYPE_BYTE : TYPE_NORMAL;
}

static void tokens_export(TokenizerParts *p, Arena *a, const Tokenizer *t) {
    int64_t n = t->vocab.n_ids;
    Str *tokens = PUSH(a, Str, n);
    int32_t *types = PUSH(a, int32_t, n);
    for (int64_t i = 0; i < n; i++) {
        Str bytes = vocab_bytes(&t->vocab, (int32_t)i);
        int32_t type = types[i] = type_of(t, (int32_t)i);
        bool literal = type != TYPE_NORMAL || t->vocab.tokens[i].flags & TOKEN_LITERAL;
        tokens[i] = type == TYPE_UNUSED ? padding(a, i)
                    : type == TYPE_BYTE ? str_fmt(a, "<0x%02X>", (unsigned)(uint8_t)bytes.p[0])
                                        : str_copy(a, spelling(a, t, bytes, literal));
    }
    p->tokens = tokens, p->n_tokens = n;
    p->types = types, p->n_types = n;
}

/* ---- merges ---------------------------------------------------------------------------------- */

static int by_rank(const void *a, const void *b) {
    const Merge *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Those of the table, best first. */
static int64_t merges_list(Merge **out, Arena *a, const Tokenizer *t) {
    const Merges *m = &t->merges;
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_slots; i++) n += m->slots[i].rank != NO_RANK;
    Merge *list = *out = PUSH(a, Merge, MAX(n, 1));
    n = 0;
    for (int64_t i = 0; i < m->n_slots; i++)
        if (m->slots[i].rank != NO_RANK) list[n++] = m->slots[i];
    qsort(list, (size_t)n, sizeof *list, by_rank);
    return n;
}

/* Where merges are known by what they make only (tiktoken), a token is made of the two that its
 * bytes become without it. */
static int64_t merges_recover(Merge **out, Arena *a, const Tokenizer *t, Arena *scratch) {
    Tokenizer without = *t;
    Bpe bpe = {0};
    Ids ids = {.a = a};
    int64_t n = 0;
    Merge *list = *out = PUSH(a, Merge, MAX(t->vocab.n_ids, 1));
    without.whole_words = false;
    for (int64_t i = 0; i < t->vocab.n_ids; i++) {
        unsigned flags = t->vocab.tokens[i].flags;
        Str bytes = vocab_bytes(&t->vocab, (int32_t)i);
        if (!(flags & TOKEN_THERE) || flags & TOKEN_LITERAL || bytes.n < 2) continue;
        without.longest = bytes.n - 1;
        ids.n = 0;
        if (!bpe_encode(&ids, &without, &bpe, bytes, scratch) || ids.n != 2) continue;
        if (ids.v[0] < i && ids.v[1] < i)
            list[n++] = (Merge){(uint32_t)ids.v[0], (uint32_t)ids.v[1], (uint32_t)i, (uint32_t)i};
    }
    return n;
}

static Str merge_part(Arena *a, const Tokenizer *t, uint32_t id) {
    return spelling(a, t, vocab_bytes(&t->vocab, (int32_t)id), false);
}

static void merges_export(TokenizerParts *p, Arena *a, const Tokenizer *t, Arena *scratch) {
    Merge *list;
    int64_t n =
        t->merge_by == MERGE_ID ? merges_recover(&list, a, t, scratch) : merges_list(&list, a, t);
    Str *merges = PUSH(a, Str, MAX(n, 1));
    for (int64_t i = 0; i < n; i++)
        merges[i] = str_fmt(a, "%.*s %.*s", STRF(merge_part(a, t, list[i].left)),
                            STRF(merge_part(a, t, list[i].right)));
    p->merges = merges, p->n_merges = n;
}

/* SentencePiece merges first what makes the token of the highest score, so a token's score is the
 * rank of the merge that makes it, upside down. */
static void scores_export(TokenizerParts *p, Arena *a, const Tokenizer *t) {
    float *score = PUSH(a, float, t->vocab.n_ids);
    if (t->merge_by == MERGE_SCORE) {
        memcpy(score, t->score, (size_t)t->vocab.n_ids * 4);
    } else {
        Merge *list;
        int64_t n = merges_list(&list, a, t);
        for (int64_t i = 0; i < t->vocab.n_ids; i++) score[i] = -(float)(n + i);
        for (int64_t i = n - 1; i >= 0; i--) score[list[i].made] = -(float)i;
    }
    p->scores = score, p->n_scores = t->vocab.n_ids;
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

static bool probe_same(const Tokenizer *t, const TokenizerParts *p, Arena *a, Arena *scratch,
                       Err *err) {
    Tokenizer *again;
    Ids x = {.a = a}, y = {.a = a};
    if (!tokenizer_open_parts(&again, a, p, err)) return false;
    bool ok = text_encode(&x, t, str_of(probe), TEXT_PLAIN, scratch, err)
              && text_encode(&y, again, str_of(probe), TEXT_PLAIN, scratch, err);
    bool same = ok && x.n == y.n && !memcmp(x.v, y.v, (size_t)x.n * sizeof *x.v);
    tokenizer_close(again);
    return same
           || err_set(err, ERR_UNSUPPORTED,
                      "%s: in GGUF's form it would give other ids for some texts", t->name);
}

static bool prepends(const Tokenizer *t) {
    bool yes = false;
    for (int i = 0; i < t->n_norms; i++) yes |= t->norms[i].kind == NORM_PREPEND;
    for (int i = 0; i < t->n_stages; i++) yes |= t->stages[i].prefix_space;
    return yes;
}

bool tokenizer_parts(TokenizerParts *p, Arena *a, const Tokenizer *t, Arena *scratch, Err *err) {
    *p = (TokenizerParts){.name = t->name, .unknown = t->unknown};
    Mark mark = arena_mark(scratch);
    tokens_export(p, a, t);
    if (t->unit == UNIT_CHARS) {
        p->model = STR("llama"), p->pre = STR("default");
        p->no_space_prefix = !prepends(t);
        scores_export(p, a, t);
    } else {
        const char *pre = pre_find(t, scratch, err);
        if (!pre) return arena_pop(scratch, mark), false;
        p->model = STR("gpt2"), p->pre = str_of(pre);
        merges_export(p, a, t, scratch);
    }
    arena_pop(scratch, mark);
    return probe_same(t, p, a, scratch, err);
}

/* ---- tokenizer.json -------------------------------------------------------------------------- */

/* A JSON string; false where it is not UTF-8. */
static bool put_string(Buf *b, Str s) {
    buf_add(b, STR("\""));
    for (int64_t i = 0, n; i < s.n; i += n) {
        uint8_t c = (uint8_t)s.p[i];
        n = c < 0x80 ? 1 : utf8_length((Str){s.p + i, s.n - i});
        if (n == 0) return false;
        if (c < 32)
            buf_fmt(b, "\\u%04x", c);
        else
            buf_fmt(b, c == '"' || c == '\\' ? "\\%.*s" : "%.*s", (int)n, s.p + i);
    }
    buf_add(b, STR("\""));
    return true;
}

static bool is_added(int32_t type) { return type >= TYPE_UNKNOWN && type <= TYPE_USER_DEFINED; }

static bool put_added(Buf *b, const Tokenizer *t, const TokenizerParts *p) {
    bool first = true, ok = true;
    buf_fmt(b, "  \"added_tokens\": [");
    for (int64_t i = 0; i < p->n_tokens && ok; i++) {
        if (!is_added(p->types[i])) continue;
        unsigned flags = t->vocab.tokens[i].flags;
        buf_fmt(b, "%s\n    {\"id\": %lld, \"content\": ", first ? "" : ",", (long long)i);
        ok = put_string(b, p->tokens[i]);
        buf_fmt(b,
                ", \"single_word\": %s, \"lstrip\": %s, \"rstrip\": %s, \"normalized\": false, "
                "\"special\": %s}",
                flags & TOKEN_SINGLE_WORD ? "true" : "false",
                flags & TOKEN_LSTRIP ? "true" : "false", flags & TOKEN_RSTRIP ? "true" : "false",
                p->types[i] == TYPE_USER_DEFINED ? "false" : "true");
        first = false;
    }
    buf_fmt(b, "\n  ],\n");
    return ok;
}

static bool same_spelling(const void *of, int64_t i, Str s) {
    return str_eq(((const Str *)of)[i], s);
}

static bool stands_alone(const Tokenizer *t, const TokenizerParts *p, int64_t i) {
    return is_added(p->types[i]) && t->vocab.tokens[i].flags & TOKEN_LITERAL;
}

/* The tokens by their spelling; of two that are spelled alike the first, since JSON has one. An
 * added token's text may spell a byte, so it stands in added_tokens alone. Before others it is
 * here, too, because Hugging Face gives an added token that the vocabulary lacks the next id behind
 * all, whatever id it names. */
static bool put_vocab(Buf *b, const Tokenizer *t, const TokenizerParts *p, Arena *a) {
    bool ok = true, first = true;
    HashTable seen;
    if (!table_init(&seen, a, p->n_tokens)) return false;
    buf_fmt(b, "    \"vocab\": {");
    int64_t last = p->n_tokens - 1; /* of those that merge */
    while (last > 0 && p->types[last] != TYPE_NORMAL) last--;
    for (int added = 0; added < 2; added++)
        for (int64_t i = 0; i < (added ? last : p->n_tokens); i++)
            if (stands_alone(t, p, i) == (added == 1))
                table_put(&seen, p->tokens[i], i, same_spelling, p->tokens);
    for (int64_t i = 0; i < p->n_tokens && ok; i++) {
        if (table_find(&seen, p->tokens[i], same_spelling, p->tokens) != i) continue;
        buf_fmt(b, "%s\n      ", first ? "" : ",");
        ok = put_string(b, p->tokens[i]);
        buf_fmt(b, ": %lld", (long long)i);
        first = false;
    }
    buf_fmt(b, "\n    },\n");
    return ok;
}

/* A merge that makes token `made`, the better the higher its score. */
typedef struct Scored {
    float score;
    int32_t made, left, right;
} Scored;

static int by_score(const void *a, const void *b) {
    const Scored *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->made != y->made) return x->made < y->made ? -1 : 1;
    return (x->left > y->left) - (x->left < y->left);
}

/* SentencePiece has no merges: any two tokens merge that are together one. */
static int64_t merges_of_scores(Scored **out, Arena *a, const Tokenizer *t) {
    int64_t room = 0, n = 0;
    for (int64_t i = 0; i < t->vocab.n_ids; i++) room += t->vocab.tokens[i].len;
    Scored *list = *out = PUSH(a, Scored, room + 1);
    for (int64_t i = 0; i < t->vocab.n_ids; i++) {
        Str s = vocab_bytes(&t->vocab, (int32_t)i);
        if (type_of(t, (int32_t)i) != TYPE_NORMAL) continue;
        for (int64_t cut = 1; cut < s.n; cut++) {
            int32_t left = vocab_find(&t->vocab, (Str){s.p, cut}, false);
            int32_t right = vocab_find(&t->vocab, (Str){s.p + cut, s.n - cut}, false);
            if (left >= 0 && right >= 0) list[n++] = (Scored){t->score[i], (int32_t)i, left, right};
        }
    }
    qsort(list, (size_t)n, sizeof *list, by_score);
    return n;
}

static bool put_merge(Buf *b, bool first, Str left, Str right) {
    buf_fmt(b, "%s\n      [", first ? "" : ",");
    bool ok = put_string(b, left);
    buf_add(b, STR(", "));
    ok &= put_string(b, right);
    buf_add(b, STR("]"));
    return ok;
}

static bool put_merges(Buf *b, const Tokenizer *t, Arena *a, Arena *scratch) {
    bool ok = true;
    Merge *list;
    Scored *scored;
    buf_fmt(b, "    \"merges\": [");
    if (t->merge_by == MERGE_SCORE) {
        int64_t n = merges_of_scores(&scored, a, t);
        for (int64_t i = 0; i < n && ok; i++)
            ok = put_merge(b, i == 0, merge_part(a, t, (uint32_t)scored[i].left),
                           merge_part(a, t, (uint32_t)scored[i].right));
    } else {
        int64_t n = t->merge_by == MERGE_ID ? merges_recover(&list, a, t, scratch)
                                            : merges_list(&list, a, t);
        for (int64_t i = 0; i < n && ok; i++)
            ok = put_merge(b, i == 0, merge_part(a, t, list[i].left),
                           merge_part(a, t, list[i].right));
    }
    buf_fmt(b, "\n    ]\n");
    return ok;
}

/* Each pattern cuts, then bytes become characters. */
static void put_pre(Buf *b, const char *name) {
    buf_fmt(b, "  \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [\n");
    for (int i = 0; pre_pattern(name, i); i++) {
        buf_fmt(b, "    {\"type\": \"Split\", \"pattern\": {\"Regex\": ");
        put_string(b, str_of(pre_pattern(name, i)));
        buf_fmt(b, "}, \"behavior\": \"Isolated\", \"invert\": false},\n");
    }
    buf_fmt(b, "    {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
               "\"use_regex\": false}\n  ]},\n");
}

#define PIECE "\xe2\x96\x81"
static void put_stages(Buf *b, const Tokenizer *t, const TokenizerParts *p) {
    bool prefix = !p->no_space_prefix;
    if (t->unit == UNIT_BYTES) {
        buf_fmt(b, "  \"normalizer\": %s,\n", t->n_norms ? "{\"type\": \"NFC\"}" : "null");
        put_pre(b, str_copy(b->a, p->pre).p);
        buf_fmt(b, "  \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, "
                   "\"trim_offsets\": true, \"use_regex\": false},\n");
        return;
    }
    buf_fmt(b,
            "  \"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [%s{\"type\": "
            "\"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" PIECE "\"}]},\n",
            prefix ? "{\"type\": \"Prepend\", \"prepend\": \"" PIECE "\"}, " : "");
    buf_fmt(b,
            "  \"pre_tokenizer\": null,\n  \"decoder\": {\"type\": \"Sequence\", \"decoders\": "
            "[{\"type\": \"Replace\", \"pattern\": {\"String\": \"" PIECE "\"}, \"content\": \" "
            "\"}, {\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}%s]},\n",
            prefix ? ", {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, \"stop\": 0}" : "");
}

/* Whoever encodes with special tokens gets `bos` in front; -1: none. */
static bool put_post(Buf *b, const TokenizerParts *p, int32_t bos) {
    if (bos < 0 || bos >= p->n_tokens) return buf_fmt(b, "  \"post_processor\": null,\n"), true;
    Buf name = {.a = b->a};
    bool ok = put_string(&name, p->tokens[bos]);
    buf_fmt(b,
            "  \"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": "
            "[{\"SpecialToken\": {\"id\": %.*s, \"type_id\": 0}}, {\"Sequence\": {\"id\": \"A\", "
            "\"type_id\": 0}}], \"pair\": [{\"SpecialToken\": {\"id\": %.*s, \"type_id\": 0}}, "
            "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, {\"Sequence\": {\"id\": \"B\", "
            "\"type_id\": 0}}], \"special_tokens\": {%.*s: {\"id\": %.*s, \"ids\": [%d], "
            "\"tokens\": [%.*s]}}},\n",
            STRF(buf_str(&name)), STRF(buf_str(&name)), STRF(buf_str(&name)), STRF(buf_str(&name)),
            bos, STRF(buf_str(&name)));
    return ok;
}

static bool put_model(Buf *b, const Tokenizer *t, const TokenizerParts *p, Arena *a,
                      Arena *scratch) {
    bool bytes = t->unit == UNIT_BYTES, ok = true;
    buf_fmt(b, "  \"model\": {\n    \"type\": \"BPE\",\n    \"unk_token\": ");
    if (!bytes && p->unknown >= 0)
        ok = put_string(b, p->tokens[p->unknown]);
    else
        buf_fmt(b, "null");
    buf_fmt(b, ",\n    \"fuse_unk\": %s,\n    \"byte_fallback\": %s,\n    \"ignore_merges\": %s,\n",
            bytes ? "false" : "true", bytes ? "false" : "true", t->whole_words ? "true" : "false");
    ok = ok && put_vocab(b, t, p, a) && put_merges(b, t, a, scratch);
    buf_fmt(b, "  }\n}\n");
    return ok;
}

bool tokenizer_json(Buf *out, const Tokenizer *t, int32_t bos, Arena *scratch, Err *err) {
    TokenizerParts p;
    Arena *a = out->a;
    if (!tokenizer_parts(&p, a, t, scratch, err)) return false;
    buf_fmt(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n");
    bool ok = put_added(out, t, &p);
    put_stages(out, t, &p);
    ok = ok && put_post(out, &p, bos) && put_model(out, t, &p, a, scratch);
    return ok
           || err_set(err, ERR_FORMAT, "%s: a token's spelling is not UTF-8, which JSON needs",
                      t->name);
}
