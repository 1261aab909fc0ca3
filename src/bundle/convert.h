/* convert.h -- part of bundle.h: a model written whole, in another format or other number types.
 *
 * Memory is bounded: some rows of one tensor at a time, what was read being dropped behind. The
 * result has its name only once it is complete and durable; whoever dies half-way leaves a file of
 * another name that is cut, and a folder without a model in it. The bytes of the result do not
 * depend on the number of threads. */
#pragma once
#include "base/base.h"

typedef struct ConvertSpec {
    const char *type; /* "q4_k_m", "q8_0", "f16", ...; NULL: types stay as they are where the format
                         has them */
    const char *const *rule; /* (n_rules) "REGEX=TYPE": tensors of the result whose names it finds;
                                the last that fits counts */
    int64_t n_rules;
    bool mtp; /* layers that predict further tokens go along; a model without them is an error */
    const char
        *format; /* "gguf", "hf"; NULL: GGUF where the name of the result ends with ".gguf" */
} ConvertSpec;
/* Names of `type`, separated by "|". */
#define CONVERT_TYPES "f32|f16|bf16|q8_0|q6_k|q5_k|q4_k_m|q4_k|q5_1|q5_0|q4_1|q4_0"

/* Whether `type` may be this for a GGUF file. */
bool bundle_type_known(const char *name, Err *err) CHECKED;

/* A GGUF file, a Hugging Face folder or a checkpoint into a GGUF file or a Hugging Face folder; the
 * folder must be new or empty. */
bool bundle_convert(Arena *a, const char *in, const char *out, const ConvertSpec *s, Team *team,
                    Err *err) CHECKED;

/* The same for a model of random numbers that a config.json describes (model_imagine). tokenizer: a
 * model or tokenizer to take the tokenizer from; NULL: one whose tokens are the bytes. */
typedef struct SynthSpec {
    ConvertSpec convert;
    const char *tokenizer;
    uint64_t seed;
} SynthSpec;
bool bundle_synth(Arena *a, const char *config, const char *out, const SynthSpec *s, Team *team,
                  Err *err) CHECKED;
