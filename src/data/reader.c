/* reader.c -- files by their name, and their text in windows. */
#include "data/reader.h"

#include <archive.h>
#include <fnmatch.h>
#include <stdlib.h>

enum { WINDOW_BYTES = 8 << 20, DEPTH_MOST = 32, FILES_MOST = 1 << 20 };

/* ---- names ----------------------------------------------------------------------------------- */

typedef struct Files {
    Arena *a;
    const char **v;
    int64_t n, cap;
} Files;

static void file_add(Files *f, Str path) {
    if (f->n == f->cap) {
        const char **old = f->v;
        f->cap = MAX(2 * f->cap, 16);
        f->v = PUSH(f->a, const char *, f->cap);
        if (f->n) memcpy(f->v, old, (size_t)f->n * sizeof *old);
    }
    f->v[f->n++] = path.p;
}

static Str unpacked_name(Str name) {
    const Str packed[] = {STR(".gz"), STR(".xz"), STR(".zst")};
    for (int64_t i = 0; i < COUNT(packed); i++)
        if (str_ends(name, packed[i])) return (Str){name.p, name.n - packed[i].n};
    return name;
}

bool file_is_json(const char *path) {
    const Str name = unpacked_name(str_of(path));
    return str_ends(name, STR(".jsonl")) || str_ends(name, STR(".ndjson"));
}

static bool is_text_name(const char *path) {
    const Str name = unpacked_name(str_of(path));
    return file_is_json(path) || str_ends(name, STR(".txt")) || str_ends(name, STR(".md"));
}

static Str joined(Arena *a, const char *folder, Str name) {
    if (!*folder) return str_copy(a, name);
    const bool slash = str_ends(str_of(folder), STR("/"));
    return str_fmt(a, "%s%s%.*s", folder, slash ? "" : "/", STRF(name));
}

static bool too_many(const char *name, Err *err) {
    return err_set(err, ERR_LIMIT, "%s: more than %d files, or folders deeper than %d", name,
                   FILES_MOST, DEPTH_MOST);
}

static bool folder_add(Files *f, const char *folder, int depth, Err *err) {
    Str *name;
    int64_t n;
    if (depth > DEPTH_MOST) return too_many(folder, err);
    if (!os_list(f->a, &name, &n, folder, err)) return false;
    for (int64_t i = 0; i < n; i++) {
        if (name[i].p[0] == '.') continue;
        const Str path = joined(f->a, folder, name[i]);
        if (os_is_dir(path.p)) {
            if (!folder_add(f, path.p, depth + 1, err)) return false;
        } else if (is_text_name(path.p))
            file_add(f, path);
        if (f->n > FILES_MOST) return too_many(folder, err);
    }
    return true;
}

static bool has_wildcard(Str s) {
    for (int64_t i = 0; i < s.n; i++)
        if (char_in(s.p[i], "*?[")) return true;
    return false;
}

/* What fits the rest of a pattern, one name between slashes after the other. */
static bool pattern_add(Files *f, const char *folder, Str rest, int depth, Err *err) {
    const char *slash = rest.n ? memchr(rest.p, '/', (size_t)rest.n) : NULL;
    const Str part = {rest.p, slash ? slash - rest.p : rest.n};
    const Str after = slash ? (Str){slash + 1, rest.n - part.n - 1} : (Str){0};
    if (depth > DEPTH_MOST) return too_many(folder, err);
    if (part.n == 0) return !slash || pattern_add(f, *folder ? folder : "/", after, depth + 1, err);
    if (!has_wildcard(part)) {
        const Str path = joined(f->a, folder, part);
        if (!os_exists(path.p)) return true;
        if (slash) return pattern_add(f, path.p, after, depth + 1, err);
        return os_is_dir(path.p) ? folder_add(f, path.p, depth + 1, err)
                                 : (file_add(f, path), true);
    }
    Str *name;
    int64_t n;
    const Str pattern = str_copy(f->a, part);
    if (!os_is_dir(*folder ? folder : ".")) return true;
    if (!os_list(f->a, &name, &n, *folder ? folder : ".", err)) return false;
    for (int64_t i = 0; i < n; i++) {
        if (fnmatch(pattern.p, str_copy(f->a, name[i]).p, FNM_PERIOD) != 0) continue;
        const Str path = joined(f->a, folder, name[i]);
        const bool is_folder = os_is_dir(path.p);
        if (slash && is_folder && !pattern_add(f, path.p, after, depth + 1, err)) return false;
        if (!slash && is_folder && !folder_add(f, path.p, depth + 1, err)) return false;
        if (!slash && !is_folder) file_add(f, path);
        if (f->n > FILES_MOST) return too_many(folder, err);
    }
    return true;
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool files_find(Arena *a, const char ***path, int64_t *n, const char *name, Err *err) {
    Files f = {.a = a};
    bool ok = true;
    if (os_is_dir(name))
        ok = folder_add(&f, name, 0, err);
    else if (os_exists(name) || !has_wildcard(str_of(name)))
        file_add(&f, str_copy(a, str_of(name)));
    else
        ok = pattern_add(&f, "", str_of(name), 0, err);
    if (ok && f.n == 0)
        ok =
            err_set(err, ERR_IO,
                    os_is_dir(name) ? "%s has no file that ends in .txt, .md or .jsonl, or in that "
                                      "and .gz, .xz or .zst"
                                    : "%s: no file has a name that fits",
                    name);
    if (ok) qsort(f.v, (size_t)f.n, sizeof *f.v, by_bytes);
    *path = f.v, *n = f.n;
    return ok;
}

/* ---- unpacking ------------------------------------------------------------------------------- */

static bool is_packed(const Map *m) {
    const Str head = {(const char *)m->p, MIN(m->n, 16)}, magic[] = {STR("\x1f\x8b\x08"),
                                                                     STR("\xfd"
                                                                         "7zXZ\0"),
                                                                     STR("\x28\xb5\x2f\xfd")};
    for (int64_t i = 0; i < COUNT(magic); i++)
        if (str_starts(head, magic[i])) return true;
    return false;
}

static bool unpack_failed(const Reader *r, Err *err) {
    const char *why = archive_error_string(r->unpack);
    return err_set(err, ERR_FORMAT,
                   "unpacking %s: %s. Is the file whole? It can be tried with gzip -t, xz -t or "
                   "zstd -t",
                   r->path, why ? why : "it is damaged");
}

static bool unpack_start(Reader *r, Err *err) {
    struct archive *x = r->unpack = archive_read_new();
    struct archive_entry *entry;
    CHECK(x);
    if (archive_read_support_filter_gzip(x) != ARCHIVE_OK
        || archive_read_support_filter_xz(x) != ARCHIVE_OK
        || archive_read_support_filter_zstd(x) != ARCHIVE_OK)
        return err_set(err, ERR_UNSUPPORTED,
                       "unpacking %s: this build of libarchive lacks gzip, xz or zstd", r->path);
    archive_read_support_format_raw(x);
    if (archive_read_open_memory(x, r->map.p, (size_t)r->map.n) != ARCHIVE_OK)
        return unpack_failed(r, err);
    const int rc = archive_read_next_header(x, &entry);
    r->end = rc == ARCHIVE_EOF;
    return rc == ARCHIVE_OK || rc == ARCHIVE_EOF || unpack_failed(r, err);
}

/* ---- windows --------------------------------------------------------------------------------- */

bool reader_open(Reader *r, const char *path, Err *err) {
    *r = (Reader){.path = path};
    if (!os_map(&r->map, path, err)) return false;
    if (!is_packed(&r->map)) {
        r->window = (Str){(const char *)r->map.p, r->map.n};
        r->end = true;
        return true;
    }
    if (unpack_start(r, err) && reader_more(r, 0, INT64_MAX, err)) return true;
    reader_close(r);
    return false;
}

/* A window of `cap` bytes that begins with what the old one has. */
static void window_move(Reader *r, int64_t cap) {
    Arena *a = arena_open("text", ARENA_NO_LIMIT);
    char *buf = PUSH(a, char, cap);
    if (r->window.n) memcpy(buf, r->window.p, (size_t)r->window.n);
    if (r->arena) arena_close(r->arena);
    r->arena = a, r->buf = buf, r->cap = cap;
}

bool reader_more(Reader *r, int64_t used, int64_t most, Err *err) {
    if (used) r->window = (Str){r->window.p + used, r->window.n - used};
    if (!r->unpack) {
        os_drop(&r->map, 0, reader_at(r));
        return true;
    }
    if (r->end) return true;
    if (r->window.n >= most)
        return err_set(err, ERR_LIMIT, "%s: a piece of text of more than %lld MB", r->path,
                       (long long)(most >> 20));
    if (r->window.n > r->cap / 2 || !r->buf)
        window_move(r, MAX(2 * r->cap, WINDOW_BYTES));
    else if (r->window.n)
        memmove(r->buf, r->window.p, (size_t)r->window.n);
    r->window.p = r->buf;
    while (r->window.n < r->cap) {
        const int64_t n =
            archive_read_data(r->unpack, r->buf + r->window.n, (size_t)(r->cap - r->window.n));
        if (n < 0) return unpack_failed(r, err);
        r->end = n == 0;
        if (r->end) break;
        r->window.n += n;
    }
    return true;
}

int64_t reader_at(const Reader *r) {
    if (!r->unpack) return r->map.n - r->window.n;
    return r->end ? r->map.n : (int64_t)archive_filter_bytes(r->unpack, -1);
}

void reader_close(Reader *r) {
    if (r->unpack) archive_read_free(r->unpack);
    if (r->map.p) os_unmap(&r->map);
    if (r->arena) arena_close(r->arena);
    *r = (Reader){0};
}
