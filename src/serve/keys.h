/* keys.h -- part of serve.h: who may use the service, how much, and what was used.
 *
 * Promises: a key is shown once, when it is made; what is stored is a hash of it, under a secret of
 * the folder. What was acknowledged is on the disk. Several processes may use a folder at a time; a
 * key that one revokes is refused by all from then on.
 * Threads: any; a Keys has a lock of its own. */
#pragma once
#include "base/base.h"

typedef struct Keys Keys;
enum { KEY_TEXT = 57, KEY_NAME = 64 }; /* bytes, with a NUL */

/* What a key is for; bits. Names: "chat", "embeddings", "files", "admin", "train:read",
 * "train:write", "metrics". */
typedef enum KeyScope {
    SCOPE_CHAT = 1,
    SCOPE_EMBEDDINGS = 2,
    SCOPE_FILES = 4,
    SCOPE_ADMIN = 8,
    SCOPE_TRAIN_READ = 16,
    SCOPE_TRAIN_WRITE = 32,
    SCOPE_METRICS = 64,
    SCOPE_ALL = 127
} KeyScope;
bool scopes_parse(int64_t *scopes, Str names, Err *err) CHECKED; /* "chat,embeddings" */
Str scopes_text(Arena *a, int64_t scopes);

typedef struct KeyLimits { /* 0: no limit */
    int64_t requests_minute, tokens_minute, tokens_day, concurrent;
    double weight; /* its share beside other tenants'; 1 is usual */
} KeyLimits;

typedef struct Key {
    int64_t id; /* > 0 */
    char name[KEY_NAME], tenant[KEY_NAME];
    int64_t scopes;
    KeyLimits limits;
    int64_t created, used, revoked, expires; /* seconds since 1970; 0: never. used: to a minute */
} Key;

/* Where the service keeps what it must not lose, unless told otherwise: $XDG_DATA_HOME/lisao. */
const char *data_folder(Arena *a);
/* Of the folder `data` (NULL: data_folder): makes data/keys, which no other user may open, and what
 * it needs. */
bool keys_open(Keys **k, Arena *a, const char *data, Err *err) CHECKED;
void keys_close(Keys *k); /* NULL is fine */
/* A secret for something else, from the folder's: the same for the same purpose. */
void keys_secret(const Keys *k, const char *purpose, uint8_t secret[32]);
int64_t keys_count(Keys *k); /* that are neither revoked nor expired */
/* Makes a key as *key says (name, tenant, scopes, limits, expires), sets its id and created, and
 * writes the key itself to `text`, where it is for the only time. */
bool keys_create(Keys *k, Key *key, char text[KEY_TEXT], Err *err) CHECKED;
bool keys_list(Keys *k, Arena *a, Key **list, int64_t *n, Err *err) CHECKED; /* by id */
bool keys_revoke(Keys *k, int64_t id, Err *err) CHECKED;                     /* for good */
/* Another text for the same key; the one before, and its links, are refused from now on. */
bool keys_rotate(Keys *k, int64_t id, char text[KEY_TEXT], Err *err) CHECKED;
/* Whose key the value of a header is: of Authorization, with "Bearer " in front, or of x-api-key.
 * false: nobody's, or one that is revoked or expired. */
bool keys_check(Keys *k, Str header, Key *key);

/* A link signs one browser in: its token is good once, and is exchanged for another text of its
 * key, which is refused with the key, and counts as the key in every limit and in what was used. */
typedef struct KeyLink {
    int64_t id, key; /* id > 0 */
    int64_t created, expires, used,
        revoked; /* seconds since 1970; 0: never. expires: if not used */
} KeyLink;
typedef enum LinkState { LINK_OPEN, LINK_UNKNOWN, LINK_USED, LINK_EXPIRED, LINK_REVOKED } LinkState;
/* Of *link key and expires are given, the others are set; `token` is there for the only time. */
bool links_create(Keys *k, KeyLink *link, char token[KEY_TEXT], Err *err) CHECKED;
bool links_list(Keys *k, Arena *a, KeyLink **list, int64_t *n, Err *err) CHECKED; /* by key, id */
/* Ends a link that is open, or what it was exchanged for. */
bool links_revoke(Keys *k, int64_t id, Err *err) CHECKED;
/* LINK_OPEN: it was, and `text` is for its browser from now on; *key is whose it is, but for
 * LINK_UNKNOWN. LINK_REVOKED also where its key is not in use. false: the store failed. */
bool links_use(Keys *k, Str token, LinkState *state, Key *key, char text[KEY_TEXT],
               Err *err) CHECKED;

typedef struct Usage {
    int64_t requests, tokens_in, tokens_out, tokens_cached;
    int64_t refused; /* for a limit of the key, or since too many waited; not among requests */
} Usage;
typedef struct UsageDay {
    int64_t key, day; /* day: since 1970, UTC */
    Usage usage;
} UsageDay;
/* Adds to the key's day of `when`, in seconds since 1970. */
bool usage_add(Keys *k, int64_t key, int64_t when, const Usage *u, Err *err) CHECKED;
/* From day `from` on, by day and key; of all keys where key is 0. */
bool usage_show(Keys *k, Arena *a, int64_t key, int64_t from, UsageDay **list, int64_t *n,
                Err *err) CHECKED;
