/* generation.c -- one request under way: the engine's tokens become text in the moment they come.
 *
 * Invariant: text is whole characters, and the answer without special tokens; a thought is kept
 * apart. */
#include "cli/generation.h"

#include <stdio.h>

enum { ROOM_FIRST = 64 };

static void show(const Generation *p, Str s, bool thought) {
    if (p->show && s.n > 0) p->show(p->arg, s, thought);
}

/* The piece goes through the stop strings and is split into thoughts and answer. */
static void text_add(Generation *p, bool end) {
    int64_t thought = p->reasoning.n, answer = p->text.n;
    p->passed.n = 0;
    stops_push(&p->stops, buf_str(&p->piece), &p->passed);
    if (end) stops_end(&p->stops, &p->passed);
    const SplitText to = {&p->reasoning, &p->text, &p->calls};
    if (p->plain)
        buf_add(&p->text, buf_str(&p->passed));
    else
        splitter_push(&p->splitter, buf_str(&p->passed), &to);
    if (end && !p->plain) splitter_end(&p->splitter, &to);
    show(p, (Str){p->reasoning.p + thought, p->reasoning.n - thought}, true);
    show(p, (Str){p->text.p + answer, p->text.n - answer}, false);
}

/* Room for one more token: a request may ask for far more than it ever gets, so the lists grow with
 * what comes, twice as long each time. */
static bool room_make(Generation *p) {
    if (p->n < p->room) return true;
    int64_t room = MAX(2 * p->room, ROOM_FIRST);
    Token *token = arena_try(p->text.a, room * (1 + p->n_top) * (int64_t)sizeof *token),
          *top = token + room;
    if (!token) return false;
    if (p->n > 0) memcpy(token, p->token, (size_t)p->n * sizeof *token);
    if (p->n * p->n_top > 0) memcpy(top, p->top, (size_t)(p->n * p->n_top) * sizeof *top);
    p->token = token, p->top = top, p->room = room;
    return true;
}

/* Lists that grow have their predecessors beside them, which together are no longer. */
int64_t generation_bytes(int64_t tokens, int64_t n_top) {
    int64_t room = ROOM_FIRST;
    while (room < tokens) room *= 2;
    return 2 * room * (1 + n_top) * (int64_t)sizeof(Token);
}

/* Special tokens are no text, but for those that the splitter waits for. */
static void token_decode(Generation *p, int32_t id) {
    p->decoder.skip_special =
        p->plain || !splitter_knows(&p->splitter, token_bytes(p->bundle->tok, id));
    decoder_push(&p->decoder, id, &p->piece);
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Generation *p = arg;
    p->piece.n = 0;
    if (t.id >= 0 && !room_make(p)) {
        p->full = true;
        if (finish == FINISH_NONE) engine_cancel(p->engine, seq);
    }
    if (t.id >= 0 && !p->full) {
        p->last = os_now();
        if (p->n == 0) p->first = p->last;
        if (p->n_top)
            sampler_top(logits, p->bundle->model->cfg.V, p->n_top, p->top + p->n * p->n_top);
        p->token[p->n++] = t;
        /* An end token is not text, whatever the file marks it as. */
        if (p->bundle->tok && finish != FINISH_STOP) token_decode(p, t.id);
    }
    if (finish != FINISH_NONE && p->bundle->tok) decoder_end(&p->decoder, &p->piece);
    text_add(p, finish != FINISH_NONE);
    p->finish = p->stops.found && finish != FINISH_NONE ? FINISH_STOP : finish;
    if (p->full && finish != FINISH_NONE) p->finish = FINISH_ERROR;
    p->looped |= p->guard && t.id >= 0 && guard_push(p->guard, t.id);
    if ((p->stops.found || p->looped) && finish == FINISH_NONE) engine_cancel(p->engine, seq);
}

bool generation_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Request *r,
                      Err *err) {
    *p = (Generation){.bundle = b,
                      .engine = e,
                      .show = p->show,
                      .arg = p->arg,
                      .guard = p->guard,
                      .plain = r->plain,
                      .text.a = a,
                      .reasoning.a = a,
                      .calls.a = a,
                      .piece.a = a,
                      .passed.a = a,
                      .n_top = r->opts.top_logprobs,
                      .n_prompt = r->ids.n,
                      .start = os_now()};
    if (b->tok) decoder_init(&p->decoder, b->tok, true);
    splitter_init(&p->splitter, r->in_thought, r->tools);
    if (!stops_init(&p->stops, r->stop, r->opts.stop.n, err)) return false;
    SeqReq q = {.prompt = r->ids.v,
                .n_prompt = r->ids.n,
                .max_tokens = r->opts.max_tokens,
                .sampling = r->sampling,
                .bias = r->bias,
                .n_bias = r->opts.logit_bias.n,
                .dry_breaks = r->dry_breaks,
                .constraint = r->limit.self ? &r->limit : NULL,
                .stop = b->end,
                .n_stop = r->opts.ignore_end ? 0 : b->n_end,
                .on_token = on_token,
                .arg = p};
    p->seq = engine_add(e, &q, err);
    return p->seq != 0;
}

bool generation_run(Generation *p, Err *err) {
    while (engine_step(p->engine))
        if (os_interrupted() || ferror(stdout))
            engine_cancel(p->engine, p->seq); /* once is enough */
    return !ferror(stdout) || output_failed(err);
}

bool generation_fine(const Generation *p, Err *err) {
    if (p->full)
        return err_set(err, ERR_LIMIT,
                       "no memory is left for more than %lld tokens of the answer, each with %lld "
                       "likeliest ones: ask for fewer (max-tokens, top-logprobs)",
                       (long long)p->n, (long long)p->n_top);
    return p->finish != FINISH_ERROR || generation_void(err);
}

bool generation_void(Err *err) {
    return err_set(
        err, ERR_FORMAT,
        "the model computed a value that is not a number (NaN): its file may be damaged");
}

/* ---- for scripts ----------------------------------------------------------------------------- */

const char *finish_name(Finish f) {
    return f == FINISH_STOP     ? "stop"
           : f == FINISH_LENGTH ? "length"
           : f == FINISH_CANCEL ? "cancel"
                                : "error";
}

static json_t *text_json(const Buf *b) { return json_stringn(b->p ? b->p : "", (size_t)b->n); }

static json_t *top_json(const Generation *p) {
    json_t *all = json_array();
    int64_t n = MIN(p->n_top, p->bundle->model->cfg.V);
    for (int64_t i = 0; i < p->n; i++) {
        json_t *one = json_array();
        for (const Token *t = p->top + i * p->n_top; t < p->top + i * p->n_top + n; t++)
            json_array_append_new(
                one, json_pack("{s:i, s:f}", "id", (int)t->id, "logprob", (double)t->logprob));
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *calls_json(const Generation *p) {
    json_t *all = json_array();
    for (int64_t at = 0, n; at < p->calls.n; at += n + 1) {
        const char *line = p->calls.p + at;
        n = (const char *)memchr(line, '\n', (size_t)(p->calls.n - at)) - line;
        json_array_append_new(all, json_loadb(line, (size_t)n, 0, NULL));
    }
    return all;
}

json_t *generation_json(const Generation *p, double load_ms) {
    json_t *ids = json_array(), *logprobs = json_array();
    for (int64_t i = 0; i < p->n; i++) {
        json_array_append_new(ids, json_integer(p->token[i].id));
        json_array_append_new(logprobs, json_real((double)p->token[i].logprob));
    }
    double first = p->n ? p->first : os_now();
    json_t *o = json_pack(
        "{s:o, s:o, s:o, s:o, s:s, s:{s:I, s:I}, s:{s:f, s:f, s:f}}", "text", text_json(&p->text),
        "reasoning", p->splitter.thought ? text_json(&p->reasoning) : json_null(), "ids", ids,
        "logprobs", logprobs, "finish_reason", finish_name(p->finish), "usage", "prompt_tokens",
        (json_int_t)p->n_prompt, "completion_tokens", (json_int_t)p->n, "timings", "load_ms",
        load_ms, "prefill_ms", (first - p->start) * 1e3, "decode_ms",
        p->n ? (p->last - first) * 1e3 : 0.0);
    if (p->calls.n) json_object_set_new(o, "tool_calls", calls_json(p));
    if (p->n_top) json_object_set_new(o, "top_logprobs", top_json(p));
    return o;
}
