/* encode.h -- shared by the fuzz targets of tokenizers: what loads encodes any text, or gives up
 * with an Err, and what comes out decodes to valid UTF-8. */
#pragma once
#include "text/text.h"

static inline void text_try(const Tokenizer *t, Str text, TextMode mode, Arena *out,
                            Arena *scratch) {
    Err err = {0};
    Ids ids = {.a = out};
    Buf back = {.a = out};
    bool ok = text_encode(&ids, t, text, mode, scratch, &err);
    CHECK(ok == (err.code == ERR_NONE) && (ok || ids.n == 0));
    for (int64_t i = 0; i < ids.n; i++) CHECK(ids.v[i] >= 0 && ids.v[i] < tokenizer_size(t));
    text_decode(&back, t, ids.v, ids.n, false);
    CHECK(utf8_valid(buf_str(&back)));
}
