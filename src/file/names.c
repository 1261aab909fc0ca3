/* names.c -- a table from names to indices, and what a name may look like. */
#include "file/parts.h"

static bool same_name(const void *of, int64_t i, Str name) {
    const Names *t = of;
    return str_eq(t->name_at(t->of, i), name);
}

bool names_init(Names *t, Arena *a, int64_t n, Str (*name_at)(const void *, int64_t),
                const void *of) {
    *t = (Names){.name_at = name_at, .of = of};
    return table_init(&t->table, a, n);
}

int64_t names_put(Names *t, int64_t i) {
    return table_put(&t->table, t->name_at(t->of, i), i, same_name, t);
}

int64_t names_find(const Names *t, Str name) { return table_find(&t->table, name, same_name, t); }

bool name_is_plain(Str name) {
    for (int64_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
                    || c == '_' || c == '-' || (c == '.' && i > 0);
        if (!fine) return false;
    }
    return name.n >= 1 && name.n <= 255;
}

bool name_is_visible(Str name) {
    for (int64_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (c <= ' ' || c > '~' || c == '"' || c == '\\') return false;
    }
    return name.n >= 1 && name.n <= 1023;
}
