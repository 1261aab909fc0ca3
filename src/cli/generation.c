/* generation.c -- one request of the command line under way, and what `--json` prints of it. */
#include "cli/generation.h"

#include <stdio.h>

bool request_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Request *r,
                   Err *err) {
    const Ask ask = {.prompt = r->ids.v,
                     .n_prompt = r->ids.n,
                     .max_tokens = r->opts.max_tokens,
                     .sampling = r->sampling,
                     .bias = r->bias,
                     .n_bias = r->opts.logit_bias.n,
                     .dry_breaks = r->dry_breaks,
                     .limit = r->limit.self ? &r->limit : NULL,
                     .stop = r->stop,
                     .n_stop = r->opts.stop.n,
                     .ignore_end = r->opts.ignore_end,
                     .plain = r->plain,
                     .in_thought = r->in_thought,
                     .tools = r->tools,
                     .n_top = r->opts.top_logprobs};
    return generation_start(p, a, b, e, &ask, err);
}

bool generation_run(Generation *p, Err *err) {
    while (engine_step(p->engine))
        if (os_interrupted() || ferror(stdout))
            engine_cancel(p->engine, p->seq); /* once is enough */
    return !ferror(stdout) || output_failed(err);
}

/* ---- for scripts ----------------------------------------------------------------------------- */

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
        json_array_append_new(all, json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL));
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
