/* tokenizer.h -- private to text/: what a loaded tokenizer is, and who fills which part of it.
 *
 *   vocab.c   the tokens: bytes of each id, and the id of given bytes
 *   bpe.c     the merges, and merging
 *   added.c   tokens that are found in the text before everything else
 *   pretok.c  the stages that cut text into words
 *   norm.c    normalisation; nfc.c is its largest part
 *   json.c (with cursor.c), parts.c, tiktoken.c fill all this from the three formats; encode.c and
 *   decode.c use it
 *
 * Byte-level BPE writes each of the 256 bytes as one printable character, its alphabet: 33..126,
 * 161..172 and 174..255 stand for themselves, the other 68 are U+0100 and up, in order (space is
 * U+0120). A token's form is its spelling in the file. What is kept are the bytes that a form
 * stands for. A form with a character outside the alphabet can never result from merging; it is
 * kept as it is spelled and called a literal.
 *
 * Invariants: ids are 0..n_ids-1; a token that exists has TOKEN_THERE; no two tokens have both the
 * same bytes and the same TOKEN_LITERAL; every id in merges, byte_id and tries is that of a token
 * that exists. */
#pragma once
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include "text/text.h"

/* ---- vocab.c --------------------------------------------------------------------------------- */

enum {
    TOKEN_THERE = 1,
    TOKEN_LITERAL = 2,
    TOKEN_SPECIAL = 4,
    /* of added tokens: white space on that side belongs to it; it must be a word by itself */
    TOKEN_LSTRIP = 8,
    TOKEN_RSTRIP = 16,
    TOKEN_SINGLE_WORD = 32,
    TOKEN_DOUBLE = 64 /* the same bytes as another: decoded, never encoded */
};

#define TOKEN_BYTES_MAX (1 << 25) /* of one spelling */
#define BYTES_MAX       (1 << 28) /* of all spellings, and of a file that has them */

typedef struct Token {
    uint32_t at, len : 25, flags : 7;
} Token; /* where in bytes; TOKEN_... */
typedef struct Vocab {
    char *bytes;
    int64_t n_bytes, cap_bytes; /* all tokens' bytes, one after the other */
    Token *tokens;
    int64_t n_ids;   /* [n_ids] */
    HashTable table; /* from bytes to ids */
} Vocab;

/* Room for n_tokens tokens with ids below n_ids whose spellings have `bytes` bytes. */
bool vocab_init(Vocab *v, Arena *a, int64_t n_ids, int64_t n_tokens, int64_t bytes);
/* Adds token `id`; flags may have TOKEN_SPECIAL and TOKEN_LITERAL (the bytes are the spelling
 * itself). Returns NULL, or what is wrong: the id is taken or the spelling exists already. */
const char *vocab_put(Vocab *v, int64_t id, Str bytes, int flags);
int32_t vocab_find(const Vocab *v, Str bytes, bool literal); /* -1: none */
Str vocab_bytes(const Vocab *v, int32_t id);

/* A spelling turned into the bytes it stands for, into dst (at least s.n bytes); `escaped`: it is a
 * JSON string's inside. A space ends it when `until_space`, and s then begins behind the space.
 * Returns the number of bytes, -1 when it is not valid UTF-8 or JSON. *literal: some character was
 * no byte. `plain`: a spelling is the text itself, with U+2581 for a space, as SentencePiece has
 * it; nothing is literal then. */
int64_t form_bytes(char *dst, Str *s, bool escaped, bool until_space, bool plain, bool *literal);
int32_t byte_char(int b); /* the character of the alphabet that a byte is written as */

/* ---- bpe.c ----------------------------------------------------------------------------------- */

#define NO_RANK UINT32_MAX

typedef struct Merge {
    uint32_t left, right, rank, made;
} Merge; /* rank NO_RANK: a free slot */
typedef struct Merges {
    Merge *slots;
    int64_t n_slots; /* a power of two */
    uint64_t key[2];
} Merges;

bool merges_init(Merges *m, Arena *a, int64_t n);
/* Merge number `rank`, spelled "left right" (n_parts = 1) or in two parts; form: room for the
 * spelling. NULL, or what is wrong. A pair that is there already gets the new rank, as Hugging Face
 * does. */
const char *merges_put(Tokenizer *t, Str *part, int n_parts, bool escaped, char *form,
                       int64_t rank);

/* What a word is cut into before merging. */
typedef enum Unit { UNIT_BYTES, UNIT_CHARS } Unit;
/* Which neighbours merge first: those of the lowest rank in the table of merges; or, without a
 * table, those that are together the token of the highest score, or of the lowest id. */
typedef enum MergeBy { MERGE_TABLE, MERGE_SCORE, MERGE_ID } MergeBy;

typedef struct Symbol {
    int32_t id, prev, next; /* id -1: a character without a token */
    uint32_t rank, made;
    uint32_t at, end; /* its bytes in the word */
} Symbol;
typedef struct Bpe { /* room for one word at a time, grown as needed */
    Symbol *symbols;
    uint64_t *heap;
    int64_t n_heap;
    int64_t cap;
} Bpe;
/* Appends the ids of one word. False when an arena is full. */
bool bpe_encode(Ids *out, const Tokenizer *t, Bpe *b, Str word, Arena *scratch);

/* ---- added.c --------------------------------------------------------------------------------- */

#define ADDED_LENGTH_MAX 256 /* bytes; also the most steps of a search from one byte */

typedef struct TrieNode {
    uint32_t child, sibling;
    int32_t id;
    uint8_t byte;
} TrieNode;
typedef struct Trie { /* node 0 is the root; as a link, 0 is none */
    TrieNode *nodes;
    int64_t n, cap;
    bool first[256]; /* some token begins with this byte */
} Trie;

bool trie_init(Trie *t, Arena *a, int64_t bytes); /* room for contents of so many bytes together */
void trie_put(Trie *t, Str content, int32_t id);  /* the first of two equal ones counts */
/* The longest token that text begins with; its length, 0 for none. */
int64_t trie_longest(const Trie *t, Str text, int32_t *id);
/* The leftmost, and there longest, added token at or after `from`; with `by` (one a byte, not NULL)
 * only where all its bytes are 0. */
bool trie_find(const Trie *t, Str text, const uint8_t *by, int64_t from, int64_t *at, int64_t *len,
               int32_t *id);

/* ---- encode.c -------------------------------------------------------------------------------- */

/* text_encode with TEXT_PARSED, but added tokens are only found where by[i] is 0 for all their
 * bytes. */
bool text_encode_by(Ids *out, const Tokenizer *t, Str text, const uint8_t *by, Arena *scratch,
                    Err *err) CHECKED;
/* The number of bytes at the start of s that are valid UTF-8, or that are not. */
int64_t utf8_run(Str s, bool valid);

/* ---- pretok.c -------------------------------------------------------------------------------- */

/* What happens to the pieces that a pattern cuts a text into, both the matches and what lies
 * between them. */
typedef enum CutBehavior {
    CUT_ISOLATED,
    CUT_REMOVED,
    CUT_CONTIGUOUS,
    CUT_MERGED_PREVIOUS,
    CUT_MERGED_NEXT,
    CUT_N
} CutBehavior;

typedef struct Stage {
    pcre2_code *code; /* NULL: nothing is split here */
    CutBehavior behavior;
    bool literal;      /* the pattern is text, not an expression */
    bool invert;       /* matches and gaps change places */
    bool prefix_space; /* a piece without a space in front gets one first */
    bool prefix_first; /* only the first piece of a text */
    const char *where; /* for messages: "pre_tokenizer[1]" */
} Stage;
#define STAGES_MAX  16
#define PATTERN_MAX 4096

#define PATTERN_GPT2                                                                               \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Adds a stage. `pattern` is in Oniguruma's language, as in tokenizer.json; p NULL: none. A
 * construct that means something else in PCRE2, or may, is refused by name. */
bool stage_add(Tokenizer *t, Arena *a, Str pattern, const Stage *like, Err *err) CHECKED;

/* Cuts text through all stages and hands each word on; false from `word` stops it. */
typedef struct Pretok {
    const Tokenizer *t;
    bool first; /* the text begins what is encoded: see prefix_first */
    pcre2_match_data *found;
    pcre2_match_context *limits;
    bool (*word)(void *arg, Str word);
    void *arg;
    Arena *scratch;
    Err *err;
} Pretok;
bool pretok_init(Pretok *c, const Tokenizer *t, Arena *scratch, Err *err) CHECKED;
bool pretok_run(Pretok *c, Str text) CHECKED; /* text: valid UTF-8 */

/* ---- norm.c ---------------------------------------------------------------------------------- */

typedef enum NormKind {
    NORM_NFC,
    NORM_NFKC,
    NORM_PREPEND, /* `to` in front of a text that is not empty */
    NORM_REPLACE, /* each `from` by `to` */
    NORM_STRIP    /* white space goes at the left, at the right */
} NormKind;
typedef struct Norm {
    NormKind kind;
    Str from, to;
    bool left, right;
} Norm;
#define NORMS_MAX 16
bool norm_add(Tokenizer *t, const Norm *n, Err *err) CHECKED;
/* All steps, one after the other; `first`: the text is the beginning of what is encoded in one
 * piece, so that prefixes belong to it. */
bool normalise(Str *out, const Tokenizer *t, Str text, bool first, Arena *scratch,
               Err *err) CHECKED;

/* Characters as Hugging Face's \s and \w see them. The bytes of the white space that s begins or
 * ends with; 0: none. Whether s begins or ends with a character of words. */
int64_t blank_first(Str s);
int64_t blank_last(Str s);
bool word_first(Str s);
bool word_last(Str s);

/* ---- nfc.c ----------------------------------------------------------------------------------- */

/* `text` (valid UTF-8) in Unicode's normalisation form C, or KC where `compatible`; *out is text
 * itself where nothing can change. */
bool nfc(Str *out, Str text, bool compatible, Arena *scratch, Err *err) CHECKED;

/* ---- the whole ------------------------------------------------------------------------------- */

struct Tokenizer {
    const char *name; /* in messages */
    Vocab vocab;
    int32_t byte_id[256]; /* the token of one byte; -1: none */
    Unit unit;
    MergeBy merge_by;
    Merges merges;
    const float *score; /* (n_ids) of MERGE_SCORE */
    int32_t begin;      /* what its post_processor puts in front of a text, or -1 */
    int32_t unknown;    /* the token of characters without one, or -1: they are left out */
    bool fuse_unknown;  /* neighbours of them are one token */
    bool whole_words;   /* a word that is a token is not merged (ignore_merges) */
    int64_t longest;    /* bytes of the longest token: no pair that is longer merges */
    bool strips_first;  /* decoding drops the first space, which encoding put there */
    Trie raw, normal;   /* added tokens looked for before and after nfc */
    Norm norms[NORMS_MAX];
    int n_norms;
    Stage stages[STAGES_MAX];
    int n_stages;
    pcre2_general_context *memory; /* PCRE2 takes its memory from the tokenizer's arena */
};

/* parts.c: the stages and normalisation that tokenizer.ggml.pre names; the byte of a spelling
 * <0xNN>, or -1. */
bool pre_add(Tokenizer *t, Arena *a, Str name, Err *err) CHECKED;
int byte_spelled(Str s);
const char *pre_name(int i);                      /* all names in turn, then NULL */
const char *pre_pattern(const char *name, int i); /* its stages in turn, then NULL */

/* tokenizer.ggml.token_type */
enum { TYPE_NORMAL = 1, TYPE_UNKNOWN, TYPE_CONTROL, TYPE_USER_DEFINED, TYPE_UNUSED, TYPE_BYTE };

/* Makes an empty tokenizer; the other finds its single bytes (of UNIT_CHARS: the literal tokens of
 * one byte) and its longest token when the vocabulary is there. */
Tokenizer *tokenizer_new(Arena *a, const char *name);
void tokenizer_bytes(Tokenizer *t);
/* PCRE2's memory from an arena; nothing is freed but with the arena. NULL when it is full. */
pcre2_general_context *regex_memory(Arena *a);
