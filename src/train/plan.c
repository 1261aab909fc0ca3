/* plan.c -- what a run will take, before it takes it: memory by its parts, exactly, and time as an
 * estimate.
 *
 * Memory is counted on a model that is a shape without weights, by the functions that later build
 * the run: the same plan, the same buffers pushed on an arena that nothing writes to. */
#include "train/grpo.h"

/* Of the speed of a product in the caches, so much is left in whole steps of small mixtures of
 * experts (docs/log.md): attention, norms, router and optimiser cost the rest. */
static const double SHARE = 0.35;

static const char *const part_name[TRAIN_PARTS] = {"weights",     "gradients",    "moments",
                                                   "activations", "data buffers", "program"};
const char *train_part_name(TrainPart part) { return part_name[part]; }

int64_t train_part_bytes(const TrainPlan *p, TrainPart part) {
    int64_t bytes = 0;
    for (int64_t i = 0; i < p->n_items; i++)
        bytes += p->item[i].part == part ? p->item[i].is.bytes : 0;
    return bytes;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static void item_add(TrainPlan *p, TrainPart part, const char *what, int64_t bytes) {
    CHECK(p->n_items < COUNT(p->item));
    if (bytes == 0) return;
    p->item[p->n_items++] = (TrainItem){{what, bytes}, part};
    p->bytes += bytes;
}

/* Where an item of a model's plan belongs. */
static TrainPart part_of(const char *what) {
    static const struct {
        const char *what;
        TrainPart part;
    } known[] = {{"program", PART_PROGRAM},
                 {"masters", PART_WEIGHTS},
                 {"names and vectors of the model", PART_WEIGHTS},
                 {"weight panels", PART_WEIGHTS},
                 {"gradients", PART_GRADIENTS},
                 {"moments", PART_MOMENTS}};
    for (int64_t i = 0; i < COUNT(known); i++)
        if (!strcmp(what, known[i].what)) return known[i].part;
    return PART_ACTIVATIONS;
}

/* An engine on the trainer's panels: what its plan has beside program and weights. */
static bool engine_count(TrainPlan *p, Trainer *draft, const PlanSpec *s, const char *what,
                         Err *err) {
    Plan *plan;
    int64_t bytes = 0;
    if (!plan_count(&plan, draft->scratch, draft->model, s, p->threads, err)) return false;
    for (int64_t i = 0; i < plan->n_items; i++)
        bytes += part_of(plan->item[i].what) == PART_ACTIVATIONS ? plan->item[i].bytes : 0;
    item_add(p, PART_ACTIVATIONS, what, bytes);
    return true;
}

/* The first model, beside the trainer's: its panels, and what a forward works in. */
static bool first_count(TrainPlan *p, Trainer *draft, const PlanSpec *step, Err *err) {
    PlanSpec s = {.act = step->act, .kv = step->kv, .mla = step->mla};
    Model *m;
    Plan *plan;
    int64_t bytes = 0;
    if (draft->recipe->grpo.kl == 0) return true;
    model_shape(&m, draft->scratch, &draft->model->cfg, 0);
    first_spec(&s, draft);
    if (!plan_count(&plan, draft->scratch, m, &s, p->threads, err)) return false;
    for (int64_t i = 0; i < plan->n_items; i++)
        bytes += part_of(plan->item[i].what) != PART_PROGRAM ? plan->item[i].bytes : 0;
    item_add(p, PART_WEIGHTS, "first model", bytes);
    return true;
}

static bool engines_count(TrainPlan *p, Trainer *draft, const PlanSpec *step, Err *err) {
    PlanSpec s = {.act = step->act, .kv = step->kv, .mla = step->mla}, rolls = s;
    if (draft->recipe->sample.every
        && (!sampler_spec(&s, draft, err) || !engine_count(p, draft, &s, "samples", err)))
        return false;
    if (!is_grpo(draft->recipe)) return true;
    rollouts_spec(&rolls, draft);
    return engine_count(p, draft, &rolls, "answers", err) && first_count(p, draft, step, err);
}

static bool step_count(TrainPlan *p, Trainer *draft, Err *err) {
    const PlanSpec s = step_spec(draft, draft->model, 0);
    Plan *plan;
    if (!plan_count(&plan, draft->scratch, draft->model, &s, p->threads, err)) return false;
    for (int64_t i = 0; i < plan->n_items; i++) {
        const BudgetItem *b = &plan->item[i];
        item_add(p, part_of(b->what), strcmp(b->what, "results") ? b->what : "hidden states",
                 b->bytes);
    }
    if (p->bytes > p->limit) return true; /* nor could the rest be had, not even as addresses */
    const int64_t most = rows_most(draft->recipe);
    if (p->bytes + most > p->limit || !arena_reserve(draft->arena, most))
        return item_add(p, PART_DATA, "rows of a step", most), true;
    rows_new(draft);
    const int64_t rows = arena_used(draft->arena);
    work_new(draft);
    item_add(p, PART_ACTIVATIONS, "work memory of loss and optimiser",
             arena_used(draft->arena) - rows);
    item_add(p, PART_DATA, "rows of a step", rows);
    return engines_count(p, draft, &s, err);
}

/* `t` as far as it is open, and the rest on a draft of it. */
bool run_count(TrainPlan *p, const Trainer *t, const Config *c, int64_t further, Err *err) {
    const Recipe *r = t->recipe;
    Trainer draft = *t;
    *p = (TrainPlan){.text = t->train[0].tokens > 0,
                     .threads = team_threads(t->team),
                     .steps = r->optim.steps,
                     .tokens = r->batch.tokens,
                     .limit = os_memory_free() + os_memory_now()};
    draft.arena = arena_open("buffers of a draft", ARENA_NO_LIMIT);
    draft.model_arena = arena_open("model of a draft", ARENA_NO_LIMIT);
    draft.scratch = arena_open("plan of a draft", ARENA_NO_LIMIT);
    model_shape(&draft.model, draft.model_arena, c, further);
    model_optimise(draft.model, r->optim.optimiser, r->optim.moments);
    p->parameters = model_count(draft.model);
    p->active = config_size(c).active;
    const bool ok = step_count(p, &draft, err);
    item_add(p, PART_DATA, p->text ? "tokenizer and the text's index" : "tokenizer",
             arena_used(t->arena));
    arena_close(draft.scratch);
    arena_close(draft.model_arena);
    arena_close(draft.arena);
    return ok;
}

/* What makes the activations smaller. */
static const char *rows_hint(const Recipe *r) {
    return r->batch.micro > r->batch.sequence ? "a smaller batch.micro"
                                              : "a smaller batch.sequence";
}

bool train_plan_fits(const TrainPlan *p, const Recipe *r, Err *err) {
    BudgetItem item[COUNT(p->item)];
    if (p->bytes <= p->limit) return true;
    for (int64_t i = 0; i < p->n_items; i++) item[i] = p->item[i].is;
    const bool rows = 2 * train_part_bytes(p, PART_ACTIVATIONS) > p->bytes,
               step = 2 * train_part_bytes(p, PART_DATA) > p->bytes;
    const char *model = step                            ? "a smaller batch.tokens"
                        : r->optim.moments == DTYPE_F32 ? "a smaller model or optim.moments bf16"
                                                        : "a smaller model";
    return err_set(err, ERR_LIMIT,
                   "training %s needs %.1f MB of memory, and %.1f MB are free; the largest parts: "
                   "%s. Take %s, or %s",
                   r->path, 1e-6 * (double)p->bytes, 1e-6 * (double)p->limit,
                   budget_largest(item, p->n_items).list, rows ? rows_hint(r) : model,
                   rows ? model : rows_hint(r));
}

bool run_fits(const Trainer *t, const Config *c, int64_t further, Err *err) {
    TrainPlan p;
    return run_count(&p, t, c, further, err) && train_plan_fits(&p, t->recipe, err);
}

/* ---- time ------------------------------------------------------------------------------------ */

void run_time(TrainPlan *p, const Trainer *t, const Config *c) {
    p->share = SHARE;
    p->machine_flops = machine_flops(t->team, t->recipe->act);
    p->token_flops = token_flops(c);
    p->tokens_per_s = p->share * p->machine_flops / p->token_flops;
    if (!is_grpo(t->recipe)) p->seconds = (double)p->steps * (double)p->tokens / p->tokens_per_s;
}
