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
