/* history.c -- conversations in SQLite: trees of messages, and FTS5 for what they say.
 *
 * The index has no texts of its own: a row of it is taken out by giving it the same words again,
 * which the function words() makes of the message's text (sql.h). What is taken out stays in its
 * segments until these are merged, so a removal merges them all and empties the log. */
#include "serve/history.h"
#include "serve/grams.h"
#include "serve/sql.h"

enum { DAY = 86400 };

struct History {
    Sql sql;
    Monitor *lock;
    int64_t days, swept; /* the day of the last sweep */
    int64_t opened;      /* seconds since 1970, by the clock that may be set */
    double since;        /* the same moment, by the one that cannot */
};

static const char TREES[] =
    "CREATE TABLE conversation(n INTEGER PRIMARY KEY, tenant TEXT NOT NULL, id TEXT NOT NULL, "
    "written INTEGER NOT NULL, body TEXT NOT NULL, UNIQUE(tenant, id));"
    "CREATE TABLE message(n INTEGER PRIMARY KEY, conversation INTEGER NOT NULL REFERENCES "
    "conversation(n) ON DELETE CASCADE, id TEXT NOT NULL, parent TEXT, text TEXT NOT NULL, body "
    "TEXT NOT NULL, UNIQUE(conversation, id), FOREIGN KEY(conversation, parent) REFERENCES "
    "message(conversation, id) DEFERRABLE INITIALLY DEFERRED);"
    "CREATE INDEX message_parent ON message(conversation, parent);";
static const char WORDS[] =
    "CREATE VIRTUAL TABLE found USING fts5(words, content = '', tokenize = 'unicode61');"
    "INSERT INTO found(rowid, words) SELECT n, words(text) FROM message WHERE text <> '';";
static const char *const schema[] = {TREES, WORDS};

/* ---- transactions ---------------------------------------------------------------------------- */

static bool begin(History *h, Err *err) {
    monitor_enter(h->lock);
    if (sql_do(&h->sql, "BEGIN IMMEDIATE", "writing", err)) return true;
    monitor_leave(h->lock);
    return false;
}

/* On the disk, or as if nothing had been. */
static bool end(History *h, bool fine, Err *err) {
    fine = fine && sql_do(&h->sql, "COMMIT", "writing", err);
    if (!fine) sqlite3_exec(h->sql.db, "ROLLBACK", NULL, NULL, NULL);
    monitor_leave(h->lock);
    return fine;
}

/* Runs a statement with these texts for ?1, ?2, ..., and the number for one more. */
static bool run(History *h, const char *text, const Str *value, int n, int64_t number, Err *err) {
    sqlite3_stmt *st = sql_prepare(&h->sql, text, err);
    for (int i = 0; i < n; i++) sql_bind(st, i + 1, value[i]);
    if (sqlite3_bind_parameter_count(st) > n) sqlite3_bind_int64(st, n + 1, number);
    return sql_finish(&h->sql, st, "writing", err);
}

/* ---- removing -------------------------------------------------------------------------------- */

#define GONE "(?1 IS NULL OR c.tenant = ?1) AND (?2 IS NULL OR c.id = ?2) AND c.written < ?3"

/* Within a transaction: a tenant's conversation, or all, or all that are older than `before`. */
static bool take_out(History *h, Str tenant, Str id, int64_t before, int64_t *n, Err *err) {
    const Str which[] = {tenant, id};
    bool fine = run(h,
                    "INSERT INTO found(found, rowid, words) SELECT 'delete', m.n, words(m.text) "
                    "FROM conversation c JOIN message m ON m.conversation = c.n "
                    "WHERE m.text <> '' AND " GONE,
                    which, 2, before, err)
                && run(h, "DELETE FROM conversation AS c WHERE " GONE, which, 2, before, err);
    *n = fine ? sqlite3_changes64(h->sql.db) : 0;
    return fine
           && (*n == 0
               || sql_do(&h->sql, "INSERT INTO found(found) VALUES('optimize')", "removing", err));
}

/* The log still has what was there. Somebody who reads at the moment may hold it a while longer. */
static void log_empty(History *h) {
    monitor_enter(h->lock);
    sqlite3_wal_checkpoint_v2(h->sql.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    monitor_leave(h->lock);
}

static bool remove_all(History *h, Str tenant, Str id, int64_t before, int64_t *n, Err *err) {
    if (!begin(h, err)) return false;
    if (!end(h, take_out(h, tenant, id, before, n, err), err)) return false;
    if (*n) log_empty(h);
    return true;
}

bool history_remove(History *h, Str tenant, Str id, int64_t *n, Err *err) {
    return remove_all(h, tenant, id, INT64_MAX, n, err);
}

/* What removes for good must not believe a clock that is set while the service runs: it is as early
 * as the earlier of two says, that clock and the seconds counted since the start, and what is
 * written is as late as the later of them. */
static int64_t counted(const History *h) { return h->opened + (int64_t)(os_now() - h->since); }
static int64_t earliest(const History *h) { return MIN(os_time(), counted(h)); }
static int64_t latest(const History *h) { return MAX(os_time(), counted(h)); }

/* Once a day, by whoever writes. */
static bool sweep(History *h, Err *err) {
    const int64_t now = earliest(h);
    int64_t n;
    monitor_enter(h->lock);
    const bool due = h->days > 0 && h->swept != now / DAY;
    h->swept = now / DAY;
    monitor_leave(h->lock);
    return !due || remove_all(h, (Str){0}, (Str){0}, now - h->days * DAY, &n, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

bool history_open(History **out, Arena *a, const char *data, int64_t days, Err *err) {
    History *h = PUSH(a, History, 1);
    *out = NULL;
    *h = (History){.lock = monitor_new(a), .days = days, .opened = os_time(), .since = os_now()};
    const bool fine =
        sql_store(&h->sql, a, data, "history", schema, COUNT(schema), err) && sweep(h, err);
    if (fine)
        *out = h;
    else
        history_close(h);
    return fine;
}

void history_close(History *h) {
    if (h) sql_close(&h->sql);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool conversation_put(History *h, Str tenant, const HistoryItem *i, Err *err) {
    const Str value[] = {tenant, i->conversation, i->body};
    return run(h,
               "INSERT INTO conversation(tenant, id, body, written) VALUES(?1, ?2, ?3, ?4) "
               "ON CONFLICT(tenant, id) DO UPDATE SET body = excluded.body, "
               "written = excluded.written",
               value, 3, latest(h), err);
}

/* Marks the conversation as written to, which tells whether it is there. */
static bool conversation_touch(History *h, Str tenant, Str id, Err *err) {
    const Str value[] = {tenant, id};
    return run(h, "UPDATE conversation SET written = ?3 WHERE tenant = ?1 AND id = ?2", value, 2,
               latest(h), err)
           && (sqlite3_changes64(h->sql.db) == 1
               || err_set(err, ERR_USAGE, "there is no conversation '%.*s'", STRF(id)));
}

#define THIS "conversation = (SELECT n FROM conversation WHERE tenant = ?1 AND id = ?2) AND id = ?3"

static bool message_put(History *h, Str tenant, const HistoryItem *i, Err *err) {
    const Str value[] = {tenant, i->conversation, i->id, i->parent, i->text, i->body};
    return conversation_touch(h, tenant, i->conversation, err)
           && run(h,
                  "INSERT INTO found(found, rowid, words) SELECT 'delete', n, words(text) FROM "
                  "message WHERE text <> '' AND " THIS,
                  value, 3, 0, err)
           && run(h,
                  "INSERT INTO message(conversation, id, parent, text, body) SELECT n, ?3, ?4, ?5, "
                  "?6 FROM conversation WHERE tenant = ?1 AND id = ?2 "
                  "ON CONFLICT(conversation, id) DO UPDATE SET parent = excluded.parent, "
                  "text = excluded.text, body = excluded.body",
                  value, 6, 0, err)
           && run(h,
                  "INSERT INTO found(rowid, words) SELECT n, words(text) FROM message "
                  "WHERE text <> '' AND " THIS,
                  value, 3, 0, err);
}

bool history_put(History *h, Str tenant, const HistoryItem *item, int64_t n, Err *err) {
    if (!sweep(h, err) || !begin(h, err)) return false;
    bool fine = true;
    for (int64_t i = 0; fine && i < n; i++)
        fine = item[i].id.p ? message_put(h, tenant, &item[i], err)
                            : conversation_put(h, tenant, &item[i], err);
    return end(h, fine, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Calls row(arg, st) for each row of a statement with these texts. */
static bool each(History *h, const char *text, const Str *value, int n,
                 void (*row)(void *arg, sqlite3_stmt *st), void *arg, Err *err) {
    int code = SQLITE_DONE;
    monitor_enter(h->lock);
    sqlite3_stmt *st = sql_prepare(&h->sql, text, err);
    for (int i = 0; i < n; i++) sql_bind(st, i + 1, value[i]);
    while (st && (code = sqlite3_step(st)) == SQLITE_ROW) row(arg, st);
    const bool fine = st && (code == SQLITE_DONE || sql_failed(&h->sql, "reading", err));
    sqlite3_finalize(st);
    monitor_leave(h->lock);
    return fine;
}

static void comma(Buf *out) {
    if (out->n && !char_in(out->p[out->n - 1], "[{")) buf_add(out, STR(","));
}

static void body_row(void *out, sqlite3_stmt *st) { comma(out), buf_add(out, sql_text(st, 0)); }

bool history_list(History *h, Str tenant, Buf *out, Err *err) {
    return each(h, "SELECT body FROM conversation WHERE tenant = ?1 ORDER BY n", &tenant, 1,
                body_row, out, err);
}

static void flag_row(void *flag, sqlite3_stmt *st) { *(bool *)flag = st; }

bool history_read(History *h, Str tenant, Str id, Buf *out, bool *known, Err *err) {
    const Str value[] = {tenant, id};
    *known = false;
    return each(h, "SELECT 1 FROM conversation WHERE tenant = ?1 AND id = ?2", value, 2, flag_row,
                known, err)
           && each(h,
                   "SELECT m.body FROM message m JOIN conversation c ON c.n = m.conversation "
                   "WHERE c.tenant = ?1 AND c.id = ?2 ORDER BY m.n",
                   value, 2, body_row, out, err);
}

typedef struct Export {
    Buf *out;
    int64_t last; /* conversation; 0: none yet */
} Export;

/* A conversation's body is an object, whose end is moved behind its messages. */
static void export_row(void *arg, sqlite3_stmt *st) {
    Export *x = arg;
    const int64_t n = sqlite3_column_int64(st, 0);
    Str body = sql_text(st, 1);
    if (n != x->last) {
        if (x->last) buf_add(x->out, STR("]}"));
        comma(x->out);
        body.n--;
        buf_add(x->out, body);
        buf_add(x->out, body.n > 1 ? STR(",\"messages\":[") : STR("\"messages\":["));
        x->last = n;
    }
    if (sql_text(st, 2).p) comma(x->out), buf_add(x->out, sql_text(st, 2));
}

bool history_export(History *h, Str tenant, Buf *out, Err *err) {
    Export x = {.out = out};
    const bool fine = each(h,
                           "SELECT c.n, c.body, m.body FROM conversation c LEFT JOIN message m "
                           "ON m.conversation = c.n WHERE c.tenant = ?1 ORDER BY c.n, m.n",
                           &tenant, 1, export_row, &x, err);
    if (x.last) buf_add(out, STR("]}"));
    return fine;
}

/* ---- search ---------------------------------------------------------------------------------- */

typedef struct Found {
    Buf *out;
    Str word;
} Found;

static void hit_row(void *arg, sqlite3_stmt *st) {
    Found *f = arg;
    comma(f->out);
    buf_fmt(f->out, "{\"conversation\":\"%.*s\",\"excerpt\":", STRF(sql_text(st, 0)));
    grams_excerpt(f->out, sql_text(st, 1), f->word);
    buf_add(f->out, STR("}"));
}

bool history_search(History *h, Str tenant, const Str *word, int64_t n, Buf *out, Err *err) {
    Buf query = {.a = out->a};
    if (n == 0) return true;
    grams_query(&query, word, n);
    const Str value[] = {buf_str(&query), tenant};
    Found f = {out, word[0]};
    return each(h,
                "SELECT c.id, m.text FROM found JOIN message m ON m.n = found.rowid JOIN "
                "conversation c ON c.n = m.conversation WHERE found MATCH ?1 AND c.tenant = ?2 "
                "GROUP BY c.n LIMIT 1000",
                value, 2, hit_row, &f, err);
}
