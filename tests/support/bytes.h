/* bytes.h -- a tokenizer for tests: 256 tokens, one a byte, and the end token <|endoftext|> with id
 * 256. */
#pragma once
#include "base/base.h"

enum { BYTES_END = 256, BYTES_SIZE = 257 };
/* The tokenizer.json; token ids are the bytes themselves. */
Str bytes_tokenizer(Arena *a);
/* The same with <|im_start|> and <|im_end|>, 257 and 258. */
Str bytes_chat_tokenizer(Arena *a);
