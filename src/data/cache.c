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

enum { NOTE_BYTES = 1 << 14, PIECE_BYTES = 8 << 20 };

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

/* All of a note but the key at its end. */
static Str note_text(Arena *a, const ShardSpec *spec, const FileStamp *s) {
    return str_fmt(a, "text %s\nsize %lld\nmodified %lld\nchanged %lld\ninode %lld\nshard ",
                   spec->text, (long long)s->size, (long long)s->modified, (long long)s->changed,
                   (long long)s->inode);
}

/* The key that was noted for the text as it is now. */
static bool note_find(char key[65], Arena *a, const ShardSpec *spec, const FileStamp *now) {
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
static void note_write(Arena *a, const ShardSpec *spec, const FileStamp *s, const char *key) {
    Err err = {0};
    OutFile *o = s->settled ? os_create(a, note_path(a, spec), &err) : NULL;
    if (!o) return;
    const Str text = str_fmt(a, "%s%s\n", note_text(a, spec, s).p, key);
    if (!os_write(o, text.p, text.n, &err))
        os_abandon(o);
    else if (!os_commit(o, &err))
        log_at(LOG_DEBUG, "%s", err.msg);
}

/* ---- reading the text ------------------------------------------------------------------------ */

/* Its key and its counts, in one pass. */
static bool text_read(char key[65], TextCounts *counts, const Map *map, const ShardSpec *spec,
                      Err *err) {
    const Str all = {(const char *)map->p, map->n};
    if (!text_kind_check(spec->text, all, err)) return false;
    Inspector inspector = inspector_new(spec);
    Sha256 h;
    hash_begin(&h, spec);
    sha256_add(&h, &all.n, 8);
    sha256_add(&h, all.p, all.n - text_begin(all).n);
    Progress bar;
    progress_start(&bar, "reading", "B", all.n);
    int64_t shown = 0;
    for (Str rest = text_begin(all), line; rest.n; rest = (Str){rest.p + line.n, rest.n - line.n}) {
        line = line_of(rest);
        sha256_add(&h, line.p, line.n);
        inspect_line(&inspector, line);
        if (all.n - rest.n - shown < PIECE_BYTES) continue;
        shown = all.n - rest.n;
        os_drop(map, 0, shown); /* it need not stay in memory */
        progress_at(&bar, shown, NULL);
        if (os_interrupted()) break;
    }
    progress_end(&bar);
    if (os_interrupted())
        return err_set(err, ERR_INTERRUPTED, "interrupted while reading %s", spec->text);
    sha256_hex(&h, key);
    *counts = inspector.counts;
    return inspect_end(&inspector, spec->text, err);
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

static bool make(Shard *s, Arena *a, const ShardSpec *spec, const Map *map, const char *key,
                 const TextCounts *counts, Team *team, Err *err) {
    const Str path = shard_path(a, spec, key);
    return os_mkdir(spec->folder, err) && shard_make(path.p, key, map, counts, spec, team, err)
           && shard_read(s, a, path.p, err);
}

/* By the content of the text, of which `before` was known when it was opened. */
static bool open_or_make(Shard *s, Arena *a, const ShardSpec *spec, const Map *map,
                         const FileStamp *before, Team *team, Err *err) {
    char key[65];
    TextCounts counts;
    FileStamp after;
    if (!text_read(key, &counts, map, spec, err)) return false;
    if (!open_cached(s, a, spec, key) && !make(s, a, spec, map, key, &counts, team, err))
        return false;
    if (!os_stamp(&after, spec->text, err) || !stamp_same(before, &after)) {
        shard_close(s);
        return err_set(err, ERR_IO, "%s was changed while it was read: start again", spec->text);
    }
    note_write(a, spec, before, key);
    return true;
}

bool shard_open(Shard *s, Arena *a, const ShardSpec *spec, Team *team, Err *err) {
    CHECK(strlen(spec->tok_id) == 64);
    *s = (Shard){0};
    char key[65];
    FileStamp now;
    if (!os_stamp(&now, spec->text, err)) return false;
    if (!note_find(key, a, spec, &now) || !open_cached(s, a, spec, key)) {
        Map map;
        if (!os_map(&map, spec->text, err)) return false;
        const bool ok = open_or_make(s, a, spec, &map, &now, team, err);
        os_unmap(&map);
        if (!ok) return false;
    }
    counts_warn(&s->text, s->docs, spec->text, spec->separator);
    return true;
}
