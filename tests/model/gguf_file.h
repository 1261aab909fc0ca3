/* gguf_file.h -- GGUF files as llama.cpp's converter names and types their keys, for the tests of
 * what is read from them. */
#pragma once
#include "tests.h"

typedef struct File {
    Arena *a;
    Buf head, infos, data; /* metadata, tensor descriptions, their bytes */
    int64_t n_keys, n_tensors;
    int64_t alignment; /* of the data; 0: the 32 that is meant when no key says another */
    bool q8;           /* matrices of whole blocks are written as Q8_0 */
    const char *drop;  /* a key that is not written; NULL: none */
    const char *swap;  /* an integer key that is written with another value, of 64 bits */
    int64_t with;
} File;

File file_new(Arena *a);
void key_u32(File *f, const char *name, int64_t v);
void key_f32(File *f, const char *name, double v);
void key_bool(File *f, const char *name, bool v);
void key_str(File *f, const char *name, const char *v);
/* F32, or Q8_0 for matrices where f->q8; dimensions outermost first, as everywhere in Lisao. */
void tensor(File *f, const char *name, const float *x, int n_dims, const int64_t *dim);
void file_write(File *f, const char *path);
/* The keys of a model; `split`: kv_b is two tensors, and the _mla lengths are there. Groups of
 * experts are left out when there are 0. */
void keys_write(File *f, const Config *c, bool split);

/* A folder with a place for one file. */
typedef struct Temp {
    char folder[64];
    const char *path;
} Temp;
void temp_make(Temp *t, Arena *a);
void temp_remove(Temp *t);
