/* parts.c -- tokenizer, chat encoding and end tokens, from GGUF metadata or from the JSON files of
 * a folder. */
#include "bundle/parts.h"

#include <jansson.h>
#include <stdio.h>

/* Parsed, a text may take twenty times its size; released ones have some kilobytes. */
enum { JSON_BYTES = 8 << 20 };
enum { TOKENIZER_BYTES = 128 << 20 };

/* ---- files ----------------------------------------------------------------------------------- */

/* Bytes of a JSON file beside the tensors, or beside a tokenizer by itself; empty where there is
 * none. *path is for messages. */
static bool file_read(Bundle *b, const char *name, Str *out, const char **path, Err *err) {
    *out = (Str){0};
    if (b->store) {
        *path = str_fmt(b->a, "%s/%s", store_path(b->store), name).p;
        return store_json(b->store, b->a, name, out, err);
    }
    *path = str_fmt(b->a, "%s/%s", b->path, name).p;
    if (!os_is_dir(b->path) || !os_exists(*path)) return true;
    return os_read(b->a, out, *path, TOKENIZER_BYTES, err);
}

/* A small JSON object, owned by the caller; NULL where there is no file, or it is refused. */
static bool object_parse(json_t **out, Str json, const char *path, Err *err) {
    json_error_t at;
    *out = NULL;
    if (json.n == 0) return true;
    if (json.n > JSON_BYTES)
        return err_set(err, ERR_LIMIT, "%s has %lld bytes: at most %d are read", path,
                       (long long)json.n, JSON_BYTES);
    *out = json_loadb(json.p, (size_t)json.n, JSON_REJECT_DUPLICATES, &at);
    if (!*out) return err_set(err, ERR_FORMAT, "reading %s: line %d: %s", path, at.line, at.text);
    if (json_is_object(*out)) return true;
    json_decref(*out);
    *out = NULL;
    return err_set(err, ERR_FORMAT, "%s: is no JSON object", path);
}

static bool is_gguf(const Bundle *b) { return b->store && store_kind(b->store) == STORE_GGUF; }

/* ---- tokenizer ------------------------------------------------------------------------------- */

/* A text of the metadata; empty where there is none. */
static bool meta_text(const Store *s, const char *key, Str *out, Err *err) {
    *out = (Str){0};
    return store_meta_type(s, key) == META_ABSENT || store_meta_str(s, key, out, err);
}

/* What SentencePiece has instead of merges. */
static bool pieces_read(Bundle *b, TokenizerParts *p, Err *err) {
    float *scores = NULL;
    int64_t unknown = -1;
    bool prefix = true;
    if (!store_meta_f32s(b->store, b->a, "tokenizer.ggml.scores", &scores, &p->n_scores, err))
        return false;
    p->scores = scores;
    if (store_meta_type(b->store, "tokenizer.ggml.unknown_token_id") != META_ABSENT
        && !store_meta_i64(b->store, "tokenizer.ggml.unknown_token_id", &unknown, err))
        return false;
    if (store_meta_type(b->store, "tokenizer.ggml.add_space_prefix") != META_ABSENT
        && !store_meta_bool(b->store, "tokenizer.ggml.add_space_prefix", &prefix, err))
        return false;
    p->unknown = unknown >= 0 && unknown < p->n_tokens ? (int32_t)unknown : -1;
    p->no_space_prefix = !prefix;
    return true;
}

static bool tokenizer_of_gguf(Bundle *b, Err *err) {
    const Store *s = b->store;
    Str kind;
    TokenizerParts p = {.name = b->path};
    Str *tokens = NULL, *merges = NULL;
    int32_t *types = NULL;
    if (!meta_text(s, "tokenizer.ggml.model", &kind, err)) return false;
    if (kind.n == 0)
        return err_set(err, ERR_IO, "opening the tokenizer of %s: there is none in the file",
                       b->path);
    p.model = kind;
    if (str_eq(kind, STR("gpt2")) && store_meta_type(s, "tokenizer.ggml.pre") == META_ABSENT)
        log_at(
            LOG_WARN,
            "%s does not say how its tokenizer cuts words (no tokenizer.ggml.pre): \"default\" is "
            "taken; token ids, and so answers, may differ from the publisher's. A newer "
            "conversion of the model has the key",
            b->path);
    if (!meta_text(s, "tokenizer.ggml.pre", &p.pre, err)
        || !store_meta_strs(s, b->a, "tokenizer.ggml.tokens", &tokens, &p.n_tokens, err))
        return false;
    if (str_eq(kind, STR("llama"))
            ? !pieces_read(b, &p, err)
            : !store_meta_strs(s, b->a, "tokenizer.ggml.merges", &merges, &p.n_merges, err))
        return false;
    if (store_meta_type(s, "tokenizer.ggml.token_type") != META_ABSENT
        && !store_meta_i32s(s, b->a, "tokenizer.ggml.token_type", &types, &p.n_types, err))
        return false;
    p.tokens = tokens, p.merges = merges, p.types = types;
    return tokenizer_open_parts(&b->tok, b->a, &p, err);
}

static bool tokenizer_of_json(Bundle *b, Err *err) {
    const char *path = b->path, *config;
    bool alone = !b->store && !os_is_dir(b->path);
    bool ok = alone ? os_read(b->a, &b->tok_json, path, TOKENIZER_BYTES, err)
                    : file_read(b, "tokenizer.json", &b->tok_json, &path, err)
                          && file_read(b, "tokenizer_config.json", &b->tok_config, &config, err);
    Str model = {0};
    if (ok && !alone && b->tok_json.n == 0) ok = file_read(b, "tiktoken.model", &model, &path, err);
    if (ok && model.n > 0)
        return tokenizer_open_tiktoken(&b->tok, b->a, model, b->tok_config, path, err);
    if (ok && b->tok_json.n == 0)
        return err_set(err, ERR_IO,
                       "opening the tokenizer of %s: there is no tokenizer.json in it, and no "
                       "tiktoken.model",
                       b->path);
    return ok && tokenizer_open_json(&b->tok, b->a, b->tok_json, path, err);
}

/* The token of a key of the metadata, or -1. */
static int64_t meta_token(const Store *s, const char *key) {
    int64_t id = -1;
    Err none = {0};
    return store_meta_type(s, key) != META_ABSENT && store_meta_i64(s, key, &id, &none) ? id : -1;
}

/* Where the file does not say whether texts begin with bos, SentencePiece's and Llama 3's do. */
static bool bos_of_gguf(Bundle *b, Err *err) {
    const char *key = "tokenizer.ggml.add_bos_token";
    Str kind, pre;
    bool add;
    if (!meta_text(b->store, "tokenizer.ggml.model", &kind, err)
        || !meta_text(b->store, "tokenizer.ggml.pre", &pre, err))
        return false;
    add = str_eq(kind, STR("llama")) || str_eq(pre, STR("llama-bpe"));
    if (store_meta_type(b->store, key) != META_ABSENT && !store_meta_bool(b->store, key, &add, err))
        return false;
    int64_t id = meta_token(b->store, "tokenizer.ggml.bos_token_id");
    if (add && id >= 0 && id < tokenizer_size(b->tok)) b->bos = (int32_t)id;
    return true;
}

static Str text_copy(Arena *a, const json_t *v) {
    return json_is_string(v)
               ? str_copy(a, (Str){json_string_value(v), (int64_t)json_string_length(v)})
               : (Str){0};
}

/* tokenizer_config.json's add_bos_token, else what tokenizer.json does. A file that cannot be read
 * says nothing; a chat, which needs it, says so. */
static bool bos_of_json(Bundle *b) {
    json_t *o;
    Err none = {0};
    object_parse(&o, b->tok_config, "tokenizer_config.json", &none);
    const json_t *add = json_object_get(o, "add_bos_token"), *bos = json_object_get(o, "bos_token");
    if (json_is_object(bos)) bos = json_object_get(bos, "content");
    if (json_is_boolean(add))
        b->bos = json_is_true(add) ? token_named(b->tok, text_copy(b->a, bos)) : -1;
    else
        b->bos = token_begin(b->tok);
    json_decref(o);
    return true;
}

bool tokenizer_load(Bundle *b, Err *err) {
    b->bos = -1;
    return is_gguf(b) ? tokenizer_of_gguf(b, err) && bos_of_gguf(b, err)
                      : tokenizer_of_json(b, err) && bos_of_json(b);
}

/* ---- chat ------------------------------------------------------------------------------------ */

/* A template, or the one called "default" of a list {"name", "template"}. */
static Str template_of(Arena *a, const json_t *v) {
    size_t i;
    json_t *one;
    json_array_foreach(v, i, one) {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name && !strcmp(name, "default")) return text_copy(a, json_object_get(one, "template"));
    }
    return text_copy(a, v);
}

/* A token as the template may print it: the text, or {"content": text}; else that of the id. */
static Str token_text(Bundle *b, const json_t *v, int64_t id) {
    Str s = text_copy(b->a, json_is_object(v) ? json_object_get(v, "content") : v);
    return s.n > 0 ? s : token_bytes(b->tok, (int32_t)id);
}

/* The ids that the files call so, -1: none. Tokenizer files by themselves have only the names, in
 * tokenizer_config.json. */
static void bos_eos(const Bundle *b, int64_t *bos, int64_t *eos) {
    *bos = *eos = -1;
    if (b->model) {
        const Config *c = &b->model->cfg;
        *bos = c->bos, *eos = c->n_eos ? c->eos[0] : -1;
    } else if (is_gguf(b)) {
        *bos = meta_token(b->store, "tokenizer.ggml.bos_token_id");
        *eos = meta_token(b->store, "tokenizer.ggml.eos_token_id");
    }
}

/* A folder has it in chat_template.jinja or in tokenizer_config.json, which *config becomes: NULL
 * where there is none, else the caller's. */
static bool template_read(Bundle *b, Str *out, json_t **config, Err *err) {
    const char *path;
    Str json = b->tok_config;
    *out = (Str){0}, *config = NULL;
    if (is_gguf(b)) return meta_text(b->store, "tokenizer.chat_template", out, err);
    if (!file_read(b, "chat_template.jinja", out, &path, err)) return false;
    if (json.n == 0 && !file_read(b, "tokenizer_config.json", &json, &path, err)) return false;
    path = str_fmt(b->a, "%s/tokenizer_config.json", b->store ? store_path(b->store) : b->path).p;
    if (!object_parse(config, json, path, err)) return false;
    if (out->n == 0) *out = template_of(b->a, json_object_get(*config, "chat_template"));
    return true;
}

bool template_find(Bundle *b, Str *out, Str *bos, Str *eos, Err *err) {
    json_t *o;
    int64_t begin, end;
    bos_eos(b, &begin, &end);
    if (!template_read(b, out, &o, err)) return false;
    *bos = token_text(b, json_object_get(o, "bos_token"), begin);
    *eos = token_text(b, json_object_get(o, "eos_token"), end);
    json_decref(o);
    return true;
}

bool bundle_template(Bundle *b, Str *text, Err *err) {
    json_t *o;
    bool ok = template_read(b, text, &o, err);
    json_decref(o);
    return ok;
}

bool chat_load(Bundle *b, Err *err) {
    Str text, bos, eos;
    if (!template_find(b, &text, &bos, &eos, err)) return false;
    if (text.n == 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "%s has no chat template, so it is not a chat model: give the text as it is "
                       "with lisao run --raw",
                       b->path);
    return chat_init(&b->chat, b->a, b->tok, text, bos, eos, err);
}

bool chat_end_add(Bundle *b, Err *err) {
    return b->chat.end < 0 || end_add(b, b->chat.end)
           || err_set(err, ERR_LIMIT, "%s: there are more than %d end tokens", b->path,
                      BUNDLE_ENDS);
}

/* ---- end tokens ------------------------------------------------------------------------------ */

bool end_add(Bundle *b, int64_t id) {
    for (int64_t i = 0; i < b->n_end; i++)
        if (b->end[i] == id) return true;
    if (b->n_end == BUNDLE_ENDS) return false;
    b->end[b->n_end++] = (int32_t)id;
    return true;
}

/* generation_config.json may name more end tokens than config.json: a model made for chats ends a
 * turn with another token than a text. */
static bool ends_of_generation(Bundle *b, const json_t *eos, const char *path, Err *err) {
    bool list = json_is_array(eos);
    if (!eos || json_is_null(eos)) return true;
    for (size_t i = 0; i < (list ? json_array_size(eos) : 1); i++) {
        const json_t *v = list ? json_array_get(eos, i) : eos;
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= b->model->cfg.V)
            return err_set(err, ERR_FORMAT, "%s: eos_token_id: is no token of the model", path);
        if (!end_add(b, id))
            return err_set(err, ERR_LIMIT,
                           "%s: eos_token_id: with those of config.json there are more than %d end "
                           "tokens",
                           path, BUNDLE_ENDS);
    }
    return true;
}

/* ---- recommended sampling -------------------------------------------------------------------- */

/* Out of its bounds a recommendation is none. */
static float bounded(double v, double lo, double hi) { return v >= lo && v <= hi ? (float)v : -1; }

/* do_sample false is greedy, whatever else stands there; true without a temperature means 1. */
static void recommended_of_json(Recommended *r, const json_t *o) {
    static const char *const key[] = {"temperature", "top_p", "min_p", "repetition_penalty"};
    float *const to[] = {&r->temperature, &r->top_p, &r->min_p, &r->repetition_penalty};
    static const double most[] = {100, 1, 1, 100};
    const json_t *sample = json_object_get(o, "do_sample"), *k = json_object_get(o, "top_k");
    for (int i = 0; i < COUNT(key); i++) {
        const json_t *v = json_object_get(o, key[i]);
        if (json_is_number(v)) *to[i] = bounded(json_number_value(v), 0, most[i]);
    }
    if (json_is_integer(k) && json_integer_value(k) >= 0 && json_integer_value(k) <= 1 << 20)
        r->top_k = json_integer_value(k);
    if (json_is_true(sample) && r->temperature < 0) r->temperature = 1;
    if (json_is_false(sample)) r->temperature = 0;
    /* No recommendation is one that the engine refuses: above 0 it takes 1e-4 and more. */
    if (r->temperature > 0 && r->temperature < 1e-4f) r->temperature = -1;
}

static void recommended_of_gguf(Recommended *r, const Store *s) {
    static const char *const key[] = {"temp", "top_p", "min_p", "penalty_repeat", "top_k"};
    float *const to[] = {&r->temperature, &r->top_p, &r->min_p, &r->repetition_penalty};
    static const double most[] = {100, 1, 1, 100, 1 << 20};
    for (int i = 0; i < COUNT(key); i++) {
        char name[64];
        double v = -1;
        Err none = {0};
        snprintf(name, sizeof name, "general.sampling.%s", key[i]);
        if (store_meta_type(s, name) == META_ABSENT || !store_meta_f64(s, name, &v, &none))
            continue;
        if (i < COUNT(to)) *to[i] = bounded(v, 0, most[i]);
        if (i == COUNT(to) && v >= 0 && v <= most[i]) r->top_k = (int64_t)v;
    }
}

bool ends_load(Bundle *b, Err *err) {
    const Config *c = &b->model->cfg;
    Str json = {0};
    const char *path = NULL;
    json_t *o = NULL;
    b->n_end = 0;
    for (int64_t i = 0; i < c->n_eos; i++) CHECK(end_add(b, c->eos[i]));
    if (!is_gguf(b)
        && (!file_read(b, "generation_config.json", &json, &path, err)
            || !object_parse(&o, json, path, err)))
        return false;
    bool ok = ends_of_generation(b, json_object_get(o, "eos_token_id"), path, err);
    b->recommended = (Recommended){-1, -1, -1, -1, -1};
    if (is_gguf(b))
        recommended_of_gguf(&b->recommended, b->store);
    else
        recommended_of_json(&b->recommended, o);
    json_decref(o);
    return ok;
}
