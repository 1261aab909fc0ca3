/* export.h -- part of model.h: a model's tensors and keys as files have them, to be written.
 *
 * The tables that read a model (weights.c, config.c) are those that write it: an Export is a tensor
 * of the result, whose rows are asked for a few at a time, so that no tensor need fit into
 * memory. */
#pragma once
#include "base/base.h"
#include "file/file.h"

typedef struct Export {
    Tensor t; /* its name, dimensions and type in the file that is to be written; no data. The type
               * is that of the model's file where the result can have it, and may be changed */
    DType from;                /* what export_rows gives: t.type, or F32 */
    bool f32;                  /* never rounded: norms, router, biases */
    int64_t rows, cols, step;  /* rows are asked for in multiples of step */
    const struct Param *param; /* private, as the rest */
    int64_t first;
    int piece;
} Export;

/* All tensors of the model, by their names in GGUF (k_b and v_b of latent attention apart, rotary
 * rows as llama.cpp has them) or in Hugging Face's folders. */
int64_t model_exports(Export **out, Arena *a, const struct Model *m, bool gguf);
/* A tensor of an opened file, to be copied as it is or in another type. */
Export export_of_tensor(const Tensor *t);
/* Rows row..row+n-1, dtype_bytes(from, cols) bytes each: where they stand, or in `scratch` (as
 * large). Any number of threads. */
const void *export_rows(const Export *e, int64_t row, int64_t n, void *scratch);
void export_drop(const Export *e); /* its bytes leave memory where they stand in a mapped file */

/* The keys general.architecture and ARCH.*, as llama.cpp and config_read ask for them; c->mtp is
 * the number of layers for further tokens that are in the file. Fails where GGUF has no form of the
 * model. */
bool config_write_gguf(Writer *w, const struct Config *c, Err *err) CHECKED;

/* A model that exists nowhere yet: its rows are the numbers that model_init would give it, computed
 * when they are asked for. It can be exported, and cannot be run. */
void model_imagine(struct Model **m, Arena *a, const struct Config *c, double std, uint64_t seed);
