/* ckpt.c -- writes safetensors files and checkpoints, and finds the newest checkpoint.
 *
 * A checkpoint is a folder step-NNNNNNNNN that appears by one rename, complete and durable, and is
 * removed by one rename. What is being written or removed is called .tmp-*, which no reader looks
 * at.
 * Invariant: from the first commit on, the folder holds at least one complete step-*. */
#include "file/parts.h"

#define STEP_DIGITS  9
#define STEP_MAX     999999999
#define LIST_LIMIT   (1 << 20)
#define LIST_VERSION 1
#define FILES_MAX    64

/* ---- safetensors ----------------------------------------------------------------------------- */

static Str tensor_name(const void *of, int64_t i) { return ((const Tensor *)of)[i].name; }

/* Names must be visible and unique, types such as the format has; else the caller's table is
 * wrong. */
static bool tensors_check(Arena *a, const char *file, const Tensor *t, int64_t n, Err *err) {
    Names names;
    CHECK(names_init(&names, a, n, tensor_name, t));
    for (int64_t i = 0; i < n; i++) {
        CHECK(name_is_visible(t[i].name) && t[i].n_dims >= 0 && t[i].n_dims <= TENSOR_DIMS);
        CHECK(names_put(&names, i) == i);
        if (dtype_block(t[i].type) == 1) continue;
        return err_set(err, ERR_UNSUPPORTED, "%s: tensor %.*s: safetensors has no type %s", file,
                       STRF(t[i].name), dtype_name(t[i].type));
    }
    return true;
}

/* The tensors in the order of their bytes: wide types first, which aligns all without holes. */
static const Tensor **tensors_order(Arena *a, const Tensor *t, int64_t n) {
    const Tensor **order = arena_push(a, n * (int64_t)sizeof *order);
    int64_t k = 0;
    for (int64_t width = 8; width >= 1; width /= 2) {
        for (int64_t i = 0; i < n; i++) {
            if (dtype_bytes(t[i].type, 1) == width) order[k++] = &t[i];
        }
    }
    CHECK(k == n);
    return order;
}

static int64_t tensor_bytes(const Tensor *t) { return dtype_bytes(t->type, tensor_elements(t)); }

/* Length and text of the header, padded with spaces to 64 bytes in all. "format" is what
 * transformers wants to see before it loads a file. */
void safetensors_head(Buf *b, const Tensor *const *t, int64_t n) {
    int64_t at = 0;
    buf_add(b, (Str){"\0\0\0\0\0\0\0\0", 8});
    buf_fmt(b, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int64_t i = 0; i < n; i++) {
        buf_fmt(b, ",\"%.*s\":{\"dtype\":\"%s\",\"shape\":[", STRF(t[i]->name),
                dtype_name(t[i]->type));
        for (int d = 0; d < t[i]->n_dims; d++)
            buf_fmt(b, d ? ",%lld" : "%lld", (long long)t[i]->dim[d]);
        buf_fmt(b, "],\"data_offsets\":[%lld,%lld]}", (long long)at,
                (long long)(at + tensor_bytes(t[i])));
        at += tensor_bytes(t[i]);
    }
    buf_add(b, STR("}"));
    while (b->n % 64 != 0) buf_add(b, STR(" "));
    uint64_t length = (uint64_t)(b->n - 8);
    memcpy(b->p, &length, 8);
}

/* Writes path; *bytes is its length. */
static bool tensors_write(Arena *a, const char *path, const Tensor *t, int64_t n, int64_t *bytes,
                          Err *err) {
    Mark mark = arena_mark(a);
    if (!tensors_check(a, path, t, n, err)) return false;
    const Tensor **order = tensors_order(a, t, n);
    Buf header = {.a = a};
    safetensors_head(&header, order, n);
    OutFile *o = os_create(a, path, err);
    bool ok = o && os_write(o, header.p, header.n, err);
    *bytes = header.n;
    for (int64_t i = 0; i < n && ok; i++) {
        ok = os_write(o, order[i]->data, tensor_bytes(order[i]), err);
        *bytes += tensor_bytes(order[i]);
    }
    ok = ok && os_commit(o, err);
    if (o && !ok) os_abandon(o);
    arena_pop(a, mark);
    return ok;
}

bool safetensors_write(Arena *a, const char *path, const Tensor *t, int64_t n, Err *err) {
    int64_t bytes;
    return tensors_write(a, path, t, n, &bytes, err);
}

/* ---- the folder of checkpoints --------------------------------------------------------------- */

Str ckpt_path(Arena *a, const char *folder, int64_t step) {
    return str_fmt(a, "%s/step-%0*lld", folder, STEP_DIGITS, (long long)step);
}

/* The step of a name "step-000000120", -1 for every other name. */
static int64_t step_of(Str name) {
    int64_t step;
    Str prefix = STR("step-");
    if (!str_starts(name, prefix) || name.n != prefix.n + STEP_DIGITS) return -1;
    for (int64_t i = prefix.n; i < name.n; i++) {
        if (name.p[i] < '0' || name.p[i] > '9') return -1;
    }
    return str_i64((Str){name.p + prefix.n, STEP_DIGITS}, &step) ? step : -1;
}

bool ckpt_newest(Arena *a, const char *folder, int64_t *step, Err *err) {
    Mark mark = arena_mark(a);
    Str *name;
    int64_t n;
    *step = -1;
    bool ok = os_list(a, &name, &n, folder, err);
    for (int64_t i = 0; ok && i < n; i++) *step = MAX(*step, step_of(name[i]));
    arena_pop(a, mark);
    return ok;
}

/* ---- checkpoint.json ------------------------------------------------------------------------- */

/* One file of the list must exist and have the listed size. */
static void listed_check(Scan *s, const char *path, Str name, int64_t bytes) {
    Map m;
    Mark mark = arena_mark(s->a);
    if (!s->bad && !name_is_plain(name)) scan_fail(s, "the name of a file in this folder");
    if (s->bad) return;
    const char *file = str_fmt(s->a, "%s/%.*s", path, STRF(name)).p;
    s->bad = !os_map(&m, file, s->err);
    if (!s->bad && m.n != bytes) {
        s->bad = true;
        err_set(s->err, ERR_FORMAT,
                "%s: %s lists it with %lld bytes, it has %lld; the checkpoint is damaged", file,
                CKPT_LIST, (long long)bytes, (long long)m.n);
    }
    if (!s->bad) os_unmap(&m);
    arena_pop(s->a, mark);
}

static void files_scan(Scan *s, const char *path) {
    scan_char(s, '{');
    for (int64_t i = 0; scan_more(s, '}', i); i++) {
        Str name = scan_key(s);
        int64_t bytes = scan_int(s);
        listed_check(s, path, name, bytes);
    }
}

bool ckpt_check(Arena *a, const char *path, int64_t *step, Err *err) {
    Mark mark = arena_mark(a);
    const char *file = path_join(a, path, CKPT_LIST);
    int64_t version = -1;
    Scan s;
    Str text;
    bool ok = os_read(a, &text, file, LIST_LIMIT, err);
    *step = -1;
    if (ok) {
        scan_init(&s, a, text, file, err);
        scan_char(&s, '{');
        for (int64_t i = 0; scan_more(&s, '}', i); i++) {
            Str key = scan_key(&s);
            if (str_eq(key, STR("version")))
                version = scan_int(&s);
            else if (str_eq(key, STR("step")))
                *step = scan_int(&s);
            else if (str_eq(key, STR("files")))
                files_scan(&s, path);
            else
                scan_fail(&s, "version, step or files");
        }
        ok = scan_end(&s);
    }
    if (ok && (version != LIST_VERSION || *step < 0)) {
        ok = err_set(err, ERR_UNSUPPORTED,
                     "%s: has version %lld and step %lld; version %d can be read here", file,
                     (long long)version, (long long)*step, LIST_VERSION);
    }
    arena_pop(a, mark);
    return ok;
}

/* ---- as models ------------------------------------------------------------------------------- */

/* The path of the first entry of a folder whose name ends so; NULL where there is none. */
static const char *entry_first(Arena *a, const char *folder, const char *end) {
    Err ignored = {0};
    Str *name;
    int64_t n, i = 0;
    if (!os_is_dir(folder) || !os_list(a, &name, &n, folder, &ignored)) return NULL;
    while (i < n && !str_ends(name[i], str_of(end))) i++;
    return i < n ? path_join(a, folder, name[i].p) : NULL;
}

/* GGUF files lie in folders, and Hugging Face's cache keeps a model as snapshots/HASH. */
static bool model_missing(Arena *a, const char *folder, Err *err) {
    const char *gguf = entry_first(a, folder, ".gguf");
    const char *snapshot = entry_first(a, path_join(a, folder, "snapshots"), "");
    if (gguf)
        return err_set(err, ERR_IO, "%s: no model here as a folder, but a GGUF file: give %s",
                       folder, gguf);
    if (snapshot)
        return err_set(err, ERR_IO,
                       "%s: no model here, but a folder of Hugging Face's cache: give %s", folder,
                       snapshot);
    return err_set(err, ERR_IO,
                   "%s: no model here: neither model.safetensors, model.safetensors.index.json nor "
                   "a checkpoint (step-*); give a GGUF file or a Hugging Face folder",
                   folder);
}

static bool checkpoint_is(Store *s, bool folder, Str head) {
    (void)head;
    return folder && part_exists(s, CKPT_LIST);
}

/* A checkpoint is a Hugging Face folder with a list of its files, against which it is held first.
 */
static bool checkpoint_open(Store *s, Err *err) {
    if (!ckpt_check(s->a, s->path, &s->step, err)) return false;
    if (!format_folder.is(s, true, (Str){0})) return model_missing(s->a, s->path, err);
    return format_folder.open(s, err);
}

/* One step of a folder of checkpoints. Another program may have written it without a list. What is
 * no folder is the system's to explain; what has no model is not looked into for further steps, so
 * a link to its own folder ends here. */
static bool step_open(Store *s, Err *err) {
    Str *name;
    int64_t n;
    if (!os_is_dir(s->path) && !os_list(s->a, &name, &n, s->path, err)) return false;
    bool listed = checkpoint_is(s, true, (Str){0});
    s->kind = listed ? STORE_CHECKPOINT : STORE_FOLDER;
    if (listed) return checkpoint_open(s, err);
    if (!format_folder.is(s, true, (Str){0})) return model_missing(s->a, s->path, err);
    return format_folder.open(s, err);
}

/* The newest checkpoint of a folder. A writer may replace it while it is being opened: what failed
 * counts only when a second look finds nothing newer. */
static bool checkpoints_open(Store *s, Err *err) {
    const char *folder = s->path;
    Err e;
    for (int64_t step, tried = -2;; tried = step) {
        if (!ckpt_newest(s->a, folder, &step, err)) return false;
        if (step == tried) return err_set(err, e.code, "%s", e.msg);
        e = (Err){0};
        if (step < 0) {
            model_missing(s->a, folder, &e);
            continue;
        }
        s->path = ckpt_path(s->a, folder, step).p;
        if (step_open(s, &e)) return true;
        store_close(s);
    }
}

/* Any folder: this is the form that is tried last, and says what was looked for. */
static bool checkpoints_is(Store *s, bool folder, Str head) {
    (void)s, (void)head;
    return folder;
}

const Format format_checkpoint = {STORE_CHECKPOINT, checkpoint_is, checkpoint_open};
const Format format_checkpoints = {STORE_CHECKPOINT, checkpoints_is, checkpoints_open};

/* ---- writing --------------------------------------------------------------------------------- */

struct CkptWriter {
    Arena *a;
    const char *folder, *tmp, *path; /* tmp becomes path */
    int64_t step, stays;             /* stays: the step of ckpt_keep */
    Str file[FILES_MAX];
    int64_t bytes[FILES_MAX], n;
};

/* Removes what a killed writer has left. */
static bool stale_remove(Arena *a, const char *folder, Err *err) {
    Str *name;
    int64_t n;
    if (!os_list(a, &name, &n, folder, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        if (!str_starts(name[i], STR(".tmp-"))) continue;
        if (!os_remove(str_fmt(a, "%s/%.*s", folder, STRF(name[i])).p, err)) return false;
    }
    return true;
}

static bool step_check(Arena *a, const char *folder, int64_t step, Err *err) {
    int64_t newest;
    CHECK(step >= 0 && step <= STEP_MAX);
    if (!ckpt_newest(a, folder, &newest, err)) return false;
    return step > newest
           || err_set(err, ERR_USAGE,
                      "%s: cannot write a checkpoint of step %lld, it already "
                      "holds step %lld; resume from there or choose another folder",
                      folder, (long long)step, (long long)newest);
}

CkptWriter *ckpt_create(Arena *a, const char *folder, int64_t step, Err *err) {
    if (!os_mkdir(folder, err) || !step_check(a, folder, step, err)) return NULL;
    Mark mark = arena_mark(a);
    bool clean = stale_remove(a, folder, err);
    arena_pop(a, mark);
    if (!clean) return NULL;
    CkptWriter *w = arena_push(a, sizeof *w);
    w->a = a;
    w->step = step;
    w->stays = -1;
    w->folder = str_copy(a, str_of(folder)).p;
    w->path = ckpt_path(a, folder, step).p;
    w->tmp = str_fmt(a, "%s/.tmp-%lld", folder, (long long)step).p;
    return os_mkdir(w->tmp, err) ? w : NULL;
}

/* Notes a file of the checkpoint and returns its path. */
static const char *file_add(CkptWriter *w, const char *name) {
    Str file = str_copy(w->a, str_of(name));
    CHECK(name_is_plain(file) && w->n < FILES_MAX);
    for (int64_t i = 0; i < w->n; i++) CHECK(!str_eq(w->file[i], file));
    w->file[w->n++] = file;
    return path_join(w->a, w->tmp, name);
}

bool ckpt_put_json(CkptWriter *w, const char *name, Str json, Err *err) {
    const char *path = file_add(w, name);
    w->bytes[w->n - 1] = json.n;
    return os_put(w->a, path, json, err);
}

bool ckpt_put_tensors(CkptWriter *w, const char *name, const Tensor *t, int64_t n, Err *err) {
    const char *path = file_add(w, name);
    return tensors_write(w->a, path, t, n, &w->bytes[w->n - 1], err);
}

static bool list_write(CkptWriter *w, Err *err) {
    Buf b = {.a = w->a};
    buf_fmt(&b, "{\"version\":%d,\"step\":%lld,\"files\":{", LIST_VERSION, (long long)w->step);
    for (int64_t i = 0; i < w->n; i++) {
        buf_fmt(&b, "%s\"%.*s\":%lld", i ? "," : "", STRF(w->file[i]), (long long)w->bytes[i]);
    }
    buf_fmt(&b, "}}\n");
    return os_put(w->a, path_join(w->a, w->tmp, CKPT_LIST), buf_str(&b), err);
}

void ckpt_keep(CkptWriter *w, int64_t step) { w->stays = step; }

/* Removes all but the newest `keep`, oldest first; one that stays counts only when it is among
 * these. What cannot be removed does no harm. */
static void old_remove(CkptWriter *w, int64_t keep) {
    Err err = {0};
    Str *name;
    int64_t n, steps = 0;
    bool ok = os_list(w->a, &name, &n, w->folder, &err);
    for (int64_t i = 0; ok && i < n; i++) steps += step_of(name[i]) >= 0;
    for (int64_t i = 0; ok && i < n && steps > keep; i++) {
        if (step_of(name[i]) < 0) continue;
        steps--;
        if (step_of(name[i]) == w->stays) continue;
        const char *path = str_fmt(w->a, "%s/%.*s", w->folder, STRF(name[i])).p;
        const char *tmp = str_fmt(w->a, "%s/.tmp-old-%.*s", w->folder, STRF(name[i])).p;
        ok = os_rename(path, tmp, &err) && os_remove(tmp, &err);
    }
    if (!ok) log_at(LOG_WARN, "%s: an old checkpoint was not removed: %s", w->folder, err.msg);
}

bool ckpt_commit(CkptWriter *w, int64_t keep, Err *err) {
    CHECK(keep >= 1);
    if (!list_write(w, err) || !os_rename(w->tmp, w->path, err)) return false;
    old_remove(w, keep);
    return true;
}

void ckpt_abandon(CkptWriter *w) {
    Err ignored = {0};
    if (w && os_exists(w->tmp) && !os_remove(w->tmp, &ignored)) {
        log_at(LOG_WARN, "%s: could not be removed: %s", w->tmp, ignored.msg);
    }
}
