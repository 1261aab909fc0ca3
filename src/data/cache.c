/* cache.c -- from a text to its shard: found by what the file system says about the text, else by
 * its content, else made.
 *
 * Beside the shards lies a note for each text: its path, size, times and inode when it was last
 * read whole, and the key of its shard. While these are unchanged the text is not read again. When
 * they differ, its content decides, as the shard's name is a hash of it. The note cannot see a
 * change that leaves size, both times and inode as they were, which takes a clock that was set back
 * or a write below the file system. A text that was changed less than two seconds ago is not noted,
 * since a later change might get the same time. */
#include "data/documents.h"
#include "data/inspect.h"
#include "data/shard.h"

enum { NOTE_BYTES = 1 << 14 };

static void hash_str(Sha256 *h, Str s) {
    sha256_add(h, &s.n, 8);
    sha256_add(h, s.p, s.n);
}

/* What decides a shard's tokens beside the text. */
static void hash_begin(Sha256 *h, const ShardSpec *spec) {
    int64_t numbers[2] = {SHARD_VERSION, spec->end};
    sha256_init(h);
    sha256_add(h, numbers, sizeof numbers);
    hash_str(h, str_of(spec->separator));
    hash_str(h, str_of(spec->tok_id));
    if (spec->chat) hash_str(h, STR("conversations 1")), hash_str(h, str_of(spec->chat_id));
}

static Str shard_path(Arena *a, const ShardSpec *spec, const char *key) {
    return str_fmt(a, "%s/%.32s.tokens", spec->folder, key);
}

/* ---- notes ----------------------------------------------------------------------------------- */

static const char *note_path(Arena *a, const ShardSpec *spec) {
    Sha256 h;
    char hex[65];
    hash_begin(&h, spec);
    hash_str(&h, str_of(spec->text));
    sha256_hex(&h, hex);
    return str_fmt(a, "%s/%.32s.text", spec->folder, hex).p;
}

/* The files of a text, and what the file system says of them. */
typedef struct TextFiles {
    const char **path;
    FileStamp *stamp;
    int64_t n;
} TextFiles;

static bool files_stamp(TextFiles *f, Arena *a, const char *name, Err *err) {
    if (!files_find(a, &f->path, &f->n, name, err)) return false;
    f->stamp = PUSH(a, FileStamp, f->n);
    for (int64_t i = 0; i < f->n; i++)
        if (!os_stamp(&f->stamp[i], f->path[i], err)) return false;
    return true;
}

static bool files_same(const TextFiles *x, const TextFiles *y) {
    bool same = x->n == y->n;
    for (int64_t i = 0; same && i < x->n; i++)
        same = !strcmp(x->path[i], y->path[i]) && stamp_same(&x->stamp[i], &y->stamp[i]);
    return same;
}

static Str stamp_text(Arena *a, const char *path, const FileStamp *s) {
    return str_fmt(a, "text %s\nsize %lld\nmodified %lld\nchanged %lld\ninode %lld\n", path,
                   (long long)s->size, (long long)s->modified, (long long)s->changed,
                   (long long)s->inode);
}

/* All of a note but the key at its end; of several files a hash of what there is of each. */
static Str note_text(Arena *a, const ShardSpec *spec, const TextFiles *f) {
    if (f->n == 1 && !strcmp(f->path[0], spec->text))
        return str_fmt(a, "%sshard ", stamp_text(a, f->path[0], &f->stamp[0]).p);
    Sha256 h;
    char hex[65];
    sha256_init(&h);
    for (int64_t i = 0; i < f->n; i++) hash_str(&h, stamp_text(a, f->path[i], &f->stamp[i]));
    sha256_hex(&h, hex);
    return str_fmt(a, "text %s\nfiles %lld\nstamps %s\nshard ", spec->text, (long long)f->n, hex);
}

/* The key that was noted for the text as it is now. */
static bool note_find(char key[65], Arena *a, const ShardSpec *spec, const TextFiles *now) {
    Err err = {0};
    Str note;
    const char *path = note_path(a, spec);
    if (!os_exists(path) || !os_read(a, &note, path, NOTE_BYTES, &err)) return false;
    const Str want = note_text(a, spec, now);
    if (note.n != want.n + 65 || !str_starts(note, want)) return false;
    memcpy(key, note.p + want.n, 64);
    key[64] = 0;
    return strspn(key, "0123456789abcdef") == 64;
}

/* A note that cannot be written costs the next start some time and nothing else. */
static void note_write(Arena *a, const ShardSpec *spec, const TextFiles *f, const char *key) {
    Err err = {0};
    bool settled = true;
    for (int64_t i = 0; i < f->n; i++) settled &= f->stamp[i].settled;
    if (!settled) return;
    const Str text = str_fmt(a, "%s%s\n", note_text(a, spec, f).p, key);
    if (!os_put(a, note_path(a, spec), text, &err)) log_at(LOG_DEBUG, "%s", err.msg);
}

/* ---- reading the text ------------------------------------------------------------------------ */

typedef struct Reading {
    const ShardSpec *spec;
    Inspector inspector;
    Sha256 h;
    Arena *copies;
    Progress bar;
    int64_t before, line; /* bytes of the files before; lines of JSON in this one */
} Reading;

/* The lines of a window that are whole, long ones of a text in parts; returns their bytes, or
 * -1. */
static int64_t lines_read(Reading *x, const Reader *r, bool json, Err *err) {
    Str rest = r->window;
    while (rest.n) {
        const Str line = json ? json_line(rest) : line_part(rest, PART_BYTES);
        if (!r->end && line.n == rest.n && line.p[line.n - 1] != '\n') break;
        sha256_add(&x->h, line.p, line.n);
        if (json) {
            const Mark mark = arena_mark(x->copies);
            Str text;
            if (!json_text(&text, x->copies, line, field_of(x->spec), r->path, ++x->line, err))
                return -1;
            inspect_json(&x->inspector, line, text);
            arena_pop(x->copies, mark);
        } else
            inspect_line(&x->inspector, line);
        rest = (Str){rest.p + line.n, rest.n - line.n};
        if (r->unpack || r->window.n - rest.n < PART_BYTES) continue;
        break; /* of a file as it is, one piece after the other */
    }
    return r->window.n - rest.n;
}

static bool interrupted(const ShardSpec *spec, Err *err) {
    return err_set(err, ERR_INTERRUPTED, "interrupted while reading %s", spec->text);
}

/* A text that is packed is hashed as it is unpacked; what it is called does not count. */
static bool file_read(Reading *x, const char *path, bool only, Err *err) {
    Reader r;
    if (!reader_open(&r, path, err)) return false;
    const bool json = file_is_json(path), packed = r.unpack != NULL;
    const Str mark = {r.window.p, r.window.n - text_begin(r.window).n};
    int64_t bytes = r.map.n;
    bool ok = r.window.n == 0 && !only ? true : text_kind_check(path, r.window, err);
    if (json) hash_str(&x->h, STR("jsonl")), hash_str(&x->h, str_of(field_of(x->spec)));
    if (packed) hash_str(&x->h, STR("packed"));
    if (!packed) sha256_add(&x->h, &bytes, 8);
    sha256_add(&x->h, mark.p, mark.n);
    r.window = text_begin(r.window);
    bytes = mark.n;
    x->line = 0, x->inspector.within = false;
    while (ok && r.window.n) {
        const int64_t used = lines_read(x, &r, json, err);
        ok = used >= 0 && reader_more(&r, used, json ? LINE_MOST : DOCUMENT_MOST, err);
        bytes += MAX(used, 0);
        progress_at(&x->bar, x->before + reader_at(&r), NULL);
        if (ok && os_interrupted()) ok = interrupted(x->spec, err);
        if (r.end && !used) break;
    }
    if (packed) sha256_add(&x->h, &bytes, 8);
    x->before += r.map.n;
    reader_close(&r);
    return ok;
}

/* The key of a text and its counts, in one pass. */
static bool text_read(char key[65], TextCounts *counts, const TextFiles *f, const ShardSpec *spec,
                      Err *err) {
    Reading x = {.spec = spec,
                 .inspector = inspector_new(spec),
                 .copies = arena_open("texts", ARENA_NO_LIMIT)};
    int64_t total = 0;
    for (int64_t i = 0; i < f->n; i++) total += f->stamp[i].size;
    hash_begin(&x.h, spec);
    progress_start(&x.bar, "reading", "B", total);
    bool ok = true;
    for (int64_t i = 0; i < f->n && ok; i++) ok = file_read(&x, f->path[i], f->n == 1, err);
    progress_end(&x.bar);
    arena_close(x.copies);
    sha256_hex(&x.h, key);
    *counts = x.inspector.counts;
    return ok && inspect_end(&x.inspector, spec->text, err);
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* A shard that exists but is not usable is made again: it is only a cache, the text is what
 * counts. */
static bool open_cached(Shard *s, Arena *a, const ShardSpec *spec, const char *key) {
    Err err = {0};
    const Str path = shard_path(a, spec, key);
    if (!os_exists(path.p)) return false;
    if (!shard_read(s, a, path.p, &err)) {
        log_at(LOG_WARN, "%s; making it again", err.msg);
        return false;
    }
    if (!strcmp(s->key, key)) return true;
    shard_close(s);
    return false;
}

static bool make(Shard *s, Arena *a, const ShardSpec *spec, const char *key,
                 const TextCounts *counts, Team *team, Err *err) {
    const Str path = shard_path(a, spec, key);
    return os_mkdir(spec->folder, err) && shard_make(path.p, key, counts, spec, team, err)
           && shard_read(s, a, path.p, err);
}

/* By the content of the text, of which `before` was known when it was opened. */
static bool open_or_make(Shard *s, Arena *a, const ShardSpec *spec, const TextFiles *before,
                         Team *team, Err *err) {
    char key[65];
    TextCounts counts;
    TextFiles after;
    if (!text_read(key, &counts, before, spec, err)) return false;
    if (!open_cached(s, a, spec, key) && !make(s, a, spec, key, &counts, team, err)) return false;
    if (!files_stamp(&after, a, spec->text, err) || !files_same(before, &after)) {
        shard_close(s);
        return err_set(err, ERR_IO, "%s was changed while it was read: start again", spec->text);
    }
    note_write(a, spec, before, key);
    return true;
}

/* Where conversations are looked for, files that are no .jsonl are texts as ever. */
static bool kind_find(ShardSpec *spec, const TextFiles *f, Err *err) {
    int64_t n = 0;
    for (int64_t i = 0; i < f->n; i++) n += file_is_json(f->path[i]);
    if (n == 0) spec->chat = NULL;
    return !spec->chat || n == f->n
           || err_set(err, ERR_USAGE,
                      "%s: %lld of its %lld files are .jsonl, which have conversations, and the "
                      "others are texts: name them apart, as two parts of data.train",
                      spec->text, (long long)n, (long long)f->n);
}

bool shard_open(Shard *s, Arena *a, const ShardSpec *wanted, Team *team, Err *err) {
    ShardSpec found = *wanted, *spec = &found;
    CHECK(strlen(spec->tok_id) == 64);
    *s = (Shard){0};
    char key[65];
    TextFiles now;
    if (!files_stamp(&now, a, spec->text, err) || !kind_find(spec, &now, err)) return false;
    if ((!note_find(key, a, spec, &now) || !open_cached(s, a, spec, key))
        && !open_or_make(s, a, spec, &now, team, err))
        return false;
    counts_warn(&s->text, s->docs, spec->text, spec->separator);
    return true;
}
