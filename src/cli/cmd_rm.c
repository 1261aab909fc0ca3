/* cmd_rm.c -- `lisao rm`: removes a model from the cache folder, and nothing from anywhere else. */
#include "cli/cli.h"

#include <stdio.h>

/* Whether the line that comes next begins with a y. */
static bool agreed(void) {
    char c = '\n', first = '\n';
    while (os_input_read(&c, 1) == 1 && c != '\n')
        if (first == '\n') first = c;
    return first == 'y' || first == 'Y';
}

static bool permitted(Arena *a, Str model, int64_t bytes, bool yes, Err *err) {
    if (yes) return true;
    if (!os_is_tty(0))
        return err_set(err, ERR_USAGE,
                       "removing %.*s (%.1f MB): there is no terminal to ask at; --yes agrees",
                       STRF(model), (double)bytes / 1e6);
    fprintf(stderr, "Remove %s (%.1f MB)? [y/N] ", path_shown(a, str_copy(a, model).p),
            (double)bytes / 1e6);
    if (agreed()) return true;
    return err_set(err, ERR_IO, "nothing was removed");
}

static bool rm(const char *name, bool yes, Err *err) {
    Arena *a = arena_open("rm", 1 << 26);
    const char *folder = os_cache_folder(a, "models");
    Str model = {0};
    int64_t bytes = 0;
    bool ok = models_find(&model, a, name, err);
    if (ok && !model.n) {
        const char *near = models_nearest(a, name);
        ok = err_set(err, ERR_IO,
                     "removing \"%s\": there is no model of that name in %s, the only folder that "
                     "models are removed from; %s%s",
                     name, folder, near ? "the nearest is " : "`lisao list` shows what there is",
                     near ? near : "");
    }
    ok = ok && models_bytes(&bytes, a, model, err) && permitted(a, model, bytes, yes, err)
         && models_remove(a, model, err);
    if (ok)
        fprintf(stderr, "removed %s/%s, %.1f MB\n", path_shown(a, folder),
                path_shown(a, str_copy(a, model).p), (double)bytes / 1e6);
    arena_close(a);
    return ok;
}

int cmd_rm(int argc, char **argv) {
    bool yes = false;
    const Opt opts[] = {FLAG_OPT("yes", &yes, "Do not ask.")};
    const Command c = {
        "rm",
        "NAME",
        "remove a model from the cache folder",
        "Removes the model NAME, as `lisao list` shows it, from ~/.cache/lisao/models: a GGUF file "
        "with all its parts, a folder, or a symbolic link without what it leads to. Asks first.",
        "lisao rm old-model --yes\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (argc == 2 && rm(argv[1], yes, &err)) return 0;
    if (argc != 2) err_set(&err, ERR_USAGE, "expected one NAME, found %d arguments", argc - 1);
    return command_failed(&c, &err);
}
