/* parts.h -- private to bundle/: the parts of a model that stand beside its tensors. */
#pragma once
#include "bundle/bundle.h"

/* b->tok, tok_json and tok_config, from GGUF metadata or tokenizer.json. */
bool tokenizer_load(Bundle *b, Err *err) CHECKED;
/* b->chat. Needs the tokenizer. */
bool chat_load(Bundle *b, Err *err) CHECKED;
/* The token that ends the assistant's turns, to b->end. */
bool chat_end_add(Bundle *b, Err *err) CHECKED;
/* b->end and b->recommended, from the configuration and generation_config.json. */
bool ends_load(Bundle *b, Err *err) CHECKED;
/* One more, unless it is there; false where there is no place for it. */
bool end_add(Bundle *b, int64_t id);
/* The template's text (empty where there is none), and what it calls bos_token and eos_token. */
bool template_find(Bundle *b, Str *out, Str *bos, Str *eos, Err *err) CHECKED;

/* ---- the tokenizer of a converted model (tokens.c) ------------------------------------------- */

bool tokenizer_there(const Bundle *b); /* the files have one; it need not be loaded */
/* tokenizer.*, with as many tokens as the model has; without a tokenizer what llama.cpp takes for
 * none. */
bool tokenizer_keys(Writer *w, Bundle *b, Err *err) CHECKED;
/* tokenizer.json, tokenizer_config.json and generation_config.json; empty where there is nothing to
 * say. */
bool tokenizer_files(Arena *a, Bundle *b, Str *tokenizer, Str *config, Str *generation,
                     Err *err) CHECKED;
/* b->tok: a token for each byte, and those that begin and end a text. */
bool tokenizer_of_bytes(Bundle *b, const Config *c, Err *err) CHECKED;
