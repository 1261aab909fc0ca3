/* setup.c -- opens everything that a recipe names: tokenizer, shards, model, plan, loader. */
#include "train/grpo.h"

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

static bool is_sft(const Trainer *t) {
    return t->recipe->objective == OBJECTIVE_SFT || t->recipe->objective == OBJECTIVE_DISTILL;
}

static bool end_token(TextSetup *w, const Recipe *r, Err *err) {
    const char *name = r->data.end[0] ? r->data.end : r->data.separator;
    w->end = token_named(w->bundle.tok, str_of(name));
    if (w->end < 0 && !r->data.end[0] && w->bundle.tok_config.n) w->end = eos_token(&w->bundle);
    return w->end >= 0
           || err_set(err, ERR_USAGE,
                      "%s has no token \"%s\" to end documents with: name one of its special "
                      "tokens in data.end",
                      w->name, name);
}

static const char *cache_folder(Arena *a, const Recipe *r) {
    return r->data.cache[0] ? r->data.cache : os_cache_folder(a, "tokens");
}

/* The tokenizer that is always there becomes files, as any other is: in the run's folder, or, for
 * who only plans and has locked none, in the cache. */
static bool byte_tokenizer_put(const char **path, Trainer *t, Err *err) {
    Arena *a = t->arena;
    const char *folder =
        str_fmt(a, "%s/tokenizer",
                t->lock >= 0 ? t->recipe->checkpoint.folder : cache_folder(a, t->recipe))
            .p;
    *path = folder;
    return os_mkdir(folder, err)
           && os_put(a, str_fmt(a, "%s/tokenizer.json", folder).p, byte_tokenizer_json(a), err)
           && os_put(a, str_fmt(a, "%s/tokenizer_config.json", folder).p, byte_tokenizer_config(a),
                     err);
}

/* The model that learns to converse has read text in its own tokens, and in its own template if it
 * has one. */
static bool base_fits(Trainer *t, Bundle *base, Err *err) {
    const TextSetup *w = &t->text;
    Str chat;
    Err none = {0};
    if (!bundle_load(base, BUNDLE_TOKENIZER, &none)) {
        log_at(LOG_WARN, "%s cannot be held against the tokenizer %s: %s", t->recipe->init_from,
               w->name, none.msg);
        return true;
    }
    if (!tokens_same(base->tok, w->bundle.tok))
        return err_set(err, ERR_USAGE,
                       "the tokenizer %s has other tokens than %s was trained with: leave out the "
                       "key tokenizer, and the model's own is taken",
                       w->name, t->recipe->init_from);
    if (!bundle_template(base, &chat, err)) return false;
    return !chat.n || str_eq(chat, w->chat)
           || err_set(err, ERR_USAGE,
                      "the chat template of the tokenizer %s is not that of %s: leave out the key "
                      "tokenizer, and the model's own is taken",
                      w->name, t->recipe->init_from);
}

static bool base_check(Trainer *t, bool resumed, Err *err) {
    Bundle base;
    if (resumed || !t->recipe->init_from[0] || !t->recipe->tokenizer[0]) return true;
    if (!bundle_open(&base, t->model_arena, t->recipe->init_from, 0, err)) return false;
    const bool ok = base_fits(t, &base, err);
    bundle_close(&base);
    return ok;
}

/* What writes the conversations that are learned. */
static bool chat_open(Trainer *t, bool resumed, Err *err) {
    TextSetup *w = &t->text;
    Sha256 h;
    if (!w->chat.n)
        return err_set(err, ERR_USAGE,
                       "%s has no chat template to write conversations with: name in the key "
                       "tokenizer a folder with the same tokenizer whose tokenizer_config.json has "
                       "one",
                       w->name);
    if (!base_check(t, resumed, err) || !bundle_load(&w->bundle, BUNDLE_CHAT, err)) return false;
    const Chat *c = &w->bundle.chat;
    const Str part[] = {w->chat, c->bos, c->eos};
    sha256_init(&h);
    for (int64_t i = 0; i < COUNT(part); i++) {
        sha256_add(&h, &part[i].n, 8);
        sha256_add(&h, part[i].p, part[i].n);
    }
    sha256_hex(&h, w->chat_id);
    return true;
}

/* A run that goes on has in its folder what it began with. */
static bool tokenizer_open(Trainer *t, bool resumed, Err *err) {
    Sha256 h;
    const Recipe *r = t->recipe;
    TextSetup *w = &t->text;
    w->name = r->tokenizer[0] ? r->tokenizer : resumed ? r->checkpoint.folder : r->init_from;
    const char *path = w->name;
    if (!strcmp(path, "bytes") && !byte_tokenizer_put(&path, t, err)) return false;
    if (!bundle_open(&w->bundle, t->arena, path, BUNDLE_TOKENIZER, err)
        || !bundle_tokenizer_files(&w->bundle, err))
        return false;
    sha256_init(&h);
    sha256_add(&h, w->bundle.tok_json.p, w->bundle.tok_json.n);
    sha256_hex(&h, w->id);
    return bundle_template(&w->bundle, &w->chat, err) && end_token(w, r, err)
           && (r->objective == OBJECTIVE_PRETRAIN || chat_open(t, resumed, err));
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
    if (!shard_of_source(s, t->arena, &spec, err)) return false;
    s->whole = is_sft(t);
    return true;
}

static bool text_shard(Shard *s, Trainer *t, const ShardSpec *spec, bool held_out, Err *err) {
    if (names_tasks(spec->text)) return task_shard(s, t, spec->text, held_out, err);
    return shard_open(s, t->arena, spec, t->team, err);
}

/* The first text of data.train that is not there; a pattern and tasks are. NULL: all are. */
static const char *text_missing(const Recipe *r) {
    for (int64_t i = 0; i < r->data.n_parts; i++) {
        const char *text = r->data.part[i].source;
        if (!names_tasks(text) && !os_exists(text) && !strpbrk(text, "*?[")) return text;
    }
    return NULL;
}

static bool shards_open(Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    const char *missing = text_missing(r);
    if (missing)
        return err_set(err, ERR_IO,
                       "data.train is %s, which is not there: name your text with --set "
                       "data.train=FILE",
                       missing);
    ShardSpec spec = {.separator = r->data.separator,
                      .field = r->data.field,
                      .folder = cache_folder(t->arena, r),
                      .tok = t->text.bundle.tok,
                      .tok_id = t->text.id,
                      .end = t->text.end};
    if (is_sft(t)) spec.chat = &t->text.bundle.chat, spec.chat_id = t->text.chat_id;
    for (int64_t i = 0; i < r->data.n_parts; i++) {
        spec.text = r->data.part[i].source;
        if (!text_shard(&t->train[i], t, &spec, false, err)) return false;
    }
    spec.text = r->data.valid;
    if (!spec.text[0]) return true;
    if (!text_shard(&t->valid, t, &spec, true, err)) return false;
    for (int64_t i = 0; i < r->data.n_parts; i++)
        if (!strcmp(t->train[i].key, t->valid.key))
            log_at(
                LOG_WARN,
                "data.valid (%s) is the same text as data.train: its loss will say nothing about "
                "text that the model has not seen",
                r->data.valid);
    return true;
}

/* ---- model ----------------------------------------------------------------------------------- */

static bool fresh_config(Config *c, const Trainer *t, Err *err) {
    const Recipe *r = t->recipe;
    const int64_t V =
        r->model.vocab_size ? r->model.vocab_size : tokenizer_size(t->text.bundle.tok);
    Str json = str_fmt(t->arena,
                       "{%.*s\"vocab_size\": %lld, \"model_type\": \"%s\", \"eos_token_id\": %d}",
                       STRF(r->model.json), (long long)V, r->model.family, (int)t->text.end);
    return config_parse(c, json, r->path, err);
}

/* Shape and vocabulary of the model to train: the checkpoint's, init_from's or the recipe's. Of
 * layers that predict further tokens, a run that goes on has those that it had. */
static bool config_find(Config *c, int64_t *further, Trainer *t, bool resumed, Err *err) {
    const Recipe *r = t->recipe;
    if (resumed && !resume_state(t, err)) return false;
    if (!resumed && r->init_from[0]
        && !bundle_open(&t->source, t->model_arena, r->init_from, 0, err))
        return false;
    const Store *s = t->source.store;
    if (!(s ? config_read(c, s, err) : fresh_config(c, t, err))) return false;
    *further = !s ? c->mtp : resumed || r->mtp.weight > 0 ? model_mtp_held(s, c) : 0;
    if (is_grpo(r)) *further = 0; /* a reward says nothing of them */
    return true;
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
                       of, (long long)c->V, t->text.name, (long long)tokens,
                       t->source.store ? "take the tokenizer that the model was made with"
                                       : "set model.vocab_size to that at least, or leave it out");
    return true;
}

static bool shape_open(Config *c, int64_t *further, Trainer *t, bool resumed, Err *err) {
    return tokenizer_open(t, resumed, err) && config_find(c, further, t, resumed, err)
           && config_check(c, t, err);
}

/* The weights of the checkpoint, or of init_from, become masters. */
static bool model_start(Trainer *t, const Config *c, int64_t further, Err *err) {
    const Recipe *r = t->recipe;
    if (!t->source.store) {
        model_init(&t->model, t->model_arena, c, r->model.initializer_range, r->seed);
    } else {
        t->source.mtp = further;
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
    MixPart part[MIX_MOST];
    const int64_t rows = r->batch.tokens / r->batch.sequence; /* of a step */
    for (int64_t i = 0; i < r->data.n_parts; i++) {
        part[i] = (MixPart){&t->train[i], r->data.part[i].weight, rows * part_first(r, i), 0};
        if (r->data.part[i].to < 1) part[i].end = rows * part_end(r, i);
    }
    return mix_new(&t->mix, t->arena, part, r->data.n_parts, r->batch.sequence, &t->start, err)
           && (!t->valid.tokens
               || loader_new(&t->valid_loader, t->arena, &t->valid, r->batch.sequence, false,
                             (LoaderState){0}, err));
}

/* Long conversations, of which a row shows less than all. */
static void long_warn(const Trainer *t, const char *source, const Loader *l) {
    const RowCounts c = loader_counts(l);
    if (c.cut + c.left_out)
        log_at(LOG_WARN,
               "%s: of %lld conversations and parts of some, %lld are longer than batch.sequence "
               "%lld: %lld end with their last answer that fits, %lld are left out since none fits",
               source, (long long)c.docs, (long long)(c.cut + c.left_out),
               (long long)t->recipe->batch.sequence, (long long)c.cut, (long long)c.left_out);
}

/* A step takes its rows through the end of an epoch into the next; a text with fewer rows than a
 * step stands in it several times. */
static void rows_warn(const Trainer *t) {
    const Recipe *r = t->recipe;
    int64_t rows = 0;
    const int64_t step = r->batch.tokens / r->batch.sequence;
    for (int64_t i = 0; t->mix && i < r->data.n_parts; i++) {
        rows += loader_rows(mix_loader(t->mix, i));
        if (t->train[i].whole) long_warn(t, r->data.part[i].source, mix_loader(t->mix, i));
    }
    if (t->mix && t->valid.whole) long_warn(t, r->data.valid, t->valid_loader);
    if (t->mix && rows < step)
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

/* Last, so that the budget holds what is there already. */
static bool plan_start(Trainer *t, Err *err) {
    const PlanSpec s = step_spec(t, t->model, arena_used(t->arena));
    if (!plan_new(&t->plan, t->model_arena, t->model, &s, 0, t->team, err)) return false;
    optim_packs(t->optim, t->plan->panels);
    t->hidden = PUSH(t->model_arena, float, s.rows * t->model->cfg.C);
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

static bool data_open(Trainer *t, bool resumed, Err *err) {
    if (is_grpo(t->recipe)) return rollouts_open(t, err) && (!resumed || resume_fits(t, err));
    return shards_open(t, err) && (!resumed || resume_fits(t, err)) && loaders_new(t, err)
           && (!t->recipe->distill.logits || t->lock < 0 || soft_open(t, err));
}

static bool trainer_build(Trainer *t, Err *err) {
    Config c;
    int64_t further;
    bool resumed;
    if (!folder_lock(t, err) || !resume_find(&resumed, t, err)
        || !shape_open(&c, &further, t, resumed, err) || !run_fits(t, &c, further, err)
        || !data_open(t, resumed, err) || !run_fits(t, &c, further, err)
        || !model_start(t, &c, further, err))
        return false;
    resume_best(t);
    rows_warn(t);
    rows_new(t);
    for (int64_t i = 0; i < t->recipe->batch.micro; i++)
        t->want[i] = (Want){(int32_t)i, WANT_HIDDEN};
    work_new(t);
    balance_warn(t);
    return plan_start(t, err) && (!resumed || resume_moments(t, err)) && sampler_open(t, err)
           && (!t->rolls || rollouts_start(t, err));
}

static Trainer *trainer_new(const Recipe *r, int64_t threads) {
    Arena *a = arena_open("training", ARENA_NO_LIMIT);
    Trainer *t = PUSH(a, Trainer, 1);
    *t = (Trainer){.recipe = r,
                   .lock = -1,
                   .arena = a,
                   .start = mix_begin(r->seed),
                   .model_arena = arena_open("model", ARENA_NO_LIMIT),
                   .scratch = arena_open("checkpoints", ARENA_NO_LIMIT),
                   .team = team_open(threads ? threads : MIN(os_cpus(), 64))};
    return t;
}

bool trainer_open(Trainer **out, const Recipe *r, int64_t threads, Err *err) {
    Trainer *t = trainer_new(r, threads);
    if (trainer_build(t, err)) return *out = t, true;
    if (t->folder_made && t->lock >= 0) os_remove_empty(r->checkpoint.folder);
    trainer_close(t);
    return false;
}

/* What does not fit without its text need not have it read. */
static bool plan_run(TrainPlan *p, Trainer *t, Err *err) {
    Config c;
    int64_t further;
    const char *missing = text_missing(t->recipe);
    if (!shape_open(&c, &further, t, false, err) || !run_count(p, t, &c, further, err))
        return false;
    if (missing)
        log_at(LOG_WARN, "data.train is %s, which is not there: its index in memory is not counted",
               missing);
    else if (p->bytes <= p->limit
             && !(data_open(t, false, err) && run_count(p, t, &c, further, err)))
        return false;
    run_time(p, t, &c);
    return true;
}

bool train_plan(TrainPlan *p, const Recipe *r, int64_t threads, Err *err) {
    Trainer *t = trainer_new(r, threads);
    const bool ok = plan_run(p, t, err);
    trainer_close(t);
    return ok;
}

void trainer_close(Trainer *t) {
    if (!t) return;
    team_close(t->team);
    for (int64_t i = 0; i < MIX_MOST; i++) shard_close(&t->train[i]);
    shard_close(&t->valid);
    bundle_close(&t->source);
    rollouts_close(t->rolls);
    soft_close(t->soft);
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
