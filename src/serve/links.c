/* links.c -- links that sign a browser in, of the store of keys.
 *
 * Stored is the hash of a link's token, under the folder's pepper as those of keys are, and once it
 * was used that of the text that its browser has. The time that looking for a hash takes says
 * nothing of others: which hash a guess has cannot be foreseen without the pepper. */
#include "serve/key_store.h"

#include <sodium.h>

/* A key that may be used at the time ?1. */
#define KEY_IN_USE "revoked = 0 AND (expires = 0 OR expires > ?1)"

bool links_create(Keys *k, KeyLink *link, char token[KEY_TEXT], Err *err) {
    uint8_t hash[KEY_HASH];
    secret_make(token, LINK_PREFIX);
    secret_hash(k, hash, (Str){token, KEY_TEXT - 1});
    link->created = os_time(), link->used = link->revoked = 0;
    monitor_enter(k->lock);
    sqlite3_stmt *s =
        sql_prepare(&k->sql,
                    "INSERT INTO links(created, expires, key, hash, used, revoked) SELECT ?1, ?2, "
                    "id, ?4, 0, 0 FROM keys WHERE id = ?3 AND " KEY_IN_USE,
                    err);
    bind_numbers(s, (int64_t[]){link->created, link->expires, link->key}, 3);
    sqlite3_bind_blob(s, 4, hash, KEY_HASH, SQLITE_TRANSIENT);
    bool fine = sql_finish(&k->sql, s, "writing a link", err);
    if (fine && sqlite3_changes(k->sql.db) != 1)
        fine = err_set(err, ERR_USAGE,
                       "there is no key %lld that is in use (`lisao keys list` shows all)",
                       (long long)link->key);
    link->id = sqlite3_last_insert_rowid(k->sql.db);
    monitor_leave(k->lock);
    if (!fine) sodium_memzero(token, KEY_TEXT);
    return fine;
}

bool links_list(Keys *k, Arena *a, KeyLink **list, int64_t *n, Err *err) {
    monitor_enter(k->lock);
    *n = 0;
    const int64_t most = query_number(k, "SELECT count(*) FROM links", err);
    *list = PUSH(a, KeyLink, most);
    sqlite3_stmt *s = sql_prepare(
        &k->sql, "SELECT id, key, created, expires, used, revoked FROM links ORDER BY key, id",
        err);
    while (s && *n < most && sqlite3_step(s) == SQLITE_ROW)
        (*list)[(*n)++] = (KeyLink){sqlite3_column_int64(s, 0), sqlite3_column_int64(s, 1),
                                    sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3),
                                    sqlite3_column_int64(s, 4), sqlite3_column_int64(s, 5)};
    const bool fine = sql_finish(&k->sql, s, "reading links", err);
    monitor_leave(k->lock);
    return fine;
}

bool links_revoke(Keys *k, int64_t id, Err *err) {
    monitor_enter(k->lock);
    sqlite3_stmt *s =
        sql_prepare(&k->sql, "UPDATE links SET revoked = ? WHERE id = ? AND revoked = 0", err);
    bind_numbers(s, (int64_t[]){os_time(), id}, 2);
    bool fine = sql_finish(&k->sql, s, "writing a link", err);
    if (fine && sqlite3_changes(k->sql.db) != 1)
        fine = err_set(err, ERR_USAGE,
                       "there is no link %lld that is not revoked (`lisao keys list` shows all)",
                       (long long)id);
    monitor_leave(k->lock);
    return fine;
}

/* What has become of a link, and its key. The hash is compared once more, in constant time. */
static LinkState link_state(const Keys *k, const uint8_t hash[KEY_HASH], int64_t now, Key *key,
                            Err *err) {
    enum { HASH_AT = KEY_COLUMNS_N, EXPIRES_AT, USED_AT, REVOKED_AT };
    LinkState state = LINK_UNKNOWN;
    sqlite3_stmt *s = sql_prepare(&k->sql,
                                  "SELECT " KEY_COLUMNS ", links.hash, links.expires, links.used, "
                                  "links.revoked FROM links JOIN keys ON keys.id = key WHERE "
                                  "links.hash = ?",
                                  err);
    if (!s) return state;
    sqlite3_bind_blob(s, 1, hash, KEY_HASH, SQLITE_TRANSIENT);
    const int code = sqlite3_step(s);
    if (code != SQLITE_ROW && code != SQLITE_DONE) sql_failed(&k->sql, "reading a link", err);
    if (code == SQLITE_ROW && sqlite3_column_bytes(s, HASH_AT) == KEY_HASH
        && sodium_memcmp(sqlite3_column_blob(s, HASH_AT), hash, KEY_HASH) == 0) {
        key_read(s, key);
        state = sqlite3_column_int64(s, REVOKED_AT) || !key_holds(key, now) ? LINK_REVOKED
                : sqlite3_column_int64(s, USED_AT)                          ? LINK_USED
                : sqlite3_column_int64(s, EXPIRES_AT) <= now                ? LINK_EXPIRED
                                                                            : LINK_OPEN;
    }
    sqlite3_finalize(s);
    return state;
}

/* One statement looks and writes: of two that come at once, in whichever processes, one gets it. */
static bool link_take(const Keys *k, const uint8_t hash[KEY_HASH], const uint8_t session[KEY_HASH],
                      int64_t now, bool *taken, Err *err) {
    sqlite3_stmt *s = sql_prepare(
        &k->sql,
        "UPDATE links SET used = ?1, session = ?2 WHERE hash = ?3 AND used = 0 AND "
        "revoked = 0 AND expires > ?1 AND key IN (SELECT id FROM keys WHERE " KEY_IN_USE ")",
        err);
    if (!s) return false;
    bind_numbers(s, &now, 1);
    sqlite3_bind_blob(s, 2, session, KEY_HASH, SQLITE_TRANSIENT);
    sqlite3_bind_blob(s, 3, hash, KEY_HASH, SQLITE_TRANSIENT);
    const bool fine = sql_finish(&k->sql, s, "using a link", err);
    *taken = fine && sqlite3_changes(k->sql.db) == 1;
    return fine;
}

/* It is looked at first: whoever makes up tokens keeps nobody from writing. */
bool links_use(Keys *k, Str token, LinkState *state, Key *key, char text[KEY_TEXT], Err *err) {
    uint8_t hash[KEY_HASH], session[KEY_HASH];
    bool taken = false;
    *state = LINK_UNKNOWN, *key = (Key){0}, *text = 0;
    if (!secret_is(token, LINK_PREFIX)) return true;
    secret_hash(k, hash, token);
    const int64_t now = os_time();
    monitor_enter(k->lock);
    *state = link_state(k, hash, now, key, err);
    if (*state == LINK_OPEN) {
        secret_make(text, KEY_PREFIX);
        secret_hash(k, session, (Str){text, KEY_TEXT - 1});
        if (link_take(k, hash, session, now, &taken, err) && !taken)
            *state = link_state(k, hash, now, key, err); /* another was there first */
    }
    monitor_leave(k->lock);
    if (!taken) sodium_memzero(text, KEY_TEXT);
    return !err->code;
}
