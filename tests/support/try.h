/* try.h -- what `lisao run` does with a model, in process and with little of everything: for files
 * that may be hostile. Whatever comes in, these return; false is an Err that says why. */
#pragma once
#include "base/base.h"
#include "model/model.h"

enum { TRY_BYTES = 64 << 20 }; /* what a plan may need, beside what the machine has */

/* Some tokens in, two drawn, in the model's default formats. False where a plan is refused, and
 * where a router or the logits are no numbers. */
bool try_run(Arena *a, Model *m, Team *team, Err *err) CHECKED;
/* The files, the tokenizer where there is one of a kind that we read, the model, try_run. */
bool try_model(Arena *a, const char *path, Team *team, Err *err) CHECKED;
