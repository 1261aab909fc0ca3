/* chat_turn.c -- one turn of a conversation: it is encoded whole, what the engine knows of it costs
 * nothing (the prefix cache), and the answer is shown as it comes. */
#include "cli/chat.h"

#include <stdio.h>

void message_add(Conversation *t, Role role, Str content, Str reasoning) {
    if (t->n == t->cap) {
        Message *more = PUSH(t->arena, Message, t->cap = MAX(64, 2 * t->cap));
        if (t->n) memcpy(more, t->message, (size_t)t->n * sizeof *more);
        t->message = more;
    }
    t->message[t->n++] = (Message){role, str_copy(t->arena, content),
                                   reasoning.p ? str_copy(t->arena, reasoning) : (Str){0}};
}

/* ---- the context ----------------------------------------------------------------------------- */

/* Room that an answer should have at least. */
static int64_t answer_room(const Conversation *t) {
    return MIN(t->setup->request.max_tokens, MAX(t->context / 4, 1));
}

/* The conversation from message `from` on, encoded; r->ids.n is right even where it is refused for
 * its length. */
static bool encode(const Conversation *t, Request *r, Arena *a, int64_t from, Err *err) {
    const char *system = t->setup->request.system;
    Message *m = PUSH(a, Message, t->n - from + 1);
    int64_t n = 0;
    if (system) m[n++] = (Message){.role = ROLE_SYSTEM, .content = str_of(system)};
    memcpy(m + n, t->message + from, (size_t)(t->n - from) * sizeof *m);
    *r = (Request){.opts = t->setup->request, .message = m, .n_messages = n + t->n - from};
    r->opts.seed += t->again;
    return request_encode(r, a, &t->s.bundle, t->context, err);
}

static bool too_long(const Conversation *t, int64_t tokens, Err *err) {
    bool more = t->n - t->seen_from > 1;
    return err_set(err, ERR_LIMIT, "the conversation has %lld tokens and the context is %lld: %s",
                   (long long)tokens, (long long)t->context,
                   more ? "/undo takes the last turn back, /full slide lets the oldest turns be "
                          "forgotten, /clear starts a new one"
                        : "this message is too long; a larger --context may take it");
}

/* What a full context has let go is said. */
static void forgotten_tell(Conversation *t) {
    const char *what =
        "the context of %lld tokens is full: the model no longer sees the first %lld "
        "messages";
    char text[256];
    snprintf(text, sizeof text, what, (long long)t->context, (long long)t->seen_from);
    if (t->tty)
        screen_note(&t->screen, "(%s)", text);
    else
        log_at(LOG_INFO, "%s", text);
}

/* Encodes what fits. A conversation that leaves no room for an answer is refused; or it loses its
 * oldest turns, down to half of the context, because the model reads what is left anew. */
static bool fit(Conversation *t, Request *r, Arena *a, Err *err) {
    bool slide = strcmp(t->setup->full, "stop") != 0;
    int64_t before = t->seen_from, limit = t->context - answer_room(t);
    for (;;) {
        Err why = {0};
        Mark mark = arena_mark(a);
        bool ok = encode(t, r, a, t->seen_from, &why), last = t->n - t->seen_from <= 2;
        bool too_much = r->ids.n >= t->context || (ok && slide && !last && r->ids.n > limit);
        if (!too_much && !ok) *err = why;
        if (!too_much || !slide || last) {
            if (ok && !too_much) break;
            if (too_much) too_long(t, r->ids.n, err);
            t->seen_from = before;
            return false;
        }
        arena_pop(a, mark);
        t->seen_from += 2;
        limit = t->context / 2;
    }
    if (t->seen_from > before) forgotten_tell(t);
    return true;
}

/* ---- what is shown --------------------------------------------------------------------------- */

/* A thought that is folded is a line with its time. */
static void fold_show(const Conversation *t) {
    if (!t->screen.tty) return;
    printf("\r%sthinking, %.1f s%s", t->screen.colour ? "\033[2m" : "", os_now() - t->g.start,
           t->screen.colour ? "\033[0m" : "");
    fflush(stdout);
}

/* The thought is over: how long it took. */
static void thought_end(Conversation *t) {
    if (!t->thinking) return;
    t->thinking = false;
    t->thought = os_now() - t->g.start;
    if (!t->screen.tty) return;
    if (t->hide) printf("\r%*s\r", 24, "");
    screen_note(&t->screen, "(thought for %.1f s)", t->thought);
    putchar('\n');
}

/* In a pipe there is the answer only: thoughts are for the reader. */
static void show(void *arg, Str text, bool thought) {
    Conversation *t = arg;
    if (!thought) {
        thought_end(t);
        screen_put(&t->screen, text, false);
        return;
    }
    if (!t->thinking && t->screen.tty && !t->screen.colour && !t->hide)
        screen_note(&t->screen, "(thinking)");
    t->thinking = true;
    if (t->hide)
        fold_show(t);
    else if (t->screen.tty)
        screen_put(&t->screen, text, true);
}

static void turn_note(Conversation *t) {
    const Generation *g = &t->g;
    const TurnStats *s = &t->last;
    bool full = g->finish == FINISH_LENGTH && s->prompt + s->generated >= t->context;
    const char *end = t->g.looped                  ? ", stopped because it repeated itself"
                      : g->finish == FINISH_CANCEL ? ", stopped"
                      : full                       ? ", stopped because the context is full"
                      : g->finish == FINISH_LENGTH ? ", length limit reached"
                                                   : "";
    if (!t->screen.tty) {
        if (t->g.looped) log_at(LOG_WARN, "the answer repeated itself and was stopped");
        if (full) log_at(LOG_WARN, "the answer was stopped because the context is full");
        return;
    }
    double rate = s->generated > 1 ? (double)(s->generated - 1) / s->decode : 0;
    screen_note(&t->screen, "[%lld tokens, %.0f tokens/s, first after %.2f s%s]",
                (long long)s->generated, rate, s->first, end);
}

/* ---- a turn ---------------------------------------------------------------------------------- */

static bool answer(Conversation *t, const Request *r, Arena *a, Err *err) {
    int64_t cached = engine_stats(t->engine).cached_rows;
    guard_init(&t->guard);
    t->g = (Generation){.show = show, .arg = t, .guard = &t->guard};
    t->thinking = false, t->thought = 0;
    if (!request_start(&t->g, a, &t->s.bundle, t->engine, r, err)) return false;
    while (engine_step(t->engine)) {
        if (t->editor) editor_poll(t->editor);
        if (os_interrupted() || ferror(stdout)) engine_cancel(t->engine, t->g.seq);
    }
    thought_end(t);
    screen_line(&t->screen);
    const Generation *g = &t->g;
    t->last = (TurnStats){.prompt = g->n_prompt,
                          .cached = engine_stats(t->engine).cached_rows - cached,
                          .generated = g->n,
                          .first = g->n ? g->first - g->start : 0,
                          .decode = g->n ? g->last - g->first : 0};
    if (ferror(stdout)) return output_failed(err);
    return generation_fine(g, err);
}

bool turn_run(Conversation *t, Err *err) {
    Arena *a = arena_open("turn", ARENA_NO_LIMIT);
    Request r;
    bool ok = fit(t, &r, a, err) && answer(t, &r, a, err);
    if (ok) {
        if (!t->screen.tty) putchar('\n');
        turn_note(t);
        const Str none = {0};
        message_add(t, ROLE_ASSISTANT, buf_str(&t->g.text),
                    t->g.splitter.thought ? buf_str(&t->g.reasoning) : none);
    } else {
        t->n--;
    }
    arena_close(a);
    t->g = (Generation){0};           /* what it points to is gone */
    if (t->tty) os_interrupt_clear(); /* it stopped the answer; in a pipe it stops the program */
    return ok;
}
