/* parts.c -- a tokenizer from the arrays of a GGUF file. Where tokenizer.json has several fields,
 * GGUF has one name, tokenizer.ggml.pre, which stands for patterns that every reader is expected to
 * know. A name that is not in the table below is refused. The patterns are those of the models' own
 * tokenizer.json; "default" is llama.cpp's, for files that name none. */
#include "text/tokenizer.h"

typedef struct Pre {
    const char *name;
    bool nfc;
    const char *patterns[4];
} Pre;

#define PATTERN_QWEN2                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "                          \
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"                                                                \
    "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define PATTERN_DEEPSEEK_V3                                                                        \
    "[!\"#$%&'()*+,\\-./"                                                                          \
    ":;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"                 \
    "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+"

static const Pre known[] = {
    {"default", false, {"[\\p{P}\\$\\+<=>\\^~\\|]+", PATTERN_GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {"gpt-2", false, {PATTERN_GPT2}},
    {"smollm", false, {"\\p{N}", PATTERN_GPT2}},
    {"qwen2", true, {PATTERN_QWEN2}},
    {"deepseek-v3", false, {"\\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", PATTERN_DEEPSEEK_V3}},
};

/* tokenizer.ggml.token_type */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED };

static bool pre_read(Tokenizer *t, Arena *a, Str name, Err *err) {
    const Pre *pre = NULL;
    for (int i = 0; i < COUNT(known); i++)
        if (str_eq(name.n ? name : STR("default"), str_of(known[i].name))) pre = &known[i];
    if (pre == NULL)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tokenizer.ggml.pre: pre-tokenizer \"%.*s\" is not supported", t->name,
                       (int)MIN(name.n, 60), name.p);
    t->nfc = pre->nfc;
    Stage s = {.where = "tokenizer.ggml.pre"};
    for (int i = 0; i < COUNT(pre->patterns) && pre->patterns[i]; i++)
        if (!stage_add(t, a, str_of(pre->patterns[i]), &s, err)) return false;
    return true;
}

static bool is_found(const TokenizerParts *p, int64_t i) {
    return p->n_types && p->types[i] >= TYPE_UNKNOWN && p->types[i] <= TYPE_USER_DEFINED;
}

static bool token_read(Tokenizer *t, const TokenizerParts *p, int64_t id, char *form, Err *err) {
    int32_t type = p->n_types ? p->types[id] : TYPE_NORMAL;
    bool literal = type != TYPE_NORMAL, found = is_found(p, id);
    const char *wrong = NULL;
    Str spelling = p->tokens[id], bytes = spelling;
    if (type < TYPE_NORMAL || type > TYPE_UNUSED)
        wrong = "its type is not one of a byte-level BPE";
    else if (found && (spelling.n < 1 || spelling.n > ADDED_LENGTH_MAX))
        wrong = "need 1 to 256 bytes";
    else if (!literal)
        bytes = (Str){form, form_bytes(form, &spelling, false, false, &literal)};
    if (!wrong && bytes.n < 0) wrong = "not UTF-8";
    int flags = (literal ? TOKEN_LITERAL : 0)
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

static bool parts_read(Tokenizer *t, Arena *a, const TokenizerParts *p, Err *err) {
    char *form;
    if (p->n_tokens < 1 || p->n_tokens > INT32_MAX / 2 || p->n_merges > INT32_MAX / 2
        || (p->n_types != 0 && p->n_types != p->n_tokens))
        return err_set(err, ERR_FORMAT,
                       "%s: tokenizer.ggml: %lld tokens, %lld token_types, %lld merges do not fit",
                       p->name, (long long)p->n_tokens, (long long)p->n_types,
                       (long long)p->n_merges);
    if (!room_take(t, a, p, &form))
        return err_set(err, ERR_LIMIT, "%s: tokenizer.ggml.tokens: no memory left for them",
                       p->name);
    for (int64_t i = 0; i < p->n_tokens; i++)
        if (!token_read(t, p, i, form, err)) return false;
    tokenizer_bytes(t);
    for (int64_t i = 0; i < p->n_merges; i++) {
        Str merge = p->merges[i];
        const char *wrong = merges_put(&t->merges, &t->vocab, &merge, 1, false, form, i);
        if (wrong)
            return err_set(err, ERR_FORMAT, "%s: tokenizer.ggml.merges[%lld]: %s", p->name,
                           (long long)i, wrong);
    }
    return pre_read(t, a, p->pre, err);
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
