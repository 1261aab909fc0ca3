/* optimiser.h -- part of the public header model/model.h: what moves each tensor of a model. */
#pragma once
#include "base/base.h"

/* What moves a tensor, and so what is kept beside it: AdamW its two moments, m and v, Muon its
 * momentum. NONE: it has no gradient (e_score_correction_bias). */
typedef enum Optimiser { OPTIMISER_NONE, OPTIMISER_ADAMW, OPTIMISER_MUON, OPTIMISER_N } Optimiser;
enum { MOMENTS = 2 };                            /* most that any optimiser keeps */
int64_t moment_count(Optimiser o);               /* how many it keeps */
const char *moment_name(Optimiser o, int64_t i); /* "m", "v"; "momentum" */

struct Model;
/* Gives the matrices of the layers, but not the routers, to an optimiser; all else stays with
 * AdamW. `moments`: the type of all moments, F32 or BF16. Before a plan for training is made, which
 * allocates them; without this call all is AdamW's, with f32 moments. */
void model_optimise(struct Model *m, Optimiser matrices, DType moments);
