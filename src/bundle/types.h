/* types.h -- private to bundle/: which type each tensor of a converted model gets. */
#pragma once
#include "bundle/bundle.h"

typedef struct TypeRules TypeRules;
/* Parses the names and expressions of a ConvertSpec. `rules` must be closed when it is not NULL. */
bool types_open(TypeRules **rules, Arena *a, const ConvertSpec *s, bool gguf, Err *err) CHECKED;
void types_close(TypeRules *r); /* NULL is fine */
/* Sets the types of all tensors of the result. layers: how many the model has. */
bool types_choose(const TypeRules *r, Export *e, int64_t n, int64_t layers, Err *err) CHECKED;
/* llama.cpp's number for the whole file (general.file_type), from the type that most numbers
 * have. */
int64_t types_file(const TypeRules *r, const Export *e, int64_t n);
/* The layer of a tensor "blk.N.*" of GGUF, or -1. */
int64_t block_of(Str name);
