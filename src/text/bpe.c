/* bpe.c -- merges a word's bytes into tokens (byte-pair encoding; Sennrich et al. 2016, arXiv
 * 1508.07909): the pair of lowest rank first, of equal ones the leftmost, until no two neighbours
 * have a merge.
 *
 * The word is a linked list of symbols. Each symbol remembers the rank of the merge with its right
 * neighbour. A heap holds (rank, position) of every merge that was ever possible. An entry is
 * current exactly if its symbol still has that rank: the rank is set anew whenever the pair
 * changes, and one position cannot get the same rank twice, since a pair only grows. Each merge
 * removes a symbol and adds at most two entries. So a word of n bytes takes at most 3n heap
 * operations, and the heap never holds more than 2n entries. */
#include "text/tokenizer.h"

/* The merges have slots of their own and not base/table.c's: a word looks up a pair for each of its
 * bytes and merges, and with the pair in the slot one cache line answers (tokenising is 30 % faster
 * so). They are keyed as well: (pair ^ k0) * k1, its halves folded, with random k0 and k1. At most
 * two thirds of the slots are in use, so a search ends. */
bool merges_init(Merges *m, Arena *a, int64_t n) {
    m->n_slots = 4;
    while (2 * m->n_slots < 3 * n) m->n_slots *= 2;
    m->slots = arena_try(a, m->n_slots * (int64_t)sizeof(Merge));
    for (int64_t i = 0; m->slots && i < m->n_slots; i++) m->slots[i].rank = NO_RANK;
    os_random(m->key, sizeof m->key);
    return m->slots != NULL;
}

/* The slot of this pair, or the free one where it belongs. */
static Merge *merge_slot(const Merges *m, uint32_t left, uint32_t right) {
    uint64_t pair = (uint64_t)left << 32 | right;
    unsigned __int128 product = (unsigned __int128)(pair ^ m->key[0]) * (m->key[1] | 1);
    int64_t mask = m->n_slots - 1;
    for (int64_t i = (int64_t)((uint64_t)product ^ (uint64_t)(product >> 64)) & mask;;
         i = (i + 1) & mask) {
        Merge *s = &m->slots[i];
        if (s->rank == NO_RANK || (s->left == left && s->right == right)) return s;
    }
}

const char *merges_put(Tokenizer *t, Str *part, int n_parts, bool escaped, char *form,
                       int64_t rank) {
    Merges *m = &t->merges;
    const Vocab *v = &t->vocab;
    bool plain = t->unit == UNIT_CHARS;
    bool literal = false, literal_right = false;
    int64_t n = form_bytes(form, &part[0], escaped, n_parts == 1, plain, &literal);
    int64_t n_right =
        n < 0 ? -1
              : form_bytes(form + n, &part[n_parts - 1], escaped, false, plain, &literal_right);
    if (n_right < 0) return "not a string in UTF-8";
    if (n == 0 || n_right == 0) return "a part is missing";
    if (literal || literal_right) return "it has a character that stands for no byte";
    int32_t left = vocab_find(v, (Str){form, n}, false);
    int32_t right = vocab_find(v, (Str){form + n, n_right}, false);
    int32_t made = vocab_find(v, (Str){form, n + n_right}, false);
    if (left < 0) return "its left part is not in the vocabulary";
    if (right < 0) return "its right part is not in the vocabulary";
    if (made < 0) return "what it makes is not in the vocabulary";
    if (v->tokens[made].flags & TOKEN_SPECIAL) return "it makes a special token out of text";
    *merge_slot(m, (uint32_t)left, (uint32_t)right) =
        (Merge){(uint32_t)left, (uint32_t)right, (uint32_t)rank, (uint32_t)made};
    return NULL;
}

static void heap_push(Bpe *b, uint64_t key) {
    int64_t i = b->n_heap++;
    for (; i > 0 && b->heap[(i - 1) / 2] > key; i = (i - 1) / 2) b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = key;
}

static uint64_t heap_pop(Bpe *b) {
    uint64_t least = b->heap[0], last = b->heap[--b->n_heap];
    int64_t i = 0;
    for (int64_t k = 1; k < b->n_heap; k = 2 * i + 1) {
        if (k + 1 < b->n_heap && b->heap[k + 1] < b->heap[k]) k++;
        if (b->heap[k] >= last) break;
        b->heap[i] = b->heap[k];
        i = k;
    }
    b->heap[i] = last;
    return least;
}

/* Bits that order floats upside down: the highest score has the lowest number. Never NO_RANK. */
static uint32_t rank_of_score(float score) {
    uint32_t u = bits_of_f32(score);
    return u >> 31 ? MIN(u, NO_RANK - 1) : 0x7fffffffu - u;
}

/* The merge of two neighbours, which are bytes of the word side by side. */
static void pair_find(const Tokenizer *t, Str word, Symbol *s, const Symbol *right) {
    if (t->merge_by == MERGE_TABLE) {
        const Merge *m = merge_slot(&t->merges, (uint32_t)s->id, (uint32_t)right->id);
        s->rank = m->rank, s->made = m->made;
        return;
    }
    if (right->end - s->at > t->longest) return;
    int32_t id = vocab_find(&t->vocab, (Str){word.p + s->at, right->end - s->at}, false);
    if (id < 0) return;
    s->made = (uint32_t)id;
    s->rank = t->merge_by == MERGE_ID ? (uint32_t)id : rank_of_score(t->score[id]);
}

/* Looks up the merge of symbol i with its right neighbour again. */
static void pair_renew(const Tokenizer *t, Bpe *b, Str word, int32_t i) {
    Symbol *s = &b->symbols[i];
    s->rank = NO_RANK;
    if (s->next < 0) return;
    pair_find(t, word, s, &b->symbols[s->next]);
    if (s->rank != NO_RANK) heap_push(b, (uint64_t)s->rank << 32 | (uint32_t)i);
}

static void symbols_merge(const Tokenizer *t, Bpe *b, Str word, int32_t i) {
    Symbol *s = &b->symbols[i], *gone = &b->symbols[s->next];
    s->id = (int32_t)s->made;
    s->next = gone->next;
    s->end = gone->end;
    gone->rank = NO_RANK;
    if (s->next >= 0) b->symbols[s->next].prev = i;
    pair_renew(t, b, word, i);
    if (s->prev >= 0) pair_renew(t, b, word, s->prev);
}

static bool bpe_room(Bpe *b, int64_t n, Arena *scratch) {
    if (n <= b->cap) return true;
    if (n > INT32_MAX / 2) return false;
    n = MAX(MAX(n, 2 * b->cap), 256);
    b->symbols = arena_try(scratch, n * (int64_t)sizeof(Symbol));
    b->heap = arena_try(scratch, 2 * n * (int64_t)sizeof(uint64_t));
    b->cap = b->symbols && b->heap ? n : 0;
    return b->cap > 0;
}

static int32_t symbol_add(Bpe *b, int32_t n, int32_t id, int64_t at, int64_t end) {
    b->symbols[n] =
        (Symbol){.id = id, .prev = n - 1, .next = n + 1, .at = (uint32_t)at, .end = (uint32_t)end};
    return n + 1;
}

/* Each byte of the word is a symbol; those without a token are left out. */
static int32_t symbols_of_bytes(const Tokenizer *t, Bpe *b, Str word) {
    int32_t n = 0;
    for (int64_t i = 0; i < word.n; i++) {
        int32_t id = t->byte_id[(uint8_t)word.p[i]];
        if (id >= 0) n = symbol_add(b, n, id, i, i + 1);
    }
    return n;
}

static bool has_bytes(const Tokenizer *t, Str c) {
    bool all = true;
    for (int64_t i = 0; i < c.n; i++) all &= t->byte_id[(uint8_t)c.p[i]] >= 0;
    return all;
}

/* Each character of the word is a symbol. Where merges have a table, a character without a token
 * becomes the tokens of its bytes, or the unknown token, at once, as in Hugging Face. Otherwise
 * this is left to the end, as in SentencePiece, since it may become a part of a longer token. */
static int32_t symbols_of_chars(const Tokenizer *t, Bpe *b, Str word) {
    int32_t n = 0;
    bool unknown = false, was;
    for (int64_t i = 0, length; i < word.n; i += length) {
        length = MAX(utf8_length((Str){word.p + i, word.n - i}), 1);
        Str c = {word.p + i, length};
        int32_t id = vocab_find(&t->vocab, c, false);
        was = unknown, unknown = false;
        if (id >= 0 || t->merge_by != MERGE_TABLE) {
            n = symbol_add(b, n, id, i, i + length);
        } else if (has_bytes(t, c)) {
            for (int64_t k = i; k < i + length; k++)
                n = symbol_add(b, n, t->byte_id[(uint8_t)word.p[k]], k, k + 1);
        } else if (t->unknown >= 0) {
            unknown = true;
            if (!was || !t->fuse_unknown) n = symbol_add(b, n, t->unknown, i, i + length);
        }
    }
    return n;
}

/* A character that no token was made of: the tokens of its bytes, or the unknown token. */
static bool fallback_add(Ids *out, const Tokenizer *t, Str c) {
    if (!has_bytes(t, c)) return t->unknown < 0 || ids_add(out, t->unknown);
    for (int64_t i = 0; i < c.n; i++)
        if (!ids_add(out, t->byte_id[(uint8_t)c.p[i]])) return false;
    return true;
}

bool bpe_encode(Ids *out, const Tokenizer *t, Bpe *b, Str word, Arena *scratch) {
    if (t->whole_words && word.n <= t->longest) {
        int32_t id = vocab_find(&t->vocab, word, false);
        if (id >= 0) return ids_add(out, id);
    }
    if (!bpe_room(b, word.n, scratch)) return false;
    int32_t n = t->unit == UNIT_BYTES ? symbols_of_bytes(t, b, word) : symbols_of_chars(t, b, word);
    if (n == 0) return true;
    b->symbols[n - 1].next = -1;
    b->n_heap = 0;
    for (int32_t i = 0; i < n; i++) pair_renew(t, b, word, i);
    while (b->n_heap > 0) {
        uint64_t key = heap_pop(b);
        int32_t i = (int32_t)(uint32_t)key;
        if (b->symbols[i].rank == (uint32_t)(key >> 32)) symbols_merge(t, b, word, i);
    }
    bool ok = true;
    for (int32_t i = 0; ok && i >= 0; i = b->symbols[i].next) {
        const Symbol *s = &b->symbols[i];
        Str bytes = {word.p + s->at, s->end - s->at};
        ok = s->id >= 0 ? ids_add(out, s->id) : fallback_add(out, t, bytes);
    }
    return ok;
}
