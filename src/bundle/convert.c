/* convert.c -- a model written whole: GGUF or a Hugging Face folder, from either, or from nothing.
 *
 * The tensors of the result are a list of Exports (model/export.h); each is made some rows at a
 * time by all threads, and written by one. GGUF to GGUF goes by the file's own tensors and keys, so
 * that it works for any model and loses nothing. */
#include "bundle/parts.h"
#include "bundle/types.h"
#include <stdio.h>

enum { PIECE_BYTES = 32 << 20 }; /* of rows in f32 */

/* ---- tensors --------------------------------------------------------------------------------- */

/* What the threads run: rows row..row+n-1 of a tensor in its new type. */
typedef struct Pump {
    const Export *e;
    int64_t row, n;
    uint8_t *raw, *out; /* (n) rows as export_rows gives them, and in the new type */
    float *x;           /* (threads that get rows, cols); NULL where the type stays */
    bool misfit[64];    /* by thread: a number that the type cannot hold */
} Pump;

static void rows_make(Thread th, void *arg) {
    Pump *p = arg;
    const Export *e = p->e;
    Range r = thread_range_by(th, p->n, e->step);
    int64_t n = r.hi - r.lo;
    if (n <= 0) return;
    int64_t from_bytes = dtype_bytes(e->from, e->cols), to_bytes = dtype_bytes(e->t.type, e->cols);
    uint8_t *out = p->out + r.lo * to_bytes;
    Weight w = {.type = e->from, .n = 1, .rows = n, .cols = e->cols};
    w.row = export_rows(e, p->row + r.lo, n, p->raw + r.lo * from_bytes);
    if (e->from == e->t.type) {
        memcpy(out, w.row, (size_t)(n * to_bytes));
        return;
    }
    float *x = p->x + MIN(th.i, r.lo / e->step) * e->cols; /* of threads without rows none */
    for (int64_t i = 0; i < n && !p->misfit[th.i]; i++) {
        weight_row(x, &w, 0, i);
        p->misfit[th.i] = !numbers_write(out + i * to_bytes, e->t.type, x, e->cols);
    }
}

/* Where the result goes. */
typedef struct Job {
    Arena *a;
    Team *team;
    Writer *w;
    const Store *store; /* of Exports without a parameter */
    const char *name;   /* of the model */
    bool mtp;           /* layers that predict further tokens go along */
    Progress bar;
    int64_t done;
    Err *err;
} Job;

static bool misfit_set(const Export *e, Err *err) {
    return err_set(err, ERR_FORMAT,
                   "tensor %.*s has a number that is NaN, infinite, or larger than %s can hold: "
                   "choose another type for it, or mend the model",
                   STRF(e->t.name), dtype_name(e->t.type));
}

static bool piece_write(Job *j, Pump *p) {
    bool misfit = false;
    team_run(j->team, rows_make, p);
    for (int64_t i = 0; i < COUNT(p->misfit); i++) misfit |= p->misfit[i];
    if (misfit) return misfit_set(p->e, j->err);
    int64_t bytes = p->n * dtype_bytes(p->e->t.type, p->e->cols);
    if (!writer_data(j->w, p->out, bytes, j->err)) return false;
    progress_at(&j->bar, j->done += bytes, NULL);
    return !os_interrupted()
           || err_set(j->err, ERR_INTERRUPTED, "interrupted; nothing was written");
}

/* A row may be as long as the file says. */
static bool rows_room(Job *j, Pump *p, int64_t rows) {
    const Export *e = p->e;
    int64_t threads = MIN(team_threads(j->team), (rows + e->step - 1) / e->step);
    int64_t each = e->from == e->t.type ? 0 : e->cols * 4;
    p->raw = arena_try(j->a, rows * dtype_bytes(e->from, e->cols));
    p->out = p->raw ? arena_try(j->a, rows * dtype_bytes(e->t.type, e->cols)) : NULL;
    if (p->out && each) p->x = arena_try(j->a, threads * each);
    return (p->out && (p->x || !each))
           || err_set(j->err, ERR_LIMIT,
                      "no memory left to convert tensor %.*s, whose rows have %lld numbers: "
                      "try fewer threads",
                      STRF(e->t.name), (long long)e->cols);
}

static bool tensor_write(Job *j, const Export *e) {
    Mark mark = arena_mark(j->a);
    int64_t rows = MAX(PIECE_BYTES / (e->cols * 4) / e->step, 1) * e->step;
    rows = MIN(rows, e->rows);
    Pump p = {.e = e};
    bool ok = rows_room(j, &p, rows);
    for (; p.row < e->rows && ok; p.row += p.n) {
        p.n = MIN(rows, e->rows - p.row);
        ok = piece_write(j, &p);
    }
    arena_pop(j->a, mark);
    export_drop(e);
    if (!e->param && j->store) store_drop(j->store, e->t.data, e->t.bytes);
    return ok;
}

/* Tells the writer all tensors, then writes them. */
static bool tensors_write(Job *j, const Export *e, int64_t n) {
    bool ok = true;
    for (int64_t i = 0; i < n; i++) writer_tensor(j->w, &e[i].t);
    progress_start(&j->bar, "convert", "B", writer_bytes(j->w));
    for (int64_t i = 0; i < n && ok; i++) ok = tensor_write(j, &e[i]);
    progress_end(&j->bar);
    return ok;
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

static Str base_name(const char *path) {
    Str s = str_of(path);
    while (s.n > 1 && s.p[s.n - 1] == '/') s.n--;
    int64_t at = s.n;
    while (at > 0 && s.p[at - 1] != '/') at--;
    s.p += at, s.n -= at;
    if (str_ends(s, STR(".gguf"))) s.n -= 5;
    return s;
}

/* Keys of the whole file, beside those of the architecture. */
static void file_keys(Writer *w, const char *name, const TypeRules *r, const Export *e, int64_t n) {
    bool quantised = false;
    for (int64_t i = 0; i < n; i++) quantised |= dtype_block(e[i].t.type) > 1;
    if (name) {
        writer_str(w, "general.type", STR("model"));
        writer_str(w, "general.name", base_name(name));
    }
    writer_u32(w, "general.file_type", types_file(r, e, n));
    if (quantised) writer_u32(w, "general.quantization_version", 2);
}

/* Keys that belong to the old file and not to the model. */
static bool key_drops(Str key) {
    static const char *const own[] = {"general.file_type", "general.quantization_version",
                                      "general.alignment"};
    bool drops = str_starts(key, STR("split."));
    for (int64_t i = 0; i < COUNT(own); i++) drops |= str_eq(key, str_of(own[i]));
    return drops;
}

static bool no_further(const Store *s, Err *err) {
    return err_set(err, ERR_USAGE,
                   "--mtp: %s has no layers that predict further tokens: leave the option out",
                   store_path(s));
}

static bool layers_of(const Store *s, Arena *a, int64_t *layers, Err *err) {
    Str arch;
    *layers = 0;
    if (!store_meta_str(s, "general.architecture", &arch, err)) return false;
    const char *key = str_fmt(a, "%.*s.block_count", STRF(arch)).p;
    if (store_meta_type(s, key) == META_ABSENT) return true;
    if (!store_meta_i64(s, key, layers, err)) return false;
    return (*layers >= 0 && *layers <= 1 << 20)
           || err_set(err, ERR_FORMAT, "%s is %lld, which is no number of layers", key,
                      (long long)*layers);
}

/* Layers that predict further tokens, of any architecture: the file's last ones, from *first on.
 * They may be counted in block_count or not, and be left out although a key names them. */
typedef struct Further {
    Str arch;
    int64_t n, first; /* n 0: none are in the file */
} Further;

static bool further_of(Further *f, const Store *s, Arena *a, int64_t layers, Err *err) {
    *f = (Further){.first = INT64_MAX};
    if (!store_meta_str(s, "general.architecture", &f->arch, err)) return false;
    const char *key = str_fmt(a, "%.*s.nextn_predict_layers", STRF(f->arch)).p;
    if (store_meta_type(s, key) == META_ABSENT) return true;
    if (!store_meta_i64(s, key, &f->n, err)) return false;
    if (f->n < 0 || f->n > layers)
        return err_set(err, ERR_FORMAT, "%s is %lld beside %lld layers", key, (long long)f->n,
                       (long long)layers);
    for (int64_t i = 0; i < store_count(s); i++) {
        Str name = store_at(s, i)->name;
        int64_t block = block_of(name);
        if (block >= 0 && str_ends(name, STR(".nextn.eh_proj.weight")))
            f->first = MIN(f->first, block);
    }
    if (f->first == INT64_MAX) f->n = 0;
    return true;
}

static bool further_key(const Further *f, Str key) {
    return str_starts(key, f->arch)
           && (str_ends(key, STR(".nextn_predict_layers")) || str_ends(key, STR(".block_count")));
}

static bool copy_gguf(Job *j, const char *out, const TypeRules *r) {
    const Store *s = j->store;
    int64_t n = 0, layers;
    Further f;
    Export *e = PUSH(j->a, Export, store_count(s) + 1);
    if (!layers_of(s, j->a, &layers, j->err) || !further_of(&f, s, j->a, layers, j->err))
        return false;
    if (j->mtp && f.n == 0) return no_further(j->store, j->err);
    bool drop = f.n > 0 && !j->mtp;
    for (int64_t i = 0; i < store_count(s); i++)
        if (!drop || block_of(store_at(s, i)->name) < f.first)
            e[n++] = export_of_tensor(store_at(s, i));
    if (!types_choose(r, e, n, drop ? MIN(f.first, layers) : layers, j->err)) return false;
    j->w = writer_create(j->a, out, WRITE_GGUF, j->err);
    if (!j->w) return false;
    for (int64_t i = 0; i < store_meta_count(s); i++)
        if (!key_drops(store_meta_key(s, i)) && !(drop && further_key(&f, store_meta_key(s, i))))
            writer_copy(j->w, s, i);
    if (drop)
        writer_u32(j->w, str_fmt(j->a, "%.*s.block_count", STRF(f.arch)).p, MIN(f.first, layers));
    file_keys(j->w, NULL, r, e, n);
    return tensors_write(j, e, n) && writer_commit(j->w, j->err);
}

static bool model_gguf(Job *j, Bundle *b, const char *out, const TypeRules *r) {
    Export *e;
    const Model *m = b->model;
    int64_t n = model_exports(&e, j->a, m, true);
    if (!types_choose(r, e, n, m->cfg.L, j->err)) return false;
    j->w = writer_create(j->a, out, WRITE_GGUF, j->err);
    Config c = m->cfg;
    c.mtp = m->n_layers - c.L; /* those that are written */
    if (!j->w || !config_write_gguf(j->w, &c, j->err)) return false;
    file_keys(j->w, j->name, r, e, n);
    return tokenizer_keys(j->w, b, j->err) && tensors_write(j, e, n) && writer_commit(j->w, j->err);
}

/* ---- Hugging Face ---------------------------------------------------------------------------- */

/* Wide numbers first, which aligns all. */
static Export *by_width(Arena *a, const Export *e, int64_t n) {
    Export *sorted = PUSH(a, Export, n + 1);
    int64_t k = 0;
    for (int64_t width = 8; width >= 1; width /= 2)
        for (int64_t i = 0; i < n; i++)
            if (dtype_bytes(e[i].t.type, 1) == width) sorted[k++] = e[i];
    CHECK(k == n);
    return sorted;
}

static bool file_put(Job *j, const char *folder, const char *name, Str text) {
    return os_put(j->a, str_fmt(j->a, "%s/%s", folder, name).p, text, j->err);
}

/* Files beside the tensors, from a folder as they are. */
static bool files_copy(Job *j, Bundle *b, const char *folder) {
    static const char *const names[] = {"tokenizer.json",          "tokenizer_config.json",
                                        "chat_template.jinja",     "generation_config.json",
                                        "special_tokens_map.json", "tiktoken.model"};
    bool ok = true;
    for (int64_t i = 0; i < COUNT(names) && ok; i++) {
        Str text = {0};
        ok = store_json(b->store, j->a, names[i], &text, j->err);
        if (ok && text.n) ok = file_put(j, folder, names[i], text);
    }
    return ok;
}

/* Those that a GGUF file holds as keys. */
static bool files_make(Job *j, Bundle *b, const char *folder) {
    Str tokenizer = {0}, config = {0}, generation = {0};
    return tokenizer_files(j->a, b, &tokenizer, &config, &generation, j->err)
           && (!tokenizer.n || file_put(j, folder, "tokenizer.json", tokenizer))
           && (!config.n || file_put(j, folder, "tokenizer_config.json", config))
           && (!generation.n || file_put(j, folder, "generation_config.json", generation));
}

static DType main_type(const Export *e, int64_t n) {
    int64_t count[DTYPE_N] = {0};
    DType most = DTYPE_F32;
    for (int64_t i = 0; i < n; i++) {
        count[e[i].t.type] += tensor_elements(&e[i].t);
        if (count[e[i].t.type] > count[most]) most = e[i].t.type;
    }
    return most;
}

static bool folder_fill(Job *j, Bundle *b, const char *folder, const Export *e, int64_t n) {
    Config c = b->model->cfg;
    c.mtp = b->model->n_layers - c.L; /* those that are written */
    bool copied = b->store && store_kind(b->store) != STORE_GGUF;
    if (!file_put(j, folder, "config.json", config_json_of(j->a, &c, main_type(e, n)))
        || !(copied ? files_copy(j, b, folder) : files_make(j, b, folder)))
        return false;
    const char *path = str_fmt(j->a, "%s/model.safetensors", folder).p;
    j->w = writer_create(j->a, path, WRITE_SAFETENSORS, j->err);
    return j->w && tensors_write(j, e, n) && writer_commit(j->w, j->err);
}

static bool folder_free(Arena *a, const char *out, Err *err) {
    Str *name;
    int64_t n = 0;
    if (!os_exists(out)) return true;
    if (os_is_dir(out) && !os_list(a, &name, &n, out, err)) return false;
    return (os_is_dir(out) && n == 0)
           || err_set(err, ERR_USAGE,
                      "%s is there already: a Hugging Face folder is written where there is none "
                      "(for a GGUF file give a name that ends with .gguf)",
                      out);
}

/* The folder is filled under another name, and gets its own by one rename. */
static bool model_folder(Job *j, Bundle *b, const char *out, const TypeRules *r) {
    Export *e;
    uint32_t random;
    int64_t n = model_exports(&e, j->a, b->model, false);
    if (b->model->cfg.rope.factors)
        return err_set(j->err, ERR_UNSUPPORTED,
                       "%s: rope_freqs.weight is no scaling that config.json has a form for, so a "
                       "Hugging Face folder cannot be written",
                       b->path);
    if (!folder_free(j->a, out, j->err) || !types_choose(r, e, n, b->model->cfg.L, j->err))
        return false;
    os_random(&random, sizeof random);
    Str name = str_of(out);
    while (name.n > 1 && name.p[name.n - 1] == '/') name.n--;
    const char *path = str_copy(j->a, name).p, *tmp = str_fmt(j->a, "%s.tmp-%08x", path, random).p;
    bool ok = os_mkdir(tmp, j->err) && folder_fill(j, b, tmp, by_width(j->a, e, n), n);
    if (ok && os_rename(tmp, path, j->err)) return true;
    writer_abandon(ok ? NULL : j->w);
    j->w = NULL;
    Err ignored = {0};
    if (os_exists(tmp) && !os_remove(tmp, &ignored))
        log_at(LOG_WARN, "%s could not be removed: %s", tmp, ignored.msg);
    return false;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Where to, and what of. */
typedef struct Result {
    const char *path;
    bool gguf;
    TypeRules *rules;
} Result;

static bool result_open(Result *r, Arena *a, const char *path, const ConvertSpec *s, Err *err) {
    *r = (Result){.path = path, .gguf = str_ends(str_of(path), STR(".gguf"))};
    if (s->format) r->gguf = !strcmp(s->format, "gguf");
    return types_open(&r->rules, a, s, r->gguf, err);
}

static bool result_write(const Result *r, Arena *a, Bundle *b, const char *name, bool mtp,
                         Team *team, Err *err) {
    Job j = {.a = a, .team = team, .name = name, .mtp = mtp, .err = err};
    if (!b->model) j.store = b->store;
    bool ok = !b->model ? copy_gguf(&j, r->path, r->rules)
              : r->gguf ? model_gguf(&j, b, r->path, r->rules)
                        : model_folder(&j, b, r->path, r->rules);
    if (!ok) writer_abandon(j.w);
    return ok;
}

/* The parts that the result needs: of GGUF to GGUF the file alone, else the model, and its
 * tokenizer if there is one. */
static bool source_open(Bundle *b, Arena *a, const char *in, bool gguf, bool mtp, Err *err) {
    Config c = {0};
    if (!bundle_open(b, a, in, 0, err)) return false;
    if (gguf && store_kind(b->store) == STORE_GGUF) return true;
    bool ok = !mtp || config_read(&c, b->store, err);
    b->mtp = c.mtp;
    if (ok && mtp && c.mtp == 0) ok = no_further(b->store, err);
    ok = ok && bundle_load(b, BUNDLE_MODEL, err)
         && (!tokenizer_there(b) || bundle_load(b, BUNDLE_TOKENIZER, err));
    if (!ok) bundle_close(b);
    return ok;
}

/* What the result cannot be named, before anything is read. */
static bool name_check(const char *out, bool gguf, Err *err) {
    Str s = str_of(out);
    while (s.n > 1 && s.p[s.n - 1] == '/') s.n--;
    if (s.n == 0 || str_eq(s, STR("/")) || str_eq(s, STR(".")) || str_eq(s, STR(".."))
        || str_ends(s, STR("/.")) || str_ends(s, STR("/..")))
        return err_set(err, ERR_USAGE, "\"%s\" is no name of a result: give one", out);
    if (os_is_link(out))
        return err_set(err, ERR_USAGE,
                       "%s is a symbolic link, which the result would replace: remove it, or give "
                       "the name that it leads to",
                       out);
    return !gguf || !os_is_dir(out)
           || err_set(err, ERR_USAGE, "%s is a folder: give the GGUF file a name in it", out);
}

/* Whether the result would take the place of a file that it is made from. */
static bool source_spared(const Store *s, const char *out, Err *err) {
    FileStamp to, from;
    Err none = {0};
    const char *seen = NULL;
    if (!os_exists(out) || !os_stamp(&to, out, &none)) return true;
    for (int64_t i = 0; i < store_count(s); i++) {
        const char *file = store_at(s, i)->file;
        if (file == seen) continue;
        seen = file;
        if (os_stamp(&from, file, &none) && stamp_same(&from, &to))
            return err_set(err, ERR_USAGE,
                           "%s is a file of %s, which is read: give the result another name", out,
                           store_path(s));
    }
    return true;
}

bool bundle_convert(Arena *a, const char *in, const char *out, const ConvertSpec *s, Team *team,
                    Err *err) {
    Result r;
    Bundle b = {0};
    bool ok = result_open(&r, a, out, s, err) && name_check(out, r.gguf, err)
              && source_open(&b, a, in, r.gguf, s->mtp, err);
    if (ok) ok = source_spared(b.store, out, err);
    if (ok) ok = result_write(&r, a, &b, b.path, s->mtp, team, err);
    bundle_close(&b);
    types_close(r.rules);
    return ok;
}

/* ---- random models --------------------------------------------------------------------------- */

static bool config_open(Config *c, Arena *a, const char *path, Err *err) {
    Str json;
    if (os_is_dir(path)) path = str_fmt(a, "%s/config.json", path).p;
    return os_read(a, &json, path, 4 << 20, err) && config_parse(c, json, path, err);
}

static bool synth_open(Bundle *b, Arena *a, const char *config, const SynthSpec *s, Err *err) {
    Config c;
    if (!config_open(&c, a, config, err)) return false;
    if (s->tokenizer && !bundle_open(b, a, s->tokenizer, BUNDLE_TOKENIZER, err)) return false;
    b->a = a;
    if (!b->path) b->path = config;
    c.mtp = 0; /* layers that predict further tokens are not made */
    if (!s->tokenizer && !tokenizer_of_bytes(b, &c, err)) return false;
    model_imagine(&b->model, a, &c, 0.02, s->seed);
    for (int64_t i = 0; i < c.n_eos; i++) CHECK(end_add(b, c.eos[i]));
    return true;
}

bool bundle_synth(Arena *a, const char *config, const char *out, const SynthSpec *s, Team *team,
                  Err *err) {
    Result r;
    Bundle b = {0};
    bool ok = result_open(&r, a, out, &s->convert, err) && synth_open(&b, a, config, s, err);
    if (ok) ok = result_write(&r, a, &b, out, false, team, err);
    bundle_close(&b);
    types_close(r.rules);
    return ok;
}
