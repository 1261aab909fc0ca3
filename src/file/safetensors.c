/* safetensors.c -- safetensors files and the index of a model in several of them.
 *
 * A file is: 8 bytes header length, little-endian; that many bytes of JSON, {name: {dtype, shape,
 * data_offsets}, "__metadata__": {string: string}}; the data, which the tensors cover from its
 * first byte to its last, without overlap and without holes. All of that is checked here.
 *
 * Invariant: the tensors that safetensors_parse has filled in lie inside the file, side by side. */
#include <stdlib.h>
#include "file/parts.h"

#define HEADER_LIMIT 100000000 /* Hugging Face's own limit */

/* ---- one file -------------------------------------------------------------------------------- */

typedef struct Data {
    const uint8_t *p;
    int64_t n;
} Data; /* the bytes behind the header */

#define NEITHER "%s is neither a GGUF file (which begins with GGUF) nor a safetensors file: "

/* Finds the header's text and the data behind it. */
static bool header_find(Map m, const char *file, Str *header, Data *data, Err *err) {
    uint64_t n = UINT64_MAX;
    if (m.n >= 8) memcpy(&n, m.p, 8);
    const char *named = n > HEADER_LIMIT ? stranger_named(m) : NULL;
    if (named) return err_set(err, ERR_FORMAT, "%s %s", file, named);
    if (m.n < 8)
        return err_set(err, ERR_FORMAT, NEITHER "%lld bytes are too few", file, (long long)m.n);
    if (n > HEADER_LIMIT)
        return err_set(err, ERR_FORMAT, NEITHER "the header length says %llu bytes, at most %d",
                       file, (unsigned long long)n, HEADER_LIMIT);
    if ((int64_t)n > m.n - 8)
        return err_set(err, ERR_FORMAT,
                       "%s: the header length says %llu bytes, the file has %lld behind it; it is "
                       "cut, damaged or no safetensors file",
                       file, (unsigned long long)n, (long long)(m.n - 8));
    *header = (Str){(const char *)m.p + 8, (int64_t)n};
    *data = (Data){m.p + 8 + n, m.n - 8 - (int64_t)n};
    return true;
}

/* safetensors names types as we do, and has no quantised ones. */
static bool type_of(Str name, DType *type) {
    return dtype_of_name(name, type) && dtype_block(*type) == 1;
}

/* The value of one entry: three fields, each once, in any order. */
typedef struct Entry {
    Str dtype;
    int64_t offsets[2];
    bool has_type, has_shape, has_offsets;
} Entry;

static void shape_scan(Scan *s, Tensor *t) {
    scan_char(s, '[');
    for (int64_t i = 0; scan_more(s, ']', i); i++) {
        int64_t dim = scan_int(s);
        if (i == TENSOR_DIMS) scan_fail(s, "at most 4 dimensions");
        if (!s->bad) t->dim[t->n_dims++] = dim;
    }
}

static void offsets_scan(Scan *s, int64_t offsets[2]) {
    scan_char(s, '[');
    for (int i = 0; i < 2; i++) {
        if (i > 0) scan_char(s, ',');
        offsets[i] = scan_int(s);
    }
    scan_char(s, ']');
}

static void field_scan(Scan *s, Entry *e, Tensor *t) {
    Str field = scan_key(s);
    if (str_eq(field, STR("dtype")) && !e->has_type) {
        e->dtype = scan_string(s);
        e->has_type = true;
    } else if (str_eq(field, STR("shape")) && !e->has_shape) {
        shape_scan(s, t);
        e->has_shape = true;
    } else if (str_eq(field, STR("data_offsets")) && !e->has_offsets) {
        offsets_scan(s, e->offsets);
        e->has_offsets = true;
    } else {
        scan_fail(s, "dtype, shape and data_offsets, each once");
    }
}

/* Checks the entry against the data: known type, offsets inside, exactly the bytes of its shape. */
static bool entry_check(const Entry *e, Tensor *t, Data data, Err *err) {
    int64_t begin = e->offsets[0], end = e->offsets[1];
    if (!e->has_type || !e->has_shape || !e->has_offsets) {
        return err_set(err, ERR_FORMAT,
                       "%s: tensor %.*s: one of dtype, shape, data_offsets is missing", t->file,
                       STRF(t->name));
    }
    if (!type_of(e->dtype, &t->type)) {
        return err_set(err, ERR_UNSUPPORTED,
                       "%s: tensor %.*s: dtype %.*s is not one that can be read here", t->file,
                       STRF(t->name), name_is_plain(e->dtype) ? (int)e->dtype.n : 1,
                       name_is_plain(e->dtype) ? e->dtype.p : "?");
    }
    if (begin > end || end > data.n) {
        return err_set(err, ERR_FORMAT,
                       "%s: tensor %.*s: data_offsets [%lld,%lld] do not lie in the %lld "
                       "bytes of data; the file is cut or damaged",
                       t->file, STRF(t->name), (long long)begin, (long long)end, (long long)data.n);
    }
    if (!tensor_measure(t, end - begin, err)) return false;
    if (t->bytes != end - begin) {
        return err_set(err, ERR_FORMAT,
                       "%s: tensor %.*s: shape and dtype make %lld bytes, data_offsets %lld",
                       t->file, STRF(t->name), (long long)t->bytes, (long long)(end - begin));
    }
    t->data = data.p + begin;
    return true;
}

/* Keeps nothing in the arena but the name, which is in it already. */
static void entry_scan(Scan *s, Str name, Data data, Tensor *out) {
    Tensor t = {.name = name, .file = s->file};
    Entry e = {0};
    Mark mark = arena_mark(s->a);
    if (!s->bad && !name_is_visible(name))
        scan_fail(s, "a tensor name of visible ASCII before this");
    s->field = name;
    scan_char(s, '{');
    for (int64_t i = 0; scan_more(s, '}', i); i++) field_scan(s, &e, &t);
    s->field = (Str){0};
    if (!s->bad && out) {
        s->bad = !entry_check(&e, &t, data, s->err);
        *out = t;
    }
    arena_pop(s->a, mark);
}

/* {"format": "pt"} and the like: a map of strings, which is checked and not used. */
static void metadata_scan(Scan *s) {
    Mark mark = arena_mark(s->a);
    scan_char(s, '{');
    for (int64_t i = 0; scan_more(s, '}', i); i++) {
        scan_key(s);
        scan_string(s);
        arena_pop(s->a, mark);
    }
}

static bool header_scan(Scan *s, Data data, Tensor *out, int64_t *n) {
    int64_t room = *n, metadata = 0;
    *n = 0;
    scan_char(s, '{');
    for (int64_t i = 0; scan_more(s, '}', i); i++) {
        Str name = scan_key(s);
        if (str_eq(name, STR("__metadata__"))) {
            if (metadata++) scan_fail(s, "__metadata__ once");
            metadata_scan(s);
        } else {
            CHECK(!out || *n < room);
            entry_scan(s, name, data, out ? &out[*n] : NULL);
            ++*n;
        }
    }
    return scan_end(s);
}

static int by_place(const void *a, const void *b) {
    const Tensor *x = a, *y = b;
    if (x->data != y->data) return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones in front */
}

/* Sorts the tensors by place; each must begin where the one before it ends. */
static bool tiles_check(Tensor *t, int64_t n, Data data, const char *file, Err *err) {
    bool sorted = true;
    const uint8_t *at = data.p;
    for (int64_t i = 1; i < n && sorted; i++) sorted = by_place(&t[i - 1], &t[i]) <= 0;
    if (!sorted) qsort(t, (size_t)n, sizeof *t, by_place);
    for (int64_t i = 0; i < n; i++) {
        if (t[i].data != at) {
            return err_set(err, ERR_FORMAT,
                           "%s: tensor %.*s begins at data byte %lld, the one before it ends "
                           "at %lld; tensors must neither overlap nor leave holes",
                           file, STRF(t[i].name), (long long)((const uint8_t *)t[i].data - data.p),
                           (long long)(at - data.p));
        }
        at += t[i].bytes;
    }
    if (at != data.p + data.n) {
        return err_set(err, ERR_FORMAT, "%s: %lld bytes of data belong to no tensor", file,
                       (long long)(data.p + data.n - at));
    }
    return true;
}

/* Old writers did not pad the header: what is not aligned for its type is copied to where it is. */
static bool misaligned_copy(Arena *a, Tensor *t, int64_t n, Err *err) {
    for (int64_t i = 0; i < n; i++) {
        uintptr_t step = (uintptr_t)dtype_bytes(t[i].type, 1);
        if (t[i].bytes == 0 || (uintptr_t)t[i].data % step == 0) continue;
        void *copy = arena_try(a, t[i].bytes);
        if (!copy) {
            return err_set(err, ERR_LIMIT,
                           "%s: tensor %.*s is not aligned in the file and there is no memory "
                           "to copy it; write the file anew with a current safetensors library",
                           t[i].file, STRF(t[i].name));
        }
        t[i].data = memcpy(copy, t[i].data, (size_t)t[i].bytes);
    }
    return true;
}

bool safetensors_parse(Arena *a, Map m, const char *file, Tensor *out, int64_t *n, Err *err) {
    Str header = {0};
    Data data = {0};
    Scan s;
    if (!header_find(m, file, &header, &data, err)) return false;
    scan_init(&s, a, header, file, err);
    if (!header_scan(&s, data, out, n)) return false;
    return !out || (tiles_check(out, *n, data, file, err) && misaligned_copy(a, out, *n, err));
}

/* ---- the index of several files -------------------------------------------------------------- */

typedef struct Shards {
    Str *name;
    int64_t n;
    Names names;
} Shards;

static Str shard_name(const void *of, int64_t i) { return ((const Str *)of)[i]; }

/* Walks {"metadata": ..., "weight_map": {tensor: file}} and calls fn for every pair; fn says
 * whether it has kept something in the arena. */
typedef bool PairFn(Scan *s, void *arg, Str tensor, Str file);

static bool index_walk(Scan *s, PairFn *fn, void *arg) {
    int64_t maps = 0;
    scan_char(s, '{');
    for (int64_t i = 0; scan_more(s, '}', i); i++) {
        Mark outer = arena_mark(s->a);
        if (!str_eq(scan_key(s), STR("weight_map"))) {
            scan_skip(s);
            arena_pop(s->a, outer);
            continue;
        }
        if (maps++) scan_fail(s, "one weight_map");
        scan_char(s, '{');
        for (int64_t k = 0; scan_more(s, '}', k); k++) {
            Mark mark = arena_mark(s->a);
            Str tensor = scan_key(s), file = scan_string(s);
            if (!s->bad && !fn(s, arg, tensor, file)) arena_pop(s->a, mark);
        }
    }
    if (!s->bad && maps == 0) scan_fail(s, "a weight_map");
    return scan_end(s);
}

static bool shard_add(Scan *s, void *arg, Str tensor, Str file) {
    Shards *h = arg;
    if (!name_is_visible(tensor))
        scan_fail(s, "a tensor name of visible ASCII before this");
    else if (!name_is_plain(file))
        s->field = tensor, scan_fail(s, "the name of a file in this folder");
    if (s->bad || names_find(&h->names, file) >= 0) return false;
    if (h->n == FILES_LIMIT) return scan_fail(s, "at most 4096 different files"), false;
    h->name[h->n] = str_copy(s->a, file);
    names_put(&h->names, h->n++);
    return true;
}

bool index_shards(Arena *a, Map m, const char *file, Str **shards, int64_t *n, Err *err) {
    Shards h = {0};
    Scan s;
    h.name = arena_try(a, FILES_LIMIT * (int64_t)sizeof(Str));
    if (!h.name || !names_init(&h.names, a, FILES_LIMIT, shard_name, h.name)) {
        return err_set(err, ERR_LIMIT, "%s: no memory for a list of %d files", file, FILES_LIMIT);
    }
    scan_init(&s, a, (Str){(const char *)m.p, m.n}, file, err);
    if (!index_walk(&s, shard_add, &h)) return false;
    *shards = h.name;
    *n = h.n;
    return true;
}

typedef struct Check {
    IndexFind *find;
    const void *of;
} Check;

static bool pair_check(Scan *s, void *arg, Str tensor, Str file) {
    const Check *c = arg;
    const Tensor *t = c->find(c->of, tensor);
    const char *slash = t ? strrchr(t->file, '/') : NULL;
    if (t && str_eq(str_of(slash ? slash + 1 : t->file), file)) return false;
    s->bad = true;
    return err_set(s->err, ERR_FORMAT, "%s: weight_map puts tensor %.*s into %.*s, but it is %s%s",
                   s->file, STRF(tensor), STRF(file),
                   t ? "in "
                     : "in none of the files; one of them is damaged or "
                       "belongs to another model",
                   t ? t->file : "");
}

bool index_check(Arena *a, Map m, const char *file, IndexFind *find, const void *of, Err *err) {
    Check c = {find, of};
    Scan s;
    scan_init(&s, a, (Str){(const char *)m.p, m.n}, file, err);
    return index_walk(&s, pair_check, &c);
}

/* ---- as models ------------------------------------------------------------------------------- */

#define ONE   "model.safetensors"
#define INDEX ONE ".index.json"

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
    s->folder = true;
    const char *one = path_join(s->a, s->path, ONE);
    const char *file = path_join(s->a, s->path, INDEX);
    Map index;
    if (os_exists(one)) return safetensors_open(s, &one, 1, err);
    if (!os_map(&index, file, err)) return false;
    bool ok = shards_open(s, index, file, err);
    os_unmap(&index);
    return ok;
}

static bool file_is(Store *s, bool folder, Str head) {
    (void)s, (void)head; /* a header begins with its length, which may be any bytes */
    return !folder;
}
static bool file_open(Store *s, Err *err) { return safetensors_open(s, &s->path, 1, err); }

static bool folder_is(Store *s, bool folder, Str head) {
    (void)head;
    return folder && (part_exists(s, ONE) || part_exists(s, INDEX));
}

const Format format_safetensors = {STORE_SAFETENSORS, file_is, file_open};
const Format format_folder = {STORE_FOLDER, folder_is, folder_open};
