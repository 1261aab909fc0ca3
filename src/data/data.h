/* data.h -- the public header of data/: text files to token shards to packed rows, resumable at the
 * exact token.
 *
 * Promises: what a training run sees next depends on the shard's bytes, the row length, the seed
 * and the LoaderState, and on nothing else; every decision (which pieces share a row, in which
 * order rows come) is made with integers. A shard is a cache: it is named after the SHA-256 of
 * everything that went into it, so a changed text, separator or tokenizer is another shard and an
 * old one is never taken for new. A text is read and hashed only when its size, times or inode
 * differ from those noted beside its shard. A shard that is truncated, damaged or of another format
 * version is made again; nothing in it is used before its checksum is verified. A file that is
 * clearly not UTF-8 text, or not documents with the given separator, is refused before it is
 * tokenised; what is unusual about a text is counted and causes a warning each time.
 * Ownership: a Shard owns its mapping until shard_close. A Loader lives in its arena and needs its
 * Shard open. Rows go into the caller's Packed. Nothing is allocated after loader_new.
 * Threads: shard_open runs the team it is given; everything else belongs to one thread at a time.
 *
 *   text file --documents--> tokens --shard--> pieces --packing--> rows --shuffle--> batches
 *
 * A document is the text between two separator lines. It becomes the tokens of that text, where a
 * spelled-out added token is plain text, and then one end token, so that a model learns to stop. Of
 * a document of n tokens the first n-1 are inputs and the last n-1 are targets. A document with
 * more inputs than a row has places is cut into pieces of the row's length, each of which starts at
 * position 0; a shorter one is never cut. Pieces are packed into rows by best fit, longest first.
 * Places that stay empty are not computed, since a row is only the list of its pieces. */
#pragma once
#include "base/base.h"
#include "data/source.h" /* documents that are made, not read */
#include "text/text.h"

/* ---- texts ----------------------------------------------------------------------------------- */

/* The documents of files. `name`: a file, a folder, of which all files that end in .txt, .md or
 * .jsonl count, or a pattern with * ? [ for files. Documents of a text are what stands between two
 * lines `separator`; of a .jsonl each line's string `field` is one, and with `field` "" the line
 * itself, in one part. What gzip, xz or zstd packed is
 * unpacked on the way. */
typedef struct Texts Texts;
/* One document, or a part of one longer than 1 MiB. */
typedef struct TextUnit {
    Str text;
    bool ends;        /* it is the last part of its document */
    const char *path; /* where it stands: its file, and of a .jsonl its line */
    int64_t line;
} TextUnit;
bool texts_open(Texts **t, Arena *a, const char *name, const char *separator, const char *field,
                Err *err) CHECKED;
/* The next units, at most `most` and about `bytes` of them; they are valid until the next call. 0
 * at the end, -1 with an Err. */
int64_t texts_next(Texts *t, TextUnit *unit, int64_t most, int64_t bytes, Err *err) CHECKED;
int64_t texts_at(const Texts *t), texts_total(const Texts *t); /* bytes of files, for progress */
void texts_close(Texts *t);                                    /* NULL is fine */

/* Templates that write a date write this one, 2025-01-01: the tokens of a conversation are always
 * the same. */
enum { CONVERSATION_DAY = 1735689600 };

/* ---- shards: texts as tokens ----------------------------------------------------------------- */

/* What was counted in a text before it became tokens. */
typedef struct TextCounts {
    int64_t bytes, lines;
    int64_t separators;        /* lines that are the separator */
    int64_t near;              /* lines that equal it apart from blanks around it: they are text */
    int64_t inner;             /* occurrences inside a line: text; counted when it names a token */
    int64_t empty;             /* documents without a character: left out */
    int64_t not_utf8, control; /* places that are not UTF-8; control characters, byte 0 among
                                * them */
    int64_t strange_line;      /* the first line that has one of these; 0: none */
    int64_t json;              /* lines that look like JSON objects */
} TextCounts;

/* The file, all integers little-endian, by sections; docs/formats.md describes it to the byte:
 *   header   64 bytes: magic "LISAOTOK", version, bytes a token (2 or 4), and the 32-byte key
 *   tokens   one after the other, document after document; padded with zeros to 8 bytes
 *   borders  documents + 1 int64: document d is tokens border[d] .. border[d+1]-1
 *   learned  of conversations: a bit a token, padded with zeros to 8 bytes
 *   trailer  136 bytes: tokens, documents, vocabulary, TextCounts, SHA-256 of all bytes before it
 * It is written once, from front to back, and appears by one rename. */
typedef struct Shard {
    Str path;     /* of the shard file */
    char key[65]; /* SHA-256 of text, separator, tokenizer, version */
    int64_t tokens, docs, vocab;
    TextCounts text;
    const int64_t *border;  /* (docs + 1) */
    const void *token;      /* (tokens), u16 or u32 */
    int64_t width;          /* 2 or 4: bytes of one */
    const uint8_t *learned; /* a bit a token, the lowest first: it is learned, and not only read as
                             * a question is; NULL: all are */
    bool whole;             /* documents are conversations, which no row has a piece of */
    Map map;                /* empty: it is in memory only */
} Shard;

typedef struct ShardSpec {
    const char *text;      /* name of files, as texts_open reads it */
    const char *separator; /* the line between documents, "<|endoftext|>" */
    const char *field;     /* of .jsonl; NULL: "text" */
    const char *folder;    /* where shards are kept; created when missing */
    const Tokenizer *tok;
    const char *tok_id;  /* identifies the tokenizer: a SHA-256 */
    int32_t end;         /* the token put behind each document */
    const Chat *chat;    /* not NULL: a .jsonl has conversations, which it writes */
    const char *chat_id; /* identifies it: a SHA-256 */
} ShardSpec;

/* Opens the shard of this text, making it first when there is none (with a progress bar; an
 * interrupt leaves nothing behind). Line breaks at both ends of a document are left out, empty
 * documents skipped, a byte order mark at the beginning too; a text without any document is an
 * error. A document beyond 1 MiB is encoded in parts that are cut after a line break, so that
 * memory stays bounded.
 * A conversation is a line {"messages": [{"role", "content", "reasoning_content"?, "tool_calls"?},
 * ...], "tools"?}. A <think>...</think> that an assistant's content begins with becomes its
 * reasoning. Learned is what the assistant says, all its turns, each with its end. Where the
 * template shows an earlier turn otherwise than it was said (most leave out old thoughts), that
 * turn is a document of its own with what stands before it, so that each is learned as the model
 * will be asked for it. */
bool shard_open(Shard *s, Arena *a, const ShardSpec *spec, Team *team, Err *err) CHECKED;
/* Opens a shard file by its path and checks all of it. */
bool shard_read(Shard *s, Arena *a, const char *path, Err *err) CHECKED;
void shard_close(Shard *s);

/* The first `docs` documents of a source as a shard in memory, which `a` owns; nothing is written.
 * A conversation is as above. */
typedef struct MadeSpec {
    const Source *source;
    int64_t docs;
    const Tokenizer *tok;
    const Chat *chat; /* may be NULL for a source of texts */
    int32_t end;      /* the token put behind a text; a conversation has its own */
} MadeSpec;
bool shard_of_source(Shard *s, Arena *a, const MadeSpec *spec, Err *err) CHECKED;
static inline bool shard_learns(const Shard *s, int64_t i) {
    return !s->learned || s->learned[i / 8] >> i % 8 & 1;
}
static inline int32_t shard_token(const Shard *s, int64_t i) {
    if (s->width == 2) return ((const uint16_t *)s->token)[i];
    return (int32_t)((const uint32_t *)s->token)[i];
}

/* ---- rows and batches ------------------------------------------------------------------------ */

/* Consecutive inputs of one document: tokens start..start+n-1 of the shard, targets one further. */
typedef struct Piece {
    int64_t start, n;
} Piece;

/* Pieces of whole rows, for one forward pass: place i holds token[i] and is to predict target[i],
 * or nothing where that is -1.
 * Piece p covers places at[p] .. at[p]+len[p]-1, which are positions 0..len[p]-1 of a sequence of
 * its own, and is number piece[p] of text part[p] (of a mixture). */
typedef struct Packed {
    int64_t n, n_pieces;
    int64_t targets;         /* places that predict something */
    int32_t *token, *target; /* (cap) each */
    int64_t *at, *len;       /* (cap) each: a piece has at least one place */
    int32_t *piece, *part;   /* (cap) each */
    int64_t cap;
} Packed;
Packed packed_new(Arena *a, int64_t cap);

/* Most pieces in a row of `sequence` places: bounds spans and KV pages of a batch, however short
 * documents are. */
static inline int64_t row_pieces(int64_t sequence) { return MAX(1, sequence / 16); }

/* The position of a run in its data: all of it, small enough for a checkpoint. For a fixed shard
 * and row length, the rows of an epoch and their order are computed from (seed, epoch); `row` of
 * them were given out. */
typedef struct LoaderState {
    uint64_t seed;
    int64_t epoch, row;
} LoaderState;

typedef struct Loader Loader;
/* Continues at `at`. shuffle false: rows in the order of packing, every epoch the same
 * (validation). An `at` beyond the epoch's rows is an error: it belongs to another shard or row
 * length. */
bool loader_new(Loader **l, Arena *a, const Shard *s, int64_t sequence, bool shuffle,
                LoaderState at, Err *err) CHECKED;
LoaderState loader_state(const Loader *l);
void loader_rewind(Loader *l);           /* to the first row of the first epoch */
int64_t loader_rows(const Loader *l);    /* rows in an epoch; the same for every epoch */
int64_t loader_targets(const Loader *l); /* targets in an epoch */
/* How rows are filled in an epoch, the same in every one. */
typedef struct RowCounts {
    int64_t docs;         /* of the shard */
    int64_t rows, places; /* rows, and places in them that hold a token */
    int64_t cut;          /* documents longer than a row: they are read in pieces, conversations
                           * up to the last answer that fits */
    int64_t left_out;     /* conversations of which no answer fits into a row */
    double empty;         /* the part of all places that holds none, and is not computed */
} RowCounts;
RowCounts loader_counts(const Loader *l);
/* All pieces of the shard, in its order: their numbers. */
const Piece *loader_pieces(const Loader *l, int64_t *n);
/* Piece number `piece` behind those in b, which has room for it. */
void loader_put(const Loader *l, Packed *b, int64_t piece);
/* Fills `b` with the next `rows` rows (b->cap >= rows * sequence), through the end of an epoch into
 * the next. Never fails. */
void loader_next(Loader *l, Packed *b, int64_t rows);

/* Rows of several shards, taken in turn such that each has its weight's share of the tokens, in an
 * order that the first one's seed decides. Of one shard it is the loader. */
enum { MIX_MOST = 16 };
typedef struct MixPart {
    const Shard *shard;
    double weight;      /* above 0; only their proportions count, of those that are drawn from */
    int64_t first, end; /* it is drawn from in rows first..end-1 of the run; end 0: to its end. In
                         * every row there is one */
} MixPart;
typedef struct MixState {
    int64_t rows; /* given out in all */
    LoaderState at[MIX_MOST];
} MixState;
MixState mix_begin(uint64_t seed);
typedef struct Mix Mix;
bool mix_new(Mix **m, Arena *a, const MixPart *part, int64_t n, int64_t sequence,
             const MixState *at, Err *err) CHECKED;
MixState mix_state(const Mix *m);
const Loader *mix_loader(const Mix *m, int64_t i);
void mix_next(Mix *m, Packed *b, int64_t rows);
