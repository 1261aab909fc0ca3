/* log.c -- what goes to stderr while the program works: log lines and the progress bar.
 *
 * A bar occupies the last line of a terminal and is drawn over; a log line clears it first. The
 * results of a command go to stdout and never through here. To be used by one thread at a time. */
#include "base/base.h"
#include <stdio.h>

static LogLevel log_level = LOG_INFO;
static bool bar_shown;
static char bar_extra[160]; /* the figures of the bar's caller, as they were last */

static void bar_clear(void) {
    if (bar_shown) fputs("\r\x1b[K", stderr);
    bar_shown = false;
}

void log_set(LogLevel level) { log_level = level; }

void log_at(LogLevel level, const char *fmt, ...) {
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    if (level > log_level) return;
    char line[2048];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    bar_clear();
    fprintf(stderr, "lisao: %s%s\n", prefix[level], line);
}

/* ---- progress -------------------------------------------------------------------------------- */

enum { BAR = 20 };
static const double QUIET = 1, REDRAW = 0.1, LINE_EVERY = 10; /* seconds */

/* Three digits and the unit: "12.3 MB", "7.89k tokens", "1 step"; counts may have four:
 * "4321 steps". */
static void amount(char out[32], double v, const char *unit) {
    static const char *const prefixes[] = {"", "k", "M", "G", "T"};
    bool bytes = !strcmp(unit, "B"), many = *unit && !bytes && v != 1;
    int i = 0;
    if (v >= (bytes ? 1000 : 10000))
        for (; v >= 1000 && i < 4; i++) v /= 1000;
    int digits = v >= 100 || v == (double)(int64_t)v ? 0 : v >= 10 ? 1 : 2;
    const char *k = prefixes[i], *space = *unit ? " " : "";
    snprintf(out, 32, "%.*f%s%s%s%s", digits, v, bytes ? space : k, bytes ? k : space, unit,
             many ? "s" : "");
}

static void clock_text(char out[32], double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, 32, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, 32, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

/* The parts of the line: "train ", "[=====>    ] ", " 45% 123 of 456 steps", ", 12.3 steps/s",
 * ", ETA 1:23"; the bar on terminals only. */
typedef struct Parts {
    char bar[BAR + 8], count[96], rate[40], left[40];
} Parts;

static Parts progress_parts(const Progress *p, double now) {
    Parts t = {0};
    char a[32], b[32];
    const double speed = (double)(p->done - p->first) / MAX(now - p->start, 1e-9);
    const bool bytes = !strcmp(p->unit, "B");
    amount(a, (double)p->done, p->total > 0 && !bytes ? "" : p->unit);
    snprintf(t.count, sizeof t.count, "%s", a);
    amount(b, speed, p->unit);
    snprintf(t.rate, sizeof t.rate, ", %s/s", b);
    if (p->total <= 0) return t;
    const double part = MIN(1.0, (double)p->done / (double)p->total);
    const int fill = (int)(BAR * part);
    amount(b, (double)p->total, p->unit);
    snprintf(t.count, sizeof t.count, "%3d%% %s of %s", (int)(100 * part), a, b);
    if (p->tty)
        snprintf(t.bar, sizeof t.bar, "[%.*s%*s] ", fill, "====================", BAR - fill, "");
    if (speed <= 0 || p->done >= p->total) return t;
    clock_text(a, (double)(p->total - p->done) / speed);
    snprintf(t.left, sizeof t.left, ", ETA %s", a);
    return t;
}

/* "train [=====>    ]  45% 123 of 456 steps, 12.3 steps/s, ETA 1:23, loss 3.21". What is wider than
 * `width` does without the bar, then without the rate, then without whole figures from its end. */
static void progress_text(const Progress *p, char *out, size_t size, int64_t width, double now) {
    const Parts t = progress_parts(p, now);
    for (int less = 0; less < 3; less++) {
        snprintf(out, size, "%s %s%s%s%s%s%s", p->what, less < 1 ? t.bar : "", t.count,
                 less < 2 ? t.rate : "", t.left, *bar_extra ? ", " : "", bar_extra);
        if ((int64_t)strlen(out) <= width) return;
    }
    for (char *cut; (int64_t)strlen(out) > width && (cut = strrchr(out, ',')); *cut = 0) continue;
}

static void progress_show(Progress *p, double now) {
    char line[512];
    const int64_t width = p->tty ? os_columns() - 1 : (int64_t)sizeof line;
    progress_text(p, line, sizeof line, width, now);
    p->shown = now;
    p->said = p->done;
    p->on = true;
    if (p->tty) {
        fprintf(stderr, "\r%.*s\x1b[K", (int)width, line);
        fflush(stderr);
        bar_shown = true;
    } else
        log_at(LOG_INFO, "%s", line);
}

void progress_start(Progress *p, const char *what, const char *unit, int64_t total) {
    double now = os_now();
    *p = (Progress){.what = what, .unit = unit, .start = now, .shown = now, .total = total};
    p->tty = os_is_tty(2);
    *bar_extra = 0;
}

void progress_at(Progress *p, int64_t done, const char *extra) {
    double now = os_now();
    p->done = done;
    snprintf(bar_extra, sizeof bar_extra, "%s", extra ? extra : "");
    if (log_level < LOG_INFO || now - p->start < QUIET) return;
    if (now - p->shown >= (p->tty ? REDRAW : LINE_EVERY)) progress_show(p, now);
}

void progress_end(Progress *p) {
    if (!p->on) return;
    if (p->tty || p->said != p->done) progress_show(p, os_now());
    if (p->tty) fputc('\n', stderr);
    bar_shown = false;
    p->on = false;
}
