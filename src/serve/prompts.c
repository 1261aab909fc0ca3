/* prompts.c -- prompts that are no conversations: texts or token ids, one or many. Where something
 * is asked of each of their tokens (log-probabilities, hidden states), a Constraint forces those
 * behind the first, so that the engine computes theirs as it does those of any other answer. */
#include "serve/api.h"

/* ---- prompts --------------------------------------------------------------------------------- */

static bool all_numbers(const json_t *v) {
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_integer(json_array_get(v, i))) return false;
    return json_array_size(v) > 0;
}

static bool ids_take(Call *c, Prompt *p, const char *param, const json_t *v) {
    const int64_t V = c->m->bundle->model->cfg.V;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const json_int_t id = json_integer_value(json_array_get(v, i));
        if (id < 0 || id >= V)
            return fault_value(&c->fault, param, "%s: %lld is no token id below %lld", param,
                               (long long)id, (long long)V);
        if (!ids_add(&p->ids, (int32_t)id)) return false;
    }
    Buf text = {.a = c->a};
    text_decode(&text, c->m->bundle->tok, p->ids.v, p->ids.n, false);
    p->text = buf_str(&text);
    return true;
}

/* A text is encoded behind the token that begins texts, where the model has one. */
static bool text_take(Call *c, Prompt *p, const json_t *v) {
    const Bundle *b = c->m->bundle;
    Err err = {0};
    p->text = str_copy(c->a, json_text(v));
    Arena *scratch = arena_open("prompt", ARENA_NO_LIMIT);
    const bool ok = (b->bos < 0 || ids_add(&p->ids, b->bos))
                    && text_encode(&p->ids, b->tok, p->text, TEXT_PARSED, scratch, &err)
                    && bundle_ids_check(b, p->ids.v, p->ids.n, &err);
    arena_close(scratch);
    return ok || fault_err(&c->fault, &err);
}

static bool prompt_take(Call *c, Prompt *p, const char *param, const json_t *v) {
    p->ids.a = c->a;
    if (all_numbers(v) ? !ids_take(c, p, param, v)
        : json_is_string(v)
            ? !text_take(c, p, v)
            : !fault_value(&c->fault, param, "%s must be a string, token ids, or a list of either",
                           param))
        return false;
    return p->ids.n > 0 || fault_value(&c->fault, param, "%s is empty", param);
}

bool prompts_take(Call *c, const char *param, int64_t most, Prompt **out, int64_t *n) {
    const json_t *v = c->p.prompt;
    const bool list = json_is_array(v) && !all_numbers(v);
    *n = list ? (int64_t)json_array_size(v) : 1;
    if (*n < 1 || *n > most)
        return fault_value(&c->fault, param, "%s: 1 to %lld of them are taken at once", param,
                           (long long)most);
    Prompt *p = *out = PUSH(c->a, Prompt, *n);
    memset(p, 0, (size_t)*n * sizeof *p);
    for (int64_t i = 0; i < *n; i++)
        if (!prompt_take(c, &p[i], param, list ? json_array_get(v, (size_t)i) : v)) return false;
    return true;
}

/* ---- tokens that are given ------------------------------------------------------------------- */

typedef struct Given {
    const int32_t *token; /* (n) */
    int64_t n, at;
} Given;

static bool given_mask(void *self, uint64_t *bits, int64_t V) {
    const Given *g = self;
    if (g->at >= g->n) return false;
    if (g->token[g->at] < V) bits[g->token[g->at] / 64] |= (uint64_t)1 << g->token[g->at] % 64;
    return true;
}

static int64_t given_forced(void *self, int32_t *token, int64_t most) {
    const Given *g = self;
    const int64_t n = MAX(MIN(g->n - g->at, most), 0);
    if (n) memcpy(token, g->token + g->at, (size_t)n * sizeof *token);
    return n;
}

static bool given_accept(void *self, int32_t token) {
    (void)token;
    ((Given *)self)->at++;
    return true;
}

static void given_rollback(void *self, int64_t n) { ((Given *)self)->at -= n; }

void choice_give(Choice *o, const Prompt *p) {
    Given *g = PUSH(o->job->a, Given, 1);
    *g = (Given){p->ids.v + 1, p->ids.n - 1, 0};
    o->budget = (Constraint){g, given_mask, given_forced, given_accept, given_rollback};
    o->ask.limit = &o->budget;
    o->ask.given = g->n;
    o->ask.n_prompt = 1;
    o->ask.max_tokens += g->n;
}

static int64_t given(const Choice *c) { return MIN(c->ask.given, c->g.n); }
int64_t choice_read(const Choice *c) { return c->g.n_prompt + given(c); }
int64_t choice_written(const Choice *c) { return c->sum ? 0 : c->g.n - given(c); }
