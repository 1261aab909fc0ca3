/* session.c -- from a name on the command line to a model ready to run. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

bool model_path(Arena *a, const char **path, const char *model, Err *err) {
    *path = model;
    if (!model || !*model) return err_set(err, ERR_USAGE, "the name of the model is empty");
    if (os_exists(model)) return true;
    const char *cache = os_env("XDG_CACHE_HOME"), *home = os_env("HOME");
    Str folder = cache ? str_fmt(a, "%s/lisao/models", cache)
                       : str_fmt(a, "%s/.cache/lisao/models", home ? home : ".");
    static const char *const suffix[] = {"", ".gguf"};
    for (int64_t i = 0; i < COUNT(suffix); i++) {
        *path = str_fmt(a, "%.*s/%s%s", STRF(folder), model, suffix[i]).p;
        if (!strchr(model, '/') && os_exists(*path)) return true;
    }
    return err_set(err, ERR_IO,
                   "opening the model \"%s\": there is no such file or folder, and no model of "
                   "that name in %.*s. "
                   "./start fetches the default model there",
                   model, STRF(folder));
}

/* The kernel level asked for, or the best; threads likewise. */
static bool machine_open(Session *s, const ModelOpts *o, Err *err) {
    Level level = LEVEL_N;
    if (o->cpu) CHECK(level_of_name(o->cpu, &level));
    if (!kern_init(level, err)) return false;
    s->team = team_open(o->threads ? o->threads : MIN(os_cpus(), 64));
    return true;
}

static bool quantised(DType t) { return dtype_block(t) > 1; }

static bool formats_set(PlanSpec *p, const Model *m, const ModelOpts *o, const char *path,
                        Err *err) {
    *p = plan_defaults(m);
    if (o->act) {
        p->act = !strcmp(o->act, "f32") ? ACT_F32 : !strcmp(o->act, "a16") ? ACT_A16 : ACT_A8;
        p->kv = p->act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    }
    if (p->act == ACT_A8 && !quantised(m->file_type))
        return err_set(
            err, ERR_USAGE,
            "--act a8 needs a quantised file, and the matrices of %s are %s: use --act a16 or f32",
            path, dtype_name(m->file_type));
    if (o->mla) p->mla = !strcmp(o->mla, "expanded") ? MLA_EXPANDED : MLA_ABSORBED;
    if (o->kv) p->kv = !strcmp(o->kv, "f32") ? DTYPE_F32 : DTYPE_BF16;
    return true;
}

bool session_open(Session *s, const char *model, const ModelOpts *o, PlanSpec *spec, Err *err) {
    s->arena = arena_open("session", ARENA_NO_LIMIT);
    return model_path(s->arena, &s->path, model, err) && machine_open(s, o, err)
           && store_open(&s->store, s->arena, s->path, err)
           && model_open(&s->model, s->arena, s->store, err)
           && formats_set(spec, s->model, o, s->path, err);
}

bool session_plan(Session *s, const PlanSpec *spec, Err *err) {
    return plan_new(&s->plan, s->arena, s->model, spec, 0, s->team, err);
}

bool session_tokenizer(Session *s, Err *err) {
    return tokenizer_load(&s->tok, s->arena, s->path, s->store, err);
}

void session_close(Session *s) {
    if (s->store) store_close(s->store);
    if (s->team) team_close(s->team);
    if (s->arena) arena_close(s->arena);
    *s = (Session){0};
}

bool ids_parse(Arena *a, int32_t **ids, int64_t *n, Str text, int64_t V, const char *what,
               Err *err) {
    Str array = text;
    if (text.n && memchr(text.p, 0, (size_t)text.n))
        return err_set(err, ERR_USAGE, "reading token ids from %s: there is a byte 0 in it", what);
    while (array.n > 0 && strchr(" \t\r\n", array.p[0])) array.p++, array.n--;
    if (array.n == 0 || array.p[0] != '[') array = str_fmt(a, "[%.*s]", STRF(text));
    json_error_t at;
    json_t *json = json_loadb(array.p, (size_t)array.n, 0, &at);
    if (!json) return err_set(err, ERR_USAGE, "reading token ids from %s: %s", what, at.text);
    *n = (int64_t)json_array_size(json);
    *ids = PUSH(a, int32_t, MAX(*n, 1));
    bool ok = json_is_array(json) && *n > 0;
    if (!ok)
        err_set(err, ERR_USAGE,
                "reading token ids from %s: expected numbers like 1,2,3 and found none", what);
    for (int64_t i = 0; ok && i < *n; i++) {
        const json_t *v = json_array_get(json, (size_t)i);
        json_int_t id = json_integer_value(v);
        ok = json_is_integer(v) && id >= 0 && id < V;
        if (!ok)
            err_set(err, ERR_USAGE,
                    "reading token ids from %s: number %lld of the list is not an id below %lld, "
                    "the size of "
                    "the vocabulary",
                    what, (long long)i + 1, (long long)V);
        (*ids)[i] = (int32_t)id;
    }
    json_decref(json);
    return ok;
}

/* ---- tokenizer and chat ---------------------------------------------------------------------- */

static bool meta_str(const Store *s, const char *key, Str *out, Err *err) {
    *out = (Str){0};
    return store_meta_type(s, key) == META_ABSENT || store_meta_str(s, key, out, err);
}

static bool tokenizer_of_gguf(Tokenizer **t, Arena *a, const char *path, const Store *s, Err *err) {
    Str model;
    TokenizerParts p = {.name = path};
    Str *tokens = NULL, *merges = NULL;
    int32_t *types = NULL;
    if (!meta_str(s, "tokenizer.ggml.model", &model, err)) return false;
    if (!str_eq(model, STR("gpt2")))
        return err_set(
            err, ERR_UNSUPPORTED,
            "opening the tokenizer of %s: its kind is \"%.*s\"; byte-level BPE (\"gpt2\") is what "
            "this build reads",
            path, STRF(model));
    if (!meta_str(s, "tokenizer.ggml.pre", &p.pre, err)
        || !store_meta_strs(s, a, "tokenizer.ggml.tokens", &tokens, &p.n_tokens, err)
        || !store_meta_strs(s, a, "tokenizer.ggml.merges", &merges, &p.n_merges, err))
        return false;
    if (store_meta_type(s, "tokenizer.ggml.token_type") != META_ABSENT
        && !store_meta_i32s(s, a, "tokenizer.ggml.token_type", &types, &p.n_types, err))
        return false;
    p.tokens = tokens, p.merges = merges, p.types = types;
    return tokenizer_open_parts(t, a, &p, err);
}

bool tokenizer_load(Tokenizer **t, Arena *a, const char *path, Store *store, Err *err) {
    Str json = {0};
    Store *own = NULL;
    if (!store && str_ends(str_of(path), STR(".json")))
        return os_read(a, &json, path, 1 << 27, err) && tokenizer_open_json(t, a, json, path, err);
    if (!store && !store_open(&own, a, path, err)) return false;
    const Store *s = store ? store : own;
    bool ok;
    if (store_kind(s) == STORE_GGUF) {
        ok = tokenizer_of_gguf(t, a, path, s, err);
    } else {
        ok = store_json(s, a, "tokenizer.json", &json, err);
        if (ok && json.n == 0)
            ok = err_set(err, ERR_IO,
                         "opening the tokenizer of %s: there is no tokenizer.json in it", path);
        ok = ok
             && tokenizer_open_json(t, a, json, str_fmt(a, "%s/tokenizer.json", store_path(s)).p,
                                    err);
    }
    if (own) store_close(own);
    return ok;
}

/* Of a tokenizer_config.json; parsed, a text may take twenty times its size. */
enum { TEMPLATE_BYTES = 8 << 20 };

/* The template's text: GGUF metadata, or tokenizer_config.json's "chat_template". Empty when
 * there is none. */
static bool template_find(Session *s, Str *out, Err *err) {
    *out = (Str){0};
    if (store_kind(s->store) == STORE_GGUF)
        return meta_str(s->store, "tokenizer.chat_template", out, err);
    Str json;
    if (!store_json(s->store, s->arena, "tokenizer_config.json", &json, err)) return false;
    if (json.n > TEMPLATE_BYTES)
        return err_set(err, ERR_LIMIT,
                       "%s/tokenizer_config.json has %lld bytes: at most %d are read",
                       store_path(s->store), (long long)json.n, TEMPLATE_BYTES);
    json_error_t at;
    json_t *j = json.n ? json_loadb(json.p, (size_t)json.n, 0, &at) : NULL;
    if (json.n && !j)
        return err_set(err, ERR_FORMAT, "reading %s/tokenizer_config.json: line %d: %s",
                       store_path(s->store), at.line, at.text);
    const char *z = json_string_value(json_object_get(j, "chat_template"));
    if (z) *out = str_copy(s->arena, str_of(z));
    json_decref(j);
    return true;
}

bool session_chat(Session *s, Chat *chat, Err *err) {
    Str text;
    if (!template_find(s, &text, err)) return false;
    if (text.n == 0)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s has no chat template, so it is not a chat model: give the text as it is with "
            "lisao run --raw",
            s->path);
    return chat_init(chat, s->arena, s->tok, text, (int32_t)s->model->cfg.bos, err);
}

/* ---- input ----------------------------------------------------------------------------------- */

bool line_read(Buf *b, Err *err) {
    int c;
    b->n = 0;
    while ((c = getc(stdin)) != EOF && c != '\n') {
        if (b->n == LINE_BYTES)
            return err_set(err, ERR_LIMIT, "a line of standard input has more than %d bytes",
                           LINE_BYTES);
        buf_add(b, (Str){(const char[]){(char)c}, 1});
    }
    if (c == EOF && ferror(stdin) && !os_interrupted())
        return err_set(err, ERR_IO, "reading standard input failed: is it a folder?");
    return (c != EOF || b->n > 0) && !os_interrupted();
}

bool output_failed(Err *err) {
    return err_set(err, ERR_IO,
                   "writing to standard output failed: it does not have all of the result");
}
