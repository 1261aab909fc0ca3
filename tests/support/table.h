/* table.h -- a model for tests whose next token is known: a table says what follows each token. */
#pragma once
#include "base/base.h"

enum { TABLE_V = 259, TABLE_TURN = 258, TABLE_FIRST = '\n' };
/* Writes a Hugging Face folder: config.json, model.safetensors, and the tokenizer of bytes.h with
 * ChatML's template, in which an assistant's turn begins behind TABLE_FIRST and ends with
 * TABLE_TURN. After a follows next[a], with a logit `sure` above all others. thinks: the
 * template opens a thought. */
void table_write(Arena *a, const char *folder, const int32_t next[TABLE_V], float sure,
                 bool thinks);
/* The table of an answer in which no byte stands twice; after it, and after every other token, the
 * turn ends. */
void table_say(int32_t next[TABLE_V], const char *answer);
