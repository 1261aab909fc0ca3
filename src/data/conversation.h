/* conversation.h -- private to data/: conversations as tokens, of which what an assistant says is
 * learned. */
#pragma once
#include "data/data.h"

#include <jansson.h>

/* Messages of words; or as JSON {"messages": [...], "tools"?}, where there is more to them. */
typedef struct Conversation {
    const Message *message; /* (n) */
    json_t *json;           /* the caller's to end; NULL: message has all */
    int64_t n;
} Conversation;

/* Documents one after the other. */
typedef struct Tokens {
    Ids id;
    Buf learned; /* a byte for each token: 1 where it is learned */
    Buf end;     /* int64 each: where a document ends */
} Tokens;
Tokens tokens_in(Arena *a);

/* A line of a .jsonl. What c points to lies in `a`; the message of an error begins with file and
 * line. */
bool conversation_read(Conversation *c, Arena *a, Str line, const char *path, int64_t number,
                       Err *err) CHECKED;
/* Its documents behind those in `out`, whose arena is neither `a` nor `scratch`. `a` is left as it
 * was. */
bool conversation_put(Tokens *out, const Conversation *c, const Chat *chat, Arena *a,
                      Arena *scratch, Err *err) CHECKED;
