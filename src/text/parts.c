/* parts.c -- a tokenizer from the arrays of a GGUF file. Where tokenizer.json has several fields,
 * GGUF has one name, tokenizer.ggml.pre, which stands for patterns that every reader is expected to
 * know. A name that is not in the table below is refused. The patterns are those of the models' own
 * tokenizer.json; "default" is llama.cpp's, for files that name none. */
#include "text/tokenizer.h"

typedef struct Pre {
    const char *name;
    const char *patterns[6];
    bool nfc, whole_words;
} Pre;

#define PATTERN_QWEN2                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                          \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"                                                                \
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PATTERN_DEEPSEEK_V3                                                                        \
    "[!\"#$%&'()*+,\\-./"                                                                          \
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                 \
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

#define CONTRACTIONS "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
#define PATTERN_LLAMA3                                                                             \
    CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"       \
                 "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CJK "[一-龥ࠀ-一가-퟿]+"
/* The letters that DeepSeek-LLM's tokenizer.json lists, range by range. */
#define LETTERS                                                                                    \
    "[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295"         \
    "-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-"          \
    "\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"         \
    "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00"         \
    "-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-"         \
    "\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-"         \
    "\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-"          \
    "\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139\u213c-\u213f\u2145-\u2149"           \
    "\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"           \
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13"         \
    "-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"                  \
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"         \
    "\U0001e900-\U0001e943]+"
/* Kimi's capitals and small letters: PCRE2 has no intersection of classes, so that "not Han" is
 * looked at in front of each. */
#define KIMI_UPPER "(?:(?!\\p{Han})[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}])"
#define KIMI_LOWER "(?:(?!\\p{Han})[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}])"
#define KIMI_END   "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
#define PATTERN_KIMI                                                                               \
    "[\\p{Han}]+|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "*" KIMI_LOWER "+" KIMI_END                    \
    "|[^\\r\\n\\p{L}\\p{N}]?" KIMI_UPPER "+" KIMI_LOWER "*" KIMI_END                               \
    "|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

static const Pre known[] = {
    {"default",
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"},
     false,
     false},
    {"gpt-2", {PATTERN_GPT2}, false, false},
    {"smollm", {"\\p{N}", PATTERN_GPT2}, false, false},
    {"qwen2", {PATTERN_QWEN2}, .nfc = true},
    {"deepseek-r1-qwen", {PATTERN_QWEN2}, .nfc = true},
    {"deepseek-v3", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", PATTERN_DEEPSEEK_V3}, false, false},
    {"joyai-llm", {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", PATTERN_DEEPSEEK_V3}, false, false},
    {"deepseek-llm",
     {"[\r\n]", "\\s?" LETTERS, "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+(?!\\S|\\s)", CJK,
      "\\p{N}+"},
     false,
     false},
    {"deepseek-coder", {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, "\\p{N}"}, false, false},
    {"llama-bpe", {PATTERN_LLAMA3}, .whole_words = true},
    {"llama3", {PATTERN_LLAMA3}, .whole_words = true},
    {"llama-v3", {PATTERN_LLAMA3}, .whole_words = true},
    {"glm4", {PATTERN_LLAMA3}, false, false},
    {"chatglm-bpe", {PATTERN_LLAMA3}, false, false},
    {"kimi-k2", {PATTERN_KIMI}, .whole_words = true},
};

const char *pre_name(int i) { return i < COUNT(known) ? known[i].name : NULL; }

const char *pre_pattern(const char *name, int i) {
    for (int k = 0; k < COUNT(known); k++)
        if (!strcmp(name, known[k].name) && i < COUNT(known[k].patterns))
            return known[k].patterns[i];
    return NULL;
}

bool pre_add(Tokenizer *t, Arena *a, Str name, Err *err) {
    const Pre *pre = NULL;
    for (int i = 0; i < COUNT(known); i++)
        if (str_eq(name.n ? name : STR("default"), str_of(known[i].name))) pre = &known[i];
    if (pre == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.pre: pre-tokenizer \"%.*s\" is not supported", t->name,
                       (int)MIN(name.n, 60), name.p);
    t->whole_words = pre->whole_words;
    if (pre->nfc && !norm_add(t, &(Norm){.kind = NORM_NFC}, err)) return false;
    Stage s = {.where = "tokenizer.ggml.pre"};
    for (int i = 0; i < COUNT(pre->patterns) && pre->patterns[i]; i++)
        if (!stage_add(t, a, str_of(pre->patterns[i]), &s, err)) return false;
    return true;
}

static bool is_found(const TokenizerParts *p, int64_t i) {
    return p->n_types && p->types[i] >= TYPE_UNKNOWN && p->types[i] <= TYPE_USER_DEFINED;
}

/* The byte of a spelling <0xNN>, or -1. */
int byte_spelled(Str s) {
    static const char digits[] = "0123456789ABCDEF";
    if (s.n != 6 || memcmp(s.p, "<0x", 3) != 0 || s.p[5] != '>') return -1;
    const char *hi = s.p[3] ? strchr(digits, s.p[3]) : NULL,
               *lo = s.p[4] ? strchr(digits, s.p[4]) : NULL;
    return hi && lo ? (int)(hi - digits) * 16 + (int)(lo - digits) : -1;
}

static bool token_read(Tokenizer *t, const TokenizerParts *p, int64_t id, char *form, Err *err) {
    int32_t type = p->n_types ? p->types[id] : TYPE_NORMAL;
    bool plain = t->unit == UNIT_CHARS, literal = type != TYPE_NORMAL, found = is_found(p, id);
    const char *wrong = NULL;
    Str spelling = p->tokens[id], bytes = spelling;
    int byte = plain && type == TYPE_BYTE ? byte_spelled(spelling) : -1;
    if (type < TYPE_NORMAL || type > (plain ? TYPE_BYTE : TYPE_UNUSED))
        wrong = plain ? "its type is not known" : "its type is not one of a byte-level BPE";
    else if (found && (spelling.n < 1 || spelling.n > ADDED_LENGTH_MAX))
        wrong = "need 1 to 256 bytes";
    else if (type == TYPE_BYTE && byte < 0)
        wrong = "a byte must be spelled <0x00> to <0xFF>";
    else if (byte >= 0)
        form[0] = (char)byte, bytes = (Str){form, 1};
    else if (!literal)
        bytes = (Str){form, form_bytes(form, &spelling, false, false, plain, &literal)};
    if (!wrong && bytes.n < 0) wrong = "not UTF-8";
    if (!wrong && plain && !literal) literal = vocab_find(&t->vocab, bytes, false) >= 0;
    /* Published files have padding and empty tokens that are the same text: the first is used. */
    int flags = TOKEN_DOUBLE | (literal ? TOKEN_LITERAL : 0)
                | (type == TYPE_CONTROL || type == TYPE_UNKNOWN ? TOKEN_SPECIAL : 0);
    if (!wrong) wrong = vocab_put(&t->vocab, id, bytes, flags);
    if (!wrong && found) trie_put(&t->raw, bytes, (int32_t)id);
    return wrong == NULL
           || err_set(err, ERR_FORMAT, "%s: tokenizer.ggml.tokens[%lld]: %s", t->name,
                      (long long)id, wrong);
}

static bool room_take(Tokenizer *t, Arena *a, const TokenizerParts *p, char **form) {
    int64_t bytes = 0, found = 0, longest = 1;
    for (int64_t i = 0; i < p->n_tokens; i++) {
        bytes += p->tokens[i].n;
        found += is_found(p, i) ? p->tokens[i].n : 0;
        longest = MAX(longest, p->tokens[i].n);
    }
    for (int64_t i = 0; i < p->n_merges; i++) longest = MAX(longest, p->merges[i].n);
    *form = bytes < BYTES_MAX ? arena_try(a, longest) : NULL;
    return *form && vocab_init(&t->vocab, a, p->n_tokens, p->n_tokens, bytes)
           && merges_init(&t->merges, a, p->n_merges) && trie_init(&t->raw, a, found)
           && trie_init(&t->normal, a, 0);
}

static bool merges_read(Tokenizer *t, const TokenizerParts *p, char *form, Err *err) {
    for (int64_t i = 0; i < p->n_merges; i++) {
        Str merge = p->merges[i];
        const char *wrong = merges_put(t, &merge, 1, false, form, i);
        if (wrong)
            return err_set(err, ERR_FORMAT, "%s: tokenizer.ggml.merges[%lld]: %s", p->name,
                           (long long)i, wrong);
    }
    return true;
}

/* SentencePiece as llama.cpp runs it: no cutting into words; U+2581 and a space are the same; a
 * space goes in front of each text. */
static bool sentencepiece_read(Tokenizer *t, Arena *a, const TokenizerParts *p, Err *err) {
    const Norm space = {.kind = NORM_REPLACE, .from = STR("\xe2\x96\x81"), .to = STR(" ")},
               prefix = {.kind = NORM_PREPEND, .to = STR(" ")};
    if (p->n_scores != p->n_tokens)
        return err_set(err, ERR_FORMAT, "%s: tokenizer.ggml.scores: %lld scores for %lld tokens",
                       p->name, (long long)p->n_scores, (long long)p->n_tokens);
    float *score = arena_try(a, p->n_scores * 4);
    if (!score)
        return err_set(err, ERR_LIMIT, "%s: tokenizer.ggml.scores: no memory left", p->name);
    memcpy(score, p->scores, (size_t)p->n_scores * 4);
    t->score = score;
    t->unknown = p->unknown >= 0 && p->unknown < p->n_tokens ? p->unknown : -1;
    t->strips_first = !p->no_space_prefix;
    return norm_add(t, &space, err) && (p->no_space_prefix || norm_add(t, &prefix, err));
}

static bool parts_read(Tokenizer *t, Arena *a, const TokenizerParts *p, Err *err) {
    char *form;
    bool pieces = str_eq(p->model, STR("llama"));
    if (!pieces && p->model.n && !str_eq(p->model, STR("gpt2")))
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.model: \"%.*s\" is not supported (known: gpt2, llama)",
                       p->name, (int)MIN(p->model.n, 60), p->model.p);
    if (p->n_tokens < 1 || p->n_tokens > INT32_MAX / 2 || p->n_merges > INT32_MAX / 2
        || (p->n_types != 0 && p->n_types != p->n_tokens))
        return err_set(err, ERR_FORMAT,
                       "%s: tokenizer.ggml: %lld tokens, %lld token_types, %lld merges do not fit",
                       p->name, (long long)p->n_tokens, (long long)p->n_types,
                       (long long)p->n_merges);
    if (pieces) t->unit = UNIT_CHARS, t->merge_by = MERGE_SCORE;
    if (!room_take(t, a, p, &form))
        return err_set(err, ERR_LIMIT, "%s: tokenizer.ggml.tokens: no memory left for them",
                       p->name);
    for (int64_t i = 0; i < p->n_tokens; i++)
        if (!token_read(t, p, i, form, err)) return false;
    tokenizer_bytes(t);
    if (pieces) return sentencepiece_read(t, a, p, err);
    return merges_read(t, p, form, err) && pre_add(t, a, p->pre, err);
}

bool tokenizer_open_parts(Tokenizer **out, Arena *a, const TokenizerParts *p, Err *err) {
    Mark mark = arena_mark(a);
    Tokenizer *t = tokenizer_new(a, p->name);
    *out = parts_read(t, a, p, err) ? t : NULL;
    if (*out) return true;
    tokenizer_close(t);
    arena_pop(a, mark);
    return false;
}
