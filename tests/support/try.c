/* try.c -- see try.h. */
#include "support/try.h"
#include "bundle/bundle.h"
#include "infer/infer.h"

static void token_hear(void *arg, int64_t seq, Token t, Finish finish, const float *logits) {
    (void)seq, (void)logits;
    CHECK((t.id >= 0) == (finish != FINISH_ERROR));
    if (finish != FINISH_NONE) *(Finish *)arg = finish;
}

bool try_run(Arena *a, Model *m, Team *team, Err *err) {
    const EngineSpec e = {.seqs = 1, .queue = 1, .rows = 4};
    const int32_t prompt[] = {0, (int32_t)(m->cfg.V - 1), 0, 0, 0};
    Finish finish = FINISH_NONE;
    SeqReq r = {.prompt = prompt, .n_prompt = COUNT(prompt), .max_tokens = 2};
    r.sampling = (Sampling){.temperature = 1, .top_p = 1, .seed = 1};
    r.on_token = token_hear, r.arg = &finish;
    PlanSpec spec = plan_defaults(m);
    Plan *plan;
    Engine *engine;
    engine_plan(&spec, m, &e, COUNT(prompt) + 2, team);
    if (!plan_new(&plan, a, m, &spec, TRY_BYTES, team, err)
        || !engine_new(&engine, a, plan, &e, team, err) || !engine_add(engine, &r, err))
        return false;
    while (engine_step(engine)) continue;
    CHECK(finish != FINISH_NONE);
    return finish != FINISH_ERROR || err_set(err, ERR_FORMAT, "the logits are no numbers");
}

static bool tokenizer_try(Bundle *b, Err *err) {
    Err why = {0};
    if (!bundle_load(b, BUNDLE_TOKENIZER, &why)) {
        /* There is none, or of a kind that is not read. */
        if (why.code == ERR_IO || why.code == ERR_UNSUPPORTED) return true;
        return err_set(err, why.code, "%s", why.msg);
    }
    Ids ids = {.a = b->a};
    Arena *scratch = arena_open("scratch", 1 << 24);
    bool ok = text_encode(&ids, b->tok, STR("it's 12 ways"), TEXT_PARSED, scratch, err);
    arena_close(scratch);
    return ok;
}

bool try_model(Arena *a, const char *path, Team *team, Err *err) {
    Bundle b;
    if (!bundle_open(&b, a, path, 0, err)) return false;
    bool ok = tokenizer_try(&b, err) && bundle_load(&b, BUNDLE_MODEL, err)
              && try_run(a, b.model, team, err);
    bundle_close(&b);
    return ok;
}
