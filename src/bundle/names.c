/* names.c -- the cache of models: what is in it, and which of them a name means. */
#include "bundle/parts.h"

/* ---- names ----------------------------------------------------------------------------------- */

#define FIRST_PART "-00001-of-00000.gguf" /* how the parts of a split file end */

/* The number of the part that a file "x-00002-of-00003.gguf" is; 0: it is no part. */
static int64_t part_number(Str name) {
    const int64_t end = (int64_t)sizeof FIRST_PART - 1;
    int64_t part, parts;
    if (name.n <= end || !str_ends(name, STR(".gguf"))) return 0;
    const char *p = name.p + name.n - end;
    bool split = p[0] == '-' && !memcmp(p + 6, "-of-", 4) && str_i64((Str){p + 1, 5}, &part)
                 && str_i64((Str){p + 10, 5}, &parts);
    return split ? part : 0;
}

/* The name without what says its format: "x.gguf" and "x-00001-of-00003.gguf" are x. */
static Str stem_of(Str name) {
    if (part_number(name))
        name.n -= (int64_t)sizeof FIRST_PART - 1;
    else if (str_ends(name, STR(".gguf")))
        name.n -= 5;
    return name;
}

/* ---- the folder ------------------------------------------------------------------------------ */

static const char *cache_path(Arena *a, Str name) {
    return str_fmt(a, "%s/%.*s", os_cache_folder(a, "models"), STRF(name)).p;
}

bool models_list(Arena *a, Str **names, int64_t *n, Err *err) {
    const char *folder = os_cache_folder(a, "models");
    Str *all;
    int64_t n_all = 0;
    *n = 0;
    if (!os_exists(folder)) return true;
    if (!os_list(a, &all, &n_all, folder, err)) return false;
    *names = PUSH(a, Str, n_all + 1);
    for (int64_t i = 0; i < n_all; i++) {
        bool model = str_ends(all[i], STR(".gguf"))
                         ? part_number(all[i]) <= 1
                         : os_exists(str_fmt(a, "%s/config.json", cache_path(a, all[i])).p);
        if (all[i].p[0] != '.' && model) (*names)[(*n)++] = all[i];
    }
    return true;
}

/* How well `name` fits: the sooner the better, and only the best of all count. */
enum { FIT_EXACT, FIT_STEM, FIT_CASELESS, FIT_N };

static int fit_of(Str name, Str model) {
    const Str stem = stem_of(model);
    Str file = model; /* without ".gguf", with the number of its part */
    if (str_ends(file, STR(".gguf"))) file.n -= 5;
    if (str_eq(name, model)) return FIT_EXACT;
    if (str_eq(name, stem) || str_eq(name, file)) return FIT_STEM;
    bool caseless =
        str_eq_caseless(name, model) || str_eq_caseless(name, stem) || str_eq_caseless(name, file);
    return caseless ? FIT_CASELESS : FIT_N;
}

bool models_find(Str *found, Arena *a, const char *name, Err *err) {
    Str *model, several = {0};
    int64_t n, fits = 0;
    int best = FIT_N;
    *found = (Str){0};
    if (!models_list(a, &model, &n, err)) return false;
    for (int64_t i = 0; i < n; i++) best = MIN(best, fit_of(str_of(name), model[i]));
    for (int64_t i = 0; best < FIT_N && i < n; i++) {
        if (fit_of(str_of(name), model[i]) != best) continue;
        *found = model[i];
        several = str_fmt(a, "%.*s%s%.*s", STRF(several), fits++ ? ", " : "", STRF(model[i]));
    }
    if (fits <= 1) return true;
    return err_set(err, ERR_USAGE, "\"%s\" may be any of %.*s in %s: give the whole name", name,
                   STRF(several), os_cache_folder(a, "models"));
}

const char *models_nearest(Arena *a, const char *name) {
    Err none = {0};
    Str *model;
    int64_t n;
    if (!models_list(a, &model, &n, &none)) return NULL;
    const char **stem = PUSH(a, const char *, n + 1);
    for (int64_t i = 0; i < n; i++) stem[i] = str_copy(a, stem_of(model[i])).p;
    return str_nearest(str_of(name), stem, n);
}

/* ---- the files of one model ------------------------------------------------------------------ */

/* Paths: of a GGUF file all its parts; of a folder what is in it. */
static bool files_of(Arena *a, Str model, const char ***path, int64_t *n, Err *err) {
    const char *whole = cache_path(a, model);
    bool folder = os_is_dir(whole);
    const int64_t end = (int64_t)sizeof FIRST_PART - 1, part_end = end - 6;
    Str *all;
    int64_t n_all = 0;
    *n = 0;
    if (!os_list(a, &all, &n_all, folder ? whole : os_cache_folder(a, "models"), err)) return false;
    *path = PUSH(a, const char *, n_all + 1);
    for (int64_t i = 0; i < n_all; i++) {
        bool part = part_number(model) && part_number(all[i]) && all[i].n == model.n
                    && !memcmp(all[i].p, model.p, (size_t)(model.n - end))
                    && !memcmp(all[i].p + model.n - part_end, model.p + model.n - part_end,
                               (size_t)part_end);
        if (folder)
            (*path)[(*n)++] = str_fmt(a, "%s/%.*s", whole, STRF(all[i])).p;
        else if (part || str_eq(all[i], model))
            (*path)[(*n)++] = cache_path(a, all[i]);
    }
    return true;
}

bool models_bytes(int64_t *bytes, Arena *a, Str model, Err *err) {
    const char **path;
    int64_t n;
    *bytes = 0;
    if (!files_of(a, model, &path, &n, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        FileStamp s;
        if (os_is_dir(path[i])) continue;
        if (!os_stamp(&s, path[i], err)) return false;
        *bytes += s.size;
    }
    return true;
}

bool models_remove(Arena *a, Str model, Err *err) {
    const char *whole = cache_path(a, model), **path;
    int64_t n;
    if (!files_of(a, model, &path, &n, err)) return false;
    if (os_is_dir(whole)) {
        for (int64_t i = 0; i < n; i++)
            if (os_is_dir(path[i]))
                return err_set(err, ERR_UNSUPPORTED,
                               "removing %s: there is the folder %s in it, which no model needs: "
                               "look at it and remove it by hand",
                               whole, path[i]);
        return os_remove(whole, err);
    }
    for (int64_t i = 0; i < n; i++)
        if (!os_remove(path[i], err)) return false;
    return true;
}
