/* try.c -- see try.h. */
#include "support/try.h"
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
    engine_plan(&spec, &e, COUNT(prompt) + 2);
    if (!plan_new(&plan, a, m, &spec, TRY_BYTES, team, err)
        || !engine_new(&engine, a, plan, &e, team, err) || !engine_add(engine, &r, err))
        return false;
    while (engine_step(engine)) continue;
    CHECK(finish != FINISH_NONE);
    return finish != FINISH_ERROR || err_set(err, ERR_FORMAT, "the logits are no numbers");
}

bool try_keys(Tokenizer **t, Arena *a, const Store *s, Err *err) {
    TokenizerParts p = {.name = store_path(s)};
    Str *tokens, *merges;
    int32_t *types = NULL;
    if (!store_meta_str(s, "tokenizer.ggml.pre", &p.pre, err)
        || !store_meta_strs(s, a, "tokenizer.ggml.tokens", &tokens, &p.n_tokens, err)
        || !store_meta_strs(s, a, "tokenizer.ggml.merges", &merges, &p.n_merges, err)
        || !store_meta_i32s(s, a, "tokenizer.ggml.token_type", &types, &p.n_types, err))
        return false;
    p.tokens = tokens, p.merges = merges, p.types = types;
    return tokenizer_open_parts(t, a, &p, err);
}

static bool tokenizer_try(Arena *a, const Store *s, Err *err) {
    Tokenizer *t = NULL;
    Str json = {0}, model = {0};
    bool gguf = store_meta_type(s, "tokenizer.ggml.model") == META_STR
                && store_meta_str(s, "tokenizer.ggml.model", &model, err)
                && str_eq(model, STR("gpt2"));
    if (gguf && !try_keys(&t, a, s, err)) return false;
    if (!gguf && !store_json(s, a, "tokenizer.json", &json, err)) return false;
    if (json.n && !tokenizer_open_json(&t, a, json, store_path(s), err)) return false;
    Ids ids = {.a = a};
    Arena *scratch = arena_open("scratch", 1 << 24);
    bool ok = !t || text_encode(&ids, t, STR("it's 12 ways"), TEXT_PARSED, scratch, err);
    arena_close(scratch);
    tokenizer_close(t);
    return ok;
}

bool try_model(Arena *a, const char *path, Team *team, Err *err) {
    Store *s;
    Model *m;
    if (!store_open(&s, a, path, err)) return false;
    bool ok = tokenizer_try(a, s, err) && model_open(&m, a, s, err) && try_run(a, m, team, err);
    store_close(s);
    return ok;
}
