/* tokens.c -- tokenizer and chat template of a converted model: as keys of a GGUF file, or as files
 * of a folder. */
#include "bundle/parts.h"
#include <jansson.h>

/* ---- what there is --------------------------------------------------------------------------- */

static bool of_gguf(const Bundle *b) { return b->store && store_kind(b->store) == STORE_GGUF; }

bool tokenizer_there(const Bundle *b) {
    Str kind;
    Err ignored = {0};
    if (!b->store) return b->tok != NULL;
    if (of_gguf(b))
        return store_meta_str(b->store, "tokenizer.ggml.model", &kind, &ignored)
               && !str_eq(kind, STR("no_vocab")) && !str_eq(kind, STR("none"));
    const char *path = store_path(b->store);
    return os_exists(str_fmt(b->a, "%s/tokenizer.json", path).p)
           || os_exists(str_fmt(b->a, "%s/tiktoken.model", path).p);
}

/* tokenizer_of_bytes made it, so that there are no files. */
static bool made(const Bundle *b) { return !(b->loaded & BUNDLE_TOKENIZER); }

/* Special tokens by what files call them, -1: none. */
typedef struct Specials {
    int64_t bos, eos, unknown, pad, turn, message; /* turn, message: further end tokens */
} Specials;

static int64_t named(const Bundle *b, const json_t *v) {
    if (json_is_object(v)) v = json_object_get(v, "content");
    if (!json_is_string(v) || !b->tok) return -1;
    return token_named(b->tok, (Str){json_string_value(v), (int64_t)json_string_length(v)});
}

static int64_t meta_id(const Bundle *b, const char *key) {
    int64_t id = -1;
    Err ignored = {0};
    return store_meta_i64(b->store, key, &id, &ignored) && id >= 0 ? id : -1;
}

static void specials_of_gguf(const Bundle *b, Specials *s) {
    s->unknown = meta_id(b, "tokenizer.ggml.unknown_token_id");
    s->pad = meta_id(b, "tokenizer.ggml.padding_token_id");
}

static void specials_of_json(const Bundle *b, Specials *s) {
    json_t *o =
        json_loadb(b->tok_config.p ? b->tok_config.p : "", (size_t)b->tok_config.n, 0, NULL);
    int64_t eos = named(b, json_object_get(o, "eos_token"));
    int64_t bos = named(b, json_object_get(o, "bos_token"));
    if (eos >= 0) s->eos = eos;
    if (bos >= 0) s->bos = bos;
    s->unknown = named(b, json_object_get(o, "unk_token"));
    s->pad = named(b, json_object_get(o, "pad_token"));
    json_decref(o);
}

static Specials specials_find(const Bundle *b) {
    const Config *c = &b->model->cfg;
    Specials s = {.bos = c->bos, .eos = -1, .unknown = -1, .pad = -1, .turn = -1, .message = -1};
    if (b->n_end) s.eos = b->end[0];
    if (of_gguf(b))
        specials_of_gguf(b, &s);
    else
        specials_of_json(b, &s);
    for (int64_t i = 0; i < b->n_end; i++) {
        if (b->end[i] == s.eos) continue;
        if (s.turn < 0)
            s.turn = b->end[i];
        else if (s.message < 0)
            s.message = b->end[i];
    }
    return s;
}

/* ---- keys of GGUF ---------------------------------------------------------------------------- */

/* Published models have more rows in the embedding than tokens; llama.cpp wants a name for each. */
static void parts_pad(TokenizerParts *p, Arena *a, int64_t V) {
    Str *tokens = PUSH(a, Str, V);
    int32_t *types = PUSH(a, int32_t, V);
    float *scores = PUSH(a, float, V);
    for (int64_t i = 0; i < V; i++) {
        bool there = i < p->n_tokens;
        tokens[i] = there ? p->tokens[i] : str_fmt(a, "[PAD%lld]", (long long)i);
        types[i] = there ? p->types[i] : 5; /* unused */
        scores[i] = there && p->n_scores ? p->scores[i] : -1e4f;
    }
    p->tokens = tokens, p->types = types, p->n_tokens = p->n_types = V;
    if (p->n_scores) p->scores = scores, p->n_scores = V;
}

static void id_key(Writer *w, const char *key, int64_t id, int64_t V) {
    if (id >= 0 && id < V) writer_u32(w, key, id);
}

static void parts_keys(Writer *w, const TokenizerParts *p) {
    writer_str(w, "tokenizer.ggml.model", p->model);
    writer_str(w, "tokenizer.ggml.pre", p->pre);
    writer_strs(w, "tokenizer.ggml.tokens", p->tokens, p->n_tokens);
    if (p->n_scores) writer_f32s(w, "tokenizer.ggml.scores", p->scores, p->n_scores);
    writer_i32s(w, "tokenizer.ggml.token_type", p->types, p->n_types);
    if (!p->n_scores) writer_strs(w, "tokenizer.ggml.merges", p->merges, p->n_merges);
    if (p->no_space_prefix) writer_bool(w, "tokenizer.ggml.add_space_prefix", false);
}

/* The tokens that begin and end texts. */
static void end_keys(Writer *w, const Specials *s, int64_t V) {
    id_key(w, "tokenizer.ggml.bos_token_id", s->bos, V);
    id_key(w, "tokenizer.ggml.eos_token_id", s->eos, V);
    id_key(w, "tokenizer.ggml.eot_token_id", s->turn, V);
    id_key(w, "tokenizer.ggml.eom_token_id", s->message, V);
}

static void nothing_keys(Writer *w, const Bundle *b) {
    Specials s = specials_find(b);
    writer_str(w, "tokenizer.ggml.model", STR("no_vocab"));
    end_keys(w, &s, b->model->cfg.V);
}

/* JSON and GGUF texts are UTF-8; without its template a chat model is none any more. */
static bool template_check(const Bundle *b, Str text, Err *err) {
    return utf8_valid(text)
           || err_set(err, ERR_FORMAT,
                      "%s: the chat template is not UTF-8, so it cannot be written: mend it in the "
                      "model",
                      b->path);
}

bool tokenizer_keys(Writer *w, Bundle *b, Err *err) {
    int64_t V = b->model->cfg.V;
    TokenizerParts p;
    Str text = {0}, bos, eos;
    if (!b->tok) return nothing_keys(w, b), true;
    if (tokenizer_size(b->tok) > V)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: the tokenizer has %lld tokens and the model %lld: a GGUF file has one "
                       "for each row of the embedding",
                       b->path, (long long)tokenizer_size(b->tok), (long long)V);
    Arena *scratch = arena_open("tokenizer", ARENA_NO_LIMIT);
    bool ok = tokenizer_parts(&p, b->a, b->tok, scratch, err)
              && (made(b) || template_find(b, &text, &bos, &eos, err))
              && template_check(b, text, err);
    arena_close(scratch);
    if (!ok) return false;
    Specials s = specials_find(b);
    parts_pad(&p, b->a, V);
    parts_keys(w, &p);
    end_keys(w, &s, V);
    id_key(w, "tokenizer.ggml.unknown_token_id", p.unknown >= 0 ? p.unknown : s.unknown, V);
    id_key(w, "tokenizer.ggml.padding_token_id", s.pad, V);
    writer_bool(w, "tokenizer.ggml.add_bos_token", b->bos >= 0);
    if (text.n) writer_str(w, "tokenizer.chat_template", text);
    return true;
}

/* ---- files of a folder ----------------------------------------------------------------------- */

static void token_set(json_t *o, const Bundle *b, const char *key, int64_t id) {
    if (id < 0 || id >= tokenizer_size(b->tok)) return;
    Str s = token_bytes(b->tok, (int32_t)id);
    json_object_set_new(o, key, json_stringn(s.p, (size_t)s.n)); /* not UTF-8: nothing is set */
}

/* The object's text in `a`; it is used up. */
static Str dumped(Arena *a, json_t *o) {
    size_t n = json_dumpb(o, NULL, 0, JSON_INDENT(2));
    char *p = arena_push(a, (int64_t)n + 1);
    json_dumpb(o, p, n, JSON_INDENT(2));
    json_decref(o);
    p[n] = '\n';
    return (Str){p, (int64_t)n + 1};
}

static Str generation_make(Arena *a, const Bundle *b, const Specials *s) {
    json_t *o = json_object(), *ends = json_array();
    for (int64_t i = 0; i < b->n_end; i++) json_array_append_new(ends, json_integer(b->end[i]));
    if (s->bos >= 0) json_object_set_new(o, "bos_token_id", json_integer(s->bos));
    json_object_set_new(o, "eos_token_id", ends);
    return dumped(a, o);
}

static Str config_make(Arena *a, const Bundle *b, const Specials *s, Str chat) {
    json_t *o = json_object();
    json_object_set_new(o, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    json_object_set_new(o, "clean_up_tokenization_spaces", json_false());
    json_object_set_new(o, "add_bos_token", json_boolean(b->bos >= 0));
    token_set(o, b, "bos_token", s->bos);
    token_set(o, b, "eos_token", s->eos);
    token_set(o, b, "unk_token", s->unknown);
    token_set(o, b, "pad_token", s->pad);
    if (chat.n) json_object_set_new(o, "chat_template", json_stringn(chat.p, (size_t)chat.n));
    return dumped(a, o);
}

bool tokenizer_files(Arena *a, Bundle *b, Str *tokenizer, Str *config, Str *generation, Err *err) {
    Specials s = {.bos = b->model->cfg.bos, .eos = -1};
    Str chat = {0}, bos, eos;
    if (b->tok) {
        Buf json = {.a = a};
        s = specials_find(b);
        if (!made(b) && !template_find(b, &chat, &bos, &eos, err)) return false;
        if (!template_check(b, chat, err)) return false;
        Arena *scratch = arena_open("tokenizer", ARENA_NO_LIMIT);
        bool ok = tokenizer_json(&json, b->tok, b->bos, scratch, err);
        arena_close(scratch);
        if (!ok) return false;
        *tokenizer = buf_str(&json);
        *config = config_make(a, b, &s, chat);
    }
    if (b->n_end) *generation = generation_make(a, b, &s);
    return true;
}

/* ---- a tokenizer of bytes -------------------------------------------------------------------- */

bool tokenizer_of_bytes(Bundle *b, const Config *c, Err *err) {
    int64_t V = c->V, n = 0, last = 0;
    Str *tokens = PUSH(b->a, Str, V);
    int32_t *types = PUSH(b->a, int32_t, V);
    if (c->bos >= 0) tokens[c->bos] = STR("<s>"), types[c->bos] = 3;
    for (int64_t i = 0; i < c->n_eos; i++) {
        int64_t id = c->eos[i];
        if (!types[id]) tokens[id] = i ? str_fmt(b->a, "</s%lld>", (long long)i) : STR("</s>");
        types[id] = 3; /* control */
    }
    for (int64_t id = 0; id < V; id++) {
        if (types[id]) {
            last = id + 1;
        } else if (n < 256) {
            char *form = arena_push(b->a, 4);
            int byte = (int)n++;
            bool own = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
            int32_t far = byte <= 32 ? byte : byte == 173 ? 67 : byte - 127 + 33;
            tokens[id] = (Str){form, utf8_put(form, own ? byte : 0x100 + far)};
            types[id] = 1;
            last = id + 1;
        } else {
            tokens[id] = str_fmt(b->a, "[PAD%lld]", (long long)id);
            types[id] = 5;
        }
    }
    TokenizerParts p = {.name = b->path, .pre = STR("gpt-2"), .model = STR("gpt2")};
    p.tokens = tokens, p.types = types, p.n_tokens = p.n_types = last;
    p.unknown = -1;
    b->bos = -1;
    return tokenizer_open_parts(&b->tok, b->a, &p, err);
}
