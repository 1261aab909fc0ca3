/* store.c -- opens a model in any of its forms on disk, and answers what it holds.
 *
 * Invariant: in a Store that was returned every tensor lies inside a mapping that it owns (or in
 * its arena, where the file had it misaligned), and every name occurs once. */
#include "file/parts.h"

#define JSON_LIMIT (128ll << 20)
#define INDEX      "model.safetensors.index.json"

/* ---- tensors --------------------------------------------------------------------------------- */

int64_t tensor_elements(const Tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++) n *= t->dim[i];
    return n;
}

Str tensor_shape(Arena *a, const Tensor *t) {
    Buf b = {.a = a};
    buf_fmt(&b, "[");
    for (int i = 0; i < t->n_dims; i++) buf_fmt(&b, i ? ",%lld" : "%lld", (long long)t->dim[i]);
    buf_fmt(&b, "]");
    return buf_str(&b);
}

bool tensor_measure(Tensor *t, int64_t room, Err *err) {
    int64_t n = 1, block = dtype_block(t->type);
    for (int i = 0; i < t->n_dims; i++) {
        if (!__builtin_mul_overflow(n, t->dim[i], &n)) continue;
        return err_set(err, ERR_FORMAT, "%s: tensor %.*s: the product of its dimensions overflows",
                       t->file, STRF(t->name));
    }
    if (block > 1 && (t->n_dims == 0 || t->dim[t->n_dims - 1] % block != 0)) {
        return err_set(err, ERR_FORMAT,
                       "%s: tensor %.*s: rows of type %s must be a multiple of %lld long", t->file,
                       STRF(t->name), dtype_name(t->type), (long long)block);
    }
    /* No type packs four elements into a byte: asked before what could overflow. */
    t->bytes = n / 4 <= room ? dtype_bytes(t->type, n) : INT64_MAX;
    if (t->bytes <= room) return true;
    return err_set(err, ERR_FORMAT,
                   "%s: tensor %.*s: claims %lld elements of %s, for which only %lld bytes are "
                   "there; the file is cut or damaged",
                   t->file, STRF(t->name), (long long)n, dtype_name(t->type), (long long)room);
}

/* ---- opening --------------------------------------------------------------------------------- */

const char *path_join(Arena *a, const char *folder, const char *name) {
    return str_fmt(a, "%s/%s", folder, name).p;
}

static Str tensor_name(const void *of, int64_t i) { return ((const Tensor *)of)[i].name; }

static bool names_build(Store *s, Err *err) {
    if (!names_init(&s->names, s->a, s->n, tensor_name, s->tensor)) {
        return err_set(err, ERR_LIMIT, "%s: no memory for its %lld names", s->path,
                       (long long)s->n);
    }
    for (int64_t i = 0; i < s->n; i++) {
        const Tensor *t = &s->tensor[i];
        int64_t other = names_put(&s->names, i);
        if (other == i) continue;
        return err_set(err, ERR_FORMAT, "%s: tensor %.*s is there twice%s%s", t->file,
                       STRF(t->name),
                       s->tensor[other].file == t->file ? "" : ", the other time in ",
                       s->tensor[other].file == t->file ? "" : s->tensor[other].file);
    }
    return true;
}

/* The tensors of all safetensors files of the Store, mapped here: counted first, then filled in. */
static bool safetensors_open(Store *s, const char *const *file, int64_t n, Err *err) {
    s->map = arena_try(s->a, n * (int64_t)sizeof(Map));
    int64_t *count = arena_try(s->a, n * (int64_t)sizeof *count), filled = 0;
    if (!s->map || !count) return err_set(err, ERR_LIMIT, "%s: no memory for its files", s->path);
    for (; s->n_maps < n; s->n_maps++) {
        int64_t i = s->n_maps;
        if (!os_map(&s->map[i], file[i], err)) return false;
        Mark mark = arena_mark(s->a);
        bool ok = safetensors_parse(s->a, s->map[i], file[i], NULL, &count[i], err);
        arena_pop(s->a, mark);
        if (!ok) {
            os_unmap(&s->map[i]);
            return false;
        }
        s->n += count[i];
    }
    s->tensor = arena_try(s->a, s->n * (int64_t)sizeof(Tensor));
    if (!s->tensor)
        return err_set(err, ERR_LIMIT, "%s: no memory for %lld tensors", s->path, (long long)s->n);
    for (int64_t i = 0; i < n; filled += count[i++]) {
        if (!safetensors_parse(s->a, s->map[i], file[i], s->tensor + filled, &count[i], err))
            return false;
    }
    return names_build(s, err);
}

static const Tensor *find(const void *of, Str name) { return store_find(of, name); }

/* The shards that the index names, then every pair of the index against what they hold. */
static bool shards_open(Store *s, Map index, const char *file, Err *err) {
    Str *name;
    int64_t n;
    if (!index_shards(s->a, index, file, &name, &n, err)) return false;
    const char **shard = arena_push(s->a, n * (int64_t)sizeof *shard);
    for (int64_t i = 0; i < n; i++) shard[i] = path_join(s->a, s->path, name[i].p);
    return safetensors_open(s, shard, n, err) && index_check(s->a, index, file, find, s, err);
}

static bool folder_open(Store *s, Err *err) {
    const char *one = path_join(s->a, s->path, "model.safetensors");
    const char *file = path_join(s->a, s->path, INDEX);
    Map index;
    if (os_exists(one)) return safetensors_open(s, &one, 1, err);
    if (!os_map(&index, file, err)) return false;
    bool ok = shards_open(s, index, file, err);
    os_unmap(&index);
    return ok;
}

/* ---- a GGUF model in several files ----------------------------------------------------------- */

/* Part number i (from 0) of as many as s->path says, which ends in "-00001-of-00003.gguf". */
static const char *part_path(const Store *s, const Split *split, int64_t i) {
    Str name = str_of(s->path);
    int64_t stem = name.n - (int64_t)strlen("-00001-of-00001.gguf");
    Str end =
        str_fmt(s->a, "-%05lld-of-%05lld.gguf", (long long)split->no + 1, (long long)split->count);
    if (stem < 0 || !str_ends(name, end)) return NULL;
    return str_fmt(s->a, "%.*s-%05lld-of-%05lld.gguf", (int)stem, name.p, (long long)i + 1,
                   (long long)split->count)
        .p;
}

/* Parses one part into `part`, whose file is map i of the Store. */
static bool part_open(Store *s, Store *part, const char *path, int64_t i, int64_t count, Err *err) {
    Split split;
    *part = (Store){.kind = STORE_GGUF, .a = s->a, .path = path, .step = -1};
    if (!os_exists(path))
        return err_set(err, ERR_IO, "%s: part %lld of %lld of this model is missing: %s", s->path,
                       (long long)i + 1, (long long)count, path);
    if (!os_map(&s->map[i], path, err)) return false;
    s->n_maps = i + 1;
    if (!gguf_parse(part, s->map[i], err) || !gguf_split(part, &split, err)) return false;
    if (split.no == i && split.count == count) return true;
    return err_set(err, ERR_FORMAT,
                   "%s: split.no and split.count say part %lld of %lld, its name part %lld of %lld",
                   path, (long long)split.no + 1, (long long)split.count, (long long)i + 1,
                   (long long)count);
}

/* All parts' tensors one after another; the metadata are those of the first part. s holds the part
 * that was opened, parsed. */
static bool parts_open(Store *s, const Split *split, Err *err) {
    int64_t n = split->count, total = 0, filled = 0;
    const char *first = part_path(s, split, 0);
    if (!first)
        return err_set(err, ERR_FORMAT,
                       "%s: split.count: part %lld of %lld of a model; its name must end in "
                       "-%05lld-of-%05lld.gguf, so that the others are found beside it",
                       s->path, (long long)split->no + 1, (long long)n, (long long)split->no + 1,
                       (long long)n);
    store_close(s);
    Store *part = arena_try(s->a, n * (int64_t)sizeof *part);
    s->map = arena_try(s->a, n * (int64_t)sizeof *s->map);
    if (!part || !s->map) return err_set(err, ERR_LIMIT, "%s: no memory for its parts", s->path);
    for (int64_t i = 0; i < n; i++) {
        if (!part_open(s, &part[i], part_path(s, split, i), i, n, err)) return false;
        total += part[i].n;
    }
    if (total != split->tensors)
        return err_set(err, ERR_FORMAT,
                       "%s: split.tensors.count says %lld tensors, the %lld parts have %lld", first,
                       (long long)split->tensors, (long long)n, (long long)total);
    Tensor *tensor = arena_try(s->a, total * (int64_t)sizeof *tensor);
    if (!tensor) return err_set(err, ERR_LIMIT, "%s: no memory for its tensors", first);
    for (int64_t i = 0; i < n; filled += part[i++].n)
        memcpy(tensor + filled, part[i].tensor, (size_t)part[i].n * sizeof *tensor);
    s->path = first;
    s->gguf = part[0].gguf, s->key_at = part[0].key_at, s->n_keys = part[0].n_keys;
    s->keys = part[0].keys, s->keys.of = s;
    s->tensor = tensor, s->n = total;
    return true;
}

/* A single file: GGUF is recognised by its first bytes. */
static bool file_open(Store *s, Err *err) {
    Map m;
    Split split;
    if (!os_map(&m, s->path, err)) return false;
    if (m.n < 4 || memcmp(m.p, "GGUF", 4) != 0) {
        os_unmap(&m);
        s->kind = STORE_SAFETENSORS;
        return safetensors_open(s, &s->path, 1, err);
    }
    s->kind = STORE_GGUF;
    s->map = arena_push(s->a, sizeof(Map));
    s->map[s->n_maps++] = m;
    return gguf_parse(s, m, err) && gguf_split(s, &split, err)
           && (split.count == 1 || parts_open(s, &split, err)) && names_build(s, err);
}

/* ---- any form -------------------------------------------------------------------------------- */

static bool part_exists(Store *s, const char *name) {
    Mark mark = arena_mark(s->a);
    bool there = os_exists(path_join(s->a, s->path, name));
    arena_pop(s->a, mark);
    return there;
}

static bool path_open(Store *s, Err *err);

/* The newest checkpoint of a folder. A writer may replace it while it is being opened: what failed
 * counts only when a second look finds nothing newer. */
static bool newest_open(Store *s, Err *err) {
    const char *folder = s->path;
    Err e;
    for (int64_t step, tried = -2;; tried = step) {
        if (!ckpt_newest(s->a, folder, &step, err)) return false;
        if (step == tried) return err_set(err, e.code, "%s", e.msg);
        e = (Err){0};
        if (step < 0) {
            err_set(&e, ERR_IO,
                    "%s: no model here: neither model.safetensors, " INDEX " nor a checkpoint "
                    "(step-*); give a GGUF file or a Hugging Face folder",
                    folder);
            continue;
        }
        s->path = ckpt_path(s->a, folder, step).p;
        if (path_open(s, &e)) return true;
        store_close(s);
    }
}

static bool path_open(Store *s, Err *err) {
    s->kind = STORE_FOLDER;
    if (!os_is_dir(s->path)) return file_open(s, err);
    if (part_exists(s, CKPT_LIST)) {
        s->kind = STORE_CHECKPOINT;
        if (!ckpt_check(s->a, s->path, &s->step, err)) return false;
    }
    if (part_exists(s, "model.safetensors") || part_exists(s, INDEX)) return folder_open(s, err);
    return newest_open(s, err);
}

bool store_open(Store **out, Arena *a, const char *path, Err *err) {
    Mark mark = arena_mark(a);
    Store *s = arena_push(a, sizeof *s);
    s->a = a;
    s->path = str_copy(a, str_of(path)).p;
    s->step = -1;
    *out = s;
    if (path_open(s, err)) return true;
    store_close(s);
    arena_pop(a, mark);
    *out = NULL;
    return false;
}

void store_close(Store *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->n_maps; i++) os_unmap(&s->map[i]);
    s->n_maps = s->n = 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

StoreKind store_kind(const Store *s) { return s->kind; }
const char *store_path(const Store *s) { return s->path; }
int64_t store_step(const Store *s) { return s->step; }
int64_t store_count(const Store *s) { return s->n; }

const Tensor *store_at(const Store *s, int64_t i) {
    CHECK(i >= 0 && i < s->n);
    return &s->tensor[i];
}

const Tensor *store_find(const Store *s, Str name) {
    int64_t i = names_find(&s->names, name);
    return i < 0 ? NULL : &s->tensor[i];
}

void store_drop(const Store *s, const void *data, int64_t bytes) {
    uintptr_t p = (uintptr_t)data;
    for (int64_t i = 0; i < s->n_maps; i++) {
        uintptr_t lo = (uintptr_t)s->map[i].p, n = (uintptr_t)s->map[i].n;
        if (p < lo || p - lo >= n) continue;
        os_drop(&s->map[i], (int64_t)(p - lo), bytes);
    }
}

bool store_json(const Store *s, Arena *a, const char *name, Str *out, Err *err) {
    *out = (Str){"", 0};
    CHECK(name_is_plain(str_of(name)));
    if (s->kind == STORE_GGUF || s->kind == STORE_SAFETENSORS) return true;
    const char *path = path_join(a, s->path, name);
    return !os_exists(path) || os_read(a, out, path, JSON_LIMIT, err);
}
