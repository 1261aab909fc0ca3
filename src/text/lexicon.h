/* lexicon.h -- private to text/: a vocabulary in the order of its bytes, so that all tokens with a
 * common beginning are walked together. */
#pragma once
#include "text/net.h"

enum { LEXICON_TOKEN = 250, LEXICON_UPTO = 16 }; /* bytes of a token that is looked at */

/* Nodes of the tree of all beginnings, each followed by those that go on from it; the subtree of
 * node i is i..skip-1. */
typedef struct TokenNode {
    int32_t token, skip; /* the token that ends here, or -1 */
    uint8_t byte, depth; /* depth: bytes before this one */
} TokenNode;

/* The tokens that are whole characters of one kind. upto[n]: those of n characters at most, the
 * last one all of them. most[i]: no token of the subtree of node i has more characters; 255: some
 * token there is not of this kind. */
typedef struct KindTokens {
    CharKind kind;
    uint64_t *upto[LEXICON_UPTO + 1]; /* (words) each */
    uint8_t *most;                    /* (nodes) */
    int32_t longest;                  /* characters */
} KindTokens;

/* Of JSON texts; of those in calls of tools, and behind a < there; of free text. */
enum { KIND_JSON, KIND_CALL, KIND_OPEN, KIND_FREE, KIND_N };
extern const CharKind char_kinds[KIND_N];

struct Lexicon {
    const Tokenizer *t;
    TokenNode *node; /* (n) */
    int64_t n, V, words;
    int32_t end[8], n_end;
    KindTokens kind[KIND_N];
};
/* Those of a kind, made in `a` where it is none of the kinds above. */
const KindTokens *lexicon_kind(const Lexicon *l, Arena *a, const CharKind *kind);
