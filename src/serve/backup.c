/* backup.c -- copies of the service's databases by SQLite itself, which reads them as they are at
 * one moment while others write. */
#include "serve/backup.h"
#include "serve/keys.h"
#include "serve/sql.h"

static const char *const databases[] = {"keys/keys.db", "history/history.db"};
static const char *const folders[] = {"keys", "history"};
static const char pepper[] = "keys/pepper"; /* without it the database says nothing about keys */
enum { PEPPER_MOST = 4096 };

static const char *in(Arena *a, const char *folder, const char *name) {
    return str_fmt(a, "%s/%s", folder, name).p;
}

static bool counted(Backup *b, const char *path, Err *err) {
    FileStamp stamp;
    if (!os_stamp(&stamp, path, err)) return false;
    b->files++, b->bytes += stamp.size;
    return true;
}

static bool database_copy(Arena *a, const char *from, const char *to, Err *err) {
    Sql sql;
    const bool fine = sql_open(&sql, from, err);
    sqlite3_stmt *st = fine ? sql_prepare(&sql, "VACUUM INTO ?1", err) : NULL;
    sql_bind(st, 1, str_of(to));
    const bool copied = sql_finish(&sql, st, str_fmt(a, "copying to %s", to).p, err);
    sql_close(&sql);
    return copied && os_sync(to, err);
}

static bool pepper_copy(Arena *a, const char *from, const char *to, Err *err) {
    Str bytes;
    return os_read(a, &bytes, from, PEPPER_MOST, err) && os_put(a, to, bytes, err)
           && os_private(to, err);
}

static bool folder_make(const char *path, Err *err) {
    return os_mkdir(path, err) && os_private(path, err);
}

/* All that is there of the folder `from`. */
static bool all_copy(Backup *b, Arena *a, const char *from, const char *to, Err *err) {
    for (int i = 0; i < COUNT(databases); i++) {
        const char *source = in(a, from, databases[i]), *copy = in(a, to, databases[i]);
        if (!os_exists(source)) continue;
        if (!folder_make(in(a, to, folders[i]), err) || !database_copy(a, source, copy, err)
            || !os_private(copy, err) || !counted(b, copy, err))
            return false;
    }
    if (!os_exists(in(a, from, pepper))) return true;
    return folder_make(in(a, to, folders[0]), err)
           && pepper_copy(a, in(a, from, pepper), in(a, to, pepper), err)
           && counted(b, in(a, to, pepper), err);
}

/* What all_copy has made, and nothing else; what is not there is no error. */
static void take_back(Arena *a, const char *folder) {
    Err none = {0};
    for (int i = 0; i < COUNT(folders); i++) (void)!os_remove(in(a, folder, folders[i]), &none);
}

bool backup_make(Backup *b, Arena *a, const char *data, const char *to, Err *err) {
    *b = (Backup){.folder = data ? data : data_folder(a)};
    Str name = str_of(to);
    while (name.n > 1 && name.p[name.n - 1] == '/') name.n--;
    const char *part = str_fmt(a, "%.*s.lisao-part", STRF(name)).p;
    if (os_exists(to)) return err_set(err, ERR_USAGE, "%s is there already: name a new folder", to);
    if (!folder_make(part, err)) return false;
    const int lock = os_lock(part, err);
    if (lock < 0) return false;
    take_back(a, part); /* what one that was killed has left */
    const bool fine = all_copy(b, a, b->folder, part, err)
                      && (b->files > 0
                          || err_set(err, ERR_USAGE,
                                     "there is nothing to copy in %s: no keys, no conversations "
                                     "(--data names a service's folder)",
                                     b->folder))
                      && os_rename(part, to, err);
    if (!fine) take_back(a, part), os_remove_empty(part);
    os_unlock(lock);
    return fine;
}
