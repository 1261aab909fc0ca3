/* documents.c -- the index of documents: passages in SQLite, and FTS5 for what they say.
 *
 * The index has no texts of its own (see history.c). Every word of a passage counts once, those of
 * its headings twice. Nothing is waited for to be on the disk: a power cut may lose what the next
 * `lisao index` puts back. */
#include "serve/documents.h"
#include "serve/grams.h"
#include "serve/keys.h"
#include "serve/passages.h"
#include "serve/sql.h"

enum { WORDS_MOST = 200 }; /* of a question */

struct Documents {
    Sql sql;
    Monitor *lock;
    int64_t round; /* of the walk that is going on */
};

static const char *const schema[] = {
    "CREATE TABLE source(n INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, size INTEGER NOT NULL, "
    "modified INTEGER NOT NULL, round INTEGER NOT NULL);"
    "CREATE TABLE passage(n INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES source(n) ON "
    "DELETE CASCADE, heading TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT NULL, "
    "text TEXT NOT NULL);"
    "CREATE INDEX passage_source ON passage(source);"
    "CREATE VIRTUAL TABLE found USING fts5(heading, text, content = '', "
    "tokenize = 'porter unicode61');",
    /* AUTOINCREMENT: an id that an answer cites never becomes another passage's. */
    "CREATE TABLE kept(n INTEGER PRIMARY KEY AUTOINCREMENT, source INTEGER NOT NULL REFERENCES "
    "source(n) ON DELETE CASCADE, heading TEXT NOT NULL, line INTEGER NOT NULL, at INTEGER NOT "
    "NULL, text TEXT NOT NULL);"
    "INSERT INTO kept SELECT n, source, heading, line, at, text FROM passage;"
    "DROP TABLE passage;"
    "ALTER TABLE kept RENAME TO passage;"
    "CREATE INDEX passage_source ON passage(source);"};

bool documents_open(Documents **out, Arena *a, const char *data, Err *err) {
    Documents *d = PUSH(a, Documents, 1);
    *out = NULL;
    *d = (Documents){.lock = monitor_new(a)};
    const bool fine =
        sql_store(&d->sql, a, data ? data : data_folder(a), "documents", schema, COUNT(schema), err)
        && sql_do(&d->sql, "PRAGMA synchronous = NORMAL", "opening", err);
    if (fine)
        *out = d;
    else
        documents_close(d);
    return fine;
}

void documents_close(Documents *d) {
    if (d) sql_close(&d->sql);
}

/* ---- statements ------------------------------------------------------------------------------ */

/* A statement with this text for ?1 and these numbers for ?2, ?3, ... */
static sqlite3_stmt *prepared(Documents *d, const char *sql, Str text, const int64_t *number, int n,
                              Err *err) {
    sqlite3_stmt *st = sql_prepare(&d->sql, sql, err);
    sql_bind(st, 1, text);
    for (int i = 0; st && i < n; i++) sqlite3_bind_int64(st, i + 2, number[i]);
    return st;
}

static bool run(Documents *d, const char *sql, Str text, const int64_t *number, int n, Err *err) {
    return sql_finish(&d->sql, prepared(d, sql, text, number, n, err), "writing", err);
}

/* The first row's numbers; 0 where there is no row. */
static bool numbers_read(Documents *d, const char *sql, Str text, const int64_t *given, int n_given,
                         int64_t *number, int n, Err *err) {
    sqlite3_stmt *st = prepared(d, sql, text, given, n_given, err);
    const int code = st ? sqlite3_step(st) : SQLITE_ERROR;
    for (int i = 0; i < n; i++) number[i] = code == SQLITE_ROW ? sqlite3_column_int64(st, i) : 0;
    const bool fine =
        code == SQLITE_ROW || code == SQLITE_DONE || (st && sql_failed(&d->sql, "reading", err));
    sqlite3_finalize(st);
    return fine && st;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* All of this or nothing; `work` false ends it, and what it did is taken back. */
static bool transaction_end(Documents *d, bool work, Err *err) {
    const bool fine = work && sql_do(&d->sql, "COMMIT", "writing", err);
    if (!fine) sqlite3_exec(d->sql.db, "ROLLBACK", NULL, NULL, NULL);
    monitor_leave(d->lock);
    return fine;
}

static bool transaction_begin(Documents *d, Err *err) {
    monitor_enter(d->lock);
    if (sql_do(&d->sql, "BEGIN IMMEDIATE", "writing", err)) return true;
    monitor_leave(d->lock);
    return false;
}

/* Takes out of the index what it has of the sources of a condition on s. */
#define FORGOTTEN(condition)                                                                       \
    "INSERT INTO found(found, rowid, heading, text) SELECT 'delete', p.n, words(p.heading), "      \
    "words(p.text) FROM source s JOIN passage p ON p.source = s.n WHERE " condition

bool documents_begin(Documents *d, Err *err) {
    monitor_enter(d->lock);
    const bool fine = numbers_read(d, "SELECT coalesce(max(round), 0) + 1 FROM source", (Str){0},
                                   NULL, 0, &d->round, 1, err);
    monitor_leave(d->lock);
    return fine;
}

bool documents_has(Documents *d, const DocumentFile *f, bool *has, Err *err) {
    const int64_t number[] = {f->size, f->modified, d->round};
    monitor_enter(d->lock);
    const bool fine =
        run(d,
            "UPDATE source SET round = max(round, ?4) WHERE path = ?1 AND size = ?2 AND "
            "modified = ?3",
            f->path, number, COUNT(number), err);
    *has = fine && sqlite3_changes64(d->sql.db) == 1;
    monitor_leave(d->lock);
    return fine;
}

typedef struct Put {
    Documents *d;
    int64_t source, passages;
    Err *err;
} Put;

static bool passage_put(void *arg, const Passage *p) {
    Put *put = arg;
    const int64_t number[] = {put->source, p->line, p->at};
    sqlite3_stmt *st = prepared(
        put->d, "INSERT INTO passage(text, source, line, at, heading) VALUES(?1, ?2, ?3, ?4, ?5)",
        p->text, number, COUNT(number), put->err);
    sql_bind(st, 5, p->heading.n ? p->heading : STR(""));
    put->passages++;
    return sql_finish(&put->d->sql, st, "writing", put->err)
           && sql_do(&put->d->sql,
                     "INSERT INTO found(rowid, heading, text) SELECT n, words(heading), "
                     "words(text) FROM passage WHERE n = last_insert_rowid()",
                     "writing", put->err);
}

/* The row of a file that has no passages, whether it was there or not. */
static bool source_put(Documents *d, const DocumentFile *f, int64_t *source, Err *err) {
    const int64_t number[] = {f->size, f->modified, d->round};
    return run(d, FORGOTTEN("s.path = ?1"), f->path, NULL, 0, err)
           && run(d, "DELETE FROM passage WHERE source = (SELECT n FROM source WHERE path = ?1)",
                  f->path, NULL, 0, err)
           && run(d,
                  "INSERT INTO source(path, size, modified, round) VALUES(?1, ?2, ?3, ?4) "
                  "ON CONFLICT(path) DO UPDATE SET size = excluded.size, "
                  "modified = excluded.modified, round = max(round, excluded.round)",
                  f->path, number, COUNT(number), err)
           && numbers_read(d, "SELECT n FROM source WHERE path = ?1", f->path, NULL, 0, source, 1,
                           err);
}

bool documents_put(Documents *d, const DocumentFile *f, DocumentKind kind, Str text,
                   int64_t *passages, Err *err) {
    Arena *a = arena_open("passages", ARENA_NO_LIMIT);
    Put put = {.d = d, .err = err};
    bool fine = transaction_begin(d, err);
    if (fine)
        fine = transaction_end(
            d, source_put(d, f, &put.source, err) && passages_cut(a, text, kind, passage_put, &put),
            err);
    *passages = put.passages;
    arena_close(a);
    return fine;
}

/* '0' is what follows '/': between the two lies what the folder has. What another walk of the same
 * folder saw, which began later, stays. */
#define VANISHED "(s.path = ?1 OR (s.path > ?1 || '/' AND s.path < ?1 || '0')) AND s.round < ?2"

bool documents_end(Documents *d, Str root, int64_t *removed, Err *err) {
    *removed = 0;
    if (!transaction_begin(d, err)) return false;
    const bool fine = run(d, FORGOTTEN(VANISHED), root, &d->round, 1, err)
                      && run(d, "DELETE FROM source AS s WHERE " VANISHED, root, &d->round, 1, err);
    if (fine) *removed = sqlite3_changes64(d->sql.db);
    return transaction_end(d, fine, err);
}

bool documents_count(Documents *d, int64_t *files, int64_t *passages, Err *err) {
    int64_t n[2];
    monitor_enter(d->lock);
    const bool fine =
        numbers_read(d, "SELECT (SELECT count(*) FROM source), (SELECT count(*) FROM passage)",
                     (Str){0}, NULL, 0, n, 2, err);
    monitor_leave(d->lock);
    *files = n[0], *passages = n[1];
    return fine;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void passage_read(Passage *p, Arena *a, sqlite3_stmt *st) {
    *p = (Passage){.id = sqlite3_column_int64(st, 0),
                   .path = str_copy(a, sql_text(st, 1)),
                   .heading = str_copy(a, sql_text(st, 2)),
                   .line = sqlite3_column_int64(st, 3),
                   .at = sqlite3_column_int64(st, 4),
                   .text = str_copy(a, sql_text(st, 5)),
                   .score = -sqlite3_column_double(st, 6)};
}

/* Of a row p of passage and s of its source. */
#define PASSAGE "p.n, s.path, p.heading, p.line, p.at, p.text"

bool documents_passage(Documents *d, Arena *a, int64_t id, Passage *p, bool *there, Err *err) {
    *there = false;
    monitor_enter(d->lock);
    sqlite3_stmt *st = prepared(
        d, "SELECT " PASSAGE ", 0 FROM passage p JOIN source s ON s.n = p.source WHERE p.n = ?2",
        (Str){0}, &id, 1, err);
    const int code = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (code == SQLITE_ROW) passage_read(p, a, st), *there = true;
    const bool fine = *there || code == SQLITE_DONE || (st && sql_failed(&d->sql, "reading", err));
    sqlite3_finalize(st);
    monitor_leave(d->lock);
    return fine;
}

bool documents_search(Documents *d, Arena *a, Str question, Passage *found, int64_t *n, Err *err) {
    const int64_t most = *n;
    Buf query = {.a = a};
    int code = SQLITE_DONE;
    grams_query_any(&query, question, WORDS_MOST);
    *n = 0;
    if (query.n == 0) return true;
    monitor_enter(d->lock);
    sqlite3_stmt *st =
        prepared(d,
                 "SELECT " PASSAGE ", bm25(found, 4, 1) AS score FROM found JOIN passage p ON p.n "
                 "= found.rowid JOIN source s ON s.n = p.source "
                 "WHERE found MATCH ?1 ORDER BY score, p.n LIMIT ?2",
                 buf_str(&query), &most, 1, err);
    while (st && (code = sqlite3_step(st)) == SQLITE_ROW) passage_read(&found[(*n)++], a, st);
    const bool fine = st && (code == SQLITE_DONE || sql_failed(&d->sql, "searching", err));
    sqlite3_finalize(st);
    monitor_leave(d->lock);
    return fine;
}
