/* cmd_doctor.c -- `lisao doctor`: whether this machine, and what it grants this process, is fit to
 * run models, and what to do where it is not. */
#include "cli/known.h"

#include <jansson.h>
#include <stdio.h>

/* The default model takes 250 MB with a short context, its file 100 MB; a model in parts and a
 * checkpoint have tens of files. */
enum { MEMORY_LEAST = 300000000, DISK_LEAST = 200000000, FILES_LEAST = 64 };
/* A block larger than most caches, read so often; less of it would measure caches. */
enum { READ_BYTES = 256 << 20, READ_LEAST = 32 << 20, READ_TIMES = 8 };

typedef struct Finding {
    const char *what, *remedy;
} Finding;

typedef struct Report {
    Arena *a;
    const char *cache;                   /* folder of models */
    int64_t memory, files, disk, models; /* disk -1: the folder is not there */
    double rate; /* bytes/s at which all threads together read memory; 0: not measured */
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

/* What reads memory is the floor of decoding. A quarter of what is free is enough to give up. */
static void rate_look(Report *r) {
    const int64_t bytes = MIN(READ_BYTES, r->memory / 4) / 4096 * 4096;
    Arena *a = arena_open("reading", ARENA_NO_LIMIT);
    if (bytes >= READ_LEAST && arena_reserve(a, bytes + 4096)) {
        Team *team = team_open(MIN(os_cpus(), 64));
        Times t = {0};
        reading_run(team, reading_new(a, bytes), READ_TIMES, &t);
        r->rate = (double)bytes / times_best(&t);
        team_close(team);
    }
    arena_close(a);
}

/* ---- what would run how fast ----------------------------------------------------------------- */

static bool fits(const Report *r, const Known *k, KnownType t) {
    return k->memory[t] <= (double)r->memory;
}

static void print_known(const Report *r) {
    const double GiB = 1 << 30;
    printf(
        "\nWhat would run here, and how fast: estimates from the shapes of open models. Memory is "
        "for the\nweights and a conversation of %d tokens. Tokens/s is the most that memory "
        "allows one sequence:\nthe weights that a token reads, at %.1f GB/s, which was measured "
        "now, beside whatever else runs.\nDecoding reaches about 55 to 85 %% of it. "
        "Models without a number need more memory\nthan is free.\n\n",
        RUN_CONTEXT, r->rate / 1e9);
    printf("%-28s %10s %8s %18s %18s\n", "", "parameters", "a token", "Q4_K_M", "Q8_0");
    printf("%-28s %10s %8s %9s %8s %9s %8s\n", "", "B", "uses B", "GiB", "tokens/s", "GiB",
           "tokens/s");
    for (int64_t i = 0; i < known_count(); i++) {
        const Known k = known_at(i);
        printf("%-28s %10.1f %8.1f", k.name, (double)k.size.total / 1e9,
               (double)k.size.active / 1e9);
        for (KnownType t = 0; t < KNOWN_TYPES; t++) {
            printf(" %9.1f", k.memory[t] / GiB);
            if (fits(r, &k, t))
                printf(" %8.1f", r->rate / k.read[t]);
            else
                printf(" %8s", "-");
        }
        printf("\n");
    }
}

static json_t *known_json(const Report *r) {
    json_t *all = json_array();
    for (int64_t i = 0; i < known_count(); i++) {
        const Known k = known_at(i);
        json_t *one =
            json_pack("{s:s, s:I, s:I}", "name", k.name, "parameters", (json_int_t)k.size.total,
                      "active_parameters", (json_int_t)k.size.active);
        for (KnownType t = 0; t < KNOWN_TYPES; t++)
            json_object_set_new(one, known_type(t),
                                json_pack("{s:I, s:b, s:f}", "memory", (json_int_t)k.memory[t],
                                          "fits", fits(r, &k, t), "tokens_per_second_most",
                                          r->rate / k.read[t]));
        json_array_append_new(all, one);
    }
    return all;
}

/* ---- printing -------------------------------------------------------------------------------- */

static void print_text(const Report *r) {
    printf("level        %s%s\n", level_name(kern_level()),
           kern_level() == LEVEL_REF ? ", which is slow: there are no kernels for this CPU" : "");
    printf("CPUs         %lld, threads by default %lld\n", (long long)os_cpus(),
           (long long)MIN(os_cpus(), 64));
    printf("memory       %.1f GiB that this process may take\n",
           (double)r->memory / (double)(1 << 30));
    if (r->rate > 0) printf("read rate    %.1f GB/s on all of these threads\n", r->rate / 1e9);
    printf("open files   %lld at most\n", (long long)r->files);
    printf("cache        %s, %lld model%s", path_shown(r->a, r->cache), (long long)r->models,
           plural(r->models));
    if (r->disk >= 0) printf(", %.1f GiB free", (double)r->disk / (double)(1 << 30));
    printf("\n\n");
    for (int64_t i = 0; i < r->n_found; i++)
        printf("wrong: %s\n  to do: %s\n", r->found[i].what, r->found[i].remedy);
    if (!r->n_found) printf("Nothing is wrong.\n");
    if (r->rate > 0) print_known(r);
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
    if (r->rate > 0) {
        json_object_set_new(j, "read_rate", json_real(r->rate));
        json_object_set_new(j, "known_models", known_json(r));
    }
    json_show(j);
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
        "read). Then measures how fast memory is read, and estimates from it which open reasoning "
        "models fit here and how fast they are at most. Exit code 0 where nothing is wrong, else "
        "1.",
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
    rate_look(r);
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
