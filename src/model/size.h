/* size.h -- part of model.h: how large models are. */
#pragma once
#include "base/base.h"

/* Numbers that are learnt. */
typedef struct ModelSize {
    int64_t total;
    int64_t active; /* those that one token is computed with: of the experts the chosen ones only.
                     * With the embedding, as published ("671B, 37B active") */
    int64_t read;   /* of these, those that a step of one token reads: of an embedding that is not
                     * the head it reads one row, which does not count */
} ModelSize;

/* Numbers that a model of this shape has: ask before model_init, which takes 4 bytes for each. */
int64_t config_count(const struct Config *c);
ModelSize config_size(const struct Config *c);
/* Numbers that are learnt (a router's choice bias is none); equals the published totals. */
int64_t model_count(const struct Model *m);
