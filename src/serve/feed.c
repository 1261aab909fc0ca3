/* feed.c -- GET /runs/feed: what training runs write, as they write it.
 *
 * A thread of its own looks twice a second whether the files of a feed's runs have grown. A feed
 * has its own place in each file, so that one that does not read holds up nobody: its place stays
 * where it is until there is room for what follows. Feeds are the thread's alone; new ones come by
 * a queue. */
#include "serve/training.h"

enum { FEEDS = 64, FEED_RUNS = 8 };
/* Bytes of an event. What one reading brings is less, but for lines that nobody logs: of those
 * whose few members become many the last are left out. */
enum { EVENT_ROOM = 3 * RUN_LINE, EVENT_ENDS = 64 };
static const double LOOK = 0.5, SILENT = 10; /* seconds */

typedef struct Watched {
    char id[RUN_ID];
    RunTail metrics, rollouts;
    bool over; /* its file became another one: who reads must begin anew */
} Watched;

typedef struct Feed { /* in its exchange's arena, as what it points to */
    Exchange *x;
    Watched run[FEED_RUNS];
    int64_t n;
    double wrote;
} Feed;

struct Feeds {
    Api *api;
    Queue *fresh; /* Feed * */
    LoneThread *thread;
    int64_t n;         /* under the API's lock: that are read, or in the queue */
    Feed *feed[FEEDS]; /* the thread's, as all below; NULL: a free place */
    char *chunk;       /* (RUN_LINE) */
    Arena *scratch;
};

const char run_types[] =
    "type RunList = {object: 'list'; data: RunSummary[]; left_off: integer};\n"
    "type RunSummary = {id: string; name: string; folder: string; objective: string | null;\n"
    "  step: integer; steps: integer | null; checkpoint: integer | null; loss: number | null;\n"
    "  reward: number | null; valid_loss: number | null; bits_per_byte: number | null;\n"
    "  valid_pass_rate: number | null; written: integer; alive: boolean};\n"
    "type Run = {id: string; whole: boolean; at: integer; unreadable: integer;\n"
    "  curves: {key: string; step: integer[]; value: number[]}[]; experts: RunExperts | null};\n"
    "type RunExperts = {step: integer; load: number[][]};\n"
    "type RunTexts = {samples: RunSample[]; answers: RunAnswer[]};\n"
    "type RunModel = {id: string; object: 'model'; step: integer};\n"
    "type RunSample = {step: integer; prompt: string; text: string; ended: boolean};\n"
    "type RunAnswer = {step: integer; reward: number; right: boolean; task: string;\n"
    "  stratum: string; prompt: string; reasoning: string; answer: string};\n"
    "type RunEvent = {run: string; lines: RunLine[]} | {run: string; again: true};\n"
    "type RunLine = {step: integer; values: {[name: string]: number}; experts?: RunExperts;\n"
    "  sample?: RunSample} | {step: integer; answer: RunAnswer};\n";

/* ---- events ---------------------------------------------------------------------------------- */

static void event_write(Feed *to, Str event) {
    exchange_write(to->x, event);
    to->wrote = os_now();
}

/* A line behind those that are there, where there is room. */
static void line_add(void *lines, json_t *line) {
    Buf *b = lines;
    json_t *news = run_news(line);
    char *text = news ? json_dumps(news, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    const Str one = str_of(text ? text : "");
    if (one.n && b->n + one.n + EVENT_ENDS <= EVENT_ROOM) {
        buf_add(b, b->n ? STR(",") : STR(""));
        buf_add(b, one);
    }
    free(text);
    json_decref(news);
}

/* What has come in one of a run's files. One that is not there says nothing; it may come yet. */
static void file_feed(Feeds *f, Feed *to, Watched *w, RunTail *file) {
    const Mark mark = arena_mark(f->scratch);
    Buf lines = {.a = f->scratch};
    bool more = true;
    int64_t ignored = 0;
    Err none = {0};
    if (!run_tail(file, f->chunk, line_add, &lines, &more, &ignored, &none)) more = false;
    w->over = w->over || file->again;
    if (file->again)
        event_write(to, str_fmt(f->scratch, "data: {\"run\":\"%s\",\"again\":true}\n\n", w->id));
    else if (lines.n)
        event_write(to, str_fmt(f->scratch, "data: {\"run\":\"%s\",\"lines\":[%.*s]}\n\n", w->id,
                                STRF(buf_str(&lines))));
    arena_pop(f->scratch, mark);
}

/* false: its reader has left. */
static bool feed_step(Feeds *f, Feed *to) {
    for (int64_t i = 0; i < to->n; i++) {
        Watched *w = &to->run[i];
        if (!w->over && exchange_room(to->x) >= EVENT_ROOM) file_feed(f, to, w, &w->metrics);
        if (!w->over && exchange_room(to->x) >= EVENT_ROOM) file_feed(f, to, w, &w->rollouts);
    }
    if (os_now() - to->wrote > SILENT) {
        exchange_write(to->x, STR(": keep-alive\n\n"));
        to->wrote = os_now();
    }
    return exchange_room(to->x) >= 0;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void feed_end(Feeds *f, Feed *to) {
    monitor_enter(f->api->lock);
    f->n--;
    monitor_leave(f->api->lock);
    exchange_end(to->x);
}

static void feed_take(Feeds *f, Feed *fresh) {
    int64_t i = 0;
    while (f->feed[i]) i++;
    f->feed[i] = fresh;
    fresh->wrote = os_now();
    exchange_begin(fresh->x, 200, "text/event-stream; charset=utf-8");
    exchange_write(fresh->x, STR(": reading\n\n"));
}

static void feeds_sweep(Feeds *f, bool ends) {
    for (int64_t i = 0; i < FEEDS; i++) {
        Feed *to = f->feed[i];
        if (!to || (!ends && feed_step(f, to))) continue;
        f->feed[i] = NULL;
        feed_end(f, to);
    }
}

static void feeds_run(void *arg) {
    Feeds *f = arg;
    Feed *fresh;
    for (QueueResult got = QUEUE_TIMEOUT; got != QUEUE_CLOSED;) {
        got = queue_pop(f->fresh, &fresh, LOOK);
        if (got == QUEUE_ITEM) feed_take(f, fresh);
        feeds_sweep(f, got == QUEUE_CLOSED || api_drains(f->api));
    }
}

bool feeds_open(Feeds **out, Arena *a, Api *api, Err *err) {
    Feeds *f = PUSH(a, Feeds, 1);
    *f = (Feeds){.api = api,
                 .fresh = queue_new(a, FEEDS, sizeof(Feed *)),
                 .chunk = PUSH(a, char, RUN_LINE),
                 .scratch = arena_open("feeds", ARENA_NO_LIMIT)};
    *out = f;
    return lone_start(&f->thread, a, feeds_run, f, err);
}

void feeds_close(Feeds *f) {
    if (!f) return;
    queue_close(f->fresh);
    lone_join(f->thread);
    arena_close(f->scratch);
}

int64_t feeds_count(const Feeds *f) { return f->n; }

/* ---- requests -------------------------------------------------------------------------------- */

bool runs_shown(Call *c) {
    return c->api->training
           || fault_set(&c->fault, 404, "invalid_request_error", "no_runs", NULL,
                        "this server shows no training runs");
}

bool run_missing(Call *c, Str id) {
    return fault_set(&c->fault, 404, "invalid_request_error", "run_not_found", NULL,
                     "there is no run '%.*s'", STRF(id));
}

/* ID=AT of the query: the run of this id, from so many bytes on; of a run's answers those that come
 * from now on. */
static bool watched_read(Call *c, Feed *f, Str member) {
    const char *folder = c->api->spec->runs;
    Str at = member;
    const Str id = str_cut(&at, '=');
    Watched *w = &f->run[f->n];
    int64_t from = 0;
    Run run;
    Err none = {0};
    if (at.p && (!str_i64(at, &from) || from < 0))
        return fault_value(&c->fault, NULL,
                           "a feed is asked for by ID=AT&ID=AT: AT must be a number of 0 or more");
    if (!run_find(c->a, folder, id, &run)) return run_missing(c, id);
    *w = (Watched){
        .metrics = {.folder = folder, .path = run_file(c->a, run.name, "metrics.jsonl")},
        .rollouts = {.folder = folder, .path = run_file(c->a, run.name, "rollouts.jsonl")}};
    memcpy(w->id, run.id, sizeof w->id);
    if (!run_tail_place(&w->metrics, from, 0, &none)) return run_missing(c, id);
    if (w->metrics.at < from) w->metrics.inode = -1; /* it was longer once: `again` will say so */
    f->n++;
    return run_tail_place(&w->rollouts, INT64_MAX, 0, &none)
           || none.code; /* there may be none yet */
}

static bool place_take(Call *c, Feeds *f) {
    monitor_enter(c->api->lock);
    const bool fits = f->n < FEEDS;
    f->n += fits;
    monitor_leave(c->api->lock);
    return fits
           || fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
                        "%d feeds of runs are being read, which is the most", FEEDS);
}

void answer_run_feed(Call *c) {
    Feed *f = PUSH(c->a, Feed, 1);
    *f = (Feed){.x = c->x};
    if (!runs_shown(c)) return;
    for (Str rest = exchange_query(c->x); rest.n > 0;) {
        const Str member = str_cut(&rest, '&');
        if (f->n == FEED_RUNS) {
            fault_value(&c->fault, NULL, "a feed has %d runs at most", FEED_RUNS);
            return;
        }
        if (!watched_read(c, f, member)) return;
    }
    if (f->n == 0)
        fault_value(&c->fault, NULL, "a feed is of one run or more: /runs/feed?ID=AT");
    else if (place_take(c, c->api->training->feeds)
             && !queue_try_push(c->api->training->feeds->fresh, &f))
        fault_set(&c->fault, 503, "server_error", "overloaded", NULL,
                  "the server is going down: try again in a moment");
}
