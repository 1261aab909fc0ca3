/* journal.c -- the log of the service. */
#include "serve/journal.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { LINES = 4096, SAID = 1000, EVENT = 16 };

typedef struct Line {
    char time[OS_CLOCK], id[40], peer[NET_ADDRESS], event[EVENT]; /* event: empty of a request */
    const char *method;
    int64_t status;
    bool gone;
    double seconds;
    ExchangeNote note;
    char said[SAID];
} Line;

struct Journal {
    bool json, silent; /* silent: about requests */
    Queue *lines;      /* Line */
    LoneThread *writer;
    Monitor *lock;
    int64_t lost; /* lines that found no place; the lock guards it */
};

/* ---- writing --------------------------------------------------------------------------------- */

/* A tenant is named by whoever made its key: in quotation marks, and those in it escaped. */
static int tenant_put(char *to, size_t size, const char *tenant) {
    json_t *name = json_string(tenant);
    char *text = json_dumps(name, JSON_ENCODE_ANY);
    const int n = text ? snprintf(to, size, " tenant=%s", text) : 0;
    free(text);
    json_decref(name);
    return n;
}

static void request_text(const Line *l) {
    const ExchangeNote *n = &l->note;
    char more[600];
    int at = 0;
    const int size = sizeof more;
    *more = 0;
    if (n->key) at += snprintf(more, sizeof more, " key=%lld", (long long)n->key);
    if (*n->tenant) at += tenant_put(more + at, (size_t)(size - at), n->tenant);
    if (n->waited > 0)
        at += snprintf(more + at, (size_t)(size - at),
                       " waited=%.3f first=%.3f in=%lld cached=%lld out=%lld thought=%lld",
                       n->waited, n->first, (long long)n->tokens_in, (long long)n->tokens_cached,
                       (long long)n->tokens_out, (long long)n->tokens_thought);
    if (n->code) snprintf(more + at, (size_t)(size - at), " code=%s", n->code);
    fprintf(stderr, "%s %s %s %s %s %lld%s %.3fs%s\n", l->time, l->id, l->peer, l->method,
            n->route ? n->route : "-", (long long)l->status, l->gone ? " gone" : "", l->seconds,
            more);
}

static double rounded(double seconds) { return (double)(int64_t)(seconds * 1e6 + 0.5) / 1e6; }

static json_t *request_json(const Line *l) {
    const ExchangeNote *n = &l->note;
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s?, s:I, s:f}", "time", l->time, "request", l->id,
                          "peer", l->peer, "method", l->method, "route", n->route, "status",
                          (json_int_t)l->status, "seconds", rounded(l->seconds));
    if (l->gone) json_object_set_new(j, "gone", json_true());
    if (n->code) json_object_set_new(j, "code", json_string(n->code));
    if (n->key) json_object_set_new(j, "key", json_integer((json_int_t)n->key));
    if (*n->tenant) json_object_set_new(j, "tenant", json_string(n->tenant));
    if (n->waited <= 0) return j;
    json_t *more = json_pack(
        "{s:f, s:f, s:I, s:I, s:I, s:I}", "waited", rounded(n->waited), "first", rounded(n->first),
        "tokens_in", (json_int_t)n->tokens_in, "tokens_cached", (json_int_t)n->tokens_cached,
        "tokens_out", (json_int_t)n->tokens_out, "tokens_thought", (json_int_t)n->tokens_thought);
    json_object_update_new(j, more);
    return j;
}

static void line_write(const Journal *j, const Line *l) {
    if (!j->json) {
        if (*l->event)
            fprintf(stderr, "%s lisao: %s: %s\n", l->time, l->event, l->said);
        else
            request_text(l);
        return;
    }
    json_t *o = *l->event ? json_pack("{s:s, s:s, s:s}", "time", l->time, "event", l->event,
                                      "message", l->said)
                          : request_json(l);
    char *text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(9));
    if (text) fprintf(stderr, "%s\n", text);
    free(text);
    json_decref(o);
}

static void lost_write(Journal *j) {
    Line l = {.event = "log"};
    monitor_enter(j->lock);
    const int64_t lost = j->lost;
    j->lost = 0;
    monitor_leave(j->lock);
    if (!lost) return;
    os_clock(l.time);
    snprintf(l.said, sizeof l.said, "%lld lines were left out: they came faster than they are read",
             (long long)lost);
    line_write(j, &l);
}

static void writer_run(void *arg) {
    Journal *j = arg;
    Line l;
    for (QueueResult got; (got = queue_pop(j->lines, &l, 1)) != QUEUE_CLOSED;) {
        if (got == QUEUE_ITEM) line_write(j, &l);
        lost_write(j);
    }
}

/* ---- telling --------------------------------------------------------------------------------- */

bool journal_open(Journal **out, Arena *a, const char *form, Err *err) {
    Journal *j = *out = PUSH(a, Journal, 1);
    *j = (Journal){.json = !strcmp(form, "json"),
                   .silent = !strcmp(form, "none"),
                   .lines = queue_new(a, LINES, sizeof(Line)),
                   .lock = monitor_new(a)};
    return lone_start(&j->writer, a, writer_run, j, err);
}

void journal_close(Journal *j) {
    if (!j) return;
    queue_close(j->lines);
    lone_join(j->writer);
}

static void line_send(Journal *j, const Line *l) {
    if (queue_try_push(j->lines, l)) return;
    monitor_enter(j->lock);
    j->lost++;
    monitor_leave(j->lock);
}

/* A method is what the client wrote; told are those that there are. */
static const char *method_known(Str method) {
    static const char *const known[] = {"GET", "HEAD", "POST", "DELETE", "OPTIONS"};
    for (int64_t i = 0; i < COUNT(known); i++)
        if (str_eq(method, str_of(known[i]))) return known[i];
    return "-";
}

static bool is_probe(const Served *s) {
    const char *route = s->note->route;
    return route && s->status < 300 && (!strcmp(route, "/health") || !strcmp(route, "/ready"));
}

void journal_request(Journal *j, const Served *s) {
    if (!j || j->silent || is_probe(s)) return;
    Line l = {.method = method_known(s->method),
              .status = s->status,
              .gone = s->gone,
              .seconds = s->seconds,
              .note = *s->note};
    os_clock(l.time);
    snprintf(l.id, sizeof l.id, "%s", s->id);
    snprintf(l.peer, sizeof l.peer, "%s", s->peer);
    line_send(j, &l);
}

void journal_say(Journal *j, const char *event, const char *fmt, ...) {
    Line l = {.seconds = 0};
    va_list args;
    if (!j) return;
    os_clock(l.time);
    snprintf(l.event, sizeof l.event, "%s", event);
    va_start(args, fmt);
    vsnprintf(l.said, sizeof l.said, fmt, args);
    va_end(args);
    line_send(j, &l);
}
