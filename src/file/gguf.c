/* gguf.c -- GGUF files, versions 2 and 3, little-endian.
 *
 * A file is: "GGUF", version, number of tensors, number of metadata entries; the entries (key,
 * type, value); the tensor descriptions (name, dimensions innermost first, type, offset); padding
 * to the alignment; the data, each tensor at the padded end of the one before it.
 *
 * One pass over the metadata checks every length against the file and keeps only the place of each
 * key. A getter then reads from the mapping without further checks.
 * Invariant: cursor.at <= map.n, and after `bad` the cursor does not move. */
#include "file/parts.h"
#include <stdio.h>

#define TENSOR_LIMIT (1 << 24)
#define KEY_BYTES    14 /* the shortest entry: length, a letter, type, a byte */
#define TENSOR_BYTES 33 /* the shortest description: one letter, one dimension */

/* ---- types ----------------------------------------------------------------------------------- */

enum {
    T_U8,
    T_I8,
    T_U16,
    T_I16,
    T_U32,
    T_I32,
    T_F32,
    T_BOOL,
    T_STR,
    T_ARRAY,
    T_U64,
    T_I64,
    T_F64,
    T_N
};

/* Metadata types by their number in the file; bytes 0: of variable length. */
static const struct {
    const char *name;
    int bytes;
    MetaType one, many;
} value_types[T_N] = {
    [T_U8] = {"u8", 1, META_INT, META_INTS},
    [T_I8] = {"i8", 1, META_INT, META_INTS},
    [T_U16] = {"u16", 2, META_INT, META_INTS},
    [T_I16] = {"i16", 2, META_INT, META_INTS},
    [T_U32] = {"u32", 4, META_INT, META_INTS},
    [T_I32] = {"i32", 4, META_INT, META_INTS},
    [T_U64] = {"u64", 8, META_INT, META_INTS},
    [T_I64] = {"i64", 8, META_INT, META_INTS},
    [T_F32] = {"f32", 4, META_FLOAT, META_FLOATS},
    [T_F64] = {"f64", 8, META_FLOAT, META_FLOATS},
    [T_BOOL] = {"bool", 1, META_BOOL, META_BOOLS},
    [T_STR] = {"string", 0, META_STR, META_STRS},
    [T_ARRAY] = {"array", 0, META_ABSENT, META_ABSENT},
};

/* Names of the tensor types by their number in the file. Those can be read whose name is that of a
 * DType which is a weight's. */
static const char *const tensor_types[] = {
    [0] = "F32",     [1] = "F16",      [2] = "Q4_0",   [3] = "Q4_1",    [6] = "Q5_0",
    [7] = "Q5_1",    [8] = "Q8_0",     [9] = "Q8_1",   [10] = "Q2_K",   [11] = "Q3_K",
    [12] = "Q4_K",   [13] = "Q5_K",    [14] = "Q6_K",  [15] = "Q8_K",   [16] = "IQ2_XXS",
    [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S",
    [22] = "IQ2_S",  [23] = "IQ4_XS",  [24] = "I8",    [25] = "I16",    [26] = "I32",
    [27] = "I64",    [28] = "F64",     [29] = "IQ1_M", [30] = "BF16",   [34] = "TQ1_0",
    [35] = "TQ2_0",  [39] = "MXFP4",
};

/* ---- cursor ---------------------------------------------------------------------------------- */

typedef struct Cursor {
    Map map;
    int64_t at;
    const char *file;
    Str field; /* what is being read, for messages: a key, a tensor's name, "header" */
    Err *err;
    bool bad;
} Cursor;

static Cursor cursor_at(const Store *s, int64_t at, Err *err) {
    return (Cursor){s->gguf, at, s->path, STR("header"), err, false};
}

static void fail(Cursor *c, ErrCode code, const char *what) {
    if (!c->bad) err_set(c->err, code, "%s: %.*s: %s", c->file, STRF(c->field), what);
    c->bad = true;
}

/* n bytes of the file, or NULL when there are not as many left. */
static const uint8_t *take(Cursor *c, uint64_t n) {
    if (c->bad) return NULL;
    if (n > (uint64_t)(c->map.n - c->at)) {
        c->bad = true;
        err_set(c->err, ERR_FORMAT,
                "%s: %.*s: needs %llu bytes at byte %lld, the file ends at %lld; it is "
                "cut or damaged",
                c->file, STRF(c->field), (unsigned long long)n, (long long)c->at,
                (long long)c->map.n);
        return NULL;
    }
    c->at += (int64_t)n;
    return c->map.p + c->at - n;
}

static uint32_t take_u32(Cursor *c) {
    const uint8_t *p = take(c, 4);
    uint32_t v = 0;
    if (p) memcpy(&v, p, 4);
    return v;
}

static uint64_t take_u64(Cursor *c) {
    const uint8_t *p = take(c, 8);
    uint64_t v = 0;
    if (p) memcpy(&v, p, 8);
    return v;
}

static Str take_str(Cursor *c) {
    uint64_t n = take_u64(c);
    const uint8_t *p = take(c, n);
    return p ? (Str){(const char *)p, (int64_t)n} : (Str){0};
}

/* Reads a name, which then is the field of the messages that follow. */
static Str take_name(Cursor *c, Str field) {
    c->field = field;
    Str name = take_str(c);
    if (!c->bad && !name_is_visible(name))
        fail(c, ERR_FORMAT, "is not 1 to 1023 visible ASCII characters");
    if (!c->bad) c->field = name;
    return name;
}

/* ---- metadata -------------------------------------------------------------------------------- */

/* One entry, as it stands in the file. For an array `type` is the type of its elements. */
typedef struct Entry {
    Str key;
    uint32_t type;
    bool array;
    int64_t n;
    const uint8_t *value;
} Entry;

static Entry entry_head(Cursor *c) {
    Entry e = {.key = take_name(c, STR("name of a metadata key")), .n = 1};
    e.type = take_u32(c);
    if (!c->bad && e.type == T_ARRAY) {
        e.array = true;
        e.type = take_u32(c);
        uint64_t n = take_u64(c);
        if (n > (uint64_t)(c->map.n - c->at))
            fail(c, ERR_FORMAT, "has more elements than the file has bytes; it is cut or damaged");
        e.n = c->bad ? 0 : (int64_t)n;
    }
    if (!c->bad && (e.type >= T_N || e.type == T_ARRAY)) {
        fail(c, ERR_UNSUPPORTED,
             e.type == T_ARRAY ? "arrays of arrays cannot be read here"
                               : "has a value type that GGUF does not know");
    }
    e.value = c->map.p + c->at;
    return e;
}

/* Passes over the value and checks it against the file. */
static void entry_walk(Cursor *c, const Entry *e) {
    if (c->bad) return;
    int bytes = value_types[e->type].bytes;
    for (int64_t i = 0; bytes == 0 && i < e->n && !c->bad; i++) take_str(c);
    const uint8_t *p = take(c, (uint64_t)bytes * (uint64_t)e->n);
    for (int64_t i = 0; p && e->type == T_BOOL && i < e->n; i++) {
        if (p[i] > 1) fail(c, ERR_FORMAT, "has a truth value that is neither 0 nor 1");
    }
}

static Str key_name(const void *of, int64_t i) {
    const Store *s = of;
    Cursor c = cursor_at(s, s->key_at[i], NULL);
    return take_str(&c);
}

static bool keys_parse(Store *s, Cursor *c, uint64_t n) {
    if (n > (uint64_t)(c->map.n - c->at) / KEY_BYTES) {
        fail(c, ERR_FORMAT,
             "claims more metadata entries than the file has room for; it is cut or damaged");
        return false;
    }
    s->n_keys = (int64_t)n;
    s->key_at = arena_try(s->a, s->n_keys * (int64_t)sizeof *s->key_at);
    if (!s->key_at || n >= INT32_MAX || !names_init(&s->keys, s->a, s->n_keys, key_name, s)) {
        fail(c, ERR_LIMIT, "no memory for its metadata keys");
        return false;
    }
    for (int64_t i = 0; i < s->n_keys; i++) {
        s->key_at[i] = c->at;
        Entry e = entry_head(c);
        entry_walk(c, &e);
        if (!c->bad && names_put(&s->keys, i) != i)
            fail(c, ERR_FORMAT, "this metadata key is there twice");
        if (c->bad) return false;
    }
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------- */

static const char *type_name(uint32_t number) {
    const char *name = number < (uint32_t)COUNT(tensor_types) ? tensor_types[number] : NULL;
    return name ? name : "unknown";
}

static bool type_read(uint32_t number, DType *type) {
    return dtype_of_name(str_of(type_name(number)), type) && dtype_is_weight(*type);
}

int gguf_type(DType type) {
    for (int i = 0; i < COUNT(tensor_types); i++)
        if (tensor_types[i] && !strcmp(tensor_types[i], dtype_name(type))) return i;
    return -1;
}

static void type_check(Cursor *c, uint32_t number, DType *type) {
    if (c->bad || type_read(number, type)) return;
    char list[256] = "";
    DType t;
    for (uint32_t i = 0; i < (uint32_t)COUNT(tensor_types); i++) {
        size_t at = strlen(list);
        if (type_read(i, &t))
            snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", type_name(i));
    }
    c->bad = true;
    err_set(c->err, ERR_UNSUPPORTED,
            "%s: tensor %.*s has type %s (number %u), which cannot be read here; %s can", c->file,
            STRF(c->field), type_name(number), (unsigned)number, list);
}

/* One description. The tensors follow each other in the file, so the offset it names must be *at,
 * which then moves to where the next one must be. */
static void tensor_parse(Cursor *c, Tensor *t, int64_t *at, int64_t alignment) {
    t->name = take_name(c, STR("name of a tensor"));
    t->file = c->file;
    uint32_t dims = take_u32(c);
    if (!c->bad && (dims < 1 || dims > TENSOR_DIMS))
        fail(c, ERR_FORMAT, "has not 1 to 4 dimensions");
    for (uint32_t i = 0; i < dims && !c->bad; i++) {
        uint64_t dim = take_u64(c);
        if (!c->bad && (dim < 1 || dim > INT64_MAX))
            fail(c, ERR_FORMAT, "has a dimension of 0 or above 2^63");
        t->dim[dims - 1 - i] = (int64_t)dim;
    }
    t->n_dims = (int)dims;
    type_check(c, take_u32(c), &t->type);
    uint64_t offset = take_u64(c);
    if (c->bad) return;
    if (offset != (uint64_t)*at)
        fail(c, ERR_FORMAT, "its data do not begin where those before it end");
    else if (!tensor_measure(t, c->map.n - *at, c->err))
        c->bad = true;
    else
        *at = MIN(round_up(*at + t->bytes, alignment), c->map.n);
}

/* Now that the place of the data is known: points each tensor at its bytes. */
static void data_place(Cursor *c, Store *s, int64_t alignment) {
    int64_t at = round_up(c->at, alignment);
    for (int64_t i = 0; i < s->n && !c->bad; i++) {
        Tensor *t = &s->tensor[i];
        c->field = t->name;
        c->at = MIN(at, c->map.n);
        t->data = take(c, (uint64_t)t->bytes);
        at = round_up(at + t->bytes, alignment);
    }
}

static bool tensors_parse(Store *s, Cursor *c, uint64_t n, int64_t alignment) {
    int64_t at = 0;
    c->field = STR("header");
    if (n > (uint64_t)(c->map.n - c->at) / TENSOR_BYTES || n > TENSOR_LIMIT) {
        fail(c, ERR_FORMAT, "claims more tensors than the file has room for; it is cut or damaged");
        return false;
    }
    s->n = (int64_t)n;
    s->tensor = arena_try(s->a, s->n * (int64_t)sizeof(Tensor));
    if (!s->tensor) fail(c, ERR_LIMIT, "no memory for its tensors");
    for (int64_t i = 0; i < s->n && !c->bad; i++) tensor_parse(c, &s->tensor[i], &at, alignment);
    data_place(c, s, alignment);
    return !c->bad;
}

/* ---- the whole file -------------------------------------------------------------------------- */

static void header_check(Cursor *c) {
    const char *named = stranger_named(c->map);
    if (named) {
        c->bad = true;
        err_set(c->err, ERR_FORMAT, "%s %s", c->file, named);
        return;
    }
    const uint8_t *magic = take(c, 4);
    if (magic && memcmp(magic, "GGUF", 4) != 0) fail(c, ERR_FORMAT, "does not begin with GGUF");
    uint32_t version = take_u32(c);
    if (c->bad || version == 2 || version == 3) return;
    bool swapped = version == 2u << 24 || version == 3u << 24;
    fail(c, ERR_UNSUPPORTED,
         swapped ? "is big-endian; only little-endian files can be read here"
                 : "has a GGUF version other than 2 and 3");
}

/* general.alignment, 32 when it is absent. */
static bool alignment_read(const Store *s, int64_t *alignment, Err *err) {
    *alignment = 32;
    if (store_meta_type(s, "general.alignment") == META_ABSENT) return true;
    if (!store_meta_i64(s, "general.alignment", alignment, err)) return false;
    if (*alignment >= 8 && *alignment <= 1 << 20 && (*alignment & (*alignment - 1)) == 0)
        return true;
    return err_set(err, ERR_FORMAT,
                   "%s: general.alignment is %lld, not a power of two from 8 to 1048576", s->path,
                   (long long)*alignment);
}

/* Which part of how many files a parsed one is, and how many tensors all have: 0 of 1 where it says
 * nothing of it. */
typedef struct Split {
    int64_t no, count, tensors;
} Split;
static bool gguf_split(const Store *s, Split *split, Err *err) {
    static const char *const key[] = {"split.no", "split.count", "split.tensors.count"};
    int64_t v[3] = {0, 1, s->n};
    for (int i = 0; i < 3; i++)
        if (store_meta_type(s, key[i]) != META_ABSENT && !store_meta_i64(s, key[i], &v[i], err))
            return false;
    *split = (Split){v[0], v[1], v[2]};
    if (v[1] == 0) *split = (Split){0, 1, s->n};
    if (split->count >= 1 && split->count <= FILES_LIMIT && v[0] >= 0 && v[0] < split->count)
        return true;
    return err_set(err, ERR_FORMAT, "%s: split.no %lld, split.count %lld: not a part of 1 to %d",
                   s->path, (long long)v[0], (long long)v[1], FILES_LIMIT);
}

bool gguf_parse(Store *s, Map m, Err *err) {
    int64_t alignment;
    s->gguf = m;
    Cursor c = cursor_at(s, 0, err);
    header_check(&c);
    uint64_t n_tensors = take_u64(&c), n_keys = take_u64(&c);
    return !c.bad && keys_parse(s, &c, n_keys) && alignment_read(s, &alignment, err)
           && tensors_parse(s, &c, n_tensors, alignment);
}

/* ---- a model in one file or several ---------------------------------------------------------- */

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

static bool gguf_is(Store *s, bool folder, Str head) {
    (void)s;
    return !folder && str_starts(head, STR("GGUF"));
}

static bool gguf_open(Store *s, Err *err) {
    Split split;
    s->map = arena_push(s->a, sizeof(Map));
    if (!os_map(s->map, s->path, err)) return false;
    s->n_maps = 1;
    return gguf_parse(s, s->map[0], err) && gguf_split(s, &split, err)
           && (split.count == 1 || parts_open(s, &split, err)) && names_build(s, err);
}

const Format format_gguf = {STORE_GGUF, gguf_is, gguf_open};

/* ---- getters --------------------------------------------------------------------------------- */

static bool entry_find(const Store *s, const char *key, Entry *e) {
    int64_t i = names_find(&s->keys, str_of(key));
    *e = (Entry){0};
    if (i < 0) return false;
    Cursor c = cursor_at(s, s->key_at[i], NULL);
    *e = entry_head(&c);
    return true;
}

Str gguf_entry(const Store *s, int64_t i) {
    CHECK(i >= 0 && i < s->n_keys);
    Cursor c = cursor_at(s, s->key_at[i], NULL);
    Entry e = entry_head(&c);
    entry_walk(&c, &e);
    return (Str){(const char *)s->gguf.p + s->key_at[i], c.at - s->key_at[i]};
}

int64_t store_meta_count(const Store *s) { return s->n_keys; }

Str store_meta_key(const Store *s, int64_t i) {
    CHECK(i >= 0 && i < s->n_keys);
    return key_name(s, i);
}

static MetaType entry_type(const Entry *e) {
    return e->array ? value_types[e->type].many : value_types[e->type].one;
}

MetaType store_meta_type(const Store *s, const char *key) {
    Entry e;
    return entry_find(s, key, &e) ? entry_type(&e) : META_ABSENT;
}

static bool wrong_type(const Store *s, const char *key, const Entry *e, const char *wanted,
                       Err *err) {
    return err_set(err, ERR_FORMAT, "%s: metadata key %s is %s%s, not %s", s->path, key,
                   e->array ? "an array of " : "of type ", value_types[e->type].name, wanted);
}

static bool entry_need(const Store *s, const char *key, Entry *e, MetaType type, const char *wanted,
                       Err *err) {
    if (!entry_find(s, key, e))
        return err_set(err, ERR_FORMAT, "%s: metadata key %s is missing", s->path, key);
    return entry_type(e) == type || wrong_type(s, key, e, wanted, err);
}

/* Value i, of any integer type; false for a u64 above the range of int64_t. */
static bool int_at(const Entry *e, int64_t i, int64_t *v) {
    int bytes = value_types[e->type].bytes, shift = 64 - 8 * bytes;
    bool is_signed = e->type == T_I8 || e->type == T_I16 || e->type == T_I32 || e->type == T_I64;
    uint64_t u = 0;
    memcpy(&u, e->value + i * bytes, (size_t)bytes);
    *v = is_signed ? (int64_t)(u << shift) >> shift : (int64_t)u;
    return is_signed || *v >= 0;
}

static double float_of(const Entry *e) {
    double d;
    float f;
    if (e->type == T_F64) return memcpy(&d, e->value, 8), d;
    return memcpy(&f, e->value, 4), f;
}

bool store_meta_i64(const Store *s, const char *key, int64_t *out, Err *err) {
    Entry e;
    if (!entry_need(s, key, &e, META_INT, "an integer", err)) return false;
    return int_at(&e, 0, out)
           || err_set(err, ERR_FORMAT, "%s: metadata key %s is above 9223372036854775807", s->path,
                      key);
}

bool store_meta_f64(const Store *s, const char *key, double *out, Err *err) {
    Entry e;
    int64_t v;
    if (store_meta_type(s, key) == META_INT) {
        if (!store_meta_i64(s, key, &v, err)) return false;
        *out = (double)v;
        return true;
    }
    if (!entry_need(s, key, &e, META_FLOAT, "a number", err)) return false;
    *out = float_of(&e);
    return true;
}

bool store_meta_bool(const Store *s, const char *key, bool *out, Err *err) {
    Entry e;
    if (!entry_need(s, key, &e, META_BOOL, "a truth value", err)) return false;
    *out = e.value[0] != 0;
    return true;
}

static Cursor values(const Store *s, const Entry *e) {
    return cursor_at(s, e->value - s->gguf.p, NULL);
}

bool store_meta_str(const Store *s, const char *key, Str *out, Err *err) {
    Entry e;
    if (!entry_need(s, key, &e, META_STR, "a string", err)) return false;
    Cursor c = values(s, &e);
    *out = take_str(&c);
    return true;
}

/* Room for e's n values of `bytes` each. */
static bool array_alloc(const Store *s, Arena *a, const char *key, const Entry *e, size_t bytes,
                        void **out, Err *err) {
    *out = arena_try(a, e->n * (int64_t)bytes);
    return *out
           || err_set(err, ERR_LIMIT, "%s: metadata key %s: no memory for its %lld values", s->path,
                      key, (long long)e->n);
}

bool store_meta_strs(const Store *s, Arena *a, const char *key, Str **out, int64_t *n, Err *err) {
    Entry e;
    void *to;
    if (!entry_need(s, key, &e, META_STRS, "an array of strings", err)) return false;
    if (!array_alloc(s, a, key, &e, sizeof(Str), &to, err)) return false;
    Cursor c = values(s, &e);
    *out = to;
    *n = e.n;
    for (int64_t i = 0; i < e.n; i++) (*out)[i] = take_str(&c);
    return true;
}

bool store_meta_i32s(const Store *s, Arena *a, const char *key, int32_t **out, int64_t *n,
                     Err *err) {
    Entry e;
    void *to;
    if (!entry_need(s, key, &e, META_INTS, "an array of integers", err)) return false;
    if (!array_alloc(s, a, key, &e, sizeof(int32_t), &to, err)) return false;
    *out = to;
    *n = e.n;
    for (int64_t i = 0; i < e.n; i++) {
        int64_t v;
        if (!int_at(&e, i, &v) || v < INT32_MIN || v > INT32_MAX) {
            return err_set(err, ERR_FORMAT,
                           "%s: metadata key %s: value %lld of the array does not fit 32 bits",
                           s->path, key, (long long)i);
        }
        (*out)[i] = (int32_t)v;
    }
    return true;
}

bool store_meta_f32s(const Store *s, Arena *a, const char *key, float **out, int64_t *n, Err *err) {
    Entry e;
    void *to;
    if (!entry_need(s, key, &e, META_FLOATS, "an array of f32", err)) return false;
    if (e.type != T_F32) return wrong_type(s, key, &e, "an array of f32", err);
    if (!array_alloc(s, a, key, &e, sizeof(float), &to, err)) return false;
    memcpy(to, e.value, (size_t)e.n * sizeof(float));
    *out = to;
    *n = e.n;
    return true;
}
