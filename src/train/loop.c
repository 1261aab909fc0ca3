/* loop.c -- a whole run: steps, the progress line, validation, checkpoints, and the end by Ctrl-C.
 *
 * The order after a step is fixed: log, sample, validate, save. So a checkpoint of step n always
 * comes after the log's lines of step n, and a run that continues from it misses none. */
#include "train/grpo.h"

#include <stdio.h>

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static Best best_now(const Trainer *t, double loss) {
    Best b = {.step = t->step, .loss = loss};
    memcpy(b.valid, t->valid.key, sizeof b.valid);
    return b;
}

static bool validate(Trainer *t, bool *best, Err *err) {
    double loss;
    if (!trainer_eval(t, &loss, err) || !metrics_valid(t, loss, err)) return false;
    *best = t->best.step == 0 || loss < t->best.loss;
    if (*best) t->best = best_now(t, loss);
    if (t->rolls)
        log_at(LOG_INFO, "step %lld: %.1f %% of %lld held-out problems solved%s",
               (long long)t->step, 100 * (1 - loss), (long long)t->recipe->grpo.valid_problems,
               *best ? ", the best so far" : "");
    else
        log_at(LOG_INFO, "step %lld: loss %.4f, %.4f bits per byte on %s%s", (long long)t->step,
               loss, t->valid_bits, t->recipe->data.valid, *best ? ", the best so far" : "");
    return true;
}

static bool validates(const Trainer *t) {
    return t->rolls ? t->rolls->n_valid > 0 : t->valid_loader != NULL;
}

/* What is written after a step. The last step of a run, by its number or by Ctrl-C (stop), is
 * always saved, and so is one with the best validation so far: that checkpoint stays. */
static bool after_step(Trainer *t, const StepStats *s, double seconds, bool stop, Err *err) {
    const Recipe *r = t->recipe;
    const bool last = t->step >= r->optim.steps;
    bool best = false;
    if ((last || due(t->step, r->log.every)) && !metrics_step(t, s, seconds, err)) return false;
    if (t->sampler && (last || due(t->step, r->sample.every)) && !sample_write(t, err))
        return false;
    if (validates(t) && (last || due(t->step, r->eval.every)) && !validate(t, &best, err))
        return false;
    /* Answers that are in use are in no checkpoint: it comes when they are used up. */
    if (!draw_is_over(t)) return true;
    return !(last || due(t->step, r->checkpoint.every) || stop || best) || trainer_save(t, err);
}

/* The line of progress, and the tokens a second that the machine would make at its peak. */
typedef struct Live {
    Progress bar;
    double peak;
} Live;

/* The figures of a step, the more important ones first: a narrow terminal shows those. */
static void show(Live *live, const Trainer *t, const StepStats *s, double seconds) {
    const int64_t every = t->recipe->checkpoint.every, steps = t->recipe->optim.steps;
    const int64_t next = every ? MIN(steps, s->step + every - s->step % every) : steps;
    const double speed = (double)s->targets / MAX(seconds, 1e-9);
    char balance[40] = "", extra[200];
    if (t->model->cfg.E > 0) snprintf(balance, sizeof balance, ", MaxVio %.2f", s->max_vio);
    if (t->rolls)
        snprintf(extra, sizeof extra,
                 "reward %.3f, %.0f tokens an answer, entropy %.3f, %lld of %lld problems teach, "
                 "%.0f tokens/s, gradient %.3g%s, checkpoint in %lld",
                 s->answers.reward, s->answers.length, s->answers.entropy,
                 (long long)s->answers.taught, (long long)s->answers.groups,
                 (double)s->answers.tokens / MAX(seconds, 1e-9), s->grad_norm, balance,
                 (long long)(next - s->step));
    else
        snprintf(extra, sizeof extra,
                 "loss %.4f, %.0f tokens/s, gradient %.3g%s, checkpoint in %lld, %.0f %% of peak",
                 s->loss, speed, s->grad_norm, balance, (long long)(next - s->step),
                 100 * speed / live->peak);
    progress_at(&live->bar, s->step, extra);
}

static bool interrupted(const Trainer *t, Err *err) {
    return err_set(err, ERR_INTERRUPTED,
                   "interrupted after step %lld of %lld; the checkpoint is written. The same "
                   "command goes on from there",
                   (long long)t->step, (long long)t->recipe->optim.steps);
}

static bool steps_run(Trainer *t, Live *live, Err *err) {
    while (t->step < t->recipe->optim.steps) {
        StepStats s;
        const double start = os_now();
        if (!trainer_step(t, &s, err)) return false;
        const double seconds = os_now() - start;
        show(live, t, &s, seconds);
        const bool stop = os_interrupted() && draw_is_over(t);
        if (!after_step(t, &s, seconds, stop, err)) return false;
        if (stop && t->step < t->recipe->optim.steps) return interrupted(t, err);
    }
    return true;
}

/* A text, and how its documents fill the rows. */
static void text_introduce(const Trainer *t, int64_t i) {
    const Recipe *r = t->recipe;
    const Shard *s = &t->train[i];
    const RowCounts c = loader_counts(mix_loader(t->mix, i));
    char weight[120] = "", learned[40] = "";
    const bool part = part_first(r, i) > 0 || part_end(r, i) < r->optim.steps;
    if (r->data.n_parts > 1)
        snprintf(weight, sizeof weight, ", weight %.4g", r->data.part[i].weight);
    if (part)
        snprintf(weight, sizeof weight, ", weight %.4g in steps %lld to %lld",
                 r->data.part[i].weight, (long long)part_first(r, i) + 1,
                 (long long)part_end(r, i));
    if (s->learned)
        snprintf(learned, sizeof learned, " (%.1f %% learned)",
                 100 * (double)loader_targets(mix_loader(t->mix, i)) / (double)c.places);
    log_at(
        LOG_INFO,
        "%s%s: %lld tokens%s in %lld document%s, %lld row%s an epoch, of which %.1f %% stay empty; "
        "%lld document%s longer than a row, cut",
        r->data.part[i].source, weight, (long long)s->tokens, learned, (long long)s->docs,
        plural(s->docs), (long long)c.rows, plural(c.rows), 100 * c.empty, (long long)c.cut,
        c.cut == 1 ? " is" : "s are");
}

/* What the run has read of each text since it began. */
static void texts_conclude(const Trainer *t) {
    if (!t->mix) return;
    const MixState at = mix_state(t->mix);
    for (int64_t i = 0; i < t->recipe->data.n_parts; i++) {
        const RowCounts c = loader_counts(mix_loader(t->mix, i));
        const double epochs = (double)at.at[i].epoch + (double)at.at[i].row / (double)c.rows;
        log_at(LOG_INFO, "%s was read %.2f times, %.1f M tokens; %.1f %% of its rows stayed empty",
               t->recipe->data.part[i].source, epochs, 1e-6 * epochs * (double)c.places,
               100 * c.empty);
    }
}

static void introduce(const Trainer *t) {
    const Recipe *r = t->recipe;
    Buf plan = {.a = t->scratch};
    const Mark mark = arena_mark(t->scratch);
    plan_print(t->plan, &plan);
    log_at(LOG_INFO, "%.*s", STRF(buf_str(&plan)));
    log_at(LOG_INFO, "%lld parameters; %lld step%s of %lld tokens",
           (long long)model_count(t->model), (long long)r->optim.steps, plural(r->optim.steps),
           (long long)r->batch.tokens);
    for (int64_t i = 0; t->mix && i < r->data.n_parts; i++) text_introduce(t, i);
    if (t->sampler)
        log_at(LOG_INFO, "samples: %.1f MB more", 1e-6 * (double)sampler_bytes_held(t->sampler));
    if (t->step)
        log_at(LOG_INFO, "going on from step %lld in %s", (long long)t->step, r->checkpoint.folder);
    arena_pop(t->scratch, mark);
}

/* An earlier checkpoint that did better on what is held out. */
static void best_tell(const Trainer *t) {
    const Recipe *r = t->recipe;
    const long long step = (long long)t->best.step;
    if (t->rolls)
        log_at(LOG_INFO, "most held-out problems, %.1f %%, were solved by %s/step-%09lld",
               100 * (1 - t->best.loss), r->checkpoint.folder, step);
    else
        log_at(LOG_INFO, "the lowest loss on %s, %.4f, is that of %s/step-%09lld", r->data.valid,
               t->best.loss, r->checkpoint.folder, step);
}

static bool run(Trainer *t, Err *err) {
    Live live = {.peak = machine_flops(t->team, t->recipe->act) / token_flops(&t->model->cfg)};
    const bool talks = t->recipe->objective != OBJECTIVE_PRETRAIN;
    if (!metrics_open(t, err)) return false;
    introduce(t);
    progress_start(&live.bar, "train", "step", t->recipe->optim.steps);
    live.bar.first = t->step;
    const bool ok = steps_run(t, &live, err);
    progress_end(&live.bar);
    if (ok) texts_conclude(t);
    if (ok)
        log_at(LOG_INFO,
               "step %lld of %lld is done; the model is in %s. Try it with\n       lisao %s %s%s",
               (long long)t->step, (long long)t->recipe->optim.steps, t->recipe->checkpoint.folder,
               talks ? "chat" : "run", t->recipe->checkpoint.folder,
               talks ? "" : " --raw --prompt \"The \" --max-tokens 60");
    if (ok && t->best.step && t->best.step != t->step) best_tell(t);
    return ok;
}

bool train_run(const Recipe *r, int64_t threads, Err *err) {
    Trainer *t;
    os_catch_interrupt();
    if (r->objective == OBJECTIVE_DISTILL && !r->distill.logits && !distill_make(r, threads, err))
        return false;
    if (!trainer_open(&t, r, threads, err)) return false;
    const bool ok = run(t, err);
    trainer_close(t);
    return ok;
}
