/* parts.h -- what the files of file/ share: parsers of bytes in memory, a strict JSON scanner, a
 * table of names. Every parser takes the bytes of one file and the path for its messages, so that
 * tests and fuzz targets need no file system. */
#pragma once
#include "file/file.h"

/* ---- scan.c: JSON read front to back, nothing kept ------------------------------------------- */

/* A parsed tree of a hostile header would be twenty times its size. The texts here have a known
 * shape, so they are read front to back instead. Errors stick: after the first one every call does
 * nothing and returns nothing, and `bad` tells at the end. Strings point into the text; those with
 * escapes are decoded into `a`. */
typedef struct Scan {
    const char *begin, *p, *end;
    const char *file;
    Str field; /* what is being read, for messages; set by the caller, visible or empty */
    Arena *a;
    Err *err;
    bool bad;
} Scan;

void scan_init(Scan *s, Arena *a, Str text, const char *file, Err *err);
void scan_fail(Scan *s, const char *expected);
void scan_char(Scan *s, char c); /* after white space */
/* for (i = 0; scan_more(s, '}', i); i++): takes the commas and the closing bracket. */
bool scan_more(Scan *s, char close, int64_t i);
Str scan_string(Scan *s);
Str scan_key(Scan *s);     /* a string and its colon */
int64_t scan_int(Scan *s); /* 0 .. 2^63-1, no sign, fraction or exponent */
void scan_skip(Scan *s);   /* any value, 32 levels deep at most */
bool scan_end(Scan *s);    /* only white space is left; true if nothing was bad */

/* ---- names.c: from names to indices, and which names are taken ------------------------------- */

/* The names stay where they are and are fetched through name_at. */
typedef struct Names {
    HashTable table;
    Str (*name_at)(const void *of, int64_t i);
    const void *of;
} Names;

/* Room for n names; false when the arena is full. */
bool names_init(Names *t, Arena *a, int64_t n, Str (*name_at)(const void *, int64_t),
                const void *of);
/* i when name i is new and now in, or the index of the equal name that was there before. */
int64_t names_put(Names *t, int64_t i);
int64_t names_find(const Names *t, Str name); /* index, or -1; an all-zero table is empty */

/* 1..255 of letters, digits, '.', '_', '-', not first '.': a file of this folder, not a path. */
bool name_is_plain(Str name);
/* 1..1023 visible ASCII characters but '"' and '\': tensors and metadata keys. It can stand in a
 * message and in JSON as it is. */
bool name_is_visible(Str name);

/* ---- tensors --------------------------------------------------------------------------------- */

/* Fills t->bytes from type and dims; false with a message when the product overflows, the innermost
 * dimension is not whole blocks, or more bytes are claimed than `room`. */
bool tensor_measure(Tensor *t, int64_t room, Err *err);

/* ---- the Store ------------------------------------------------------------------------------- */

struct Store {
    StoreKind kind;
    Arena *a;
    const char *path;
    bool folder; /* path is one, with further files in it */
    int64_t step;
    Map *map;
    int64_t n_maps; /* its files */
    Tensor *tensor;
    int64_t n;
    Names names;
    Map gguf; /* metadata: the file, and where in it each entry begins; */
    int64_t *key_at;
    int64_t n_keys; /* all empty for the other kinds */
    Names keys;
};

/* "<folder>/<name>", terminated. */
const char *path_join(Arena *a, const char *folder, const char *name);
bool part_exists(Store *s, const char *name); /* of the folder s->path */
/* Makes the tensors of s findable by name; two of one name are an error. */
bool names_build(Store *s, Err *err);
enum { FILES_LIMIT = 4096 }; /* of one model */
/* What often lies where a model should: what it is and what helps, to stand after the file's name;
 * NULL for other bytes. Asked only when the bytes are no model: some headers begin alike. */
const char *stranger_named(Map m);

/* ---- the formats ----------------------------------------------------------------------------- */

/* A form in which a model stands on disk. Each is defined in the file that reads it; open.c lists
 * them all. */
typedef struct Format {
    StoreKind kind;
    /* Whether s->path has this form: a folder by what is in it, a file by its first bytes. */
    bool (*is)(Store *s, bool folder, Str head);
    /* Fills in a Store of which arena, path, kind and step (-1) are set. */
    bool (*open)(Store *s, Err *err);
} Format;
extern const Format format_gguf, format_safetensors, format_folder, format_checkpoint,
    format_checkpoints; /* the newest of a folder of them */

/* Parses one safetensors file. With out == NULL only counts (and checks the grammar); else fills
 * the *n tensors counted before, in the order of their bytes. */
bool safetensors_parse(Arena *a, Map m, const char *file, Tensor *out, int64_t *n, Err *err);

/* Writes length and text of the header of these tensors, in the order of their bytes (ckpt.c). */
void safetensors_head(Buf *b, const Tensor *const *t, int64_t n);

/* The shards that model.safetensors.index.json names, each once, terminated. */
bool index_shards(Arena *a, Map m, const char *file, Str **shards, int64_t *n, Err *err);
/* Each name of the weight map is found by `find` in the shard the map gives for it. */
typedef const Tensor *IndexFind(const void *of, Str name);
bool index_check(Arena *a, Map m, const char *file, IndexFind *find, const void *of, Err *err);

/* Parses the GGUF file of a Store whose arena and path are set: its tensors and its metadata keys,
 * with which the public store_meta_* then answer. A table points at *s, which must not move. */
bool gguf_parse(Store *s, Map m, Err *err);

/* The number of a type in a GGUF file, or -1; the bytes of metadata entry i as they stand there. */
int gguf_type(DType type);
Str gguf_entry(const Store *s, int64_t i);

/* ---- checkpoints ----------------------------------------------------------------------------- */

#define CKPT_LIST "checkpoint.json"

/* The newest step in a folder of checkpoints, -1 when it holds none. */
bool ckpt_newest(Arena *a, const char *folder, int64_t *step, Err *err);
Str ckpt_path(Arena *a, const char *folder, int64_t step); /* terminated */
/* Reads checkpoint.json of one checkpoint: its files must be there in the sizes it lists. */
bool ckpt_check(Arena *a, const char *path, int64_t *step, Err *err);
