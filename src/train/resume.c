/* resume.c -- writes a run to disk and reads it back: the checkpoint's state.json and moments, and
 * the check whether recipe and checkpoint fit.
 *
 * A checkpoint is a complete model folder (weights, config.json, tokenizer.json) with
 * optimizer.safetensors, the moments of every tensor, and state.json:
 *   {"format": 1, "step": 120, "targets": 491520, "logged": 120, "shard": key,
 *    "fingerprint": the plan's with the weights as they are saved,
 *    "loader": {"seed": 1, "epoch": 0, "row": 960}, "best": {"step": 80, "loss": 2.5,
 *    "valid": key}, "mixture": {"rows": 1440, "texts": [the place in each text, if there are
 *    several]},
 *    "recipe": {"optim.lr": "0.001", ...}}
 * A run that continues from it has the bits of one that was never stopped, because it holds
 * everything that a step depends on. Differences in the recipe are refused or reported as the table
 * of keys (keys.c) says. */
#include "train/grpo.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { STATE_FORMAT = 1, STATE_BYTES = 1 << 20, COPY_BYTES = 4 << 20 };

/* ---- writing --------------------------------------------------------------------------------- */

static json_t *recipe_json(const Recipe *r) {
    json_t *o = json_object();
    for (int64_t i = 0; i < recipe_n_keys; i++)
        if (r->text[i].n)
            json_object_set_new(o, recipe_keys[i].name,
                                json_stringn_nocheck(r->text[i].p, (size_t)r->text[i].n));
    return o;
}

/* The place in each text of a mixture. */
static json_t *mixture_json(const Trainer *t, const MixState *at) {
    json_t *texts = json_array();
    const Recipe *r = t->recipe;
    for (int64_t i = 0; i < r->data.n_parts; i++) {
        json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:f}", "shard", t->train[i].key, "seed",
                              (json_int_t)at->at[i].seed, "epoch", (json_int_t)at->at[i].epoch,
                              "row", (json_int_t)at->at[i].row, "weight", r->data.part[i].weight);
        if (r->data.part[i].from > 0)
            json_object_set_new(o, "from", json_real(r->data.part[i].from));
        if (r->data.part[i].to < 1) json_object_set_new(o, "to", json_real(r->data.part[i].to));
        json_array_append_new(texts, o);
    }
    return json_pack("{s:I, s:o}", "rows", (json_int_t)at->rows, "texts", texts);
}

/* What the draw of further problems depends on. */
static json_t *rollouts_json(const Rollouts *r) {
    json_t *kinds = json_array();
    for (const Kind *k = r->kind; k < r->kind + r->n_kinds; k++)
        json_array_append_new(
            kinds, json_pack("{s:I, s:f}", "next", (json_int_t)k->next, "signal", k->signal));
    return json_pack("{s:I, s:o, s:f, s:f}", "problems", (json_int_t)r->problems, "kinds", kinds,
                     "first_entropy", r->first_entropy, "first_length", r->first_length);
}

static Str state_text(Arena *a, const Trainer *t) {
    const MixState all = t->mix ? mix_state(t->mix) : t->start;
    const LoaderState at = all.at[0];
    json_t *o = json_pack("{s:i, s:I, s:I, s:I, s:s, s:s, s:{s:I, s:I, s:I}, s:o}", "format",
                          STATE_FORMAT, "step", (json_int_t)t->step, "targets",
                          (json_int_t)t->targets, "logged", (json_int_t)t->logged, "shard",
                          t->train[0].key, "fingerprint", t->plan->fingerprint, "loader", "seed",
                          (json_int_t)at.seed, "epoch", (json_int_t)at.epoch, "row",
                          (json_int_t)at.row, "recipe", recipe_json(t->recipe));
    CHECK(o);
    if (t->recipe->data.n_parts > 1) json_object_set_new(o, "mixture", mixture_json(t, &all));
    if (t->rolls) json_object_set_new(o, "rollouts", rollouts_json(t->rolls));
    if (t->best.step)
        json_object_set_new(o, "best",
                            json_pack("{s:I, s:f, s:s}", "step", (json_int_t)t->best.step, "loss",
                                      t->best.loss, "valid", t->best.valid));
    char *z = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    CHECK(z);
    Str s = str_copy(a, str_of(z));
    free(z);
    return s;
}

/* m.NAME and v.NAME of every tensor that AdamW moves, momentum.NAME of Muon's, stacked experts as
 * one tensor of three dimensions; and for how long each expert has had no token. `out` has room for
 * MOMENTS of each parameter and one more. */
static int64_t moment_tensors(Tensor *out, Arena *a, const Trainer *t) {
    const Model *m = t->model;
    int64_t n = 0;
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *p = &m->param[i];
        for (int64_t k = 0; k < moment_count(p->optimiser); k++)
            out[n++] = (Tensor){.name = str_fmt(a, "%s.%s", moment_name(p->optimiser, k), p->name),
                                .type = p->moment_type,
                                .n_dims = 3,
                                .dim = {p->w.n, p->w.rows, p->w.cols},
                                .data = p->moment[k]};
    }
    if (t->routing.layers)
        out[n++] = (Tensor){.name = STR("experts.idle"),
                            .type = DTYPE_I64,
                            .n_dims = 2,
                            .dim = {t->routing.layers, t->routing.E},
                            .data = t->idle};
    return n;
}

static bool put_files(Trainer *t, CkptWriter *w, Err *err) {
    Arena *a = t->scratch;
    Tensor *moment = PUSH(a, Tensor, MOMENTS * t->model->n_params + 1);
    const int64_t n = moment_tensors(moment, a, t);
    plan_fingerprint(t->plan, t->team);
    return model_save(t->model, a, w, err)
           && ckpt_put_json(w, "tokenizer.json", t->text.bundle.tok_json, err)
           && (!t->text.bundle.tok_config.n
               || ckpt_put_json(w, "tokenizer_config.json", t->text.bundle.tok_config, err))
           && (!t->text.chat.n || ckpt_put_json(w, "chat_template.jinja", t->text.chat, err))
           && ckpt_put_tensors(w, "optimizer.safetensors", moment, n, err)
           && ckpt_put_json(w, "state.json", state_text(a, t), err);
}

bool trainer_save(Trainer *t, Err *err) {
    if (t->saved == t->step && t->step > 0) return true;
    if (!metrics_sync(t, err)) return false;
    const Mark mark = arena_mark(t->scratch);
    CkptWriter *w = ckpt_create(t->scratch, t->recipe->checkpoint.folder, t->step, err);
    if (w && t->best.step) ckpt_keep(w, t->best.step);
    bool ok = w && put_files(t, w, err) && ckpt_commit(w, t->recipe->checkpoint.keep, err);
    if (!ok)
        ckpt_abandon(w);
    else
        t->saved = t->step;
    arena_pop(t->scratch, mark);
    return ok;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool resume_find(bool *found, const Trainer *t, Err *err) {
    const char *folder = t->recipe->checkpoint.folder;
    *found = false;
    if (!os_exists(folder)) return true;
    const Mark mark = arena_mark(t->scratch);
    Str *name;
    int64_t n;
    const bool ok = os_list(t->scratch, &name, &n, folder, err);
    for (int64_t i = 0; ok && i < n; i++) *found |= str_starts(name[i], STR("step-"));
    arena_pop(t->scratch, mark);
    return ok;
}

static bool unfit(const char *file, const char *what, Err *err) {
    return err_set(err, ERR_FORMAT,
                   "cannot go on from %s: %s. Give checkpoint.folder another name to begin anew",
                   file, what);
}

/* Differences between the recipe now and the one that the checkpoint was trained with. */
static bool recipe_fits(const Trainer *t, const json_t *there, const char *file, Err *err) {
    for (int64_t i = 0; i < recipe_n_keys; i++) {
        const Key *k = &recipe_keys[i];
        const Str now = t->recipe->text[i];
        const char *z = json_string_value(json_object_get(there, k->name));
        if (!z) z = k->initial; /* the key is newer than the checkpoint, or its default is empty */
        if (k->fate == FATE_FREE || str_eq(now, str_of(z ? z : ""))) continue;
        if (k->fate == FATE_FIXED)
            return err_set(err, ERR_USAGE,
                           "cannot go on from %s: %s was \"%s\" and is \"%.*s\" now. Set it back, "
                           "or give checkpoint.folder another name to begin anew",
                           file, k->name, z ? z : "", STRF(now));
        log_at(LOG_WARN, "%s was %s in %s and is %.*s from here on", k->name, z ? z : "not set",
               file, STRF(now));
    }
    return true;
}

/* A run that had no validation yet has none, nor has one of an older version. */
static bool best_read(Best *best, const json_t *o, const char *file, Err *err) {
    const json_t *b = json_object_get(o, "best"), *step = json_object_get(b, "step"),
                 *loss = json_object_get(b, "loss");
    const char *valid = json_string_value(json_object_get(b, "valid"));
    *best = (Best){.step = json_integer_value(step), .loss = json_number_value(loss)};
    if (valid) snprintf(best->valid, sizeof best->valid, "%s", valid);
    return !b || (best->step > 0 && json_is_number(loss) && valid)
           || err_set(err, ERR_FORMAT, "%s: \"best\" is no step with its loss and text", file);
}

/* A count that goes on from there: it must not run over. */
static bool counts(json_int_t n) { return n >= 0 && n <= (json_int_t)1 << 53; }

/* A part of the mixture as it was and as it is. */
static void part_compare(const Recipe *r, int64_t i, double weight, double from, double to,
                         const char *file) {
    if (i >= r->data.n_parts) return;
    if (weight != r->data.part[i].weight)
        log_at(LOG_WARN, "the weight of %s was %.4g in %s and is %.4g from here on",
               r->data.part[i].source, weight, file, r->data.part[i].weight);
    if (from != r->data.part[i].from || to != r->data.part[i].to)
        log_at(LOG_WARN,
               "%s was drawn from between %.4g and %.4g of the steps in %s, and is between "
               "%.4g and %.4g from here on",
               r->data.part[i].source, from, to, file, r->data.part[i].from, r->data.part[i].to);
}

/* Without a mixture it is the one text that was read already. */
static bool mixture_read(Trainer *t, const json_t *mixture, const char *file, Err *err) {
    json_t *texts;
    json_int_t rows;
    json_error_t e;
    if (!mixture) return true;
    if (json_unpack_ex((json_t *)(uintptr_t)mixture, &e, 0, "{s:I, s:o}", "rows", &rows, "texts",
                       &texts))
        return unfit(file, e.text, err);
    if (!counts(rows)) return unfit(file, "its rows are below zero or too many", err);
    t->start.rows = rows;
    t->n_shards = (int64_t)json_array_size(texts);
    for (int64_t i = 0; i < MIN(t->n_shards, MIX_MOST); i++) {
        const char *shard;
        json_int_t seed, epoch, row;
        double weight, from = 0, to = 1;
        if (json_unpack_ex(json_array_get(texts, (size_t)i), &e, 0,
                           "{s:s, s:I, s:I, s:I, s:F, s?F, s?F}", "shard", &shard, "seed", &seed,
                           "epoch", &epoch, "row", &row, "weight", &weight, "from", &from, "to",
                           &to))
            return unfit(file, e.text, err);
        t->start.at[i] = (LoaderState){.seed = (uint64_t)seed, .epoch = epoch, .row = row};
        t->shard[i] = str_copy(t->arena, str_of(shard));
        part_compare(t->recipe, i, weight, from, to, file);
    }
    return true;
}

static bool state_read(Trainer *t, json_t *o, const char *file, Err *err) {
    json_t *recipe;
    json_int_t step, targets, logged = 0, seed, epoch, row;
    const char *shard, *fingerprint;
    int format;
    json_error_t e;
    if (json_unpack_ex(o, &e, 0, "{s:i, s:I, s:I, s?I, s:s, s:s, s:{s:I, s:I, s:I}, s:o}", "format",
                       &format, "step", &step, "targets", &targets, "logged", &logged, "shard",
                       &shard, "fingerprint", &fingerprint, "loader", "seed", &seed, "epoch",
                       &epoch, "row", &row, "recipe", &recipe))
        return unfit(file, e.text, err);
    if (format != STATE_FORMAT) return unfit(file, "another version of the program wrote it", err);
    if (!counts(step) || !counts(targets) || !counts(logged))
        return unfit(file, "its numbers are below zero or too large", err);
    if (!recipe_fits(t, recipe, file, err) || !best_read(&t->best, o, file, err)) return false;
    t->start.at[0] = (LoaderState){.seed = (uint64_t)seed, .epoch = epoch, .row = row};
    t->step = t->saved = step;
    t->targets = targets;
    t->logged = logged;
    t->fingerprint = str_copy(t->arena, str_of(fingerprint));
    t->shard[0] = str_copy(t->arena, str_of(shard));
    t->n_shards = 1;
    return mixture_read(t, json_object_get(o, "mixture"), file, err);
}

/* state.json of an open checkpoint; NULL on error. The caller's to end. */
static json_t *state_open(Arena *a, const Store *s, const char **file, Err *err) {
    Str text;
    json_error_t e;
    *file = str_fmt(a, "%s/state.json", store_path(s)).p;
    if (!os_read(a, &text, *file, STATE_BYTES, err)) return NULL;
    json_t *o = json_loadb(text.p, (size_t)text.n, JSON_REJECT_DUPLICATES, &e);
    if (!o) (void)unfit(*file, e.text, err);
    return o;
}

bool resume_state(Trainer *t, Err *err) {
    const char *file;
    if (!bundle_open(&t->source, t->model_arena, t->recipe->checkpoint.folder, 0, err))
        return false;
    json_t *o = state_open(t->arena, t->source.store, &file, err);
    const bool ok = o && state_read(t, o, file, err);
    json_decref(o);
    if (ok && t->step != store_step(t->source.store))
        return unfit(file, "it belongs to another step", err);
    return ok;
}

/* The step of the best validation, as the checkpoint of an open store has it. */
static bool best_of(Best *best, Arena *a, const Store *s, Err *err) {
    const char *file;
    json_t *o = state_open(a, s, &file, err);
    bool ok = o && best_read(best, o, file, err);
    json_decref(o);
    if (ok && best->step == 0)
        ok = err_set(err, ERR_USAGE,
                     "%s: no validation is noted here, so no checkpoint is the best: train with "
                     "data.valid, or take the newest",
                     file);
    return ok;
}

bool run_best(const char **path, Arena *a, const char *run, Err *err) {
    Store *s;
    Best best;
    if (!store_open(&s, a, run, err)) return false;
    const bool ok = best_of(&best, a, s, err);
    const char *newest = str_copy(a, str_of(store_path(s))).p, *slash = strrchr(newest, '/');
    store_close(s);
    if (!ok) return false;
    *path = str_fmt(a, "%.*sstep-%09lld", (int)(slash ? slash + 1 - newest : 0), newest,
                    (long long)best.step)
                .p;
    return os_is_dir(*path)
           || err_set(err, ERR_IO, "%s, which had the lowest loss, is no longer there", *path);
}

void resume_best(Trainer *t) {
    if (t->valid.tokens && t->best.step && strcmp(t->best.valid, t->valid.key)) {
        log_at(LOG_WARN,
               "data.valid is another text than before: the best checkpoint is looked for anew");
        t->best = (Best){0};
    }
}

/* The draws go on where they stood. */
static bool rollouts_resume(const Trainer *t, Err *err) {
    const char *file;
    Rollouts *r = t->rolls;
    json_t *o = state_open(t->scratch, t->source.store, &file, err), *kinds;
    json_int_t problems;
    json_error_t e;
    if (!o) return false;
    bool ok = !json_unpack_ex(o, &e, 0, "{s:{s:I, s:o, s:F, s:F}}", "rollouts", "problems",
                              &problems, "kinds", &kinds, "first_entropy", &r->first_entropy,
                              "first_length", &r->first_length)
              || unfit(file, e.text, err);
    if (ok && ((int64_t)json_array_size(kinds) != r->n_kinds || !counts(problems)))
        ok = unfit(file, "it drew other problems than data.train names now", err);
    for (int64_t i = 0; ok && i < r->n_kinds; i++) {
        json_int_t next;
        ok = (!json_unpack_ex(json_array_get(kinds, (size_t)i), &e, 0, "{s:I, s:F}", "next", &next,
                              "signal", &r->kind[i].signal)
              && counts(next))
             || unfit(file, "a kind of problems has no count and signal", err);
        if (ok) r->kind[i].next = next;
    }
    if (ok) r->problems = problems;
    json_decref(o);
    return ok;
}

bool resume_fits(const Trainer *t, Err *err) {
    const int64_t n = t->recipe->data.n_parts;
    bool same = n == t->n_shards;
    for (int64_t i = 0; same && i < n; i++) same = str_eq(t->shard[i], str_of(t->train[i].key));
    if (same) return !t->rolls || rollouts_resume(t, err);
    return unfit(store_path(t->source.store),
                 "data.train or the tokenizer has changed since, so its place in the data means "
                 "nothing",
                 err);
}

/* A tensor's bytes from the mapping to where they belong. Pieces of the mapping leave memory again:
 * the run's peak, which is here, is the plan's and no more. */
static void tensor_copy(void *to, const Tensor *t, const Store *s) {
    const uint8_t *from = t->data;
    for (int64_t at = 0, n; at < t->bytes; at += n) {
        n = MIN(t->bytes - at, COPY_BYTES);
        memcpy((uint8_t *)to + at, from + at, (size_t)n);
        store_drop(s, from + at, n);
    }
}

static bool moments_read(Trainer *t, const Store *s, Err *err) {
    Tensor *want = PUSH(t->scratch, Tensor, MOMENTS * t->model->n_params + 1);
    const int64_t n = moment_tensors(want, t->scratch, t);
    for (int64_t i = 0; i < n; i++) {
        const Tensor *have = store_find(s, want[i].name);
        if (!have || have->type != want[i].type
            || tensor_elements(have) != tensor_elements(&want[i]))
            return err_set(err, ERR_FORMAT,
                           "%s: %.*s is missing or has another shape than the model's",
                           store_path(s), STRF(want[i].name));
        tensor_copy((void *)(uintptr_t)want[i].data, have, s);
    }
    return n == store_count(s)
           || unfit(store_path(s), "it has tensors that the model has not", err);
}

bool resume_moments(Trainer *t, Err *err) {
    if (!str_eq(t->fingerprint, str_of(t->plan->fingerprint)))
        return unfit(store_path(t->source.store),
                     "its weights, its config.json or this program's arithmetic are not those that "
                     "its fingerprint names",
                     err);
    const Mark mark = arena_mark(t->scratch);
    Store *s = NULL;
    const char *path =
        str_fmt(t->scratch, "%s/optimizer.safetensors", store_path(t->source.store)).p;
    const bool ok = store_open(&s, t->scratch, path, err) && moments_read(t, s, err);
    if (s) store_close(s);
    arena_pop(t->scratch, mark);
    return ok;
}
