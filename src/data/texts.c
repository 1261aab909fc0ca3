/* texts.c -- the documents of files, some MB at a time.
 *
 * Units point into the window of the file that is read, or into `copies`, and both change with the
 * next call only. */
#include "data/documents.h"
#include "data/inspect.h"

struct Texts {
    const char **path;
    int64_t n_files, file; /* the one that is open is file - 1 */
    Str separator;
    const char *field;
    Reader reader;
    Walk walk;
    bool open;
    Arena *copies, *other; /* of texts in JSON: of this call, and of the one before */
    Mark empty;
    int64_t total, before; /* bytes of all files, and of those that were read */
};

bool texts_open(Texts **out, Arena *a, const char *name, const char *separator, const char *field,
                Err *err) {
    Texts *t = *out = PUSH(a, Texts, 1);
    t->separator = str_copy(a, str_of(separator));
    t->field = str_copy(a, str_of(field)).p;
    if (!files_find(a, &t->path, &t->n_files, name, err)) return false;
    for (int64_t i = 0; i < t->n_files; i++) {
        FileStamp s;
        if (!os_stamp(&s, t->path[i], err)) return false;
        t->total += s.size;
    }
    t->copies = arena_open("texts", ARENA_NO_LIMIT);
    t->other = arena_open("texts", ARENA_NO_LIMIT);
    t->empty = arena_mark(t->other);
    return true;
}

static bool file_open(Texts *t, Err *err) {
    const char *path = t->path[t->file++];
    if (!reader_open(&t->reader, path, err)) return false;
    t->open = true;
    const bool empty = t->reader.window.n == 0 && t->n_files > 1;
    t->walk = (Walk){.rest = text_begin(t->reader.window),
                     .separator = t->separator,
                     .field = file_is_json(path) ? t->field : NULL,
                     .copies = t->copies,
                     .path = path,
                     .map = t->reader.unpack ? NULL : &t->reader.map,
                     .end = t->reader.end};
    if (empty) log_at(LOG_WARN, "%s is empty", path);
    return empty || text_kind_check(path, t->reader.window, err);
}

static void file_close(Texts *t) {
    t->before += t->reader.map.n;
    reader_close(&t->reader);
    t->open = false;
}

static bool window_next(Texts *t, Err *err) {
    Walk *w = &t->walk;
    const int64_t used = t->reader.window.n - w->rest.n;
    if (!reader_more(&t->reader, used, w->field ? LINE_MOST : DOCUMENT_MOST, err)) return false;
    w->rest = t->reader.window;
    w->end = t->reader.end;
    return true;
}

/* What the last call gave is done with; what is left of a long document stays. */
static void wave_end(Texts *t) {
    Walk *w = &t->walk;
    Arena *old = t->copies;
    t->copies = w->copies = t->other;
    t->other = old;
    if (t->open && w->field && w->doc.n) w->doc = str_copy(t->copies, w->doc);
    arena_pop(old, t->empty);
    if (t->open && !t->reader.unpack) /* of a file as it is, what was read need not stay */
        os_drop(&t->reader.map, 0, t->reader.map.n - w->rest.n - w->doc.n);
}

int64_t texts_next(Texts *t, TextUnit *unit, int64_t most, int64_t bytes, Err *err) {
    int64_t n = 0;
    wave_end(t);
    while (n < most && bytes > 0) {
        if (!t->open) {
            if (t->file == t->n_files) break;
            if (!file_open(t, err)) return -1;
        }
        const Next next = next_unit(&t->walk, &unit[n], err);
        if (next == NEXT_FAILED) return -1;
        if (next == NEXT_UNIT) {
            bytes -= unit[n++].text.n;
            continue;
        }
        if (n) break; /* what was found must not move */
        if (t->walk.end)
            file_close(t);
        else if (!window_next(t, err))
            return -1;
    }
    return n;
}

int64_t texts_at(const Texts *t) {
    if (!t->open) return t->before;
    return t->before
           + (t->reader.unpack ? reader_at(&t->reader) : t->reader.map.n - t->walk.rest.n);
}

int64_t texts_total(const Texts *t) { return t->total; }

void texts_close(Texts *t) {
    if (!t) return;
    reader_close(&t->reader);
    if (t->copies) arena_close(t->copies);
    if (t->other) arena_close(t->other);
    t->copies = t->other = NULL;
}
