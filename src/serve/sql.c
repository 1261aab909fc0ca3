/* sql.c -- SQLite, as the stores of the service use it. */
#include "serve/sql.h"
#include "serve/grams.h"
#include <stdio.h>

enum { BUSY_MS = 10000 };

bool sql_failed(const Sql *s, const char *what, Err *err) {
    const int whole = sqlite3_extended_errcode(s->db), code = whole & 0xff;
    const bool full = code == SQLITE_FULL || whole == SQLITE_IOERR_WRITE;
    const char *hint = full ? " (is the disk full?)"
                       : code == SQLITE_NOTADB
                           ? " (another program has written it, or it is damaged)"
                       : code == SQLITE_CORRUPT ? " (it is damaged: restore it from a copy)"
                                                : "";
    return err_set(err,
                   full                        ? ERR_LIMIT
                   : code == SQLITE_CONSTRAINT ? ERR_USAGE
                                               : ERR_IO,
                   "%s in %s: %s%s", what, s->path, sqlite3_errmsg(s->db), hint);
}

bool sql_do(const Sql *s, const char *text, const char *what, Err *err) {
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK || sql_failed(s, what, err);
}

sqlite3_stmt *sql_prepare(const Sql *s, const char *text, Err *err) {
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, text, -1, &st, NULL) != SQLITE_OK)
        sql_failed(s, "preparing", err);
    return st;
}

bool sql_finish(const Sql *s, sqlite3_stmt *st, const char *what, Err *err) {
    if (!st) return false;
    int code;
    while ((code = sqlite3_step(st)) == SQLITE_ROW) continue;
    const bool fine = code == SQLITE_DONE || sql_failed(s, what, err);
    sqlite3_finalize(st);
    return fine;
}

void sql_bind(sqlite3_stmt *st, int i, Str text) {
    if (st && text.p) sqlite3_bind_text64(st, i, text.p, (sqlite3_uint64)text.n, NULL, SQLITE_UTF8);
}

Str sql_text(sqlite3_stmt *st, int i) {
    const char *p = (const char *)sqlite3_column_text(st, i);
    return (Str){p, p ? sqlite3_column_bytes(st, i) : 0};
}

bool sql_open(Sql *s, const char *path, Err *err) {
    const int how = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    *s = (Sql){.path = path};
    if (sqlite3_open_v2(path, &s->db, how, NULL) != SQLITE_OK) return sql_failed(s, "opening", err);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return sql_do(s,
                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; "
                  "PRAGMA secure_delete = ON; PRAGMA temp_store = MEMORY; "
                  "PRAGMA trusted_schema = OFF;",
                  "opening", err)
           && os_private(path, err);
}

void sql_close(Sql *s) { sqlite3_close(s->db); }

/* ---- words ----------------------------------------------------------------------------------- */

static void words_call(sqlite3_context *c, int n, sqlite3_value **value) {
    (void)n;
    const char *p = (const char *)sqlite3_value_text(value[0]);
    Arena *a = arena_open("words", ARENA_NO_LIMIT);
    Buf b = {.a = a};
    grams_add(&b, (Str){p, p ? sqlite3_value_bytes(value[0]) : 0});
    sqlite3_result_text64(c, b.n ? b.p : "", (sqlite3_uint64)b.n, SQLITE_TRANSIENT, SQLITE_UTF8);
    arena_close(a);
}

static bool words_define(const Sql *s, Err *err) {
    const int how = SQLITE_UTF8 | SQLITE_DETERMINISTIC;
    return sqlite3_create_function(s->db, "words", 1, how, NULL, words_call, NULL, NULL)
               == SQLITE_OK
           || sql_failed(s, "opening", err);
}

/* ---- versions -------------------------------------------------------------------------------- */

static bool version_read(const Sql *s, int64_t *version, Err *err) {
    sqlite3_stmt *st = sql_prepare(s, "PRAGMA user_version", err);
    if (!st) return false;
    const bool fine = sqlite3_step(st) == SQLITE_ROW;
    if (fine)
        *version = sqlite3_column_int64(st, 0);
    else
        sql_failed(s, "reading the version", err);
    sqlite3_finalize(st);
    return fine;
}

/* Two processes that begin at once: the second finds the step done. */
static bool step_do(const Sql *s, const char *const *step, int64_t n, int64_t *version, Err *err) {
    char raise[64];
    if (!sql_do(s, "BEGIN IMMEDIATE", "changing the tables", err)) return false;
    bool fine = version_read(s, version, err);
    if (fine && *version < n) {
        snprintf(raise, sizeof raise, "PRAGMA user_version = %lld", (long long)*version + 1);
        fine = sql_do(s, step[*version], "changing the tables", err)
               && sql_do(s, raise, "changing the tables", err);
        *version += fine;
    }
    if (fine && sql_do(s, "COMMIT", "changing the tables", err)) return true;
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return false;
}

static bool migrate(const Sql *s, const char *const *step, int64_t n, Err *err) {
    int64_t version = 0;
    if (!version_read(s, &version, err)) return false;
    while (version < n)
        if (!step_do(s, step, n, &version, err)) return false;
    return version == n
           || err_set(err, ERR_FORMAT,
                      "%s has version %lld; this program knows %lld at most: use the newer program "
                      "that wrote it",
                      s->path, (long long)version, (long long)n);
}

/* ---- stores ---------------------------------------------------------------------------------- */

bool sql_store(Sql *s, Arena *a, const char *data, const char *name, const char *const *step,
               int64_t n, Err *err) {
    const char *folder = str_fmt(a, "%s/%s", data, name).p;
    if (!os_mkdir(folder, err) || !os_private(folder, err)) return false;
    const int lock = os_lock_wait(folder, err);
    if (lock < 0) return false;
    const bool fine = sql_open(s, str_fmt(a, "%s/%s.db", folder, name).p, err)
                      && words_define(s, err) && migrate(s, step, n, err);
    os_unlock(lock);
    return fine;
}
