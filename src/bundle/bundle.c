/* bundle.c -- from a name to an open model. */
#include "bundle/parts.h"

/* ---- names ----------------------------------------------------------------------------------- */

/* "; there are: A, B", or nothing. */
static Str models_there(Arena *a, const char *begin) {
    Err none = {0};
    Str *model;
    int64_t n = 0;
    Buf list = {.a = a};
    if (!models_list(a, &model, &n, &none)) n = 0;
    for (int64_t i = 0; i < n; i++) buf_fmt(&list, "%s%.*s", i ? ", " : begin, STRF(model[i]));
    return buf_str(&list);
}

/* OWNER/NAME, as repositories are called. */
static bool named_like_repo(const char *name) {
    const char *slash = strchr(name, '/');
    return slash && slash > name && name[0] != '.' && slash[1] && !strchr(slash + 1, '/');
}

/* models/NAME/NAME.gguf of what comes with the program; NULL: there is none of that name. */
static const char *shipped_find(Arena *a, const char *name) {
    const char *folder[2];
    const int64_t n = os_shipped(a, folder, "models");
    for (int64_t i = 0; i < n; i++) {
        const char *path = str_fmt(a, "%s/%s/%s.gguf", folder[i], name, name).p;
        if (os_exists(path)) return path;
    }
    return NULL;
}

static bool path_find(const char **path, Arena *a, const char *name, unsigned parts, Err *err) {
    const char *what = !parts || parts & BUNDLE_MODEL ? "model" : "tokenizer";
    if (!name || !*name) return err_set(err, ERR_USAGE, "the name of the %s is empty", what);
    *path = name;
    if (os_exists(name)) return true;
    const char *cache = os_cache_folder(a, "models"), *near = NULL;
    if (!strchr(name, '/')) {
        Str found;
        *path = str_fmt(a, "%s/%s", cache, name).p;
        if (os_exists(*path)) return true; /* a tokenizer by itself is no model, and opens */
        if (!models_find(&found, a, name, err)) return false;
        if (found.n) return *path = str_fmt(a, "%s/%.*s", cache, STRF(found)).p, true;
        const char *shipped = shipped_find(a, name);
        if (shipped) return *path = shipped, true;
        near = models_nearest(a, name);
    }
    return err_set(err, ERR_IO,
                   "opening the %s \"%s\": there is no such file or folder, and no model of that "
                   "name in %s, where ./start keeps the default model%s%s%s%s%.*s",
                   what, name, cache,
                   near || !named_like_repo(name) ? ""
                                                  : " (a repository is fetched as hf:OWNER/NAME)",
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "",
                   STRF(models_there(a, near ? " There are: " : "; there are: ")));
}

/* A tokenizer by itself: a tokenizer.json, or a folder that has one. */
static bool tokenizer_alone(const char *path, Arena *a, unsigned parts) {
    if (!parts || parts & BUNDLE_MODEL) return false;
    if (os_is_dir(path))
        return os_exists(str_fmt(a, "%s/tokenizer.json", path).p)
               || os_exists(str_fmt(a, "%s/tiktoken.model", path).p);
    return str_ends(str_of(path), STR(".json"));
}

/* ---- opening --------------------------------------------------------------------------------- */

bool bundle_open(Bundle *b, Arena *a, const char *name, unsigned parts, Err *err) {
    *b = (Bundle){.a = a};
    if (!path_find(&b->path, a, name, parts, err)) return false;
    bool ok = tokenizer_alone(b->path, a, parts) || store_open(&b->store, a, b->path, err);
    if (ok && bundle_load(b, parts, err)) return true;
    bundle_close(b);
    return false;
}

/* The tokens that the model has not can be neither read nor written by it; texts without them are
 * well. */
static void sizes_compare(const Bundle *b) {
    int64_t tokens = tokenizer_size(b->tok), V = b->model->cfg.V;
    if (tokens > V)
        log_at(LOG_WARN,
               "%s: the tokenizer has %lld tokens and the model %lld: texts that need the others "
               "are refused",
               b->path, (long long)tokens, (long long)V);
}

bool bundle_load(Bundle *b, unsigned parts, Err *err) {
    enum { BOTH = BUNDLE_MODEL | BUNDLE_TOKENIZER };
    if (parts & BUNDLE_CHAT) parts |= BUNDLE_TOKENIZER;
    parts &= ~b->loaded;
    CHECK(b->store || !(parts & BUNDLE_MODEL));
    if (parts & BUNDLE_MODEL) {
        if (!model_open_mtp(&b->model, b->a, b->store, b->mtp, err) || !ends_load(b, err))
            return b->model = NULL, false;
        b->loaded |= BUNDLE_MODEL;
    }
    if (parts & BUNDLE_TOKENIZER) {
        if (!tokenizer_load(b, err)) return false;
        b->loaded |= BUNDLE_TOKENIZER;
    }
    if (parts & BOTH && (b->loaded & BOTH) == BOTH) sizes_compare(b);
    if (parts & BUNDLE_CHAT) {
        if (!chat_load(b, err)) return false;
        b->loaded |= BUNDLE_CHAT;
    }
    enum { WITH_ENDS = BUNDLE_MODEL | BUNDLE_CHAT };
    if (!(parts & WITH_ENDS) || (b->loaded & WITH_ENDS) != WITH_ENDS) return true;
    if (chat_end_add(b, err)) return true;
    b->loaded &= ~(parts & BUNDLE_CHAT);
    return false;
}

bool bundle_tokenizer_files(Bundle *b, Err *err) {
    Str ends;
    if (b->tok_json.n) return true;
    return bundle_load(b, BUNDLE_MODEL | BUNDLE_TOKENIZER, err)
           && tokenizer_files(b->a, b, &b->tok_json, &b->tok_config, &ends, err);
}

void bundle_close(Bundle *b) {
    tokenizer_close(b->tok);
    store_close(b->store);
    *b = (Bundle){0};
}

bool bundle_ids_check(const Bundle *b, const int32_t *ids, int64_t n, Err *err) {
    const int64_t V = b->model->cfg.V;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= V)
            return err_set(err, ERR_FORMAT,
                           "the tokenizer of %s gives token %d, and the model has %lld: the two do "
                           "not belong together",
                           b->path, ids[i], (long long)V);
    return true;
}
