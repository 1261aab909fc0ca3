/* learn.h -- private to text/: learning the merges of a byte-level BPE (Sennrich et al. 2016, arXiv
 * 1508.07909).
 *
 *   learn.c         the trainer: texts in, a tokenizer out
 *   learn_words.c   which words the texts have, and how often
 *   learn_merges.c  the merges, from the words
 *   learn_chat.c    special tokens and chat template of what is trained here */
#pragma once
#include "text/tokenizer.h"

/* ---- words ----------------------------------------------------------------------------------- */

/* A longer word is counted in parts: no token becomes as long, and a run of letters without a blank
 * is no word. */
enum { WORD_BYTES = 1024 };

/* One of the parts that the set of words is divided into by their hash. A part is one thread's at a
 * time. Words are entry[0..n-1], found through `slot` (index + 1; 0: free), their bytes in
 * `pool`. */
typedef struct WordEntry {
    uint32_t at, hash;
    uint32_t len;
    uint64_t count;
} WordEntry;
typedef struct WordPart {
    Arena *slots_arena, *entries_arena, *pool_arena;
    uint32_t *slot;
    WordEntry *entry;
    char *pool;
    int64_t n_slots, n, cap, bytes, cap_bytes;
    int64_t forgotten; /* words that went */
} WordPart;
enum { WORD_PARTS = 64 };

/* Limits of all parts together. Where they are reached, words that were seen least are forgotten
 * (words_prune). */
typedef struct WordSet {
    WordPart part[WORD_PARTS];
    int64_t most_bytes, most_words; /* of one part */
} WordSet;
void words_init(WordSet *w, int64_t most_bytes, int64_t most_words);
void words_close(WordSet *w);

/* Words that one thread has cut and not yet put into the set, those of a part as a list. */
typedef struct WordFound {
    const char *p;
    uint32_t len, hash, count;
    int32_t next;
} WordFound;
typedef struct WordList {
    Arena *arena;
    WordFound *found;
    int64_t n, cap;
    int32_t first[WORD_PARTS], last[WORD_PARTS];
    struct WordFound *recent; /* (RECENT) words seen lately, which are often seen again */
} WordList;
void word_list_init(WordList *l, Arena *a);
void word_list_clear(WordList *l);
void word_list_add(WordList *l, Str word);
void word_list_end(WordList *l); /* before it is put into the set */
/* Adds a part's words of this list to the set. */
void words_add(WordSet *w, int64_t part, const WordList *l);
/* Brings a part back below its limits: half of its words go, those that were seen least. What stays
 * depends on the words and their counts alone. */
void words_prune(WordSet *w, int64_t part);

/* ---- special tokens -------------------------------------------------------------------------- */

typedef struct LearntSpecial {
    const char *text;
    bool visible; /* it is text for the reader: a thought's tags */
} LearntSpecial;
extern const LearntSpecial learnt_special[]; /* token i is the i-th */
extern const int64_t learnt_special_n;

/* ---- merges ---------------------------------------------------------------------------------- */

typedef struct Learnt {
    uint32_t left, right, made;
} Learnt;

/* Learns merges until there are `vocab` tokens or no two neighbours are left. Tokens below `tokens`
 * are there already: byte b is first[b]. The words are used up:
 * the set's memory is given back. */
typedef struct MergeJob {
    Team *team;
    WordSet *words;
    int64_t vocab, tokens;
    const int32_t *first; /* (256) */
    Str *bytes;           /* (vocab) of each token, filled from `tokens` on */
    Learnt *merge;        /* (most_merges) */
    int64_t n_merges, most_merges;
    int64_t most_notes; /* words noted at once: 4 bytes each */
    Arena *arena;       /* of the new tokens' bytes */
} MergeJob;
bool merges_learn(MergeJob *j, Err *err) CHECKED;
