/* score.c -- how well a model predicts a text.
 *
 * A window of --context tokens begins every --stride tokens of the text, and the model runs over
 * each by itself. A window scores the tokens that none before it has, so that every token counts
 * once, with at least context - stride tokens before it (but for the first ones). Several windows
 * share a step. That changes no bit: log-probabilities are added in the order of the text. */
#include "cli/score.h"

#include "train/train.h"

#include <float.h>

enum { TEXT_BYTES = 1 << 26, STEP_ROWS = 512, CONTEXT_DEFAULT = 512 };

typedef struct Window {
    int64_t begin, n, at; /* its first token of the text; its rows, and how many of them are done */
    int64_t first;        /* the row that predicts the first token that is scored here */
    KvSeq kv;
} Window;

typedef struct Text {
    Ids ids;
    int64_t bytes;  /* of the text that is scored */
    int64_t begins; /* 1: every window begins with the token `bos`, which is not of the text */
    int32_t bos;
} Text;

/* What the threads run: a forward, and the log-probabilities of what its rows predict. */
typedef struct Step {
    Plan *plan;
    Batch batch;
    int32_t *token, *target; /* (rows) */
    Span *span;
    Want *want;
    int64_t *place; /* (rows) where in the text the target stands */
    float *logits, *logprob;
    bool valid; /* no router met NaN */
} Step;

static void step_threads(Thread th, void *arg) {
    Step *s = arg;
    Out out = {.logits = s->logits};
    const bool valid = model_forward(th, s->plan, &s->batch, &out, NULL);
    thread_sync(th);
    token_logprobs(th, s->logprob, s->logits, s->target, s->batch.n_want, s->plan->model->cfg.V);
    if (th.i == 0) s->valid = valid;
}

/* ---- the text -------------------------------------------------------------------------------- */

/* Without a token that begins texts, nothing predicts the first one, which is not scored. */
static bool text_read(Text *t, Session *s, const char *path, Err *err) {
    Bundle *b = &s->bundle;
    Str text;
    Arena *scratch = arena_open("encoding", ARENA_NO_LIMIT);
    bool ok = !strcmp(path, "-") ? os_read_stdin(s->arena, &text, TEXT_BYTES, err)
                                 : os_read(s->arena, &text, path, TEXT_BYTES, err);
    *t = (Text){.ids.a = s->arena, .begins = b->bos >= 0, .bos = b->bos};
    ok = ok && text_encode(&t->ids, b->tok, text, TEXT_PARSED, scratch, err);
    arena_close(scratch);
    if (ok && t->ids.n + t->begins < 2)
        ok = err_set(err, ERR_FORMAT,
                     "%s: expected a text of two tokens or more, to predict one from the others, "
                     "found %lld",
                     path, (long long)t->ids.n);
    if (!ok || !bundle_ids_check(b, t->ids.v, t->ids.n, err)) return false;
    if (t->begins && !bundle_ids_check(b, &t->bos, 1, err)) return false;
    t->bytes = text.n - (t->begins ? 0 : token_bytes(b->tok, t->ids.v[0]).n);
    return true;
}

/* ---- windows --------------------------------------------------------------------------------- */

/* Row j of a window predicts this token of the text. */
static int64_t predicted(const Text *t, const Window *w, int64_t j) {
    return w->begin + j + 1 - t->begins;
}

/* The window that begins at `begin`, after the tokens before `scored` are scored. */
static Window window_at(const Text *t, int64_t begin, int64_t scored, int64_t context) {
    Window w = {.begin = begin};
    w.n = MIN(context, t->ids.n - predicted(t, &w, 0));
    w.first = scored - predicted(t, &w, 0);
    return w;
}

/* The next rows of each window, `chunk` at most. */
static void step_fill(Step *s, const Text *t, Window *w, int64_t n_windows, int64_t chunk) {
    Batch *b = &s->batch;
    *b = (Batch){.token = s->token, .span = s->span, .want = s->want};
    for (int64_t i = 0; i < n_windows; i++, w++) {
        const int64_t end = MIN(w->n, w->at + chunk);
        if (w->at == end) continue;
        s->span[b->n_spans++] =
            (Span){.row = b->n, .n = end - w->at, .pos = w->at, .pages = w->kv.page, .seq = i};
        for (; w->at < end; w->at++, b->n++) {
            const int64_t place = predicted(t, w, w->at);
            s->token[b->n] = t->begins && w->at == 0 ? t->bos : t->ids.v[place - 1];
            if (w->at < w->first) continue;
            s->want[b->n_want] = (Want){(int32_t)b->n, WANT_LOGITS};
            s->target[b->n_want] = t->ids.v[place];
            s->place[b->n_want++] = place;
        }
        w->kv.length = end;
    }
}

/* `n` windows at once, all of their rows. */
static bool windows_run(Step *s, const Text *t, Window *w, int64_t n, Pages *pages, Team *team,
                        float *logprob, Err *err) {
    int64_t longest = 0;
    for (int64_t i = 0; i < n; i++) {
        CHECK(kv_open(pages, &w[i].kv) && kv_reserve(pages, &w[i].kv, w[i].n));
        longest = MAX(longest, w[i].n);
    }
    const int64_t chunk = s->plan->spec.rows / n;
    s->valid = true;
    for (int64_t at = 0; at < longest && s->valid && !os_interrupted(); at += chunk) {
        step_fill(s, t, w, n, chunk);
        team_run(team, step_threads, s);
        for (int64_t i = 0; i < s->batch.n_want; i++) {
            logprob[s->place[i]] = s->logprob[i];
            s->valid = s->valid && s->logprob[i] >= -FLT_MAX; /* no NaN */
        }
    }
    for (int64_t i = 0; i < n; i++) kv_close(pages, &w[i].kv);
    if (os_interrupted()) return err_set(err, ERR_INTERRUPTED, "interrupted; nothing is scored");
    return s->valid || generation_void(err);
}

/* logprob[i] of every token i of the text that something predicts. */
static bool text_predict(Session *s, const Text *t, const Windows *o, float *logprob, Err *err) {
    Arena *a = s->arena;
    const PlanSpec *p = &s->plan->spec;
    const int64_t N = t->ids.n, V = s->bundle.model->cfg.V, first = 1 - t->begins;
    Step step = {.plan = s->plan,
                 .token = PUSH(a, int32_t, p->rows),
                 .target = PUSH(a, int32_t, p->rows),
                 .span = PUSH(a, Span, o->batch),
                 .want = PUSH(a, Want, p->rows),
                 .place = PUSH(a, int64_t, p->rows),
                 .logits = PUSH(a, float, p->logit_rows *V),
                 .logprob = PUSH(a, float, p->rows)};
    Window *w = PUSH(a, Window, o->batch);
    Pages *pages = pages_new(a, &s->plan->kv, p->pages, o->batch, o->context);
    Progress bar;
    progress_start(&bar, "perplexity", "token", N - first);
    for (int64_t scored = first, begin = 0; scored < N;) {
        int64_t n = 0;
        for (; n < o->batch && scored < N; n++, begin += o->stride) {
            w[n] = window_at(t, begin, scored, o->context);
            scored = predicted(t, &w[n], w[n].n);
        }
        if (!windows_run(&step, t, w, n, pages, s->team, logprob, err)) break;
        progress_at(&bar, scored - first, NULL);
    }
    progress_end(&bar);
    return err->code == ERR_NONE;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static bool sizes_set(Windows *o, PlanSpec *p, const Session *s, int64_t tokens, Err *err) {
    const int64_t most = s->bundle.model->cfg.max_positions;
    if (!o->context) o->context = MIN(CONTEXT_DEFAULT, most);
    if (!o->stride) o->stride = MAX(1, o->context / 2);
    if (o->context > most)
        return err_set(err, ERR_USAGE, "--context %lld is more than the %lld positions of %s",
                       (long long)o->context, (long long)most, s->bundle.path);
    if (o->stride > o->context)
        return err_set(err, ERR_USAGE,
                       "--stride %lld is more than --context %lld: tokens would be left out",
                       (long long)o->stride, (long long)o->context);
    if (!o->batch) o->batch = MAX(1, STEP_ROWS / o->context);
    p->rows = MAX(o->batch, MIN(STEP_ROWS, o->batch * o->context));
    p->logit_rows = p->rows, p->spans = o->batch, p->positions = o->context;
    p->pages = o->batch * (round_up(o->context, PAGE) / PAGE);
    p->results = tokens * (int64_t)sizeof(float);
    return true;
}

static Score score_of(const Text *t, const float *logprob) {
    const int64_t first = 1 - t->begins;
    Score s = {.tokens = t->ids.n - first, .bytes = t->bytes};
    double nll = 0;
    for (int64_t i = first; i < t->ids.n; i++) nll -= (double)logprob[i];
    s.mean = nll / (double)s.tokens;
    s.perplexity = MIN(exp_f64(s.mean), DBL_MAX);
    s.bits_per_byte = nll / log_f64(2) / (double)MAX(t->bytes, 1);
    return s;
}

bool text_score(Score *score, Session *s, PlanSpec *spec, const char *file, Windows *w, Err *err) {
    Text text;
    if (!text_read(&text, s, file, err) || !sizes_set(w, spec, s, text.ids.n, err)
        || !session_plan(s, spec, err))
        return false;
    float *logprob = PUSH(s->arena, float, text.ids.n);
    if (!text_predict(s, &text, w, logprob, err)) return false;
    *score = score_of(&text, logprob);
    return true;
}
