/* loop.c -- a whole run: steps, the progress line, validation, checkpoints, and the end by Ctrl-C.
 *
 * The order after a step is fixed: log, validate, save. So a checkpoint of step n always comes
 * after the log's lines of step n, and a run that continues from it misses none. */
#include "train/trainer.h"

#include <stdio.h>

static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }

static bool validate(Trainer *t, Err *err) {
    double loss;
    if (!trainer_eval(t, &loss, err) || !metrics_valid(t, loss, err)) return false;
    log_at(LOG_INFO, "step %lld: loss %.4f on %s", (long long)t->step, loss, t->recipe->data.valid);
    return true;
}

/* What is written after a step. The last step of a run, by its number or by Ctrl-C (stop), is
 * always saved. */
static bool after_step(Trainer *t, const StepStats *s, double seconds, bool stop, Err *err) {
    const Recipe *r = t->recipe;
    const bool last = t->step >= r->optim.steps;
    if ((last || due(t->step, r->log.every)) && !metrics_step(t, s, seconds, err)) return false;
    if (t->valid_loader && (last || due(t->step, r->eval.every)) && !validate(t, err)) return false;
    return !(last || due(t->step, r->checkpoint.every) || stop) || trainer_save(t, err);
}

static void show(Progress *bar, const StepStats *s, double seconds) {
    char extra[96];
    snprintf(extra, sizeof extra, "loss %.4f, %.0f tokens/s", s->loss,
             (double)s->targets / MAX(seconds, 1e-9));
    progress_at(bar, s->step, extra);
}

static bool interrupted(const Trainer *t, Err *err) {
    return err_set(err, ERR_INTERRUPTED,
                   "interrupted after step %lld of %lld; the checkpoint is written. The same "
                   "command goes on from there",
                   (long long)t->step, (long long)t->recipe->optim.steps);
}

static bool steps_run(Trainer *t, Progress *bar, Err *err) {
    while (t->step < t->recipe->optim.steps) {
        StepStats s;
        const double start = os_now();
        if (!trainer_step(t, &s, err)) return false;
        const double seconds = os_now() - start;
        show(bar, &s, seconds);
        const bool stop = os_interrupted();
        if (!after_step(t, &s, seconds, stop, err)) return false;
        if (stop && t->step < t->recipe->optim.steps) return interrupted(t, err);
    }
    return true;
}

static const char *plural(int64_t n) { return n == 1 ? "" : "s"; }

static void introduce(const Trainer *t) {
    const Recipe *r = t->recipe;
    Buf plan = {.a = t->scratch};
    const Mark mark = arena_mark(t->scratch);
    plan_print(t->plan, &plan);
    log_at(LOG_INFO, "%.*s", STRF(buf_str(&plan)));
    log_at(LOG_INFO,
           "%lld parameters; %lld tokens in %lld document%s, %lld row%s an epoch; %lld step%s of "
           "%lld tokens",
           (long long)model_count(t->model), (long long)t->train.tokens, (long long)t->train.docs,
           plural(t->train.docs), (long long)loader_rows(t->loader), plural(loader_rows(t->loader)),
           (long long)r->optim.steps, plural(r->optim.steps), (long long)r->batch.tokens);
    if (t->step)
        log_at(LOG_INFO, "going on from step %lld in %s", (long long)t->step, r->checkpoint.folder);
    arena_pop(t->scratch, mark);
}

static bool run(Trainer *t, Err *err) {
    Progress bar;
    if (!metrics_open(t, err)) return false;
    introduce(t);
    progress_start(&bar, "training", "step", t->recipe->optim.steps);
    bar.first = t->step;
    const bool ok = steps_run(t, &bar, err);
    progress_end(&bar);
    if (ok)
        log_at(LOG_INFO,
               "step %lld of %lld is done; the model is in %s. Try it with\n"
               "       lisao run %s --raw --prompt \"The \" --max-tokens 60",
               (long long)t->step, (long long)t->recipe->optim.steps, t->recipe->checkpoint.folder,
               t->recipe->checkpoint.folder);
    return ok;
}

bool train_run(const Recipe *r, int64_t threads, Err *err) {
    Trainer *t;
    os_catch_interrupt();
    if (!trainer_open(&t, r, threads, err)) return false;
    const bool ok = run(t, err);
    trainer_close(t);
    return ok;
}
