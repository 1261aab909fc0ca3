/* grpo.c -- from rewards to a gradient: the advantage of an answer over its group, what share of
 * the loss each of its tokens has, rows to compute it on, and the clipped ratio of probabilities.
 *
 *     loss = - sum over tokens of w min(rho, clip(rho, 1 - low, 1 + high)),   w = A / norm
 *     rho = exp(logprob now - logprob when it was drawn)
 *
 * A: reward less the mean of the group; grpo and dapo divide it by the group's standard deviation.
 * norm: tokens of all answers (lisao, dapo); tokens of the answer, and answers (grpo); the longest
 * answer that was allowed, and answers (dr_grpo; arXiv 2503.20783). The min is written as a factor:
 * where it takes the clipped side the token has no gradient. Answers that were cut at
 * grpo.max_tokens are no part of it: it is not known what they would have come to. With grpo.kl = b
 * each token adds b (exp(d) - d - 1) over the tokens of all answers, d = logprob of the first
 * model - logprob now.
 *
 * In the first update of a draw rho is 1, exactly: the sampler's log-probabilities are the
 * trainer's, and a difference is an error of the program. */
#include "train/grpo.h"

#include <math.h>

typedef struct Variant {
    const char *name;
    bool deviation; /* the advantage is divided by the group's */
    enum { PER_TOKEN, PER_ANSWER, PER_LIMIT } norm;
} Variant;

static Variant variant_of(const Recipe *r) {
    static const Variant known[] = {{"lisao", false, PER_TOKEN},
                                    {"grpo", true, PER_ANSWER},
                                    {"dr_grpo", false, PER_LIMIT},
                                    {"dapo", true, PER_TOKEN}};
    for (int64_t i = 0; i < COUNT(known); i++)
        if (!strcmp(known[i].name, r->grpo.variant)) return known[i];
    CHECK(!"a variant that keys.c does not know");
    return known[0];
}

/* ---- weights --------------------------------------------------------------------------------- */

static bool learned(const Answer *a) { return a->finish == FINISH_STOP; }

static int64_t answer_tokens(const Answer *a) { return learned(a) ? a->n - a->n_prompt : 0; }

static Answer *answer_at(const Rollouts *r, const Recipe *recipe, int64_t i) {
    return &r->group[i / recipe->grpo.samples].answer[i % recipe->grpo.samples];
}

static void group_weigh(const Question *g, int64_t samples, const Variant *v) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < samples; i++) mean += g->answer[i].reward / (double)samples;
    for (int64_t i = 0; i < samples; i++) {
        const double x = g->answer[i].reward - mean;
        square += x * x / (double)samples;
    }
    const double by = v->deviation && square > 0 ? sqrt(square) : 1; /* 0: below what is a square */
    for (Answer *a = g->answer; a < g->answer + samples; a++)
        a->weight = (float)((a->reward - mean) / by);
}

/* Answers answer_at .. answer_end - 1 are one update's; each of their tokens gets its share. */
static void part_weigh(Trainer *t, const Variant *v) {
    const Recipe *recipe = t->recipe;
    Rollouts *r = t->rolls;
    int64_t answers = 0;
    r->tokens = 0;
    for (int64_t i = r->answer_at; i < r->answer_end; i++) {
        const Answer *a = answer_at(r, recipe, i);
        answers += learned(a);
        r->tokens += answer_tokens(a);
    }
    for (int64_t i = r->answer_at; i < r->answer_end; i++) {
        Answer *a = answer_at(r, recipe, i);
        const double norm[] = {
            [PER_TOKEN] = (double)r->tokens,
            [PER_ANSWER] = (double)MAX(answer_tokens(a), 1) * (double)answers,
            [PER_LIMIT] = (double)recipe->grpo.max_tokens * (double)answers,
        };
        a->weight = learned(a) ? (float)((double)a->weight / norm[v->norm]) : 0;
    }
}

/* ---- what cannot learn ----------------------------------------------------------------------- */

static void kinds_print(Buf *b, const Rollouts *r) {
    for (const Kind *k = r->kind; k < r->kind + r->n_kinds; k++) {
        const Task *task = r->stream[k->stream].task;
        const char *stratum = task->stratum[k->stratum];
        if (k->answers)
            buf_fmt(b, "%s%s%s%s %.1f %%", b->n ? ", " : "", task->name, stratum ? " " : "",
                    stratum ? stratum : "", 100 * (double)k->right / (double)k->answers);
    }
}

/* Before the first step: settings with which nothing will ever be learned. */
static bool preflight(Trainer *t, Err *err) {
    const Rollouts *r = t->rolls;
    const Drawn *d = &r->drawn;
    const Recipe *recipe = t->recipe;
    Buf kinds = {.a = t->scratch};
    kinds_print(&kinds, r);
    log_at(LOG_INFO,
           "before training: %lld problems, %lld answers each; right: %.*s; %.1f %% of the answers "
           "were cut at %lld tokens; %lld problems teach something, %lld are always solved, %lld "
           "never",
           (long long)d->groups, (long long)recipe->grpo.samples, STRF(buf_str(&kinds)),
           100 * (double)d->cut / (double)d->answers, (long long)recipe->grpo.max_tokens,
           (long long)(d->groups - d->solved - d->hopeless), (long long)d->solved,
           (long long)d->hopeless);
    if (d->cut == d->answers)
        return err_set(err, ERR_USAGE,
                       "%s: every answer was cut at %lld tokens: a longer grpo.max_tokens, or a "
                       "model that ends its answers, is needed to learn anything",
                       recipe->path, (long long)recipe->grpo.max_tokens);
    if (r->n_groups == 0)
        return err_set(
            err, ERR_USAGE,
            "%s: of %lld problems, answered %lld times each, %lld were always solved and "
            "%lld never, so no answer is better than another and nothing can be learned "
            "(%.*s): take %s",
            recipe->path, (long long)d->groups, (long long)recipe->grpo.samples,
            (long long)d->solved, (long long)d->hopeless, STRF(buf_str(&kinds)),
            d->solved > d->hopeless ? "harder problems"
                                    : "easier problems, or train the model on solutions first");
    return true;
}

/* What the draw came to, into the step's numbers. */
static void answers_tell(Trainer *t) {
    const Rollouts *r = t->rolls;
    const Drawn *d = &r->drawn;
    const double n = (double)d->answers;
    const bool fresh = draw_is_over(t);
    t->stats.answers.reward = d->reward / n;
    t->stats.answers.right = (double)d->right / n;
    t->stats.answers.length = (double)d->tokens / n;
    t->stats.answers.closed = (double)d->closed / n;
    t->stats.answers.cut = (double)d->cut / n;
    t->stats.answers.groups = d->groups;
    t->stats.answers.taught = r->n_groups;
    t->stats.answers.tokens = fresh ? d->tokens : 0;
    t->stats.answers.seconds = fresh ? d->seconds : 0;
}

void grpo_end(Trainer *t) {
    const Rollouts *r = t->rolls;
    const double rows = (double)MAX(r->rows, 1);
    t->stats.answers.entropy = r->entropy_sum / rows;
    t->stats.answers.clipped = r->clipped_sum / rows;
    t->stats.answers.difference = r->difference;
    t->stats.answers.divergence = r->divergence / rows;
}

/* ---- alarms ---------------------------------------------------------------------------------- */

static void alarm_tell(Trainer *t, int which, bool rings, const char *what, double value,
                       double limit, const char *hint) {
    Rollouts *r = t->rolls;
    if (!rings || r->alarmed[which]) return;
    r->alarmed[which] = true;
    log_at(LOG_WARN, "step %lld: %s is %.3g, %s %.3g: %s", (long long)t->stats.step, what, value,
           which == ALARM_COLLAPSE || which == ALARM_SHORT ? "below" : "above", limit, hint);
}

/* Answers that become all the same, or arbitrary; thoughts that vanish or run to the limit; experts
 * that get most of the work. */
void grpo_alarms(Trainer *t) {
    Rollouts *r = t->rolls;
    const StepStats *s = &t->stats;
    const double entropy = s->answers.entropy, length = s->answers.length,
                 limit = 0.9 * (double)t->recipe->grpo.max_tokens;
    if (r->tokens == 0) return;
    if (r->first_length == 0) r->first_entropy = entropy, r->first_length = length;
    alarm_tell(t, ALARM_COLLAPSE, entropy < 0.1 * r->first_entropy, "the entropy of answers",
               entropy, 0.1 * r->first_entropy,
               "a tenth of what it was; the model says the same whatever it is asked to try. A "
               "smaller optim.lr keeps it searching");
    alarm_tell(t, ALARM_EXPLOSION, entropy > 5 * r->first_entropy, "the entropy of answers",
               entropy, 5 * r->first_entropy,
               "five times what it was; the model is coming apart. Take a smaller optim.lr");
    alarm_tell(t, ALARM_SHORT, length < 0.3 * r->first_length, "the length of answers", length,
               0.3 * r->first_length,
               "the model no longer thinks. See whether the reward can be had without thought");
    alarm_tell(t, ALARM_LONG, length > limit, "the length of answers", length, limit,
               "nearly all that grpo.max_tokens allows; answers that are cut teach nothing");
    alarm_tell(t, ALARM_BALANCE, s->max_vio > 4, "MaxVio", s->max_vio, 4,
               "a few experts do most of the work. A larger balance.rate evens it out");
}

bool grpo_begin(Trainer *t, Err *err) {
    const Recipe *recipe = t->recipe;
    const int64_t updates = recipe->grpo.updates, part = t->step % updates;
    const Variant v = variant_of(recipe);
    Rollouts *r = t->rolls;
    if (part == 0) {
        if (!rollouts_draw(t, err) || (t->step == 0 && !preflight(t, err))) return false;
        for (int64_t i = 0; i < r->n_groups; i++)
            group_weigh(&r->group[i], recipe->grpo.samples, &v);
        if (!rollouts_write(t, err)) return false;
    }
    r->answer_at = r->n_groups * part / updates * recipe->grpo.samples;
    r->answer_end = r->n_groups * (part + 1) / updates * recipe->grpo.samples;
    part_weigh(t, &v);
    r->difference = r->entropy_sum = r->clipped_sum = r->divergence = 0;
    r->rows = 0;
    t->stats.targets = MAX(r->tokens, 1);
    answers_tell(t);
    if (r->tokens == 0)
        log_at(LOG_WARN, "step %lld: no problem of %lld taught anything; the weights stay",
               (long long)t->stats.step, (long long)r->drawn.groups);
    return true;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* All tokens of an answer but the last are read, all but the first are what follows; those of the
 * prompt are not learned. */
static void answer_put(Rollouts *r, Packed *b, const Answer *a) {
    b->at[b->n_pieces] = b->n;
    b->len[b->n_pieces++] = a->n - 1;
    for (int64_t i = 0; i + 1 < a->n; i++, b->n++) {
        const bool own = i + 1 >= a->n_prompt;
        b->token[b->n] = a->token[i];
        b->target[b->n] = own ? a->token[i + 1] : -1;
        r->weight[b->n] = own ? a->weight : 0;
        r->old[b->n] = own ? a->logprob[i + 1] : 0;
    }
}

static bool rows_fill(Trainer *t, Packed *b) {
    const Recipe *recipe = t->recipe;
    const int64_t N = recipe->batch.micro, pieces = most_spans(recipe);
    Rollouts *r = t->rolls;
    b->n = b->n_pieces = 0;
    for (; r->answer_at < r->answer_end; r->answer_at++) {
        const Answer *a = answer_at(r, recipe, r->answer_at);
        if (!learned(a)) continue;
        if (b->n + a->n - 1 > N || b->n_pieces == pieces) break;
        answer_put(r, b, a);
    }
    b->targets = b->n;
    return b->n > 0;
}

bool grpo_rows(Thread th, Trainer *t, Packed *b) {
    if (th.i == 0) t->rolls->more = rows_fill(t, b);
    thread_sync(th);
    return t->rolls->more;
}

/* ---- the gradient ---------------------------------------------------------------------------- */

/* -sum of p log p, from z and its log-sum-exp. */
static double row_entropy(float *p, const float *z, float lse, int64_t V) {
    double sum = 0;
    row_exp(p, z, lse, V);
    for (int64_t i = 0; i < V; i++) sum += (double)p[i] * (double)z[i];
    return (double)lse - sum;
}

/* d of row i, and its part of the gradient of log p: b / tokens (1 - exp(d)). */
static float divergence_at(const Trainer *t, int64_t i, float logprob) {
    static const float FAR = 20;
    const float d = t->rolls->first_logprob[i] - logprob;
    return d < -FAR ? -FAR : d > FAR ? FAR : d;
}

static float divergence_slope(const Trainer *t, int64_t i, float logprob) {
    const float by = (float)(t->recipe->grpo.kl / (double)t->rolls->tokens);
    return by * (1 - exp_f32(divergence_at(t, i, logprob)));
}

/* The factor of -log p in row i, and what is logged of it. */
static float row_scale(const Trainer *t, int64_t i, float logprob) {
    static const float FAR = 20; /* a ratio beyond exp(20) is cut in any case */
    const Rollouts *r = t->rolls;
    const Recipe *recipe = t->recipe;
    const float by = logprob - r->old[i], w = r->weight[i];
    const float rho = exp_f32(by < -FAR ? -FAR : by > FAR ? FAR : by);
    const bool cut = w > 0 ? rho > (float)(1 + recipe->grpo.clip_high)
                           : rho < (float)(1 - recipe->grpo.clip_low);
    r->clipped[i] = cut;
    return (cut ? 0 : w * rho) - (r->first_plan ? divergence_slope(t, i, logprob) : 0);
}

typedef struct Scored {
    const Trainer *t;
    const Packed *b;
} Scored;

static void score_back(void *arg, int64_t thread, int64_t row, const Rows *dlogits, int64_t i,
                       const float *z) {
    const Scored *s = arg;
    const Rollouts *r = s->t->rolls;
    const int64_t V = dlogits->k, target = s->b->target[row];
    const float lse = target < 0 ? 0 : row_lse(z, V);
    float *logprob = &s->t->logprob[row];
    *logprob = target < 0 ? 0 : z[target] - lse;
    r->entropy[row] = target < 0 ? 0 : (float)row_entropy(r->work + thread * V, z, lse, V);
    const float scale = target < 0 ? r->clipped[row] = 0 : row_scale(s->t, row, *logprob);
    cross_entropy_back(dlogits, i, z, lse, target, scale);
}

static void rows_sum(Trainer *t, const Packed *b) {
    Rollouts *r = t->rolls;
    for (int64_t i = 0; i < b->n; i++) {
        if (b->target[i] < 0) continue;
        const double by = (double)t->logprob[i] - (double)r->old[i];
        if (draw_is_over(t)) r->difference = MAX(r->difference, fabs(by));
        t->stats.loss -= (double)r->weight[i] * (double)exp_f32((float)by);
        if (r->first_plan) {
            const float d = divergence_at(t, i, t->logprob[i]);
            const double k = (double)exp_f32(d) - (double)d - 1;
            r->divergence += k;
            t->stats.loss += t->recipe->grpo.kl * k / (double)r->tokens;
        }
        r->rows++;
    }
    r->entropy_sum += tree_f64(r->entropy, b->n);
    r->clipped_sum += tree_f64(r->clipped, b->n);
}

/* On the pages of the step, which its own forward clears and fills again. */
bool grpo_first(Thread th, Trainer *t, const Packed *b) {
    const Rollouts *r = t->rolls;
    if (!r->first_plan) return true;
    phase("first model");
    if (!model_forward(th, r->first_plan, &t->batch, &t->out, NULL)) return false;
    hidden_logprobs(th, r->first_plan, r->first_logprob, t->hidden, b->target, b->n, t->logits);
    plan_pages(th, t->plan, t->span, b->n_pieces);
    return true;
}

void grpo_back(Thread th, Trainer *t, const Packed *b) {
    Scored s = {t, b};
    hidden_rows_back(th, t->plan, t->hidden, b->n, t->logits, score_back, &s);
    if (th.i == 0) rows_sum(t, b);
}
