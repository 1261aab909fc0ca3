/* shard.h -- private to data/: the shard file's layout, its reading, and the making of one.
 *
 * Offsets are fixed once tokens, width and documents are known:
 *   0                      Header
 *   64                     tokens, padded with zeros to 8 bytes
 *   64 + padded tokens     borders, documents + 1
 *   behind them            of conversations: a bit a token, padded with zeros to 8 bytes
 *   behind them            Trailer, whose checksum covers every byte before itself */
#pragma once
#include "data/data.h"

#define SHARD_MAGIC "LISAOTOK"
enum { SHARD_VERSION = 2 };

typedef struct ShardHeader {
    char magic[8];
    uint32_t version, width;
    uint8_t key[32];
    uint32_t talks; /* 1: documents are conversations, and there is a section of bits; else 0 */
    uint8_t zero[12];
} ShardHeader;

typedef struct ShardTrailer {
    int64_t tokens, docs, vocab;
    TextCounts text;
    uint8_t sum[32];
} ShardTrailer;

_Static_assert(sizeof(ShardHeader) == 64 && sizeof(ShardTrailer) == 136, "the layout on disk");

/* Lower-case hex of a SHA-256 <-> its 32 bytes (shard.c). */
void hex_to_bytes(uint8_t out[32], const char *hex);
void bytes_to_hex(char hex[65], const uint8_t *in);

static inline const char *field_of(const ShardSpec *spec) {
    if (spec->chat) return "";
    return spec->field && spec->field[0] ? spec->field : "text";
}

/* Writes the shard of the spec's texts to `path`, on all threads of the team (tokenise.c). */
bool shard_make(const char *path, const char *key, const TextCounts *counts, const ShardSpec *spec,
                Team *team, Err *err) CHECKED;
