/* teacher.c -- a model's answers to many questions in one running batch. */
#include "train/teacher.h"

enum { POSITIONS_MOST = 8192, ROWS = 512 };

struct Teacher {
    const Recipe *recipe;
    Arena *arena, *scratch;
    Team *team;
    Bundle bundle;
    Plan *plan;
    Engine *engine;
    int64_t positions;
    Remote *remote;              /* instead of all these */
    Answer *waiting[ASKED_MOST]; /* for it, the first from `asked` on */
    int64_t n_waiting, asked;
};

/* As many pages as there is memory for: with fewer, sequences wait. */
static bool engine_open(Teacher *t, Err *err) {
    Model *m = t->bundle.model;
    PlanSpec spec = plan_defaults(m);
    const int64_t pages = round_up(t->positions, 128) / 128;
    EngineSpec e = {
        .seqs = ASKED_MOST, .queue = ASKED_MOST, .rows = ROWS, .pages = ASKED_MOST * pages};
    for (;; e.pages = MAX(pages, e.pages / 2)) {
        Err why = {0};
        engine_plan(&spec, m, &e, t->positions, t->team);
        if (plan_new(&t->plan, t->arena, m, &spec, 0, t->team, &why)) break;
        if (e.pages == pages) return *err = why, false;
    }
    plan_fingerprint(t->plan, t->team);
    return engine_new(&t->engine, t->arena, t->plan, &e, t->team, err);
}

bool teacher_open(Teacher **out, const Recipe *r, int64_t threads, Err *err) {
    Arena *a = arena_open("teacher", ARENA_NO_LIMIT);
    Teacher *t = PUSH(a, Teacher, 1);
    *t = (Teacher){.recipe = r,
                   .arena = a,
                   .scratch = arena_open("a question", ARENA_NO_LIMIT),
                   .team = team_open(threads ? threads : MIN(os_cpus(), 64))};
    if (str_starts(str_of(r->distill.teacher), STR("http://"))
        || str_starts(str_of(r->distill.teacher), STR("https://"))) {
        if (remote_open(&t->remote, a, r, err)) return *out = t, true;
        teacher_close(t);
        return false;
    }
    bool ok = bundle_open(&t->bundle, a, r->distill.teacher, BUNDLE_ALL, err);
    if (ok) t->positions = MIN(POSITIONS_MOST, t->bundle.model->cfg.max_positions);
    ok = ok && engine_open(t, err);
    if (ok) return *out = t, true;
    teacher_close(t);
    return false;
}

const char *teacher_id(const Teacher *t) { return t->remote ? "address" : t->plan->fingerprint; }

/* Special tokens are no text, but for those that the splitter waits for. */
static void on_token(void *arg, int64_t seq, Token token, Finish finish, const float *logits) {
    Answer *x = arg;
    const Tokenizer *tok = x->teacher->bundle.tok;
    const SplitText to = {&x->reasoning, &x->text, NULL};
    (void)seq, (void)logits;
    x->piece.n = 0;
    if (token.id >= 0 && finish != FINISH_STOP) {
        x->decoder.skip_special = !splitter_knows(&x->splitter, token_bytes(tok, token.id));
        decoder_push(&x->decoder, token.id, &x->piece);
    }
    if (finish != FINISH_NONE) decoder_end(&x->decoder, &x->piece);
    splitter_push(&x->splitter, buf_str(&x->piece), &to);
    if (finish != FINISH_NONE) splitter_end(&x->splitter, &to);
    x->thought = x->splitter.thought;
    x->finish = finish;
}

static bool ask(Teacher *t, Answer *x, Str conversation, uint64_t seed, Err *err) {
    const Recipe *r = t->recipe;
    Ids ids = {.a = t->arena};
    Buf shown = {.a = t->arena};
    const ChatOptions o = {.generate = true, .request = conversation, .now = CONVERSATION_DAY};
    if (!chat_encode(&ids, &shown, &t->bundle.chat, NULL, 0, o, t->scratch, err)
        || !bundle_ids_check(&t->bundle, ids.v, ids.n, err))
        return false;
    if (ids.n >= t->positions)
        return err_set(err, ERR_USAGE, "a prompt has %lld tokens, and %s can be asked %lld at most",
                       (long long)ids.n, r->distill.teacher, (long long)t->positions - 1);
    decoder_init(&x->decoder, t->bundle.tok, true);
    splitter_init(&x->splitter, chat_opens_thought(buf_str(&shown)), TOOLS_NONE);
    const SeqReq q = {
        .prompt = ids.v,
        .n_prompt = ids.n,
        .max_tokens = MIN(r->distill.max_tokens, t->positions - ids.n),
        .sampling = {.temperature = (float)r->distill.temperature, .top_p = 1, .seed = seed},
        .stop = t->bundle.end,
        .n_stop = t->bundle.n_end,
        .on_token = on_token,
        .arg = x};
    x->seq = engine_add(t->engine, &q, err);
    return x->seq != 0;
}

bool teacher_ask(Teacher *t, Answer *to, Arena *a, Str conversation, uint64_t seed, Err *err) {
    const Mark mark = arena_mark(t->arena);
    *to = (Answer){.reasoning.a = a, .text.a = a, .piece.a = a, .teacher = t};
    if (t->remote) {
        CHECK(t->n_waiting < ASKED_MOST);
        to->conversation = conversation, to->seed = seed;
        t->waiting[(t->asked + t->n_waiting++) % ASKED_MOST] = to;
        return true;
    }
    const bool ok = ask(t, to, conversation, seed, err);
    arena_pop(t->arena, mark);
    return ok;
}

bool teacher_step(Teacher *t, Err *err) {
    if (!t->remote) return engine_step(t->engine), true;
    if (!t->n_waiting) return true;
    Answer *first = t->waiting[t->asked++ % ASKED_MOST];
    t->n_waiting--;
    return remote_ask(t->remote, first, first->conversation, first->seed, err);
}

void teacher_close(Teacher *t) {
    if (!t) return;
    bundle_close(&t->bundle);
    remote_close(t->remote);
    team_close(t->team);
    arena_close(t->scratch);
    arena_close(t->arena); /* t itself lies in it */
}
