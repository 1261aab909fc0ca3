/* download.c -- one file, from where an earlier try left it.
 *
 * Invariants: NAME.part holds the first bytes of the file, and NAME only ever all of them, of the
 * right size and with the right SHA-256, durable. A part is continued where the bytes are sure to
 * be of the same file: its SHA-256 is known and will be compared, or the server's ETag, kept in
 * NAME.etag, still holds (If-Range). */
#include "fetch/download.h"

#include <stdio.h>

#include "fetch/repo.h"

enum { BUFFER_BYTES = 1 << 20, TRIES = 6 };

typedef struct Part {
    Download *d;
    Wanted *w;
    const char *path, *etag_path; /* NAME.part, NAME.etag */
    int64_t have;                 /* bytes in the file and in the buffer, all of them hashed */
    int64_t most;                 /* the most that `have` was after any try */
    Sha256 sha;
    char *buffer; /* (BUFFER_BYTES) */
    int64_t n;
    bool looked; /* at the reply of this request */
} Part;

static const char *in_folder(const Download *d, const char *name, const char *end) {
    return str_fmt(d->a, "%s/%s%s", d->folder, name, end).p;
}

static int64_t size_of(const char *path) {
    FileStamp s;
    Err none = {0};
    return os_exists(path) && os_stamp(&s, path, &none) ? s.size : 0;
}

int64_t download_kept(const Download *d, const Wanted *w) {
    const char *whole = in_folder(d, w->name, "");
    return os_exists(whole) ? size_of(whole) : size_of(in_folder(d, w->name, ".part"));
}

/* ---- the part -------------------------------------------------------------------------------- */

static bool part_clear(Part *p, Err *err) {
    p->d->done -= p->have;
    p->have = p->n = 0;
    sha256_init(&p->sha);
    return !os_exists(p->path) || os_remove(p->path, err);
}

static bool part_flush(Part *p, Err *err) {
    const Str bytes = {p->buffer, p->n};
    p->n = 0;
    return bytes.n == 0 || os_append(p->path, bytes, err);
}

/* Hashes what is there. */
static bool part_open(Part *p, Err *err) {
    Map m;
    sha256_init(&p->sha);
    if (!os_exists(p->path)) return true;
    if (!os_map(&m, p->path, err)) return false;
    for (int64_t at = 0, n; at < m.n && !os_interrupted(); at += n) {
        n = MIN(m.n - at, BUFFER_BYTES);
        sha256_add(&p->sha, m.p + at, n);
        os_drop(&m, at, n);
        p->d->bar.first += n; /* which did not come over the network */
        progress_at(&p->d->bar, p->d->done += n, "reading what is there");
    }
    p->have = m.n;
    os_unmap(&m);
    return !os_interrupted() || err_set(err, ERR_INTERRUPTED, "interrupted");
}

static const char *etag_read(Part *p) {
    Str s;
    Err none = {0};
    bool there = os_exists(p->etag_path) && os_read(p->d->a, &s, p->etag_path, 1024, &none);
    return there && s.n && strlen(s.p) == (size_t)s.n ? s.p : NULL;
}

/* Weak ones ("W/...") do not tell bytes apart. */
static bool etag_keep(Part *p, Str etag, Err *err) {
    if (p->w->sha256 || !str_starts(etag, STR("\""))) return true;
    return os_put(p->d->a, p->etag_path, etag, err);
}

/* ---- an answer ------------------------------------------------------------------------------- */

static bool is_page(const HttpReply *r, const void *p, int64_t n) {
    Str begin = str_trim((Str){p, MIN(n, 64)}, " \t\r\n");
    return str_starts(r->type, STR("text/html")) || str_starts(begin, STR("<!DOCTYPE"))
           || str_starts(begin, STR("<!doctype")) || str_starts(begin, STR("<html"));
}

bool room_check(const char *what, const char *folder, int64_t bytes, Err *err) {
    int64_t room = os_disk_free(folder);
    if (room < 0 || bytes <= room) return true;
    return err_set(err, ERR_LIMIT,
                   "fetching %s: %.1f MB more are needed in %s and %.1f MB are free: make room "
                   "(lisao list, lisao rm) and start again",
                   what, (double)bytes / 1e6, folder, (double)room / 1e6);
}

/* The server's own word on the file, where nobody else's is known. */
static void identity_take(Wanted *w, const HttpReply *r, Arena *a) {
    Str tag = str_trim(r->linked_etag, "\"");
    if (w->sha256 || !is_sha256(tag)) return;
    w->sha256 = str_copy(a, tag).p;
    w->checked = true;
    if (w->size < 0) w->size = r->linked_size;
}

/* Looks at an answer before its first byte is taken. */
static bool reply_look(Part *p, const HttpReply *r, const void *bytes, int64_t n, Err *err) {
    Wanted *w = p->w;
    const char *url = url_shown(p->d->a, r->url);
    bool rest = r->status == 206;
    p->looked = true;
    identity_take(w, r, p->d->a);
    if (rest && r->range_first != p->have)
        return err_set(err, ERR_FORMAT,
                       "fetching %s: %s was asked for byte %lld and sends byte %lld", w->name, url,
                       (long long)p->have, (long long)r->range_first);
    if (!rest && !part_clear(p, err)) return false; /* all of it, from the start */
    if (p->have == 0 && is_page(r, bytes, n))
        return err_set(err, ERR_FORMAT,
                       "fetching %s: %s sends a web page and not the file: look at it in a browser "
                       "(a wrong address, or a page that asks you to log in?)",
                       w->name, url);
    int64_t size = rest ? r->range_total : r->length;
    if (w->size >= 0 && size >= 0 && size != w->size)
        return err_set(err, ERR_FORMAT,
                       "fetching %s: %s has %lld bytes, and %lld were expected: the file may have "
                       "changed in between; start again",
                       w->name, url, (long long)size, (long long)w->size);
    if (w->size < 0) w->size = size;
    if (w->size < 0 && !w->sha256)
        return err_set(err, ERR_UNSUPPORTED,
                       "fetching %s: %s does not say how long the file is, so nobody could tell "
                       "whether all of it arrived: give --sha256",
                       w->name, url);
    if (p->have == 0 && !etag_keep(p, r->etag, err)) return false;
    if (p->d->bar.total == 0 && w->size > 0) p->d->bar.total = w->size;
    return room_check(w->name, p->d->folder, w->size - p->have, err);
}

static bool bytes_take(void *arg, const HttpReply *r, const void *bytes, int64_t n, Err *err) {
    Part *p = arg;
    const char *from = bytes;
    if (!p->looked && !reply_look(p, r, bytes, n, err)) return false;
    if (p->w->size >= 0 && n > p->w->size - p->have)
        return err_set(err, ERR_FORMAT,
                       "fetching %s: %s sends more than the %lld bytes of the file", p->w->name,
                       url_shown(p->d->a, r->url), (long long)p->w->size);
    sha256_add(&p->sha, bytes, n);
    p->have += n;
    p->d->received += n;
    progress_at(&p->d->bar, p->d->done += n, NULL);
    for (int64_t k; n > 0; from += k, n -= k) {
        k = MIN(n, BUFFER_BYTES - p->n);
        memcpy(p->buffer + p->n, from, (size_t)k);
        p->n += k;
        if (p->n == BUFFER_BYTES && !part_flush(p, err)) return false;
    }
    return true;
}

/* ---- tries ----------------------------------------------------------------------------------- */

static HttpEnd one_try(Part *p, HttpReply *r, Err *err) {
    const char *etag = p->w->sha256 ? NULL : etag_read(p);
    if (p->have > 0 && !p->w->sha256 && !etag && !part_clear(p, err)) return HTTP_FAILED;
    p->looked = false;
    HttpRequest q = {.url = p->w->url,
                     .token = p->d->token,
                     .from = p->have,
                     .if_range = etag,
                     .take = bytes_take,
                     .arg = p};
    HttpEnd end = http_get(p->d->http, p->d->a, r, &q, err);
    Err late = {0};
    if (!part_flush(p, &late) && (end == HTTP_ANSWERED || end == HTTP_CUT)) {
        err_set(err, late.code, "%s", late.msg);
        end = HTTP_FAILED;
    }
    return end;
}

/* Somebody was reached before: then the network may come back. */
static bool worth_a_try(Part *p, HttpEnd end, const HttpReply *r) {
    return http_again(end, r) || (end == HTTP_UNREACHABLE && p->d->received > 0);
}

/* What is kept is said, so that nobody begins anew. */
static bool stopped(const Part *p, const Err *why, Err *err) {
    if (p->have == 0) return err_set(err, why->code, "%s", why->msg);
    return err_set(err, why->code,
                   "%.600s. %.1f of %.1f MB of %s are kept: the same command goes on from there",
                   why->msg, (double)p->have / 1e6, (double)MAX(p->w->size, p->have) / 1e6,
                   p->w->name);
}

/* Whether the answer was the file, or the rest of it. */
static bool all_there(Part *p, const HttpReply *r, HttpEnd *end, Err *why) {
    const Wanted *w = p->w;
    if (*end != HTTP_ANSWERED || (r->status != 200 && r->status != 206)) return false;
    if (p->looked && (w->size < 0 || p->have == w->size)) return true;
    *end = HTTP_CUT;
    return err_set(why, ERR_IO, "fetching %s: the answer of %s ends after %lld bytes", w->name,
                   url_shown(p->d->a, r->url), (long long)p->have);
}

/* Until all bytes are there. A try that came farther than all before starts the count anew. */
static bool bytes_fetch(Part *p, Err *err) {
    for (int64_t try = 0;; try++) {
        HttpReply r;
        Err why = {0};
        HttpEnd end = one_try(p, &r, &why);
        if (all_there(p, &r, &end, &why)) return true;
        if (end == HTTP_ANSWERED && r.status == 416 && p->have > 0) { /* less than we have */
            if (!part_clear(p, err)) return false;
            continue;
        }
        if (end == HTTP_ANSWERED)
            http_refused(p->d->a, &r, p->w->name, p->d->page, p->d->token != NULL, &why);
        if (p->have > p->most) try = 0;
        p->most = MAX(p->most, p->have);
        if (!worth_a_try(p, end, &r) || try == TRIES - 1) return stopped(p, &why, err);
        http_wait(try, &r);
        if (!os_interrupted()) continue;
        why = (Err){ERR_INTERRUPTED, "interrupted"};
        return stopped(p, &why, err);
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static bool part_finish(Part *p, Err *err) {
    Wanted *w = p->w;
    char *hex = arena_push(p->d->a, 65);
    Err none = {0};
    sha256_hex(&p->sha, hex);
    bool right = (!w->sha256 || !strcmp(hex, w->sha256)) && (w->size < 0 || p->have == w->size);
    if (!right) {
        if (!part_clear(p, err)) return false;
        return err_set(err, ERR_FORMAT,
                       "fetching %s: what arrived has SHA-256 %s, and %s was expected: it was "
                       "thrown away. Start again; if it happens again, the server or something on "
                       "the way changes the file",
                       w->name, hex, w->sha256 ? w->sha256 : "another size");
    }
    w->size = p->have;
    w->sha256 = hex;
    if (!os_sync(p->path, err) || !os_rename(p->path, in_folder(p->d, w->name, ""), err))
        return false;
    if (os_exists(p->etag_path) && !os_remove(p->etag_path, &none))
        log_at(LOG_WARN, "%s", none.msg);
    return true;
}

bool download_run(Download *d, Wanted *w, Err *err) {
    const char *whole = in_folder(d, w->name, "");
    if (os_exists(whole)) { /* it got its name when it was checked */
        w->size = size_of(whole);
        d->done += w->size;
        d->bar.first += w->size;
        return true;
    }
    Part p = {.d = d,
              .w = w,
              .path = in_folder(d, w->name, ".part"),
              .etag_path = in_folder(d, w->name, ".etag"),
              .buffer = arena_push(d->a, BUFFER_BYTES)};
    if (!part_open(&p, err) || (w->size >= 0 && p.have > w->size && !part_clear(&p, err)))
        return false;
    bool there = p.have == w->size;
    if (w->size == 0) there = os_append(p.path, (Str){"", 0}, err); /* nothing to ask for */
    return (there || (w->size != 0 && bytes_fetch(&p, err))) && part_finish(&p, err);
}
