/* open.c -- the forms in which a model may stand on disk, and the opening of a path in one of them.
 *
 * A format is a Format in its own file, built on store.c, which knows none. The list of them stands
 * here, above both: C runs nothing before main, so a format cannot put itself into a list, and one
 * line here is what a new one needs. Nothing below includes or calls this file. */
#include "file/parts.h"

/* The first that says the path is its own opens it. Those that recognise a mark of theirs come
 * before those that take any file or any folder, whose errors then say what was looked for. */
static const Format *const formats[] = {
    &format_gguf,       &format_safetensors,                      /* files */
    &format_checkpoint, &format_folder,      &format_checkpoints, /* folders */
};

/* A file's first bytes, copied: enough for any mark. */
enum { HEAD_BYTES = 16 };
static bool head_read(Store *s, Str *head, Err *err) {
    Map m;
    if (!os_map(&m, s->path, err)) return false;
    if (m.n > 0) *head = str_copy(s->a, (Str){(const char *)m.p, MIN(m.n, HEAD_BYTES)});
    os_unmap(&m);
    return true;
}

/* The last format of either sort takes whatever comes, so the search ends. */
static bool path_open(Store *s, Err *err) {
    bool folder = os_is_dir(s->path);
    Str head = {0};
    if (!folder && !head_read(s, &head, err)) return false;
    int64_t i = 0;
    while (!formats[i]->is(s, folder, head)) i++;
    s->kind = formats[i]->kind;
    return formats[i]->open(s, err);
}

bool store_open(Store **out, Arena *a, const char *path, Err *err) {
    Mark mark = arena_mark(a);
    Store *s = arena_push(a, sizeof *s);
    s->a = a;
    s->path = str_copy(a, str_of(path)).p;
    s->step = -1;
    *out = s;
    if (path_open(s, err)) return true;
    store_close(s);
    arena_pop(a, mark);
    *out = NULL;
    return false;
}
