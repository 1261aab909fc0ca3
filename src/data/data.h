/* data.h -- the public header of data/: text files -> token shards -> packed rows, resumable to the
 * token.
 *
 * Promises: what a training run sees next depends on the shard's bytes, the row length, the seed
 * and the LoaderState, and on nothing else; every decision (which pieces share a row, in which
 * order rows come) is made with integers. A shard is a cache: it is named after the SHA-256 of
 * everything that went into it, so a changed text, separator or tokenizer is another shard and an
 * old one is never taken for new. A text is read and hashed only when its size, times or inode are
 * not those that were noted beside its shard. A shard that is cut, damaged or of another format
 * version is made again; nothing in it is trusted before its checksum was right. A file that is
 * plainly no text in UTF-8, or not documents with the given separator, is refused before a token is
 * made; what is strange about a text is counted and warned of each time.
 * Ownership: a Shard owns its mapping until shard_close. A Loader lives in its arena and needs its
 * Shard open. Rows go into the caller's Packed. Nothing is allocated after loader_new.
 * Threads: shard_open runs the team it is given; everything else belongs to one thread at a time.
 *
 *   text file --documents--> tokens --shard--> pieces --packing--> rows --shuffle--> batches
 *
 * A document is the text between two separator lines. It becomes the tokens of that text, plain (an
 * added token spelled out in the text is text), then one end token, so that a model learns to stop.
 * Of a document of n tokens the first n-1 are inputs and the last n-1 are targets. A document with
 * more inputs than a row has places is cut into pieces of the row's length, each of which starts at
 * position 0; a shorter one is never cut. Pieces are packed into rows by best fit, longest first;
 * places that stay empty are not computed, as a row is nothing but the list of its pieces. */
#pragma once
#include "base/base.h"
#include "text/text.h"

/* ---- shards: one text file as tokens --------------------------------------------------------- */

/* What was counted in a text before it became tokens. */
typedef struct TextCounts {
    int64_t bytes, lines;
    int64_t separators; /* lines that are the separator */
    int64_t near;       /* lines that are it but for blanks around it: they are text */
    int64_t inner;      /* where it stands inside a line: text; counted when it names a token */
    int64_t empty;      /* documents without a character: left out */
    int64_t not_utf8, control; /* places that are no UTF-8; control characters, byte 0 among them */
    int64_t strange_line;      /* the first line that has one of these; 0: none */
    int64_t json;              /* lines that look like JSON objects */
} TextCounts;

/* The file, all integers little-endian, by sections; docs/formats.md describes it to the byte:
 *   header   64 bytes: magic "LISAOTOK", version, bytes a token (2 or 4), and the 32-byte key
 *   tokens   one after the other, document after document; padded with zeros to 8 bytes
 *   borders  documents + 1 int64: document d is tokens border[d] .. border[d+1]-1
 *   trailer  136 bytes: tokens, documents, vocabulary, TextCounts, SHA-256 of all bytes before it
 * It is written once, from front to back, and appears by one rename. */
typedef struct Shard {
    Str path;     /* of the shard file */
    char key[65]; /* SHA-256 of text, separator, tokenizer, version */
    int64_t tokens, docs, vocab;
    TextCounts text;
    const int64_t *border; /* (docs + 1) */
    const void *token;     /* (tokens), u16 or u32 */
    int64_t width;         /* 2 or 4: bytes of one */
    Map map;
} Shard;

typedef struct ShardSpec {
    const char *text;      /* path of a UTF-8 text file */
    const char *separator; /* the line between documents, "<|endoftext|>" */
    const char *folder;    /* where shards are kept; created when missing */
    const Tokenizer *tok;
    const char *tok_id; /* what tells this tokenizer from others: a SHA-256 */
    int32_t end;        /* the token put behind each document */
} ShardSpec;

/* Opens the shard of this text, making it first when there is none (with a progress bar; an
 * interrupt leaves nothing behind). Line breaks at both ends of a document are left out, empty
 * documents skipped, a byte order mark at the beginning too; a text without any document is an
 * error. A document beyond 1 MiB is encoded in parts that are cut after a line break, so that
 * memory stays bounded. */
bool shard_open(Shard *s, Arena *a, const ShardSpec *spec, Team *team, Err *err) CHECKED;
/* Opens a shard file by its path and checks all of it. */
bool shard_read(Shard *s, Arena *a, const char *path, Err *err) CHECKED;
void shard_close(Shard *s);
static inline int32_t shard_token(const Shard *s, int64_t i) {
    if (s->width == 2) return ((const uint16_t *)s->token)[i];
    return (int32_t)((const uint32_t *)s->token)[i];
}

/* ---- rows and batches ------------------------------------------------------------------------ */

/* Consecutive inputs of one document: tokens start..start+n-1 of the shard, targets one further. */
typedef struct Piece {
    int64_t start, n;
} Piece;

/* Pieces of whole rows, for one forward: place i holds token[i] and wants target[i]. Piece p covers
 * places at[p] .. at[p]+len[p]-1, which are positions 0..len[p]-1 of a sequence of its own. */
typedef struct Packed {
    int64_t n, n_pieces;
    int32_t *token, *target; /* (cap) each */
    int64_t *at, *len;       /* (cap) each: a piece has at least one place */
    int64_t cap;
} Packed;
Packed packed_new(Arena *a, int64_t cap);

/* Most pieces in a row of `sequence` places: bounds spans and KV pages of a batch, however short
 * documents are. */
static inline int64_t row_pieces(int64_t sequence) { return MAX(1, sequence / 16); }

/* Where a run stands: all of it, small enough for a checkpoint. Of a fixed shard and row length,
 * the rows of an epoch and their order are computed from (seed, epoch); `row` of them were given
 * out. */
typedef struct LoaderState {
    uint64_t seed;
    int64_t epoch, row;
} LoaderState;

typedef struct Loader Loader;
/* Goes on at `at`. shuffle false: rows in the order of packing, every epoch the same (validation).
 * An `at` beyond the epoch's rows is an error: it belongs to another shard or row length. */
bool loader_new(Loader **l, Arena *a, const Shard *s, int64_t sequence, bool shuffle,
                LoaderState at, Err *err) CHECKED;
LoaderState loader_state(const Loader *l);
void loader_rewind(Loader *l);           /* to the first row of the first epoch */
int64_t loader_rows(const Loader *l);    /* rows in an epoch; the same for every epoch */
int64_t loader_targets(const Loader *l); /* targets in an epoch */
/* Fills `b` with the next `rows` rows (b->cap >= rows * sequence), through the end of an epoch into
 * the next. Never fails. */
void loader_next(Loader *l, Packed *b, int64_t rows);
