/* recipe.c -- recipes by name, and a recipe written as a file. */
#include "train/recipe.h"

/* ---- by name --------------------------------------------------------------------------------- */

/* " (there are: tiny-en)", or nothing. */
static Str names_of(Arena *a, const char *folder) {
    Str *name;
    int64_t n = 0;
    Buf b = {.a = a};
    if (!os_is_dir(folder) || !os_list(a, &name, &n, folder, &(Err){0})) return (Str){0};
    for (int64_t i = 0; i < n; i++)
        if (str_ends(name[i], STR(".yaml")))
            buf_fmt(&b, "%s%.*s", b.n ? ", " : " (there are: ", (int)name[i].n - 5, name[i].p);
    if (b.n) buf_add(&b, STR(")"));
    return buf_str(&b);
}

bool recipe_find(Arena *a, const char **path, const char *name, Err *err) {
    *path = name;
    if (!*name) return err_set(err, ERR_USAGE, "the name of the recipe is empty");
    /* A missing file is no error here: reading it says what is wrong. */
    if (strchr(name, '/') || (os_exists(name) && !os_is_dir(name))) return true;
    const char *folder[2];
    const int64_t n = os_shipped(a, folder, "recipes");
    Buf there = {.a = a};
    for (int64_t i = 0; i < n; i++) {
        *path = str_fmt(a, "%s/%s%s", folder[i], name,
                        str_ends(str_of(name), STR(".yaml")) ? "" : ".yaml")
                    .p;
        if (os_exists(*path)) return true;
        buf_add(&there, names_of(a, folder[i]));
    }
    return err_set(err, ERR_IO,
                   "there is no recipe \"%s\": no such file, and none of that name that comes with "
                   "the program%.*s",
                   name, STRF(buf_str(&there)));
}

/* ---- a curriculum ---------------------------------------------------------------------------- */

static int64_t step_at(const Recipe *r, double share) {
    return (int64_t)(share * (double)r->optim.steps + 0.5);
}

int64_t part_first(const Recipe *r, int64_t i) { return step_at(r, r->data.part[i].from); }
int64_t part_end(const Recipe *r, int64_t i) { return step_at(r, r->data.part[i].to); }

/* ---- as a file ------------------------------------------------------------------------------- */

static bool put_value(Buf *out, const Key *k, Str value, Err *err) {
    if (k->kind == KEY_PAIR) return buf_fmt(out, "[%.*s]", STRF(value)), true;
    const bool list = k->kind == KEY_TEXTS && is_list(value);
    if (list || (k->kind != KEY_STR && k->kind != KEY_PATH && k->kind != KEY_TEXTS))
        return buf_add(out, value), true;
    return quoted_put(out, value)
           || err_set(
               err, ERR_FORMAT,
               "printing the recipe: %s is not in UTF-8 and cannot stand in a YAML file; give "
               "it by --set, or rename the file",
               k->name);
}

bool recipe_print(const Recipe *r, Buf *out, Err *err) {
    Str section = {0};
    for (int64_t i = 0; i < recipe_n_keys; i++) {
        const Key *k = &recipe_keys[i];
        const Str in = {k->name, key_section(k->name)};
        if (r->text[i].n == 0) continue; /* the default is empty */
        if (in.n && !str_eq(in, section)) buf_fmt(out, "%.*s:\n", STRF(in));
        section = in;
        buf_fmt(out, "%s%s: ", in.n ? "  " : "", k->name + in.n + (in.n > 0));
        if (!put_value(out, k, r->text[i], err)) return false;
        buf_add(out, STR("\n"));
    }
    return true;
}
