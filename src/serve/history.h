/* history.h -- private to serve/: conversations, kept for those who have them.
 *
 * A conversation is a tree of messages; what both say beyond that is the page's, and is kept as the
 * JSON that it was. Each belongs to a tenant, and no call reaches another's. What a writing call
 * has returned true for is on the disk; what was removed is gone from the file's bytes.
 * Threads: any; one is inside at a time. */
#pragma once
#include "base/base.h"

typedef struct History History;
/* A conversation (id.p NULL), or a message of one. */
typedef struct HistoryItem {
    Str conversation, id;
    Str parent; /* p NULL: the message is a first one */
    Str text;   /* what search finds */
    Str body;   /* JSON */
} HistoryItem;

/* In the folder DATA/history. days: what was not written for longer is removed; 0: nothing is. */
bool history_open(History **h, Arena *a, const char *data, int64_t days, Err *err) CHECKED;
void history_close(History *h); /* NULL is fine */
/* Writes all of them, or none: those that are there are replaced. */
bool history_put(History *h, Str tenant, const HistoryItem *item, int64_t n, Err *err) CHECKED;
/* id.p NULL: all of the tenant's. n: how many there were. */
bool history_remove(History *h, Str tenant, Str id, int64_t *n, Err *err) CHECKED;
/* What follows adds JSON to `out`, objects between commas. The bodies of all conversations: */
bool history_list(History *h, Str tenant, Buf *out, Err *err) CHECKED;
/* The bodies of a conversation's messages, in the order in which they came first; known: it is
 * there. */
bool history_read(History *h, Str tenant, Str id, Buf *out, bool *known, Err *err) CHECKED;
/* All conversations, each with a further member "messages". */
bool history_export(History *h, Str tenant, Buf *out, Err *err) CHECKED;
/* {"conversation", "excerpt"} for each with a message in which all words are: the beginnings of
 * words, and Chinese, Japanese and Korean anywhere. */
bool history_search(History *h, Str tenant, const Str *word, int64_t n, Buf *out, Err *err) CHECKED;
