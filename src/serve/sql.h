/* sql.h -- private to serve/: a database of SQLite that is written durably (WAL, synchronous =
 * FULL); what is deleted is overwritten. The caller lets in one thread at a time. */
#pragma once
#include "base/base.h"
#include <sqlite3.h>

typedef struct Sql {
    sqlite3 *db;
    const char *path;
} Sql;

/* Makes the file where there is none; no other user may open it. */
bool sql_open(Sql *s, const char *path, Err *err) CHECKED;
void sql_close(Sql *s);
/* The Err of the last call: ERR_LIMIT where the disk took no more, ERR_USAGE where what was written
 * refers to something that is not there; returns false. */
bool sql_failed(const Sql *s, const char *what, Err *err);
bool sql_do(const Sql *s, const char *text, const char *what, Err *err) CHECKED;
/* A statement that lives for one call; NULL with an Err. */
sqlite3_stmt *sql_prepare(const Sql *s, const char *text, Err *err);
/* Runs it to its end and gives it back; NULL is false. */
bool sql_finish(const Sql *s, sqlite3_stmt *st, const char *what, Err *err) CHECKED;
void sql_bind(sqlite3_stmt *st, int i, Str text); /* p NULL: nothing; the bytes must stay */
Str sql_text(sqlite3_stmt *st, int i);            /* of a column, until the next step */
/* Opens NAME.db in the folder data/NAME, which it makes where it is absent and no other user may
 * open; two that make it at once both get it. words(TEXT) is what an index is given of a text there
 * (grams_add). Brings the schema from the version that the file has to that of the last step;
 * refuses a newer one. Each step is a transaction of its own. */
bool sql_store(Sql *s, Arena *a, const char *data, const char *name, const char *const *step,
               int64_t n, Err *err) CHECKED;
