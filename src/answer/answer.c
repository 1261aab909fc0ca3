/* answer.c -- one answer under way: the engine's tokens become text in the moment they come.
 *
 * Invariant: text is whole characters, and the answer without special tokens; a thought is kept
 * apart. */
#include "answer/answer.h"

enum { ROOM_FIRST = 64 };

static void show(const Generation *p, Str s, bool thought) {
    if (p->show && s.n > 0) p->show(p->arg, s, thought);
}

/* Given tokens are text as they are. */
static bool is_given(const Generation *p) { return p->n <= p->given; }

/* The piece goes through the stop strings and is split into thoughts and answer. */
static void text_add(Generation *p, bool end) {
    int64_t thought = p->reasoning.n, answer = p->text.n;
    p->passed.n = 0;
    if (is_given(p))
        buf_add(&p->passed, buf_str(&p->piece));
    else
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

/* Special tokens are no text, but for those that the splitter waits for and those that were given.
 */
static void token_decode(Generation *p, int32_t id) {
    const Str spelling = token_bytes(p->bundle->tok, id);
    p->decoder.skip_special = !is_given(p) && (p->plain || !splitter_knows(&p->splitter, spelling));
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
        if (p->n == 0) p->first = p->last, p->n_cached = engine_cached(p->engine, seq);
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
    if (p->token_shown) p->token_shown(p->arg, t, p->finish);
}

bool generation_start(Generation *p, Arena *a, const Bundle *b, Engine *e, const Ask *r, Err *err) {
    *p = (Generation){.bundle = b,
                      .engine = e,
                      .show = p->show,
                      .token_shown = p->token_shown,
                      .arg = p->arg,
                      .guard = p->guard,
                      .plain = r->plain,
                      .text.a = a,
                      .reasoning.a = a,
                      .calls.a = a,
                      .piece.a = a,
                      .passed.a = a,
                      .n_top = r->n_top,
                      .n_prompt = r->n_prompt,
                      .given = r->given,
                      .start = os_now()};
    if (b->tok) decoder_init(&p->decoder, b->tok, true);
    splitter_init(&p->splitter, r->in_thought, r->tools);
    if (!stops_init(&p->stops, r->stop, r->n_stop, err)) return false;
    SeqReq q = {.prompt = r->prompt,
                .n_prompt = r->n_prompt,
                .max_tokens = r->max_tokens,
                .sampling = r->sampling,
                .bias = r->bias,
                .n_bias = r->n_bias,
                .dry_breaks = r->dry_breaks,
                .constraint = r->limit,
                .given = r->given,
                .drafter = r->drafter,
                .tenant = r->tenant,
                .account = r->account,
                .weight = r->weight,
                .priority = r->priority,
                .like = r->like,
                .inside = r->inside,
                .stop = b->end,
                .n_stop = r->ignore_end ? 0 : b->n_end,
                .on_token = on_token,
                .arg = p};
    p->seq = engine_add(e, &q, err);
    return p->seq != 0;
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

const char *finish_name(Finish f) {
    return f == FINISH_STOP     ? "stop"
           : f == FINISH_LENGTH ? "length"
           : f == FINISH_CANCEL ? "cancel"
                                : "error";
}
