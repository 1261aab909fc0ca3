/* setup.c -- opens everything that a recipe names: tokenizer, shards, model, plan, loader. */
#include "train/trainer.h"

#include <jansson.h>

/* ---- tokenizer ------------------------------------------------------------------------------- */

/* What tokenizer_config.json calls eos_token, a string or an object with one; -1: none. */
static int32_t eos_token(const Bundle *b) {
    json_t *o = json_loadb(b->tok_config.p, (size_t)b->tok_config.n, 0, NULL);
    const json_t *eos = json_object_get(o, "eos_token");
    if (json_is_object(eos)) eos = json_object_get(eos, "content");
    const char *name = json_string_value(eos);
    const int32_t id = name ? token_named(b->tok, str_of(name)) : -1;
    json_decref(o);
    return id;
}

static bool end_token(TextSetup *w, const Recipe *r, Err *err) {
    const char *name = r->data.end[0] ? r->data.end : r->data.separator;
    w->end = token_named(w->bundle.tok, str_of(name));
    if (w->end < 0 && !r->data.end[0] && w->bundle.tok_config.n) w->end = eos_token(&w->bundle);
    return w->end >= 0
           || err_set(err, ERR_USAGE,
                      "%s has no token \"%s\" to end documents with: name one of its special "
                      "tokens in data.end",
                      r->tokenizer, name);
}

/* The tokenizer that is always there becomes files of the run's folder, as any other is. */
static bool byte_tokenizer_put(const char **path, Arena *a, const Recipe *r, Err *err) {
    const char *folder = str_fmt(a, "%s/tokenizer", r->checkpoint.folder).p;
    *path = folder;
    return os_mkdir(folder, err)
           && os_put(a, str_fmt(a, "%s/tokenizer.json", folder).p, byte_tokenizer_json(a), err)
           && os_put(a, str_fmt(a, "%s/tokenizer_config.json", folder).p, byte_tokenizer_config(a),
                     err);
}

bool text_setup_open(TextSetup *w, Arena *a, const Recipe *r, Err *err) {
    Sha256 h;
    const char *path = r->tokenizer;
    if (!strcmp(path, "bytes") && !byte_tokenizer_put(&path, a, r, err)) return false;
    if (!bundle_open(&w->bundle, a, path, BUNDLE_TOKENIZER, err)) return false;
    Str json = w->bundle.tok_json;
    if (json.n == 0)
        return err_set(
            err, ERR_UNSUPPORTED,
            "the tokenizer of %s is no tokenizer.json, which checkpoints need: take that "
            "of the same model as a Hugging Face folder",
            r->tokenizer);
    sha256_init(&h);
    sha256_add(&h, json.p, json.n);
    sha256_hex(&h, w->id);
    return bundle_template(&w->bundle, &w->chat, err) && end_token(w, r, err);
}

/* ---- shards ---------------------------------------------------------------------------------- */

/* Problems to learn from, or to measure the loss on: those are held out, and fewer do. */
static bool task_shard(Shard *s, Trainer *t, const char *name, bool held_out, Err *err) {
    enum { VALID_DOCUMENTS = 1000 };
    const Recipe *r = t->recipe;
    const int64_t most = held_out ? VALID_DOCUMENTS : INT64_MAX;
    Source source;
    if (!task_source(&source, t->arena, name, r->seed, held_out, err)
        || !bundle_load(&t->text.bundle, BUNDLE_CHAT, err))
        return false;
    const MadeSpec spec = {.source = &source,
                           .docs = MIN(r->data.documents, most),
                           .tok = t->text.bundle.tok,
                           .chat = &t->text.bundle.chat,
                           .end = t->text.end};
    return shard_of_source(s, t->arena, &spec, err);
}

static bool text_shard(Shard *s, Trainer *t, const ShardSpec *spec, bool held_out, Err *err) {
    if (names_tasks(spec->text)) return task_shard(s, t, spec->text, held_out, err);
    return shard_open(s, t->arena, spec, t->team, err);
}

static bool shards_open(Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    if (!names_tasks(r->data.train) && !os_exists(r->data.train) && !strpbrk(r->data.train, "*?["))
        return err_set(err, ERR_IO,
                       "data.train is %s, which is not there: name your text with --set "
                       "data.train=FILE",
                       r->data.train);
    ShardSpec spec = {.text = r->data.train,
                      .separator = r->data.separator,
                      .field = r->data.field,
                      .folder =
                          r->data.cache[0] ? r->data.cache : os_cache_folder(t->arena, "tokens"),
                      .tok = t->text.bundle.tok,
                      .tok_id = t->text.id,
                      .end = t->text.end};
    if (!text_shard(&t->train, t, &spec, false, err)) return false;
    spec.text = r->data.valid;
    if (!spec.text[0]) return true;
    if (!text_shard(&t->valid, t, &spec, true, err)) return false;
    if (!strcmp(t->train.key, t->valid.key))
        log_at(LOG_WARN,
               "data.valid (%s) is the same text as data.train: its loss will say nothing about "
               "text that the model has not seen",
               r->data.valid);
    return true;
}

/* ---- model ----------------------------------------------------------------------------------- */

/* Asked before masters are made, which the plan counts only when they are there. A number has a
 * master, a gradient and its optimiser's moments. */
static bool masters_fit(const Config *c, const Recipe *r, Err *err) {
    const int64_t bytes = config_training_bytes(c, r->optim.optimiser, r->optim.moments),
                  free = os_memory_free();
    return bytes <= free
           || err_set(err, ERR_LIMIT,
                      "a model of these sizes has %lld numbers, %.0f MB in training, and %.0f MB "
                      "are free: make it smaller",
                      (long long)config_count(c), 1e-6 * (double)bytes, 1e-6 * (double)free);
}

static bool fresh_config(Config *c, const Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    const int64_t V =
        r->model.vocab_size ? r->model.vocab_size : tokenizer_size(t->text.bundle.tok);
    Str json = str_fmt(t->arena,
                       "{%.*s\"vocab_size\": %lld, \"model_type\": \"%s\", \"eos_token_id\": %d}",
                       STRF(r->model.json), (long long)V, r->model.family, (int)t->text.end);
    return config_parse(c, json, r->path, err);
}

/* Shape and vocabulary of the model to train: the checkpoint's, init_from's or the recipe's. */
static bool config_find(Config *c, Trainer *t, bool resumed, Err *err) {
    const Recipe *r = t->recipe;
    if (resumed && !resume_state(t, err)) return false;
    if (!resumed && r->init_from[0]
        && !bundle_open(&t->source, t->model_arena, r->init_from, 0, err))
        return false;
    return t->source.store ? config_read(c, t->source.store, err) : fresh_config(c, t, err);
}

static bool config_check(const Config *c, const Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    const int64_t tokens = tokenizer_size(t->text.bundle.tok);
    const char *of = t->source.store ? store_path(t->source.store) : r->path;
    if (r->batch.sequence > c->max_positions)
        return err_set(
            err, ERR_USAGE,
            "batch.sequence is %lld, and the model (%s) has %lld positions: it could not "
            "be run on what it is trained for. Make batch.sequence smaller%s",
            (long long)r->batch.sequence, of, (long long)c->max_positions,
            t->source.store ? "" : ", or model.max_position_embeddings larger");
    if (c->V < tokens)
        return err_set(err, ERR_USAGE,
                       "the model (%s) has a vocabulary of %lld tokens, and the tokenizer %s has "
                       "%lld: %s",
                       of, (long long)c->V, r->tokenizer, (long long)tokens,
                       t->source.store ? "take the tokenizer that the model was made with"
                                       : "set model.vocab_size to that at least, or leave it out");
    return masters_fit(c, r, err);
}

/* The weights of the checkpoint, or of init_from, become masters. */
static bool model_start(Trainer *t, const Config *c, Err *err) {
    const Recipe *r = t->recipe;
    if (!t->source.store) {
        model_init(&t->model, t->model_arena, c, r->model.initializer_range, r->seed);
    } else {
        /* Layers that predict further tokens: a run that goes on has those that it had. */
        if (t->step || r->mtp.weight > 0) t->source.mtp = model_mtp_held(t->source.store, c);
        if (!bundle_load(&t->source, BUNDLE_MODEL, err)) return false;
        t->model = t->source.model;
        model_train(t->model, t->model_arena);
    }
    model_optimise(t->model, r->optim.optimiser, r->optim.moments);
    return true;
}

/* ---- rows, plan and work memory -------------------------------------------------------------- */

static bool loaders_new(Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    return loader_new(&t->loader, t->arena, &t->train, r->batch.sequence, true, t->start, err)
           && (!t->valid.tokens
               || loader_new(&t->valid_loader, t->arena, &t->valid, r->batch.sequence, false,
                             (LoaderState){0}, err));
}

/* A step takes its rows through the end of an epoch into the next; a text with fewer rows than a
 * step stands in it several times. */
static void rows_warn(const Trainer *t) {
    const Recipe *r = t->recipe;
    const int64_t rows = loader_rows(t->loader), step = r->batch.tokens / r->batch.sequence;
    if (rows < step)
        log_at(
            LOG_WARN,
            "%s fills %lld rows of batch.sequence %lld, and a step takes %lld: each of its texts "
            "is seen %.1f times in every step. Take more text, or a smaller batch.tokens",
            r->data.train, (long long)rows, (long long)r->batch.sequence, (long long)step,
            (double)step / (double)rows);
}

/* A bias is there with sigmoid scores only. */
static void balance_warn(const Trainer *t) {
    const Recipe *r = t->recipe;
    if (t->routing.layers && r->balance.sequence_loss == 0
        && (r->balance.rate == 0 || !routing_has_bias(t->model)))
        log_at(LOG_WARN,
               "nothing keeps the experts of this model in balance: %s, and balance.sequence_loss "
               "is 0",
               routing_has_bias(t->model) ? "balance.rate is 0" : "its routers have no bias");
}

static int64_t most_spans(const Recipe *r) {
    return r->batch.micro / r->batch.sequence * row_pieces(r->batch.sequence);
}

static void rows_new(Trainer *t) {
    const int64_t N = t->recipe->batch.micro;
    Arena *a = t->arena;
    t->n_micro = t->recipe->batch.tokens / N;
    t->micro = PUSH(a, Packed, t->n_micro);
    for (int64_t i = 0; i < t->n_micro; i++) t->micro[i] = packed_new(a, N);
    t->span = PUSH(a, Span, most_spans(t->recipe));
    t->want = PUSH(a, Want, N);
    for (int64_t i = 0; i < N; i++) t->want[i] = (Want){(int32_t)i, WANT_HIDDEN};
    t->logprob = PUSH(a, float, N);
    t->square = PUSH(a, double, t->model->n_params);
    t->routing = routing_new(a, t->model);
    t->idle = PUSH(a, int64_t, t->routing.layers * t->routing.E);
    t->optim = optim_new(a, t->model, t->recipe, team_threads(t->team));
    further_new(t);
}

/* Last, so that the budget holds what is there already. */
static bool plan_start(Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    PlanSpec s = plan_defaults(t->model);
    s.act = r->act;
    s.kv = r->act == ACT_F32 ? DTYPE_F32 : DTYPE_BF16;
    s.mla = MLA_EXPANDED;
    s.rows = s.logit_rows = r->batch.micro;
    s.spans = most_spans(r);
    s.positions = r->batch.sequence;
    s.training = true;
    const int64_t hidden = s.rows * t->model->cfg.C;
    s.results = arena_used(t->arena) + hidden * (int64_t)sizeof(float);
    if (!plan_new(&t->plan, t->model_arena, t->model, &s, 0, t->team, err)) return false;
    optim_packs(t->optim, t->plan->panels);
    t->hidden = PUSH(t->model_arena, float, hidden);
    t->logits = PUSH(t->model_arena, float, MIN(s.rows, head_rows(t->plan)) * t->model->cfg.V);
    return true;
}

/* The folder belongs to this trainer until trainer_close: no other process changes the checkpoints
 * that it reads there, or the metrics that it truncates. So the lock comes before all reading. */
static bool folder_lock(Trainer *t, Err *err) {
    const char *folder = t->recipe->checkpoint.folder;
    t->folder_made = !os_exists(folder);
    if (!os_mkdir(folder, err)) return false;
    t->lock = os_lock(folder, err);
    return t->lock >= 0;
}

static bool trainer_build(Trainer *t, Err *err) {
    Config c;
    bool resumed;
    t->start = (LoaderState){.seed = t->recipe->seed};
    if (!folder_lock(t, err) || !text_setup_open(&t->text, t->arena, t->recipe, err)
        || !resume_find(&resumed, t, err) || !config_find(&c, t, resumed, err)
        || !config_check(&c, t, err) || !shards_open(t, err) || (resumed && !resume_fits(t, err))
        || !model_start(t, &c, err) || !loaders_new(t, err))
        return false;
    resume_best(t);
    rows_warn(t);
    rows_new(t);
    balance_warn(t);
    return plan_start(t, err) && (!resumed || resume_moments(t, err)) && sampler_open(t, err);
}

bool trainer_open(Trainer **out, const Recipe *r, int64_t threads, Err *err) {
    Arena *a = arena_open("training", ARENA_NO_LIMIT);
    Trainer *t = PUSH(a, Trainer, 1);
    *t = (Trainer){.recipe = r,
                   .lock = -1,
                   .arena = a,
                   .model_arena = arena_open("model", ARENA_NO_LIMIT),
                   .scratch = arena_open("checkpoints", ARENA_NO_LIMIT),
                   .team = team_open(threads ? threads : MIN(os_cpus(), 64))};
    if (trainer_build(t, err)) return *out = t, true;
    if (t->folder_made && t->lock >= 0) os_remove_empty(r->checkpoint.folder);
    trainer_close(t);
    return false;
}

void trainer_close(Trainer *t) {
    if (!t) return;
    team_close(t->team);
    shard_close(&t->train);
    shard_close(&t->valid);
    bundle_close(&t->source);
    if (t->lock >= 0) os_unlock(t->lock);
    bundle_close(&t->text.bundle);
    arena_close(t->scratch);
    arena_close(t->model_arena);
    arena_close(t->arena); /* t itself lies in it */
}

int64_t trainer_steps(const Trainer *t) { return t->step; }
Model *trainer_model(Trainer *t) { return t->model; }
Plan *trainer_plan(Trainer *t) { return t->plan; }
Team *trainer_team(Trainer *t) { return t->team; }
const Bundle *trainer_text(const Trainer *t) { return &t->text.bundle; }
