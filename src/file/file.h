/* file.h -- the public header of file/: files to named tensors and back.
 *
 * Promises: nothing in a model file is trusted. Before a Store is returned, every count, length,
 * offset, shape and name in it has been checked against the bytes of the file, so that a caller may
 * use each tensor as it is described. A bad file is an Err that names file and field. Opening
 * allocates at most about twice the header's bytes and reads no tensor data.
 * Ownership: a Store lives in the arena it was opened in and owns the mappings of its files; tensor
 * data, names and metadata strings point into them and are valid until store_close. Files are
 * opened read-only and must not be truncated while they are open (a mapping of a truncated file
 * ends the process).
 * Threads: a Store does not change after store_open; any number of threads may read it. A
 * CkptWriter belongs to one thread, and a checkpoint folder to one writer at a time; readers may
 * come at any time.
 *
 * docs/formats.md describes to the byte what is read and written. */
#pragma once
#include "base/base.h"

/* ---- tensors --------------------------------------------------------------------------------- */

#define TENSOR_DIMS 4

/* One tensor of a file. Dimensions are outermost first in every format (GGUF writes them innermost
 * first; they are turned round on reading), so dim[n_dims-1] is the contiguous one. n_dims = 0 is
 * one number. data is aligned for its type at least: 4 bytes for F32, 2 for F16, BF16 and the
 * quantised types. */
typedef struct Tensor {
    Str name;
    DType type;
    int n_dims;
    int64_t dim[TENSOR_DIMS];
    const void *data;
    int64_t bytes;    /* = dtype_bytes(type, tensor_elements(t)) */
    const char *file; /* path of the file it stands in, for messages */
} Tensor;

int64_t tensor_elements(const Tensor *t); /* product of dims; 1 without dims */
/* "[16,576]" for messages and listings. */
Str tensor_shape(Arena *a, const Tensor *t);

/* ---- reading: one opened model --------------------------------------------------------------- */

typedef enum StoreKind {
    STORE_GGUF,        /* GGUF, version 2 or 3, little-endian, in one file or in parts */
    STORE_SAFETENSORS, /* one safetensors file by itself */
    STORE_FOLDER,      /* Hugging Face folder: model.safetensors, or shards and their index */
    STORE_CHECKPOINT   /* written by ckpt_commit below; a Hugging Face folder too */
} StoreKind;

typedef struct Store Store;

/* Opens `path`: a GGUF file or any part of one that was split, a safetensors file, a Hugging Face
 * folder, one checkpoint, or a folder of checkpoints, of which the newest is taken. On failure
 * nothing stays open, nothing in `a`. */
bool store_open(Store **out, Arena *a, const char *path, Err *err) CHECKED;
void store_close(Store *s); /* NULL is fine; all data pointers end here */

StoreKind store_kind(const Store *s);
/* What was actually opened: the file, or the folder that holds the files (of a folder of
 * checkpoints: the checkpoint chosen). Further files of a checkpoint, like its optimiser state, are
 * opened as "<store_path>/optimizer.safetensors". Of a split GGUF: its first part. */
const char *store_path(const Store *s);
int64_t store_step(const Store *s); /* a checkpoint's step; -1 for everything else */

int64_t store_count(const Store *s);                /* number of tensors */
const Tensor *store_at(const Store *s, int64_t i);  /* in the order of their bytes on disk */
const Tensor *store_find(const Store *s, Str name); /* NULL when there is none */
/* Removes a tensor's bytes from memory if they belong to a mapped file; they are read again when
 * they are next used. Data that the Store keeps in its arena stay as they are. */
void store_drop(const Store *s, const void *data, int64_t bytes);

/* Bytes of a JSON file of the folder ("config.json", "tokenizer.json"), at most 128 MiB,
 * terminated, copied into `a`. A file that is not there, and every name in a single file's Store,
 * gives an empty Str and true; false is for a file that cannot be read or is too large. */
bool store_json(const Store *s, Arena *a, const char *name, Str *out, Err *err) CHECKED;

/* ---- metadata of a GGUF file ----------------------------------------------------------------- */

/* Every getter fails when the key is absent and when it has another type, each with its own message
 * that names file and key; for a key that may be absent ask store_meta_type first. A Store of
 * another kind has no metadata: all keys are absent. */
typedef enum MetaType {
    META_ABSENT,
    META_INT,
    META_FLOAT,
    META_BOOL,
    META_STR, /* one value */
    META_INTS,
    META_FLOATS,
    META_BOOLS,
    META_STRS /* an array */
} MetaType;
MetaType store_meta_type(const Store *s, const char *key);
/* All keys in the file's order, so that a reader can refuse what it does not know. */
int64_t store_meta_count(const Store *s);
Str store_meta_key(const Store *s, int64_t i);

bool store_meta_i64(const Store *s, const char *key, int64_t *out, Err *err) CHECKED;
bool store_meta_f64(const Store *s, const char *key, double *out, Err *err) CHECKED; /* or int */
bool store_meta_bool(const Store *s, const char *key, bool *out, Err *err) CHECKED;
bool store_meta_str(const Store *s, const char *key, Str *out, Err *err) CHECKED; /* any bytes */
/* Arrays, pushed into `a`; the strings themselves stay in the file. An integer that does not fit 32
 * bits is an error. */
bool store_meta_strs(const Store *s, Arena *a, const char *key, Str **out, int64_t *n,
                     Err *err) CHECKED;
bool store_meta_i32s(const Store *s, Arena *a, const char *key, int32_t **out, int64_t *n,
                     Err *err) CHECKED;
bool store_meta_f32s(const Store *s, Arena *a, const char *key, float **out, int64_t *n,
                     Err *err) CHECKED;

/* ---- writing checkpoints --------------------------------------------------------------------- */

/* folder/step-000000120/ holds one checkpoint: model.safetensors and config.json, which Hugging
 * Face loads as they are, whatever state files the caller adds, and checkpoint.json, the list of
 * them. It is written under a temporary name, each file made durable, and appears by one rename of
 * the folder; older checkpoints are removed only after that. So whenever the process dies, `folder`
 * opens as the old checkpoint or as the new one, and what was left half-way is removed by the next
 * ckpt_create.
 *
 *     CkptWriter *w = ckpt_create(a, "runs/tiny", 120, err);
 *     ok = w && ckpt_put_json(w, "config.json", config, err)
 *            && ckpt_put_tensors(w, "model.safetensors", tensors, n, err)
 *            && ckpt_put_tensors(w, "optimizer.safetensors", moments, n_moments, err)
 *            && ckpt_commit(w, 2, err);
 *     if (!ok) ckpt_abandon(w); */
typedef struct CkptWriter CkptWriter;

/* NULL on error. Steps only go up in a folder: one not above the newest there is an error. */
CkptWriter *ckpt_create(Arena *a, const char *folder, int64_t step, Err *err);
/* File names are letters, digits, '.', '_' and '-', each once. A tensor's `bytes` and `file` are
 * not looked at; block-quantised types cannot be written. */
bool ckpt_put_json(CkptWriter *w, const char *name, Str json, Err *err) CHECKED;
bool ckpt_put_tensors(CkptWriter *w, const char *name, const Tensor *t, int64_t n,
                      Err *err) CHECKED;
/* The checkpoint of `step`, when there is one, stays beside the newest (-1: none). */
void ckpt_keep(CkptWriter *w, int64_t step);
/* True: the checkpoint is durable, all but the newest `keep` (>= 1) and that of ckpt_keep are
 * removed, w is used up. */
bool ckpt_commit(CkptWriter *w, int64_t keep, Err *err) CHECKED;
void ckpt_abandon(CkptWriter *w); /* after any failure; NULL is fine */

/* The same safetensors bytes as one file by itself, atomically. */
bool safetensors_write(Arena *a, const char *path, const Tensor *t, int64_t n, Err *err) CHECKED;

/* ---- writing one file piece by piece --------------------------------------------------------- */

/* A GGUF (version 3, alignment 32) or safetensors file that need not fit into memory. First every
 * key and every tensor is told (name, type, n_dims, dim), then come their bytes, one tensor after
 * the other in the order they were told in, in pieces of any size. The file gets its name at the
 * commit, complete and durable; until then nothing of that name changes.
 *
 *     Writer *w = writer_create(a, "model.gguf", WRITE_GGUF, err);
 *     writer_str(w, "general.architecture", STR("llama")); ...
 *     for (i = 0; i < n; i++) writer_tensor(w, &t[i]);
 *     ok = w && writer_data(w, t[0].data, t[0].bytes, err) && ... && writer_commit(w, err);
 *     if (!ok) writer_abandon(w); */
typedef enum WriteFormat { WRITE_GGUF, WRITE_SAFETENSORS } WriteFormat;
typedef struct Writer Writer;
Writer *writer_create(Arena *a, const char *path, WriteFormat format, Err *err); /* NULL on error */
/* GGUF only; each key once, of visible characters. */
void writer_u32(Writer *w, const char *key, int64_t v);
void writer_f32(Writer *w, const char *key, double v);
void writer_bool(Writer *w, const char *key, bool v);
void writer_str(Writer *w, const char *key, Str v);
void writer_strs(Writer *w, const char *key, const Str *v, int64_t n);
void writer_i32s(Writer *w, const char *key, const int32_t *v, int64_t n);
void writer_f32s(Writer *w, const char *key, const float *v, int64_t n);
/* Key i of an opened GGUF file, as it stands there. */
void writer_copy(Writer *w, const Store *s, int64_t i);
/* Each name once. Types that the format lacks (writer_has) are a programmer's mistake; safetensors
 * takes wide numbers before narrow ones, which aligns all. */
void writer_tensor(Writer *w, const Tensor *t);
bool writer_has(WriteFormat format, DType type);
bool writer_data(Writer *w, const void *p, int64_t n, Err *err) CHECKED;
int64_t writer_bytes(const Writer *w); /* of all tensors that were told */
bool writer_commit(Writer *w, Err *err) CHECKED;
void writer_abandon(Writer *w); /* also after a failed commit; NULL is fine */
