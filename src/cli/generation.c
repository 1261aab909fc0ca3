/* generation.c -- one generation as a person sees it: the engine's tokens become text in the moment
 * they come.
 *
 * Invariant: what is printed is whole characters, and the answer without the special tokens; a
 * thought is shown too (in grey on a terminal) but kept apart. */
#include "cli/cli.h"

#include <stdio.h>

static void show(const Generation *p, Str s, bool thought) {
    if (p->quiet || s.n == 0) return;
    if (p->dim && thought)
        printf("\033[2m%.*s\033[0m", STRF(s));
    else
        fwrite(s.p, 1, (size_t)s.n, stdout);
    fflush(stdout);
}

/* What the piece adds to thoughts and answer. */
static void text_add(Generation *p, bool end) {
    int64_t thought = p->reasoning.n, answer = p->text.n;
    if (!p->split)
        buf_add(&p->text, buf_str(&p->piece));
    else
        splitter_push(&p->splitter, buf_str(&p->piece), &p->reasoning, &p->text);
    if (p->split && end) splitter_end(&p->splitter, &p->reasoning, &p->text);
    show(p, (Str){p->reasoning.p + thought, p->reasoning.n - thought}, true);
    if (!p->quiet && answer == 0 && p->text.n > 0 && p->reasoning.n > 0) printf("\n\n");
    show(p, (Str){p->text.p + answer, p->text.n - answer}, false);
}

static void on_token(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    Generation *p = arg;
    (void)seq, (void)logits;
    p->piece.n = 0;
    if (t.id >= 0) {
        p->last = os_now();
        if (p->n == 0) p->first = p->last;
        p->token[p->n++] = t;
        /* An end token is not text, whatever the file marks it as. */
        if (p->s->bundle.tok && finish != FINISH_STOP) decoder_push(&p->decoder, t.id, &p->piece);
    }
    if (finish != FINISH_NONE) decoder_end(&p->decoder, &p->piece);
    p->finish = finish;
    text_add(p, finish != FINISH_NONE);
}

bool generation_run(Generation *p, Arena *a, Session *s, Engine *e, const Ids *prompt,
                    const GenerationSpec *spec, Err *err) {
    *p = (Generation){.s = s,
                      .split = !spec->raw,
                      .quiet = spec->quiet,
                      .dim = os_is_tty(1) && !os_env("NO_COLOR"),
                      .text.a = a,
                      .reasoning.a = a,
                      .piece.a = a,
                      .token = PUSH(a, Token, spec->max_tokens),
                      .start = os_now()};
    const Bundle *b = &s->bundle;
    if (b->tok) decoder_init(&p->decoder, b->tok, true);
    splitter_init(&p->splitter, spec->in_thought);
    SeqReq r = {.prompt = prompt->v,
                .n_prompt = prompt->n,
                .max_tokens = spec->max_tokens,
                .sampling = spec->sampling,
                .stop = b->end,
                .n_stop = spec->ignore_end ? 0 : b->n_end,
                .on_token = on_token,
                .arg = p};
    int64_t seq = engine_add(e, &r, err);
    if (!seq) return false;
    while (engine_step(e))
        if (os_interrupted() || ferror(stdout)) engine_cancel(e, seq); /* again is nothing */
    return !ferror(stdout) || output_failed(err);
}

bool generation_void(Err *err) {
    return err_set(
        err, ERR_FORMAT,
        "the model computed a value that is not a number (NaN): its file may be damaged");
}
