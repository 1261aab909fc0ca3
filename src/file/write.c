/* write.c -- one GGUF or safetensors file, its tensors' bytes coming in pieces.
 *
 * Keys and descriptions collect in memory until the first piece; then the header is written, and
 * what follows is data only. The writer counts the bytes of each tensor and pads behind it, so the
 * caller knows no offsets.
 * Invariant: `done` bytes of tensor `at` are written, and all of those before it. */
#include "file/parts.h"

enum { ALIGNMENT = 32 };
/* Types of metadata values, as GGUF numbers them. */
enum {
    VALUE_U32 = 4,
    VALUE_I32 = 5,
    VALUE_F32 = 6,
    VALUE_BOOL = 7,
    VALUE_STR = 8,
    VALUE_ARRAY = 9
};

struct Writer {
    Arena *a;
    WriteFormat format;
    OutFile *out;
    Buf keys;
    int64_t n_keys;
    Tensor *tensor;
    int64_t n, cap;
    bool begun; /* the header is written */
    int64_t at, done;
};

Writer *writer_create(Arena *a, const char *path, WriteFormat format, Err *err) {
    OutFile *out = os_create(a, path, err);
    if (!out) return NULL;
    Writer *w = PUSH(a, Writer, 1);
    *w = (Writer){.a = a, .format = format, .out = out, .keys.a = a};
    return w;
}

/* ---- metadata -------------------------------------------------------------------------------- */

static void put(Buf *b, const void *p, int64_t n) { buf_add(b, (Str){p, n}); }
static void put_u32(Buf *b, uint32_t v) { put(b, &v, 4); }
static void put_u64(Buf *b, uint64_t v) { put(b, &v, 8); }
static void put_str(Buf *b, Str s) {
    put_u64(b, (uint64_t)s.n);
    buf_add(b, s);
}

static Buf *key(Writer *w, const char *name, uint32_t type) {
    CHECK(w->format == WRITE_GGUF && !w->begun && name_is_visible(str_of(name)));
    put_str(&w->keys, str_of(name));
    put_u32(&w->keys, type);
    w->n_keys++;
    return &w->keys;
}

static Buf *array(Writer *w, const char *name, uint32_t type, int64_t n) {
    Buf *b = key(w, name, VALUE_ARRAY);
    put_u32(b, type);
    put_u64(b, (uint64_t)n);
    return b;
}

void writer_u32(Writer *w, const char *name, int64_t v) {
    CHECK(v >= 0 && v <= UINT32_MAX);
    put_u32(key(w, name, VALUE_U32), (uint32_t)v);
}

void writer_f32(Writer *w, const char *name, double v) {
    float f = (float)v;
    put(key(w, name, VALUE_F32), &f, 4);
}

void writer_bool(Writer *w, const char *name, bool v) {
    put(key(w, name, VALUE_BOOL), &(uint8_t){v}, 1);
}

void writer_str(Writer *w, const char *name, Str v) { put_str(key(w, name, VALUE_STR), v); }

void writer_strs(Writer *w, const char *name, const Str *v, int64_t n) {
    Buf *b = array(w, name, VALUE_STR, n);
    for (int64_t i = 0; i < n; i++) put_str(b, v[i]);
}

void writer_i32s(Writer *w, const char *name, const int32_t *v, int64_t n) {
    put(array(w, name, VALUE_I32, n), v, n * 4);
}

void writer_f32s(Writer *w, const char *name, const float *v, int64_t n) {
    put(array(w, name, VALUE_F32, n), v, n * 4);
}

void writer_copy(Writer *w, const Store *s, int64_t i) {
    CHECK(w->format == WRITE_GGUF && !w->begun);
    buf_add(&w->keys, gguf_entry(s, i));
    w->n_keys++;
}

/* ---- tensors --------------------------------------------------------------------------------- */

bool writer_has(WriteFormat format, DType type) {
    return format == WRITE_GGUF ? gguf_type(type) >= 0 && dtype_is_weight(type)
                                : dtype_block(type) == 1;
}

void writer_tensor(Writer *w, const Tensor *t) {
    CHECK(!w->begun && writer_has(w->format, t->type) && name_is_visible(t->name));
    CHECK(t->n_dims >= 1 && t->n_dims <= TENSOR_DIMS);
    if (w->format == WRITE_SAFETENSORS && w->n)
        CHECK(dtype_bytes(t->type, 1) <= dtype_bytes(w->tensor[w->n - 1].type, 1));
    if (w->n == w->cap) {
        w->cap = MAX(256, 2 * w->cap);
        Tensor *more = PUSH(w->a, Tensor, w->cap);
        if (w->n) memcpy(more, w->tensor, (size_t)w->n * sizeof *more);
        w->tensor = more;
    }
    w->tensor[w->n] = *t;
    w->tensor[w->n++].bytes = dtype_bytes(t->type, tensor_elements(t));
}

int64_t writer_bytes(const Writer *w) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < w->n; i++) bytes += w->tensor[i].bytes;
    return bytes;
}

static Str tensor_name(const void *of, int64_t i) { return ((const Tensor *)of)[i].name; }

static void names_check(Writer *w) {
    Mark mark = arena_mark(w->a);
    Names names;
    CHECK(names_init(&names, w->a, w->n, tensor_name, w->tensor));
    for (int64_t i = 0; i < w->n; i++) CHECK(names_put(&names, i) == i);
    arena_pop(w->a, mark);
}

static void gguf_header(const Writer *w, Buf *b) {
    int64_t at = 0;
    put(b, "GGUF", 4);
    put_u32(b, 3);
    put_u64(b, (uint64_t)w->n);
    put_u64(b, (uint64_t)w->n_keys);
    buf_add(b, buf_str(&w->keys));
    for (int64_t i = 0; i < w->n; i++) {
        const Tensor *t = &w->tensor[i];
        put_str(b, t->name);
        put_u32(b, (uint32_t)t->n_dims);
        for (int d = t->n_dims - 1; d >= 0; d--) put_u64(b, (uint64_t)t->dim[d]);
        put_u32(b, (uint32_t)gguf_type(t->type));
        put_u64(b, (uint64_t)at);
        at = round_up(at + t->bytes, ALIGNMENT);
    }
    while (b->n % ALIGNMENT) put(b, "", 1);
}

static bool begin(Writer *w, Err *err) {
    Mark mark = arena_mark(w->a);
    Buf b = {.a = w->a};
    w->begun = true;
    names_check(w);
    if (w->format == WRITE_GGUF) {
        gguf_header(w, &b);
    } else {
        const Tensor **t = PUSH(w->a, const Tensor *, w->n + 1);
        for (int64_t i = 0; i < w->n; i++) t[i] = &w->tensor[i];
        safetensors_head(&b, t, w->n);
    }
    bool ok = os_write(w->out, b.p, b.n, err);
    arena_pop(w->a, mark);
    return ok;
}

/* Behind the last byte of a tensor: zeros up to where the next one begins. */
static bool tensor_end(Writer *w, Err *err) {
    static const uint8_t zeros[ALIGNMENT];
    int64_t bytes = w->tensor[w->at].bytes;
    w->at++;
    w->done = 0;
    int64_t pad = w->format == WRITE_GGUF ? round_up(bytes, ALIGNMENT) - bytes : 0;
    return pad == 0 || os_write(w->out, zeros, pad, err);
}

bool writer_data(Writer *w, const void *p, int64_t n, Err *err) {
    if (!w->begun && !begin(w, err)) return false;
    for (const uint8_t *from = p; n > 0;) {
        CHECK(w->at < w->n);
        int64_t step = MIN(n, w->tensor[w->at].bytes - w->done);
        if (step && !os_write(w->out, from, step, err)) return false;
        from += step, n -= step, w->done += step;
        if (w->done == w->tensor[w->at].bytes && !tensor_end(w, err)) return false;
    }
    return true;
}

bool writer_commit(Writer *w, Err *err) {
    if (!w->begun && !begin(w, err)) return false;
    CHECK(w->at == w->n);
    return os_commit(w->out, err);
}

void writer_abandon(Writer *w) {
    if (w) os_abandon(w->out);
}
