/* size.h -- part of model.h: how large models are. */
#pragma once

/* The shape of a model that is to be trained, with `further` layers for further tokens, and no
 * weights: plan_count and what only counts may have it. */
void model_shape(Model **m, Arena *a, const Config *c, int64_t further);

/* Numbers that are learnt. */
typedef struct ModelSize {
    int64_t total;
    int64_t active; /* those that one token is computed with: of the experts the chosen ones only.
                     * With the embedding, as published ("671B, 37B active") */
    int64_t read;   /* of these, those that a step of one token reads: of an embedding that is not
                     * the head it reads one row, which does not count */
} ModelSize;

/* Numbers that a model of this shape has: ask before model_init, which takes 4 bytes for each. */
int64_t config_count(const Config *c);
ModelSize config_size(const Config *c);
/* Numbers that are learnt (a router's choice bias is none); equals the published totals. */
int64_t model_count(const Model *m);
/* Bytes of packed weights that a step of so many rows reads: all that are multiplied, and as many
 * experts as that many random choices of K meet on average (one row: K). The floor of a step's time
 * is reading them. */
double plan_read_bytes(const Plan *p, int64_t rows);

/* "weight panels 96.4 MB, ...": the largest three of n. */
typedef struct Largest {
    char list[256];
} Largest;
Largest budget_largest(const BudgetItem *item, int64_t n);
