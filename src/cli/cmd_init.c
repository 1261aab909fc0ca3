/* cmd_init.c -- `lisao init`: a recipe that comes with the program, as a file to change. */
#include "cli/cli.h"
#include "train/train.h"

#include <stdio.h>

enum { RECIPE_BYTES = 1 << 20 };
static const char FIRST[] = "tiny-en"; /* where no recipe is named */

/* Whether NAME is where to write, and not a recipe's name. */
static bool is_path(Str name) {
    return memchr(name.p, '/', (size_t)name.n) || str_ends(name, STR(".yaml"))
           || str_ends(name, STR(".yml"));
}

/* A path as a value of YAML, in double quotes. */
static void put_path(Buf *out, Str folder, Str file) {
    const Str part[] = {folder, file};
    buf_add(out, STR("\""));
    for (int i = 0; i < 2; i++)
        for (int64_t k = 0; k < part[i].n; k++) {
            if (char_in(part[i].p[k], "\"\\")) buf_add(out, STR("\\"));
            buf_add(out, (Str){part[i].p + k, 1});
        }
    buf_add(out, STR("\""));
}

/* The text of a recipe for another folder: files that lie beside the original are named by their
 * whole path, and "lisao train NAME" in its comments names the new file. */
static Str recipe_moved(Arena *a, Str text, const char *path, const char *name, const char *to) {
    const Str beside = STR("${recipe_folder}/"), call = str_fmt(a, "lisao train %s ", name);
    const char *slash = strrchr(path, '/');
    const Str folder = {path, slash ? slash + 1 - path : 0};
    Buf out = {.a = a};
    for (int64_t i = 0; i < text.n;) {
        const Str rest = {text.p + i, text.n - i};
        if (str_starts(rest, beside)) {
            int64_t end = beside.n;
            while (end < rest.n && !char_in(rest.p[end], " \t\r\n")) end++;
            put_path(&out, folder, (Str){rest.p + beside.n, end - beside.n});
            i += end;
        } else if (str_starts(rest, call)) {
            buf_fmt(&out, "lisao train %s ", to);
            i += call.n;
        } else {
            buf_add(&out, (Str){rest.p, 1});
            i++;
        }
    }
    return buf_str(&out);
}

static bool file_new(Arena *a, const char *to, Str text, Err *err) {
    if (os_exists(to))
        return err_set(err, ERR_USAGE,
                       "%s is there already and stays as it is: give a path of another name", to);
    return os_put(a, to, text, err);
}

static bool init(Arena *a, const char *given, Err *err) {
    const bool path_given = is_path(str_of(given));
    const char *name = path_given ? FIRST : given, *path;
    const char *to = path_given ? given : str_fmt(a, "%s.yaml", given).p;
    Str text;
    Recipe r;
    if (!recipe_find(a, &path, name, err) || !os_read(a, &text, path, RECIPE_BYTES, err)
        || !file_new(a, to, recipe_moved(a, text, path, name, to), err))
        return false;
    if (!recipe_read(&r, a, to, NULL, 0, err)) return false;
    printf("wrote %s. Change it as you like, then\n  lisao train %s --set data.train=TEXT\n", to,
           to);
    return true;
}

int cmd_init(int argc, char **argv) {
    const Command c = {
        "init",
        "[NAME]",
        "write a commented recipe to start from",
        "Writes a recipe for lisao train into the folder where the program is started. NAME is a "
        "recipe that comes with the program (tiny-en, which is taken without a NAME) and becomes "
        "NAME.yaml, or a path to write. A file that is there already is never overwritten.",
        "lisao init\nlisao init my.yaml\n",
        NULL,
        0};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Arena *a = arena_open("recipe", (int64_t)1 << 30);
    const bool ok =
        argc <= 2 ? init(a, argc == 2 ? argv[1] : FIRST, &err)
                  : err_set(&err, ERR_USAGE, "expected one NAME, found %d arguments", argc - 1);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
