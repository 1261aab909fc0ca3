/* score.h -- private to cli/: how well a model predicts a text. */
#pragma once
#include "cli/cli.h"

/* Windows of `context` tokens, one every `stride`, `batch` of them together; 0: a default. */
typedef struct Windows {
    int64_t context, stride, batch;
} Windows;
#define WINDOWS_OPTS(w)                                                                            \
    NUMBER_OPT(OPT_I64, "context", "N", &(w).context,                                              \
               "Tokens of a window; 0: 512, or what the model has.", 0, 1 << 24),                  \
        NUMBER_OPT(OPT_I64, "stride", "N", &(w).stride,                                            \
                   "A window begins every N tokens; 0: half of --context. Smaller is slower, and " \
                   "gives every token more of the text before it.",                                \
                   0, 1 << 24),                                                                    \
        NUMBER_OPT(OPT_I64, "batch", "N", &(w).batch,                                              \
                   "Windows computed together; 0: as many as make 512 tokens. Results are the "    \
                   "same bits.",                                                                   \
                   0, 512)

typedef struct Score {
    int64_t tokens, bytes; /* that were predicted; of their text */
    double mean;           /* -log p a token, natural */
    double perplexity, bits_per_byte;
} Score;
/* Scores the text in `file` (- is standard input) with the model of an open session, whose plan it
 * makes from *spec. Defaults in *w are filled in. */
bool text_score(Score *score, Session *s, PlanSpec *spec, const char *file, Windows *w,
                Err *err) CHECKED;
