/* fetch.c -- from what a user names to a model in the folder.
 *
 * Under FOLDER/.pull each source has a folder of its own, which is locked while it is worked in:
 *
 *   SOURCE/record.json       what was fetched last, and what it is called in FOLDER
 *   SOURCE/VERSION/NAME      files that are whole and checked; NAME.part: begun ones
 *
 * VERSION is a hash of all names, sizes and hashes that are wanted, so that files of two versions
 * never mix. When all are there they are renamed into FOLDER, the first part of a split file last;
 * of a folder it is one rename. The record is written before and after: before, so that what it
 * names is known as ours if we die in between; only one that says "whole" counts as fetched. */
#include "fetch/fetch.h"

#include <jansson.h>
#include <stdio.h>

#include "fetch/download.h"
#include "fetch/repo.h"

enum {
    LIST_BYTES = 32 << 20,
    LIST_PAGES = 100,
    LIST_SECONDS = 120,
    LIST_TRIES = 4,
    RECORD_BYTES = 16 << 20
};
static const char HUB[] = "https://huggingface.co";

/* What is to be there in the end. */
typedef struct Model {
    bool folder;
    Str stem, owner; /* a folder's name; what stands before names that are taken; or empty */
    Wanted *file;    /* (n) */
    int64_t n;
} Model;

typedef struct Fetch {
    Arena *a;
    const FetchSpec *spec;
    const char *endpoint, *token; /* token: for the endpoint, or NULL */
    Http *http;
    bool repo; /* else `url` is the address of a file */
    RepoSpec at;
    const char *url;
    const char *place;   /* FOLDER/.pull/SOURCE */
    const char *version; /* its folder of this version */
    Model m;
    json_t *record; /* NULL: none, or it cannot be read */
    Download d;
    Err *err;
} Fetch;

/* ---- what is meant --------------------------------------------------------------------------- */

/* The first component; s goes on behind it. */
static Str step(Str *s) {
    const char *slash = s->n ? memchr(s->p, '/', (size_t)s->n) : NULL;
    Str part = {s->p, slash ? slash - s->p : s->n};
    int64_t skip = MIN(part.n + 1, s->n);
    s->p += skip, s->n -= skip;
    return part;
}

/* Pages of the hub as a browser shows them: /OWNER/NAME, /OWNER/NAME/tree/REV,
 * /OWNER/NAME/blob/REV/FILE and /resolve/. False: it is none of them. */
static bool page_parse(Fetch *f, const char *url) {
    Err none = {0};
    if (!url_same_host(url, f->endpoint)) return false;
    Str path = url_path(f->a, url);
    step(&path);
    Str owner = step(&path), name = step(&path), kind = step(&path), revision = step(&path);
    bool file = str_eq(kind, STR("blob")) || str_eq(kind, STR("resolve"));
    bool other = kind.n ? !file && !str_eq(kind, STR("tree")) : str_ends(name, STR(".gguf"));
    if (!name.n || other || (file && !path.n)) return false;
    Str text = str_fmt(f->a, "%.*s/%.*s", STRF(owner), STRF(name));
    if (revision.n) text = str_fmt(f->a, "%.*s@%.*s", STRF(text), STRF(revision));
    if (file) text = str_fmt(f->a, "%.*s:%.*s", STRF(text), STRF(path));
    return spec_parse(&f->at, f->a, text, &none);
}

static bool source_parse(Fetch *f) {
    const char *text = f->spec->source;
    bool address = strstr(text, "://") != NULL;
    if (!url_open(&f->endpoint, f->a, f->spec->endpoint ? f->spec->endpoint : HUB, "HF_ENDPOINT",
                  f->err))
        return false;
    Str end = str_trim(str_of(f->endpoint), "/"); /* no slash twice */
    f->endpoint = str_copy(f->a, end).p;
    if (address && !url_open(&f->url, f->a, text, "the address", f->err)) return false;
    f->repo = !address || page_parse(f, f->url);
    f->token = f->spec->token;
    if (address && !f->repo && !url_same_host(f->url, f->endpoint)) f->token = NULL;
    const char *to = f->repo ? f->endpoint : f->url;
    if (f->token && url_plain(to) && !url_local(to)) {
        log_at(LOG_WARN, "the token in HF_TOKEN is not sent: %s is not encrypted", to);
        f->token = NULL;
    }
    if (f->repo && f->spec->sha256)
        return err_set(f->err, ERR_USAGE,
                       "--sha256 goes with the address of a file: a repository's list of files "
                       "has their hashes");
    return address || spec_parse(&f->at, f->a, str_of(text), f->err);
}

/* ---- the place ------------------------------------------------------------------------------- */

static const char *hex_of(Arena *a, Str text) {
    Sha256 sha;
    char hex[65];
    sha256_init(&sha);
    sha256_add(&sha, text.p, text.n);
    sha256_hex(&sha, hex);
    return str_copy(a, (Str){hex, 16}).p;
}

static void place_choose(Fetch *f) {
    const RepoSpec *s = &f->at;
    Str key = f->repo ? str_fmt(f->a, "%s %.*s %.*s %.*s", f->endpoint, STRF(s->repo),
                                STRF(s->revision), STRF(s->choice))
                      : str_of(f->url);
    Str name = f->repo ? str_copy(f->a, s->repo) : STR("address");
    for (int64_t i = 0; i < name.n; i++)
        if (name.p[i] == '/') ((char *)(uintptr_t)name.p)[i] = '+';
    f->place = str_fmt(f->a, "%s/.pull/%.*s-%s", f->spec->folder, STRF(name), hex_of(f->a, key)).p;
}

static const char *in_models(Fetch *f, Str name) {
    return str_fmt(f->a, "%s/%.*s", f->spec->folder, STRF(name)).p;
}

static const char *record_path(Fetch *f) { return str_fmt(f->a, "%s/record.json", f->place).p; }

static void record_read(Fetch *f) {
    Str s;
    Err none = {0};
    if (f->record) json_decref(f->record);
    f->record = NULL;
    if (os_exists(record_path(f)) && os_read(f->a, &s, record_path(f), RECORD_BYTES, &none))
        f->record = json_loadb(s.p, (size_t)s.n, 0, NULL);
}

static Str record_text(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return json_is_string(v) ? (Str){json_string_value(v), (int64_t)json_string_length(v)}
                             : (Str){0};
}

/* The path here of a file that the record names; NULL where that is no name. */
static const char *record_file(Fetch *f, const json_t *file) {
    Str name = record_text(file, "name"), model = record_text(f->record, "name");
    if (!name_usable(name) || !name_usable(model)) return NULL;
    if (!json_is_true(json_object_get(f->record, "folder"))) return in_models(f, name);
    return str_fmt(f->a, "%s/%.*s/%.*s", f->spec->folder, STRF(model), STRF(name)).p;
}

/* Whether a file that the record names is there, as long as it was. */
static bool file_holds(Fetch *f, const json_t *file) {
    FileStamp stamp;
    Err none = {0};
    const char *path = record_file(f, file);
    return path && os_exists(path) && os_stamp(&stamp, path, &none)
           && stamp.size == json_integer_value(json_object_get(file, "size"));
}

static bool files_hold(Fetch *f) {
    const json_t *files = json_object_get(f->record, "files"), *v;
    size_t i;
    json_array_foreach(files, i, v) {
        if (!file_holds(f, v)) return false;
    }
    return json_array_size(files) > 0;
}

static bool record_holds(Fetch *f) {
    return json_is_true(json_object_get(f->record, "whole")) && files_hold(f);
}

/* The file or folder NAME of the models' folder is what the record names: one that a user has put
 * in its place since is not. */
static bool record_names(Fetch *f, Str name) {
    const json_t *v;
    size_t i;
    if (json_is_true(json_object_get(f->record, "folder")))
        return str_eq(record_text(f->record, "name"), name) && files_hold(f);
    json_array_foreach(json_object_get(f->record, "files"), i, v) {
        if (str_eq(record_text(v, "name"), name)) return file_holds(f, v);
    }
    return false;
}

static Str final_name(Fetch *f, int64_t i, bool taken) {
    Str name = f->m.folder ? f->m.stem : str_of(f->m.file[i].name);
    return taken ? str_fmt(f->a, "%.*s--%.*s", STRF(f->m.owner), STRF(name)) : name;
}

static bool record_write(Fetch *f, bool taken, bool whole) {
    json_t *files = json_array(), *o = json_object();
    for (int64_t i = 0; i < f->m.n; i++) {
        Str name = f->m.folder ? str_of(f->m.file[i].name) : final_name(f, i, taken);
        json_t *v = json_object();
        json_object_set_new(v, "name", json_stringn(name.p, (size_t)name.n));
        json_object_set_new(v, "size", json_integer(f->m.file[i].size));
        if (f->m.file[i].sha256) json_object_set_new(v, "sha256", json_string(f->m.file[i].sha256));
        json_object_set_new(v, "checked", json_boolean(f->m.file[i].checked));
        json_array_append_new(files, v);
    }
    Str name = final_name(f, 0, taken);
    json_object_set_new(o, "source", json_string(f->spec->source));
    json_object_set_new(o, "version", json_string(f->version));
    json_object_set_new(o, "name", json_stringn(name.p, (size_t)name.n));
    json_object_set_new(o, "folder", json_boolean(f->m.folder));
    json_object_set_new(o, "whole", json_boolean(whole));
    json_object_set_new(o, "files", files);
    char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    CHECK(text); /* jansson has no memory for some kilobytes */
    const bool fine = os_put(f->a, record_path(f), str_of(text), f->err);
    free(text);
    record_read(f);
    return fine;
}

/* ---- what is wanted -------------------------------------------------------------------------- */

/* A page of the list, into a buffer. */
static bool list_take(void *arg, const HttpReply *r, const void *p, int64_t n, Err *err) {
    Buf *b = arg;
    if (b->n + n > LIST_BYTES)
        return err_set(err, ERR_LIMIT, "fetching %s: the list of files is longer than %d MB",
                       url_shown(b->a, r->url), LIST_BYTES >> 20);
    buf_add(b, (Str){p, n});
    return true;
}

/* The address of the next page in "<address>; rel="next"", on the same host. */
static const char *list_next(Fetch *f, const HttpReply *r) {
    const char *text = str_copy(f->a, r->link).p, *next;
    Err none = {0};
    const char *begin = strchr(text, '<'), *end = begin ? strchr(begin, '>') : NULL;
    if (!end || !strstr(end, "rel=\"next\"")) return NULL;
    Str to = {begin + 1, end - begin - 1};
    bool fine = url_follow(&next, f->a, r->url, to, url_plain(f->endpoint), &none)
                && url_same_host(next, f->endpoint);
    return fine ? next : NULL;
}

static bool page_fetch(Fetch *f, const char **url, Listing *l) {
    const char *repo = str_copy(f->a, f->at.repo).p;
    Buf page = {.a = f->a};
    HttpReply r;
    HttpRequest q = {
        .url = *url, .token = f->token, .take = list_take, .arg = &page, .seconds = LIST_SECONDS};
    HttpEnd end;
    for (int64_t try = 0;; try++) {
        *f->err = (Err){0};
        page.n = 0;
        end = http_get(f->http, f->a, &r, &q, f->err);
        if (!http_again(end, &r) || try == LIST_TRIES - 1) break;
        http_wait(try, &r);
        if (os_interrupted()) return *f->err = (Err){ERR_INTERRUPTED, "interrupted"}, false;
    }
    if (end != HTTP_ANSWERED) return false;
    if (r.status != 200) return http_refused(f->a, &r, repo, f->d.page, f->token != NULL, f->err);
    *url = list_next(f, &r);
    return listing_add(l, f->a, buf_str(&page), repo, f->err);
}

static bool repo_list(Fetch *f, Listing *l) {
    const char *url = str_fmt(f->a, "%s/api/models/%.*s/tree/%.*s?recursive=true", f->endpoint,
                              STRF(f->at.repo), STRF(url_encode(f->a, f->at.revision, false)))
                          .p;
    listing_init(l, f->a);
    for (int64_t page = 0; url; page++) {
        if (page == LIST_PAGES)
            return err_set(f->err, ERR_LIMIT, "the list of files of %.*s has more than %d pages",
                           STRF(f->at.repo), LIST_PAGES);
        if (!page_fetch(f, &url, l)) return false;
    }
    return true;
}

static Wanted repo_wanted(Fetch *f, const RepoFile *file) {
    Wanted w = {.name = str_copy(f->a, file->base).p, .size = file->size};
    w.url = str_fmt(f->a, "%s/%.*s/resolve/%.*s/%.*s", f->endpoint, STRF(f->at.repo),
                    STRF(url_encode(f->a, f->at.revision, false)),
                    STRF(url_encode(f->a, file->path, true)))
                .p;
    if (file->hashed) w.sha256 = str_copy(f->a, file->id).p, w.checked = true;
    return w;
}

static bool repo_choose(Fetch *f) {
    Listing l;
    Choice c;
    Str name = f->at.repo;
    if (!repo_list(f, &l) || !listing_choose(&c, f->a, &l, &f->at, f->err)) return false;
    Buf version = {.a = f->a};
    Str owner = step(&name);
    f->m = (Model){.folder = c.folder, .stem = name, .owner = owner, .n = c.n};
    f->m.file = PUSH(f->a, Wanted, c.n);
    for (int64_t i = 0; i < c.n; i++) {
        f->m.file[i] = repo_wanted(f, c.file[i]);
        buf_fmt(&version, "%.*s %lld %.*s\n", STRF(c.file[i]->path), (long long)c.file[i]->size,
                STRF(c.file[i]->id));
    }
    f->version = hex_of(f->a, buf_str(&version));
    return true;
}

/* The address of another part of the file: the number stands before the ending of the path. */
static const char *part_url(Fetch *f, int64_t part) {
    Str path = {f->url, (int64_t)strcspn(f->url, "?#")};
    int64_t head = path.n - SPLIT_END;
    return str_fmt(f->a, "%.*s-%05lld%s", (int)head, f->url, (long long)part, f->url + head + 6).p;
}

static bool address_choose(Fetch *f) {
    Str path = url_path(f->a, f->url), name = path;
    while (path.n) name = step(&path);
    int64_t parts = 0, part = part_of_split(name, &parts);
    if (!name_usable(name) || !str_ends(name, STR(".gguf")) || parts > 1000)
        return err_set(f->err, ERR_UNSUPPORTED,
                       "%s is not the address of a GGUF file (whose name ends with .gguf); a whole "
                       "folder is fetched from a repository: lisao pull OWNER/NAME",
                       url_shown(f->a, f->url));
    if (!part) parts = 1;
    if (f->spec->sha256 && parts > 1)
        return err_set(f->err, ERR_USAGE, "--sha256 goes with one file, and %.*s is one of %lld",
                       STRF(name), (long long)parts);
    f->m = (Model){.file = PUSH(f->a, Wanted, parts), .n = parts, .owner = STR("other")};
    for (int64_t i = 0; i < parts; i++) {
        Wanted *w = &f->m.file[i];
        *w = (Wanted){.url = f->url, .name = str_copy(f->a, name).p, .size = -1};
        w->sha256 = f->spec->sha256, w->checked = w->sha256 != NULL;
        if (!part) continue;
        Str head = {name.p, name.n - SPLIT_END}, end = {name.p + head.n + 6, SPLIT_END - 6};
        w->url = part_url(f, i + 1);
        w->name = str_fmt(f->a, "%.*s-%05lld%.*s", STRF(head), (long long)i + 1, STRF(end)).p;
    }
    f->version = hex_of(f->a, str_of(f->spec->sha256 ? f->spec->sha256 : "any"));
    return true;
}

/* ---- names that are taken -------------------------------------------------------------------- */

static bool file_hashes(const char *path, const Wanted *w) {
    Sha256 sha;
    char hex[65];
    Map m;
    Err none = {0};
    if (!os_map(&m, path, &none)) return false;
    sha256_init(&sha);
    for (int64_t at = 0, n; m.n == w->size && at < m.n; at += n) {
        n = MIN(m.n - at, 1 << 20);
        sha256_add(&sha, m.p + at, n);
        os_drop(&m, at, n);
    }
    sha256_hex(&sha, hex);
    bool same = m.n == w->size && !strcmp(hex, w->sha256);
    os_unmap(&m);
    return same;
}

/* Whether a file that is there is the wanted one. It is looked at before the download and under the
 * lock again: what has not changed in between is not hashed twice. */
static bool file_same(const char *path, Wanted *w) {
    FileStamp now;
    Err none = {0};
    if (!w->sha256 || !w->checked || os_is_dir(path) || !os_stamp(&now, path, &none)) return false;
    if (!now.settled || !w->looked || !stamp_same(&now, &w->stamp)) w->same = file_hashes(path, w);
    w->stamp = now, w->looked = true;
    return w->same;
}

/* Whether the names can be ours: free, ours already, or of the very files. *all: of all of them. */
static bool names_free(Fetch *f, bool taken, bool *all) {
    *all = !f->m.folder;
    for (int64_t i = 0; i < f->m.n; i++) {
        Str name = final_name(f, i, taken);
        const char *path = in_models(f, name);
        bool there = os_exists(path),
             same = there && !f->m.folder && file_same(path, &f->m.file[i]);
        *all &= same;
        if (there && !same && !record_names(f, name)) return false;
    }
    return true;
}

/* Another model may have the name: then the owner's stands before ours. */
static bool name_choose(Fetch *f, bool *taken, bool *all) {
    for (int i = 0; i < 2; i++) {
        *taken = i == 1;
        if (names_free(f, *taken, all)) return true;
    }
    return err_set(f->err, ERR_IO,
                   "in %s there are other files of the names %.*s and %.*s: rename or remove them "
                   "(lisao rm) and start again",
                   f->spec->folder, STRF(final_name(f, 0, false)), STRF(final_name(f, 0, true)));
}

/* ---- into the folder ------------------------------------------------------------------------- */

static const char *version_folder(Fetch *f) {
    return str_fmt(f->a, "%s/%s", f->place, f->version).p;
}

/* The old folder goes out of the way, the new one in. */
static bool folder_install(Fetch *f, const char *to) {
    const char *old = str_fmt(f->a, "%s/old", f->place).p;
    Err why = {0};
    if (os_exists(old) && !os_remove(old, f->err)) return false;
    if (os_exists(to) && !os_rename(to, old, f->err)) return false;
    if (!os_rename(version_folder(f), to, f->err)) return false;
    if (os_exists(old) && !os_remove(old, &why)) log_at(LOG_WARN, "%s", why.msg);
    return true;
}

/* Parts of an older version that this one has not. */
static void leftovers_remove(Fetch *f, json_t *before) {
    const json_t *v;
    size_t i;
    if (!before || f->m.folder || json_is_true(json_object_get(before, "folder"))) return;
    json_array_foreach(json_object_get(before, "files"), i, v) {
        Str name = record_text(v, "name");
        Err none = {0};
        if (file_holds(f, v) && !record_names(f, name) && !os_remove(in_models(f, name), &none))
            log_at(LOG_WARN, "%s", none.msg);
    }
}

static bool files_install(Fetch *f, bool taken) {
    if (f->m.folder) return folder_install(f, in_models(f, final_name(f, 0, taken)));
    for (int64_t i = f->m.n; i-- > 0;) {
        const char *from = str_fmt(f->a, "%s/%s", version_folder(f), f->m.file[i].name).p;
        if (os_exists(from) && !os_rename(from, in_models(f, final_name(f, i, taken)), f->err))
            return false;
    }
    os_remove_empty(version_folder(f));
    return true;
}

/* Under a lock on all of .pull: names are looked at and taken in one go. */
static bool install(Fetch *f) {
    bool taken, all;
    const char *pull = str_fmt(f->a, "%s/.pull", f->spec->folder).p;
    int lock = os_lock_wait(pull, f->err);
    if (lock < 0) return false;
    json_t *before = f->record ? json_deep_copy(f->record) : NULL;
    bool fine = name_choose(f, &taken, &all) && record_write(f, taken, false)
                && files_install(f, taken) && record_write(f, taken, true);
    if (fine) leftovers_remove(f, before);
    json_decref(before);
    os_unlock(lock);
    return fine;
}

/* ---- the files ------------------------------------------------------------------------------- */

/* Versions that are not wanted any more. */
static void versions_remove(Fetch *f) {
    Str *name;
    int64_t n = 0;
    Err none = {0};
    if (!os_list(f->a, &name, &n, f->place, &none)) return;
    for (int64_t i = 0; i < n; i++) {
        const char *path = str_fmt(f->a, "%s/%.*s", f->place, STRF(name[i])).p;
        if (os_is_dir(path) && !str_eq(name[i], str_of(f->version)) && !os_remove(path, &none))
            log_at(LOG_WARN, "%s", none.msg);
    }
}

static bool files_fetch(Fetch *f) {
    Download *d = &f->d;
    int64_t total = 0;
    bool known = true;
    d->folder = version_folder(f);
    if (!os_mkdir(d->folder, f->err)) return false;
    versions_remove(f);
    for (int64_t i = 0; i < f->m.n; i++) {
        known &= f->m.file[i].size >= 0;
        total += MAX(f->m.file[i].size, 0);
        d->kept += download_kept(d, &f->m.file[i]);
    }
    if (known && !room_check(f->spec->source, f->spec->folder, total - d->kept, f->err))
        return false;
    progress_start(&d->bar, "pull", "B", known ? total : 0);
    bool fine = true;
    for (int64_t i = 0; i < f->m.n && fine; i++) fine = download_run(d, &f->m.file[i], f->err);
    progress_end(&d->bar);
    return fine;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void result_fill(Fetch *f, Fetched *out) {
    const json_t *files = json_object_get(f->record, "files"), *v;
    const json_t *first = json_array_get(files, 0);
    size_t i;
    *out = (Fetched){.files = (int64_t)json_array_size(files)};
    Str name = record_text(f->record, "name"), sha = record_text(first, "sha256");
    out->name = str_copy(f->a, name).p;
    out->path = in_models(f, name);
    json_array_foreach(files, i, v) {
        out->bytes += json_integer_value(json_object_get(v, "size"));
    }
    if (out->files == 1 && is_sha256(sha)) out->sha256 = str_copy(f->a, sha).p;
    out->checked = json_is_true(json_object_get(first, "checked"));
    out->received = f->d.received;
    out->kept = f->d.kept;
}

/* With the source's folder locked. What is there in this version already is not fetched again. */
static bool fetch_locked(Fetch *f) {
    bool taken, all = false;
    record_read(f);
    if (f->spec->cached && record_holds(f)) return true;
    if (!(f->repo ? repo_choose(f) : address_choose(f))) return false;
    bool whole = record_holds(f) && str_eq(record_text(f->record, "version"), str_of(f->version));
    if (whole) return true;
    if (!name_choose(f, &taken, &all)) return false;
    return (all || files_fetch(f)) && install(f);
}

bool fetch_model(Fetched *out, Arena *a, const FetchSpec *spec, Err *err) {
    Fetch f = {.a = a, .spec = spec, .err = err};
    if (spec->sha256 && !is_sha256(str_of(spec->sha256)))
        return err_set(err, ERR_USAGE, "--sha256 %s: 64 digits 0-9 and a-f are wanted",
                       text_line(a, str_of(spec->sha256), 100));
    if (!source_parse(&f)) return false;
    place_choose(&f);
    if (f.repo) f.d.page = str_fmt(a, "%s/%.*s", f.endpoint, STRF(f.at.repo)).p;
    if (!os_mkdir(f.place, err)) return false;
    int lock = os_lock_wait(f.place, err);
    if (lock < 0) return false;
    bool fine = http_open(&f.http, a, err);
    f.d.a = a, f.d.http = f.http, f.d.token = f.token;
    fine = fine && fetch_locked(&f);
    if (fine)
        result_fill(&f, out);
    else if (f.version)
        os_remove_empty(version_folder(&f));
    os_remove_empty(f.place); /* nothing is kept where nothing came */
    http_close(f.http);
    json_decref(f.record);
    os_unlock(lock);
    return fine;
}
