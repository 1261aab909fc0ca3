/* run_metrics.c -- fuzz target: the bytes of a metrics.jsonl, as `lisao report` reads it. What has
 * a step in it becomes a table and a page, in which it stays text. */
#define _GNU_SOURCE
#include "cli/report.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static int64_t times(Str s, const char *part) {
    int64_t n = 0;
    for (int64_t i = 0; i < s.n; i++) n += str_starts((Str){s.p + i, s.n - i}, str_of(part));
    return n;
}

/* What a line becomes for those who watch a run is JSON of a bounded size. */
static void news_check(void *ignored, json_t *line) {
    json_t *news = run_news(line);
    char *text = news ? json_dumps(news, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    (void)ignored;
    CHECK(!news || (text && !strchr(text, '\n')));
    free(text);
    json_decref(news);
}

/* The page's own two scripts, and no other. */
static void page_check(Str page) {
    CHECK(times(page, "<script") == 2 && times(page, "</script") == 2);
    CHECK(times(page, "<!--") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static Arena *a;
    static int fd;
    static char path[64];
    Err err = {0};
    RunMetrics run[2];
    if (!a) {
        a = arena_open("metrics", (int64_t)1 << 30);
        fd = memfd_create("input", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        log_set(LOG_ERROR);
    }
    CHECK(ftruncate(fd, (off_t)size) == 0 && pwrite(fd, bytes, size, 0) == (ssize_t)size);
    const Mark mark = arena_mark(a);
    int64_t unreadable = 0;
    run_lines((Str){(const char *)bytes, (int64_t)size}, news_check, NULL, &unreadable);
    const bool ok = run_metrics(&run[0], a, path, &err);
    CHECK(ok == (err.code == ERR_NONE));
    CHECK(ok || strstr(err.msg, path));
    if (ok) {
        Buf table = {.a = a}, page = {.a = a};
        run[1] = run[0];
        report_csv(&table, run, 2);
        CHECK(table.n > 0);
        if (report_html(&page, run, 2, NULL, &err)) page_check(buf_str(&page));
    }
    json_decref(run[0].row);
    arena_pop(a, mark);
    return 0;
}
