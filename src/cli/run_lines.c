/* run_lines.c -- `lisao run --jsonl`: a line of JSON is a request, and all requests run in one
 * batch that is never waited for: while it runs, further lines are read as they come.
 *
 * The requests under way stand in a ring, in the order of their lines. What is finished is printed
 * when all before it are; a bad line is a slot that was finished at once. */
#include "cli/generation.h"
#include "cli/lines.h"
#include "cli/run.h"

/* ROOM: pages for so many sequences of the whole context; shorter ones share them. */
enum { BATCH = 32, SLOTS = 64, ROOM = 8 };

typedef struct Slot {
    Arena *a;
    Request request;
    Generation g;
    Err bad;
} Slot;

typedef struct LinesRun {
    Session *s;
    Engine *engine;
    const RequestOpts *defaults;
    const Err *no_chat; /* why there is no chat format, if there is none */
    Lines lines;
    Slot slot[SLOTS];
    int64_t head, tail, done, tokens; /* slots head..tail-1 of the ring; printed; generated */
    int64_t positions;
    Grammars grammars;
    double load_ms;
    bool ended;
} LinesRun;

/* As many pages as the memory allows, at least for one sequence of the whole context, and beside
 * them the lists of the tokens that they hold. */
static bool lines_plan(LinesRun *r, PlanSpec *plan, Err *err) {
    int64_t one = round_up(r->positions, PAGE) / PAGE;
    EngineSpec e = {.seqs = BATCH,
                    .queue = SLOTS,
                    .rows = RUN_ROWS,
                    .pages = ROOM * one,
                    .queue_tokens = SLOTS * r->positions};
    session_drafts(r->s, &e);
    for (;; e.pages = MAX(one, e.pages / 2)) {
        Err why = {0};
        engine_plan(plan, r->s->bundle.model, &e, r->positions, r->s->team);
        plan->results = generation_bytes(e.pages * PAGE, TOP_LOGPROBS);
        if (session_plan(r->s, plan, &why)) break;
        if (e.pages == one) return *err = why, false;
    }
    return engine_new(&r->engine, r->s->arena, r->s->plan, &e, r->s->team, err);
}

static bool slot_start(LinesRun *r, Slot *s, const json_t *line) {
    Request *q = &s->request;
    q->opts = *r->defaults;
    q->grammars = &r->grammars;
    if (!request_read(q, s->a, line, &s->bad)) return false;
    if (!q->opts.raw && q->ids.n == 0 && r->no_chat->code != ERR_NONE)
        return err_set(&s->bad, r->no_chat->code, "%s", r->no_chat->msg);
    return request_encode(q, s->a, &r->s->bundle, r->positions, &s->bad)
           && request_start(&s->g, s->a, &r->s->bundle, r->engine, q, &s->bad);
}

static void line_start(LinesRun *r, const json_t *line, const Err *bad) {
    Slot *s = &r->slot[r->tail++ % SLOTS];
    Err why = {0};
    *s = (Slot){.a = arena_open("request", ARENA_NO_LIMIT), .bad = *bad};
    if (!line || slot_start(r, s, line)) return;
    why = s->bad;
    s->bad = (Err){0};
    err_set(&s->bad, why.code, "line %lld: %s", (long long)r->lines.number, why.msg);
}

/* Reads lines as long as they are there and have room; waits for one only where nothing runs. */
static bool lines_take(LinesRun *r, Err *err) {
    while (!r->ended && r->tail - r->head < SLOTS) {
        json_t *line;
        Err bad = {0};
        LineResult got = object_next(&r->lines, r->head == r->tail, &line, &bad, err);
        if (got == LINE_NONE) return true;
        if (got == LINE_END) return r->ended = true, err->code == ERR_NONE;
        line_start(r, line, &bad);
        json_decref(line);
    }
    return true;
}

/* Prints what is finished, in order. */
static void slots_print(LinesRun *r) {
    for (; r->head < r->tail; r->head++) {
        Slot *s = &r->slot[r->head % SLOTS];
        if (s->bad.code == ERR_NONE && s->g.finish == FINISH_NONE) return;
        if (s->bad.code == ERR_NONE && generation_fine(&s->g, &s->bad))
            object_print(generation_json(&s->g, r->load_ms));
        else
            error_print(&r->lines, &s->bad);
        r->done++, r->tokens += s->g.n;
        arena_close(s->a);
    }
}

static void all_cancel(LinesRun *r) {
    for (int64_t i = r->head; i < r->tail; i++) engine_cancel(r->engine, r->slot[i % SLOTS].g.seq);
    r->ended = true;
}

static bool lines_answer(LinesRun *r, Err *err) {
    Progress p;
    double start = os_now();
    progress_start(&p, "run", "line", 0);
    while (lines_take(r, err) && (r->head < r->tail || !r->ended)) {
        engine_step(r->engine);
        slots_print(r);
        char extra[64];
        snprintf(extra, sizeof extra, "%.0f tokens/s", (double)r->tokens / (os_now() - start));
        progress_at(&p, r->done, extra);
        if (os_interrupted() || ferror(stdout)) all_cancel(r);
    }
    progress_end(&p);
    if (ferror(stdout)) return output_failed(err);
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted");
    return err->code == ERR_NONE && lines_fine(&r->lines, err);
}

bool lines_run(Session *s, PlanSpec *plan, const RequestOpts *defaults, const Err *no_chat,
               int64_t context, double start, Err *err) {
    Arena *a = arena_open("lines", ARENA_NO_LIMIT);
    LinesRun *r = PUSH(a, LinesRun, 1);
    *r = (LinesRun){.s = s, .defaults = defaults, .no_chat = no_chat, .grammars.a = a};
    r->positions = context_bounded(s, context);
    lines_init(&r->lines, a);
    bool ok = lines_plan(r, plan, err);
    r->load_ms = (os_now() - start) * 1e3;
    ok = ok && lines_answer(r, err);
    for (; r->head < r->tail; r->head++) arena_close(r->slot[r->head % SLOTS].a);
    arena_close(a);
    return ok;
}
