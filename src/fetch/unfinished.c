/* unfinished.c -- what cut lines and interrupts left under FOLDER/.pull (see fetch.c). */
#include "fetch/fetch.h"

static const char *inside(Arena *a, const char *folder, Str name) {
    return str_fmt(a, "%s/%.*s", folder, STRF(name)).p;
}

/* Bytes of the files of a version's folder; u->file is the begun one, if any is. */
static bool version_read(Unfinished *u, Arena *a, const char *folder, Err *err) {
    Str *name;
    int64_t n;
    FileStamp stamp;
    if (!os_list(a, &name, &n, folder, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        const char *path = inside(a, folder, name[i]);
        bool part = str_ends(name[i], STR(".part"));
        Err gone = {0}; /* renamed in between, by who fetches it now */
        if (str_ends(name[i], STR(".etag")) || !os_stamp(&stamp, path, &gone)) continue;
        if (part || !u->file) u->file = str_copy(a, (Str){name[i].p, name[i].n - (part ? 5 : 0)}).p;
        u->bytes += stamp.size;
    }
    return true;
}

/* "OWNER+NAME-" and 16 digits of a hash, as fetch.c names the folder of a source. */
static const char *source_named(Arena *a, Str folder) {
    Str s = str_copy(a, (Str){folder.p, MAX(folder.n - 17, 0)});
    for (int64_t i = 0; i < s.n; i++)
        if (s.p[i] == '+') ((char *)(uintptr_t)s.p)[i] = '/';
    return s.p;
}

static bool source_read(Unfinished *u, Arena *a, const char *folder, Err *err) {
    Str *name;
    int64_t n;
    if (!os_list(a, &name, &n, folder, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        const char *path = inside(a, folder, name[i]);
        if (os_is_dir(path) && !version_read(u, a, path, err)) return false;
    }
    return true;
}

bool fetch_unfinished(Unfinished **out, int64_t *n, Arena *a, const char *folder, Err *err) {
    const char *pull = str_fmt(a, "%s/.pull", folder).p;
    Str *name;
    int64_t all = 0;
    *n = 0;
    if (!os_is_dir(pull)) return true;
    if (!os_list(a, &name, &all, pull, err)) return false;
    *out = PUSH(a, Unfinished, all);
    for (int64_t i = 0; i < all; i++) {
        Unfinished u = {.source = source_named(a, name[i])};
        const char *path = inside(a, pull, name[i]);
        if (os_is_dir(path) && !source_read(&u, a, path, err)) return false;
        if (u.bytes > 0) (*out)[(*n)++] = u;
    }
    return true;
}
