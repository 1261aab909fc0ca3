/* cmd_doctor.c -- `lisao doctor`: whether this machine, and what it grants this process, is fit to
 * run models, and what to do where it is not. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

/* The default model takes 250 MB with a short context, its file 100 MB; a model in parts and a
 * checkpoint have tens of files. */
enum { MEMORY_LEAST = 300000000, DISK_LEAST = 200000000, FILES_LEAST = 64 };

typedef struct Finding {
    const char *what, *remedy;
} Finding;

typedef struct Report {
    Arena *a;
    const char *cache;                   /* folder of models */
    int64_t memory, files, disk, models; /* disk -1: the folder is not there */
    Finding found[64];
    int64_t n_found;
} Report;

static void find(Report *r, const char *what, const char *remedy) {
    if (r->n_found < COUNT(r->found))
        r->found[r->n_found++] = (Finding){path_shown(r->a, what), remedy};
}

/* The folder is made, as every command that needs it would, and a file in it is begun. */
static void cache_look(Report *r) {
    static const char remedy[] = "let XDG_CACHE_HOME name a folder that can be written";
    Err err = {0};
    r->cache = os_cache_folder(r->a, "models");
    r->disk = -1;
    OutFile *f = NULL;
    if (os_mkdir(r->cache, &err))
        f = os_create(r->a, str_fmt(r->a, "%s/.doctor", r->cache).p, &err);
    if (!f) {
        find(r, err.msg, remedy);
        return;
    }
    os_abandon(f);
    r->disk = os_disk_free(r->cache);
    if (r->disk >= 0 && r->disk < DISK_LEAST)
        find(r, str_fmt(r->a, "%s has room for %.0f MB", r->cache, (double)r->disk / 1e6).p,
             "remove models that are not needed: lisao list, lisao rm NAME");
}

static void models_look(Report *r) {
    Err err = {0};
    Str *name;
    if (!models_list(r->a, &name, &r->models, &err)) {
        if (r->disk >= 0) find(r, err.msg, "make the folder readable");
        return;
    }
    for (int64_t i = 0; i < r->models; i++) {
        Arena *a = arena_open("model", ARENA_NO_LIMIT);
        Bundle b;
        Err why = {0};
        const char *path = str_fmt(r->a, "%s/%.*s", r->cache, STRF(name[i])).p;
        if (bundle_open(&b, a, path, BUNDLE_MODEL, &why))
            bundle_close(&b);
        else {
            const char *remedy = str_fmt(r->a, "fetch it again, or lisao rm %.*s", STRF(name[i])).p;
            find(r, str_copy(r->a, str_of(why.msg)).p, path_shown(r->a, remedy));
        }
        arena_close(a);
    }
}

static void machine_look(Report *r) {
    r->memory = os_memory_free();
    r->files = os_files_most();
    if (r->memory < MEMORY_LEAST)
        find(r, str_fmt(r->a, "%.0f MB of memory are free", (double)r->memory / 1e6).p,
             "end other programs, or raise the limit (ulimit -v, the container's)");
    if (r->files < FILES_LEAST)
        find(r, str_fmt(r->a, "%lld files may be open at once", (long long)r->files).p,
             "raise the limit: ulimit -n 1024");
}

static void print_text(const Report *r) {
    printf("level        %s%s\n", level_name(kern_level()),
           kern_level() == LEVEL_REF ? ", which is slow: there are no kernels for this CPU" : "");
    printf("CPUs         %lld, threads by default %lld\n", (long long)os_cpus(),
           (long long)MIN(os_cpus(), 64));
    printf("memory       %.1f GiB that this process may take\n",
           (double)r->memory / (double)(1 << 30));
    printf("open files   %lld at most\n", (long long)r->files);
    printf("cache        %s, %lld models", path_shown(r->a, r->cache), (long long)r->models);
    if (r->disk >= 0) printf(", %.1f GiB free", (double)r->disk / (double)(1 << 30));
    printf("\n\n");
    for (int64_t i = 0; i < r->n_found; i++)
        printf("wrong: %s\n  to do: %s\n", r->found[i].what, r->found[i].remedy);
    if (!r->n_found) printf("Nothing is wrong.\n");
}

static void print_json(const Report *r) {
    json_t *wrong = json_array();
    for (int64_t i = 0; i < r->n_found; i++)
        json_array_append_new(
            wrong, json_pack("{s:s, s:s}", "what", r->found[i].what, "to_do", r->found[i].remedy));
    json_t *j =
        json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:I, s:o}", "level", level_name(kern_level()),
                  "cpus", (json_int_t)os_cpus(), "threads", (json_int_t)MIN(os_cpus(), 64),
                  "memory_free", (json_int_t)r->memory, "open_files", (json_int_t)r->files, "cache",
                  path_shown(r->a, r->cache), "models", (json_int_t)r->models, "wrong", wrong);
    if (r->disk >= 0) json_object_set_new(j, "disk_free", json_integer(r->disk));
    json_dumpf(j, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(j);
}

int cmd_doctor(int argc, char **argv) {
    bool json = false;
    const Opt opts[] = {FLAG_OPT("json", &json, "Print one JSON object.")};
    const Command c = {
        "doctor",
        "",
        "check whether this machine is fit, and say what to do",
        "Looks at the CPU, the memory and the number of open files that this process is granted, "
        "the folder of models and its free space, and whether each model in it opens (no weight is "
        "read). Exit code 0 where nothing is wrong, else 1.",
        "lisao doctor\nlisao doctor --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (argc > 1) err_set(&err, ERR_USAGE, "expected no arguments, found %d", argc - 1);
    if (argc > 1 || !kern_init(LEVEL_N, &err)) return command_failed(&c, &err);
    Arena *a = arena_open("doctor", 1 << 26);
    Report *r = PUSH(a, Report, 1);
    r->a = a;
    machine_look(r);
    cache_look(r);
    models_look(r);
    if (json)
        print_json(r);
    else
        print_text(r);
    code = r->n_found > 0;
    arena_close(a);
    return code;
}
