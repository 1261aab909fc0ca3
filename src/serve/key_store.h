/* key_store.h -- private to keys.c and links.c: what both need of the store of keys. */
#pragma once
#include "serve/keys.h"
#include "serve/sql.h"

enum { PEPPER = 32, KEY_HASH = 32 };

struct Keys {
    Sql sql;
    Monitor *lock;
    uint8_t pepper[PEPPER];
};

/* Both have nine characters. */
#define KEY_PREFIX  "lisao-sk-"
#define LINK_PREFIX "lisao-in-"

/* A new text behind the prefix: 43 characters that are 32 random bytes, and 4 that check those. */
void secret_make(char text[KEY_TEXT], const char *prefix);
bool secret_is(Str text, const char *prefix); /* whether it may be such a text at all */
void secret_hash(const Keys *k, uint8_t hash[KEY_HASH], Str text);
void bind_numbers(sqlite3_stmt *s, const int64_t *value, int n); /* to ?1 and those behind it */
/* Of a query that has a number as its only column and row; 0 where it has none. */
int64_t query_number(const Keys *k, const char *sql, Err *err);

/* The columns of a Key, of a query FROM keys or one that joins them; and reading them. */
#define KEY_COLUMNS                                                                                \
    "keys.id, name, tenant, scopes, requests_minute, tokens_minute, tokens_day, concurrent, "      \
    "weight, keys.created, keys.used, keys.revoked, keys.expires"
enum { KEY_COLUMNS_N = 13 };
void key_read(sqlite3_stmt *s, Key *to);
bool key_holds(const Key *k, int64_t now); /* neither revoked nor expired */
