/* keys.c -- keys and usage in SQLite. links.c has the links that sign browsers in.
 *
 * A key is "lisao-sk-", 43 characters that are 32 random bytes in base 62, and 4 that check those:
 * a misspelled key is told from a wrong one without looking anything up. Stored is its hash under
 * the folder's pepper: without that file the database says nothing about keys, and which hash a
 * guess has cannot be foreseen, so that the time of a search tells nothing. */
#include "serve/key_store.h"

#include <sodium.h>
#include <stdio.h>

enum { SECRET = 32, DIGITS = 43, CHECKS = 4 };
static const char BASE62[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
enum { PREFIX_N = sizeof KEY_PREFIX - 1 };
_Static_assert(PREFIX_N + DIGITS + CHECKS + 1 == KEY_TEXT, "the length of a key");
_Static_assert(sizeof LINK_PREFIX == sizeof KEY_PREFIX, "that of a link's token");

/* From one version of the database to the next. A program before links sets the version back to 1
 * where it opens a newer one, so that the second step may come again. */
static const char *const steps[] = {
    "CREATE TABLE IF NOT EXISTS keys(id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL "
    "UNIQUE, name TEXT NOT NULL, tenant TEXT NOT NULL, scopes INTEGER NOT NULL, requests_minute "
    "INTEGER NOT NULL, tokens_minute INTEGER NOT NULL, tokens_day INTEGER NOT NULL, concurrent "
    "INTEGER NOT NULL, weight REAL NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL, "
    "revoked INTEGER NOT NULL, expires INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS usage(day INTEGER NOT NULL, key INTEGER NOT NULL REFERENCES "
    "keys(id), requests INTEGER NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT "
    "NULL, tokens_cached INTEGER NOT NULL, PRIMARY KEY(day, key)) WITHOUT ROWID;",
    "CREATE TABLE IF NOT EXISTS links(id INTEGER PRIMARY KEY AUTOINCREMENT, hash BLOB NOT NULL "
    "UNIQUE, key INTEGER NOT NULL REFERENCES keys(id), session BLOB UNIQUE, created INTEGER NOT "
    "NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL, revoked INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS refusals(day INTEGER NOT NULL, key INTEGER NOT NULL REFERENCES "
    "keys(id), refused INTEGER NOT NULL, PRIMARY KEY(day, key)) WITHOUT ROWID;"};

/* ---- scopes ---------------------------------------------------------------------------------- */

static const char *const scope_names[] = {"chat",       "embeddings",  "files",  "admin",
                                          "train:read", "train:write", "metrics"};

bool scopes_parse(int64_t *scopes, Str names, Err *err) {
    for (*scopes = 0; names.n > 0;) {
        const Str name = str_cut(&names, ',');
        int64_t i = 0;
        while (i < COUNT(scope_names) && !str_eq(name, str_of(scope_names[i]))) i++;
        if (i == COUNT(scope_names)) {
            const char *near = str_nearest(name, scope_names, COUNT(scope_names));
            return err_set(err, ERR_USAGE,
                           "there is no scope \"%.*s\"%s%s (there are: chat, embeddings, files, "
                           "admin, train:read, train:write, metrics)",
                           STRF(name), near ? ", do you mean " : "", near ? near : "");
        }
        *scopes |= (int64_t)1 << i;
    }
    return *scopes || err_set(err, ERR_USAGE, "a key needs a scope, for example chat");
}

Str scopes_text(Arena *a, int64_t scopes) {
    Buf b = {.a = a};
    for (int64_t i = 0; i < COUNT(scope_names); i++)
        if (scopes >> i & 1) buf_fmt(&b, "%s%s", b.n ? "," : "", scope_names[i]);
    return buf_str(&b);
}

/* ---- the text of a key ----------------------------------------------------------------------- */

/* bytes as one large number, its last `n` digits; the bytes are used up. */
static void base62(char *to, int64_t n, uint8_t *bytes, int64_t n_bytes) {
    for (int64_t i = n - 1; i >= 0; i--) {
        uint32_t rest = 0;
        for (int64_t k = 0; k < n_bytes; k++) {
            const uint32_t v = rest << 8 | bytes[k];
            bytes[k] = (uint8_t)(v / 62), rest = v % 62;
        }
        to[i] = BASE62[rest];
    }
}

/* The characters that check those in front of them. */
static void checks_of(char to[CHECKS], const char *text) {
    uint8_t sum[16];
    crypto_generichash(sum, sizeof sum, (const uint8_t *)text, PREFIX_N + DIGITS, NULL, 0);
    base62(to, CHECKS, sum, sizeof sum);
}

void secret_make(char text[KEY_TEXT], const char *prefix) {
    uint8_t secret[SECRET];
    randombytes_buf(secret, sizeof secret);
    memcpy(text, prefix, PREFIX_N);
    base62(text + PREFIX_N, DIGITS, secret, SECRET);
    checks_of(text + PREFIX_N + DIGITS, text);
    text[KEY_TEXT - 1] = 0;
    sodium_memzero(secret, sizeof secret);
}

bool secret_is(Str text, const char *prefix) {
    char checks[CHECKS];
    if (text.n != KEY_TEXT - 1 || !str_starts(text, str_of(prefix))) return false;
    checks_of(checks, text.p);
    return sodium_memcmp(checks, text.p + PREFIX_N + DIGITS, CHECKS) == 0;
}

void secret_hash(const Keys *k, uint8_t hash[KEY_HASH], Str text) {
    crypto_generichash(hash, KEY_HASH, (const uint8_t *)text.p, (unsigned long long)text.n,
                       k->pepper, PEPPER);
}

/* ---- SQLite ---------------------------------------------------------------------------------- */

void bind_numbers(sqlite3_stmt *s, const int64_t *value, int n) {
    for (int i = 0; s && i < n; i++) sqlite3_bind_int64(s, i + 1, value[i]);
}

int64_t query_number(const Keys *k, const char *sql, Err *err) {
    sqlite3_stmt *s = sql_prepare(&k->sql, sql, err);
    const int64_t n = s && sqlite3_step(s) == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    sqlite3_finalize(s);
    return n;
}

/* ---- opening --------------------------------------------------------------------------------- */

static bool pepper_open(Keys *k, Arena *a, const char *folder, Err *err) {
    const char *path = str_fmt(a, "%s/pepper", folder).p;
    Str pepper;
    if (!os_exists(path)) {
        randombytes_buf(k->pepper, PEPPER);
        return os_put(a, path, (Str){(const char *)k->pepper, PEPPER}, err)
               && os_private(path, err);
    }
    if (!os_read(a, &pepper, path, PEPPER, err)) return false;
    if (pepper.n != PEPPER)
        return err_set(
            err, ERR_FORMAT,
            "%s has %lld bytes, not %d: restore it from a copy, for without it no key is "
            "known",
            path, (long long)pepper.n, PEPPER);
    memcpy(k->pepper, pepper.p, PEPPER);
    sodium_memzero((char *)(uintptr_t)pepper.p, PEPPER);
    return true;
}

const char *data_folder(Arena *a) {
    const char *data = os_env("XDG_DATA_HOME"), *home = os_env("HOME");
    if (data) return str_fmt(a, "%s/lisao", data).p;
    return str_fmt(a, "%s/.local/share/lisao", home ? home : ".").p;
}

bool keys_open(Keys **out, Arena *a, const char *data, Err *err) {
    Keys *k = PUSH(a, Keys, 1);
    if (!data) data = data_folder(a);
    const char *folder = str_fmt(a, "%s/keys", data).p;
    *out = NULL;
    *k = (Keys){.lock = monitor_new(a)};
    if (sodium_init() < 0) return err_set(err, ERR_UNSUPPORTED, "libsodium does not start");
    if (!os_mkdir(folder, err) || !os_private(folder, err)) return false;
    const int lock = os_lock_wait(folder, err); /* two that begin at once have one pepper */
    if (lock < 0) return false;
    const bool known = pepper_open(k, a, folder, err);
    os_unlock(lock);
    const bool fine = known && sql_store(&k->sql, a, data, "keys", steps, COUNT(steps), err);
    if (fine)
        *out = k;
    else
        keys_close(k);
    return fine;
}

void keys_secret(const Keys *k, const char *purpose, uint8_t secret[32]) {
    crypto_generichash(secret, 32, (const uint8_t *)purpose, strlen(purpose), k->pepper, PEPPER);
}

void keys_close(Keys *k) {
    if (!k) return;
    sql_close(&k->sql);
    sodium_memzero(k->pepper, PEPPER);
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void column_text(sqlite3_stmt *s, int i, char to[KEY_NAME]) {
    const unsigned char *p = sqlite3_column_text(s, i);
    snprintf(to, KEY_NAME, "%s", p ? (const char *)p : "");
}

void key_read(sqlite3_stmt *s, Key *to) {
    *to = (Key){.id = sqlite3_column_int64(s, 0),
                .scopes = sqlite3_column_int64(s, 3),
                .limits = {sqlite3_column_int64(s, 4), sqlite3_column_int64(s, 5),
                           sqlite3_column_int64(s, 6), sqlite3_column_int64(s, 7),
                           sqlite3_column_double(s, 8)},
                .created = sqlite3_column_int64(s, 9),
                .used = sqlite3_column_int64(s, 10),
                .revoked = sqlite3_column_int64(s, 11),
                .expires = sqlite3_column_int64(s, 12)};
    column_text(s, 1, to->name);
    column_text(s, 2, to->tenant);
}

static bool name_check(const char *what, const char name[KEY_NAME], Err *err) {
    Str rest = str_of(name);
    if (!utf8_valid(rest)) return err_set(err, ERR_USAGE, "the %s is not UTF-8", what);
    for (int n; rest.n > 0; rest.p += n, rest.n -= n) {
        n = utf8_length(rest);
        if (utf8_control(rest))
            return err_set(err, ERR_USAGE, "the %s holds a control character", what);
    }
    return true;
}

bool keys_create(Keys *k, Key *key, char text[KEY_TEXT], Err *err) {
    uint8_t hash[KEY_HASH];
    if (!name_check("name", key->name, err) || !name_check("tenant", key->tenant, err))
        return false;
    secret_make(text, KEY_PREFIX);
    secret_hash(k, hash, (Str){text, KEY_TEXT - 1});
    key->created = os_time();
    const KeyLimits *l = &key->limits;
    const int64_t value[] = {key->scopes,   l->requests_minute, l->tokens_minute, l->tokens_day,
                             l->concurrent, key->created,       key->expires};
    monitor_enter(k->lock);
    sqlite3_stmt *s = sql_prepare(
        &k->sql,
        "INSERT INTO keys(scopes, requests_minute, tokens_minute, tokens_day, concurrent, "
        "created, expires, hash, name, tenant, weight, used, revoked) "
        "VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
        err);
    bind_numbers(s, value, (int)COUNT(value));
    sqlite3_bind_blob(s, 8, hash, KEY_HASH, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 9, key->name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(s, 10, key->tenant, -1, SQLITE_TRANSIENT);
    sqlite3_bind_double(s, 11, l->weight > 0 ? l->weight : 1);
    const bool fine = sql_finish(&k->sql, s, "writing a key", err);
    key->id = sqlite3_last_insert_rowid(k->sql.db);
    monitor_leave(k->lock);
    if (!fine) sodium_memzero(text, KEY_TEXT);
    return fine;
}

int64_t keys_count(Keys *k) {
    Err err = {0};
    monitor_enter(k->lock);
    const int64_t n = query_number(
        k, "SELECT count(*) FROM keys WHERE revoked = 0 AND (expires = 0 OR expires > unixepoch())",
        &err);
    monitor_leave(k->lock);
    return n;
}

bool keys_list(Keys *k, Arena *a, Key **list, int64_t *n, Err *err) {
    monitor_enter(k->lock);
    *n = 0;
    const int64_t most = query_number(k, "SELECT count(*) FROM keys", err);
    *list = PUSH(a, Key, most);
    sqlite3_stmt *s = sql_prepare(&k->sql, "SELECT " KEY_COLUMNS " FROM keys ORDER BY id", err);
    while (s && *n < most && sqlite3_step(s) == SQLITE_ROW) key_read(s, &(*list)[(*n)++]);
    const bool fine = sql_finish(&k->sql, s, "reading keys", err);
    monitor_leave(k->lock);
    return fine;
}

/* A change of one key that must be there and not revoked. */
static bool change(Keys *k, int64_t id, sqlite3_stmt *s, Err *err) {
    if (!sql_finish(&k->sql, s, "writing a key", err)) return false;
    return sqlite3_changes(k->sql.db) == 1
           || err_set(err, ERR_USAGE,
                      "there is no key %lld that is in use (`lisao keys list` shows all)",
                      (long long)id);
}

bool keys_revoke(Keys *k, int64_t id, Err *err) {
    monitor_enter(k->lock);
    sqlite3_stmt *s =
        sql_prepare(&k->sql, "UPDATE keys SET revoked = ? WHERE id = ? AND revoked = 0", err);
    bind_numbers(s, (int64_t[]){os_time(), id}, 2);
    const bool fine = change(k, id, s, err);
    monitor_leave(k->lock);
    return fine;
}

/* Whoever has the text from before is out, and with it those whom its links have let in. */
static bool rotate(Keys *k, int64_t id, const uint8_t hash[KEY_HASH], Err *err) {
    sqlite3_stmt *s =
        sql_prepare(&k->sql, "UPDATE keys SET hash = ?3 WHERE id = ?2 AND revoked = 0", err);
    bind_numbers(s, (int64_t[]){0, id}, 2);
    sqlite3_bind_blob(s, 3, hash, KEY_HASH, SQLITE_TRANSIENT);
    if (!change(k, id, s, err)) return false;
    s = sql_prepare(&k->sql, "UPDATE links SET revoked = ? WHERE key = ? AND revoked = 0", err);
    bind_numbers(s, (int64_t[]){os_time(), id}, 2);
    return sql_finish(&k->sql, s, "ending a key's links", err);
}

bool keys_rotate(Keys *k, int64_t id, char text[KEY_TEXT], Err *err) {
    uint8_t hash[KEY_HASH];
    secret_make(text, KEY_PREFIX);
    secret_hash(k, hash, (Str){text, KEY_TEXT - 1});
    monitor_enter(k->lock);
    const bool fine = sql_do(&k->sql, "BEGIN IMMEDIATE", "writing a key", err)
                      && rotate(k, id, hash, err)
                      && sql_do(&k->sql, "COMMIT", "writing a key", err);
    if (!fine) sqlite3_exec(k->sql.db, "ROLLBACK", NULL, NULL, NULL);
    monitor_leave(k->lock);
    if (!fine) sodium_memzero(text, KEY_TEXT);
    return fine;
}

bool key_holds(const Key *k, int64_t now) {
    return !k->revoked && (!k->expires || k->expires > now);
}

/* Reads the key that a query finds by a hash, which it has as its last column; both are compared
 * once more, in constant time. */
static bool hash_find(const Keys *k, const char *sql, const uint8_t hash[KEY_HASH], Key *key) {
    enum { AT = KEY_COLUMNS_N };
    Err err = {0};
    bool found = false;
    sqlite3_stmt *s = sql_prepare(&k->sql, sql, &err);
    if (!s) return false;
    sqlite3_bind_blob(s, 1, hash, KEY_HASH, SQLITE_TRANSIENT);
    if (sqlite3_step(s) == SQLITE_ROW && sqlite3_column_bytes(s, AT) == KEY_HASH) {
        found = sodium_memcmp(sqlite3_column_blob(s, AT), hash, KEY_HASH) == 0;
        key_read(s, key);
    }
    sqlite3_finalize(s);
    return found;
}

/* A text is the key's own, or one that a link of it was exchanged for. */
static bool text_find(const Keys *k, const uint8_t hash[KEY_HASH], Key *key) {
    return hash_find(k, "SELECT " KEY_COLUMNS ", hash FROM keys WHERE hash = ?", hash, key)
           || hash_find(k,
                        "SELECT " KEY_COLUMNS ", session FROM keys JOIN links ON links.key = "
                        "keys.id WHERE session = ? AND links.revoked = 0",
                        hash, key);
}

/* That a key was used is written once a minute, or where the clock was set back; it is lost where
 * that fails. */
static void used_note(const Keys *k, Key *key, int64_t now) {
    enum { MINUTE = 60 };
    Err err = {0};
    if (now >= key->used && now - key->used < MINUTE) return;
    key->used = now;
    sqlite3_stmt *s = sql_prepare(&k->sql, "UPDATE keys SET used = ? WHERE id = ?", &err);
    bind_numbers(s, (int64_t[]){now, key->id}, 2);
    if (!sql_finish(&k->sql, s, "writing when a key was used", &err))
        log_at(LOG_WARN, "%s", err.msg);
}

bool keys_check(Keys *k, Str header, Key *key) {
    const Str bearer = STR("Bearer ");
    uint8_t hash[KEY_HASH];
    Str text = header;
    if (text.n > bearer.n && str_eq_caseless((Str){text.p, bearer.n}, bearer))
        text = (Str){text.p + bearer.n, text.n - bearer.n};
    text = str_trim(text, " \t");
    *key = (Key){0};
    if (!secret_is(text, KEY_PREFIX)) return false;
    secret_hash(k, hash, text);
    const int64_t now = os_time();
    monitor_enter(k->lock);
    const bool valid = text_find(k, hash, key) && key_holds(key, now);
    if (valid) used_note(k, key, now);
    monitor_leave(k->lock);
    if (!valid) *key = (Key){0};
    return valid;
}

/* ---- usage ----------------------------------------------------------------------------------- */

enum { DAY = 86400 };

/* A day with refusals has a row of usage, too. */
static bool refused_add(const Keys *k, int64_t key, int64_t when, int64_t refused, Err *err) {
    if (!refused) return true;
    sqlite3_stmt *s = sql_prepare(&k->sql,
                                  "INSERT INTO refusals(day, key, refused) VALUES(?, ?, ?) ON "
                                  "CONFLICT(day, key) DO UPDATE SET refused = refused + "
                                  "excluded.refused",
                                  err);
    bind_numbers(s, (int64_t[]){when / DAY, key, refused}, 3);
    return sql_finish(&k->sql, s, "adding usage", err);
}

bool usage_add(Keys *k, int64_t key, int64_t when, const Usage *u, Err *err) {
    const int64_t value[] = {when / DAY,   key,           u->requests,
                             u->tokens_in, u->tokens_out, u->tokens_cached};
    monitor_enter(k->lock);
    sqlite3_stmt *s = sql_prepare(
        &k->sql,
        "INSERT INTO usage(day, key, requests, tokens_in, tokens_out, tokens_cached) "
        "VALUES(?, ?, ?, ?, ?, ?) ON CONFLICT(day, key) DO UPDATE SET requests = requests + "
        "excluded.requests, tokens_in = tokens_in + excluded.tokens_in, tokens_out = tokens_out + "
        "excluded.tokens_out, tokens_cached = tokens_cached + excluded.tokens_cached",
        err);
    bind_numbers(s, value, (int)COUNT(value));
    const bool fine =
        sql_finish(&k->sql, s, "adding usage", err) && refused_add(k, key, when, u->refused, err);
    monitor_leave(k->lock);
    return fine;
}

static void usage_read(sqlite3_stmt *s, UsageDay *to) {
    *to = (UsageDay){.day = sqlite3_column_int64(s, 0),
                     .key = sqlite3_column_int64(s, 1),
                     .usage = {sqlite3_column_int64(s, 2), sqlite3_column_int64(s, 3),
                               sqlite3_column_int64(s, 4), sqlite3_column_int64(s, 5),
                               sqlite3_column_int64(s, 6)}};
}

bool usage_show(Keys *k, Arena *a, int64_t key, int64_t from, UsageDay **list, int64_t *n,
                Err *err) {
    monitor_enter(k->lock);
    const int64_t most = query_number(k, "SELECT count(*) FROM usage", err);
    *list = PUSH(a, UsageDay, most);
    *n = 0;
    sqlite3_stmt *s =
        sql_prepare(&k->sql,
                    "SELECT day, key, requests, tokens_in, tokens_out, tokens_cached, "
                    "coalesce(refused, 0) FROM usage LEFT JOIN refusals USING(day, key) WHERE day "
                    ">= ? AND (?2 = 0 OR key = ?2) ORDER BY day, key",
                    err);
    bind_numbers(s, (int64_t[]){from, key}, 2);
    while (s && *n < most && sqlite3_step(s) == SQLITE_ROW) usage_read(s, &(*list)[(*n)++]);
    const bool fine = sql_finish(&k->sql, s, "reading usage", err);
    monitor_leave(k->lock);
    return fine;
}
