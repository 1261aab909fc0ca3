/* cmd_list.c -- `lisao list`: the models in the cache folder, and what pulls left unfinished. */
#include "cli/cli.h"

#include <jansson.h>
#include <stdio.h>

#include "fetch/fetch.h"

/* What is shown of one model; opening it reads no weight. */
typedef struct Row {
    const char *name;
    int64_t bytes;
    char type[32], family[32];
    int64_t parameters, context;
    Err err; /* why it is no model that runs */
} Row;

static void row_fill(Row *r, Arena *a, Str name) {
    const char *path = str_fmt(a, "%s/%.*s", os_cache_folder(a, "models"), STRF(name)).p;
    Bundle b;
    r->name = str_copy(a, name).p;
    if (!models_bytes(&r->bytes, a, name, &r->err)) return;
    Arena *files = arena_open("model", ARENA_NO_LIMIT);
    if (bundle_open(&b, files, path, BUNDLE_MODEL, &r->err)) {
        snprintf(r->type, sizeof r->type, "%s", dtype_name(b.model->file_type));
        snprintf(r->family, sizeof r->family, "%s", family_name(b.model->cfg.family));
        r->parameters = model_count(b.model);
        r->context = b.model->cfg.max_positions;
        bundle_close(&b);
    }
    arena_close(files);
}

static json_t *unfinished_json(Arena *a, const Unfinished *u, int64_t n) {
    json_t *all = json_array();
    for (int64_t i = 0; i < n; i++)
        json_array_append_new(all,
                              json_pack("{s:s, s:s, s:I}", "source", path_shown(a, u[i].source),
                                        "file", path_shown(a, u[i].file ? u[i].file : ""), "bytes",
                                        (json_int_t)u[i].bytes));
    return all;
}

static void print_json(Arena *a, const Row *row, int64_t n, json_t *unfinished) {
    json_t *models = json_array();
    const char *folder = os_cache_folder(a, "models");
    for (int64_t i = 0; i < n; i++) {
        const Row *r = &row[i];
        json_t *j = json_pack("{s:s, s:s, s:I}", "name", path_shown(a, r->name), "path",
                              path_shown(a, str_fmt(a, "%s/%s", folder, r->name).p), "bytes",
                              (json_int_t)r->bytes);
        if (r->err.code)
            json_object_set_new(j, "error", json_string(path_shown(a, r->err.msg)));
        else {
            json_object_set_new(j, "family", json_string(r->family));
            json_object_set_new(j, "type", json_string(r->type));
            json_object_set_new(j, "parameters", json_integer(r->parameters));
            json_object_set_new(j, "context", json_integer(r->context));
        }
        json_array_append_new(models, j);
    }
    json_t *all = json_pack("{s:s, s:o, s:o}", "folder", path_shown(a, folder), "models", models,
                            "unfinished", unfinished);
    json_show(all);
}

static void print_text(Arena *a, const Row *row, int64_t n) {
    int width = 4;
    for (int64_t i = 0; i < n; i++) width = MAX(width, (int)MIN(strlen(row[i].name), 60));
    if (n) printf("%-*s %10s  %-6s %-14s %10s\n", width, "NAME", "MB", "TYPE", "FAMILY", "CONTEXT");
    for (int64_t i = 0; i < n; i++) {
        const Row *r = &row[i];
        printf("%-*s %10.1f  ", width, path_shown(a, r->name), (double)r->bytes / 1e6);
        if (r->err.code)
            printf("%s\n", path_shown(a, r->err.msg));
        else
            printf("%-6s %-14s %10lld\n", r->type, r->family, (long long)r->context);
    }
}

static void print_unfinished(Arena *a, const Unfinished *u, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        printf("unfinished: %s of %s, %.1f MB are here; lisao pull goes on from there\n",
               path_shown(a, u[i].file ? u[i].file : "a file"), path_shown(a, u[i].source),
               (double)u[i].bytes / 1e6);
}

static bool list(bool json, Err *err) {
    Arena *a = arena_open("list", 1 << 26);
    Str *name;
    Unfinished *u = NULL;
    int64_t n, n_u;
    bool ok = models_list(a, &name, &n, err)
              && fetch_unfinished(&u, &n_u, a, os_cache_folder(a, "models"), err);
    if (ok) {
        Row *row = PUSH(a, Row, n);
        for (int64_t i = 0; i < n; i++) row_fill(&row[i], a, name[i]);
        if (json)
            print_json(a, row, n, unfinished_json(a, u, n_u));
        else {
            print_text(a, row, n);
            print_unfinished(a, u, n_u);
        }
        if (!n && !json)
            fprintf(stderr,
                    "There is no model in %s; ./start fetches a small one, lisao pull any other.\n",
                    path_shown(a, os_cache_folder(a, "models")));
    }
    arena_close(a);
    return ok;
}

int cmd_list(int argc, char **argv) {
    bool json = false;
    const Opt opts[] = {FLAG_OPT("json", &json, "Print one JSON object.")};
    const Command c = {
        "list",
        "",
        "list the models in the cache folder",
        "Lists the GGUF files and Hugging Face folders in ~/.cache/lisao/models: size, number "
        "type, "
        "family and longest context. Every command takes their names, without regard for \".gguf\" "
        "and the case of letters. What does not open is listed with the reason; what lisao pull "
        "has "
        "begun and not finished is named. No weight is read.",
        "lisao list\nlisao list --json\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    if (argc == 1 && list(json, &err)) return 0;
    if (argc > 1) err_set(&err, ERR_USAGE, "expected no arguments, found %d", argc - 1);
    return command_failed(&c, &err);
}
