/* cmd_report.c -- `lisao report`: the curves of runs as one HTML file, or their numbers as CSV. */
#include "cli/cli.h"
#include "cli/report.h"

#include <stdio.h>

enum { RUNS = 64 };

typedef struct Options {
    const char *out;
    bool csv;
} Options;

static bool write_out(Arena *a, const char *path, Str text, Err *err) {
    if (!strcmp(path, "-")) {
        fwrite(text.p, 1, (size_t)text.n, stdout);
        return true;
    }
    if (!os_put(a, path, text, err)) return false;
    fprintf(stderr, "wrote %s\n", path);
    return true;
}

/* Runs of one name ("step-..." of two folders) are told apart by their paths. */
static void names_part(RunMetrics *run, int64_t n, Arena *a) {
    for (int64_t i = 1; i < n; i++)
        for (int64_t k = 0; k < i; k++)
            if (!strcmp(run[i].name, run[k].name)) run[i].name = path_shown(a, run[i].path);
}

static bool report(Arena *a, const Options *o, char **argv, int64_t n, Err *err) {
    RunMetrics run[RUNS];
    int64_t read = 0;
    Buf out = {.a = a};
    bool ok = true;
    while (ok && read < n) {
        ok = run_metrics(&run[read], a, argv[read], err);
        read++;
    }
    if (ok) names_part(run, n, a);
    if (ok && o->csv) report_csv(&out, run, n);
    ok = ok && (o->csv || report_html(&out, run, n, NULL, err))
         && write_out(a, o->out, buf_str(&out), err);
    while (read > 0) json_decref(run[--read].row), json_decref(run[read].answers);
    return ok;
}

static bool usage_check(Options *o, int argc, Err *err) {
    if (argc < 2) return err_set(err, ERR_USAGE, "expected one RUN or more, found none");
    if (argc - 1 > RUNS)
        return err_set(err, ERR_USAGE, "%d runs are too many for one report, which has room for %d",
                       argc - 1, RUNS);
    if (!o->out && !o->csv)
        return err_set(err, ERR_USAGE, "name the file to write: -o report.html");
    if (!o->out) o->out = "-";
    return true;
}

int cmd_report(int argc, char **argv) {
    Options o = {0};
    const Opt opts[] = {
        TEXT_OPT("o", "FILE", &o.out,
                 "File to write; - is standard output (default with --csv: standard output)."),
        FLAG_OPT("csv", &o.csv,
                 "Write the numbers as CSV, a line for each run and step, instead of the page."),
    };
    const Command c = {
        "report",
        "RUN...",
        "draw the curves of training runs into one HTML file",
        "Reads the metrics.jsonl of each RUN (the checkpoint.folder of a run, or such a file) and "
        "writes a page with loss, bits per byte, gradient norm, learning rate, tokens per second, "
        "the load of the experts and the samples over time, all runs in the same axes. The page "
        "is one file that loads nothing from a network. A run may be under way.",
        "lisao report runs/tiny-en -o report.html\n"
        "lisao report runs/* -o all.html\n"
        "lisao report runs/tiny-en --csv -o metrics.csv\n",
        opts,
        COUNT(opts)};
    int code;
    if (!command_start(&c, &argc, argv, &code)) return code;
    Err err = {0};
    Arena *a = arena_open("report", ARENA_NO_LIMIT);
    const bool ok = usage_check(&o, argc, &err) && report(a, &o, argv + 1, argc - 1, &err);
    arena_close(a);
    return ok ? 0 : command_failed(&c, &err);
}
