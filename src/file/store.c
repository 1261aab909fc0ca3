/* store.c -- what a Store holds, whatever it was read from: tensors, their names, the mappings of
 * their files. It knows no format: those stand above it, fill a Store in with what is here, and are
 * listed in open.c.
 *
 * Invariant: in a Store that was returned every tensor lies inside a mapping that it owns (or in
 * its arena, where the file had it misaligned), and every name occurs once. */
#include "file/parts.h"

#define JSON_LIMIT (128ll << 20)

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

/* ---- filling in ------------------------------------------------------------------------------ */

const char *path_join(Arena *a, const char *folder, const char *name) {
    return str_fmt(a, "%s/%s", folder, name).p;
}

bool part_exists(Store *s, const char *name) {
    Mark mark = arena_mark(s->a);
    bool there = os_exists(path_join(s->a, s->path, name));
    arena_pop(s->a, mark);
    return there;
}

const char *stranger_named(Map m) {
    static const struct {
        const char *begin;
        const char *named;
    } known[] = {
        {"version https://git-lfs",
         "is a Git LFS pointer, not the model: run git lfs pull, or download the file itself"},
        {"<", "is a web page (HTML), not a model: the download failed or needs a login"},
        {"{", "is JSON text, not a model"},
        {"PK\3\4", "is a zip archive, as PyTorch writes it, too: unpack it, or take the "
                   "model's safetensors or GGUF files"},
    };
    if (m.n == 0) return "is empty: fetch it again";
    for (int64_t i = 0; i < COUNT(known); i++)
        if (str_starts((Str){(const char *)m.p, m.n}, str_of(known[i].begin)))
            return known[i].named;
    return NULL;
}

static Str tensor_name(const void *of, int64_t i) { return ((const Tensor *)of)[i].name; }

bool names_build(Store *s, Err *err) {
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
    if (!s->folder) return true;
    const char *path = path_join(a, s->path, name);
    return !os_exists(path) || os_read(a, out, path, JSON_LIMIT, err);
}
