/* main.c -- runs the groups of tests of model/, and holds what they share. */
#include "tests.h"
#include <math.h>
#include <stdio.h>

json_t *json_of(Arena *a, const char *path) {
    Err err = {0};
    Str text;
    must(os_read(a, &text, path, 1 << 26, &err), &err);
    json_t *j = json_loadb(text.p, (size_t)text.n, 0, NULL);
    assert_non_null(j);
    return j;
}

void opened(Opened *o, const char *path, int64_t threads) { opened_mtp(o, path, threads, 0); }

void opened_mtp(Opened *o, const char *path, int64_t threads, int64_t mtp) {
    Err err = {0};
    *o = (Opened){.a = arena_open("test", (int64_t)1 << 34), .team = team_open(threads)};
    must(store_open(&o->store, o->a, path, &err), &err);
    must(model_open_mtp(&o->model, o->a, o->store, mtp, &err), &err);
}

void planned(Opened *o, PlanSpec spec) {
    Err err = {0};
    if (!spec.rows) spec.rows = MIN(256, o->model->cfg.max_positions);
    if (!spec.positions) spec.positions = MIN(256, o->model->cfg.max_positions);
    if (!spec.logit_rows) spec.logit_rows = spec.rows;
    if (!spec.spans) spec.spans = 4;
    must(plan_new(&o->plan, o->a, o->model, &spec, 0, o->team, &err), &err);
}

void closed(Opened *o) {
    team_close(o->team);
    store_close(o->store);
    arena_close(o->a);
}

typedef struct Step {
    Plan *plan;
    Batch batch;
    Out out;
    bool valid;
} Step;

static void forward(Thread th, void *arg) {
    Step *s = arg;
    const bool valid = model_forward(th, s->plan, &s->batch, &s->out, NULL);
    if (th.i == 0) s->valid = valid;
}

Result ran(Opened *o, const int32_t *ids, int64_t T, int64_t chunk, bool hidden) {
    const Config *c = &o->model->cfg;
    int64_t states = c->L + 2, n_pages = (T + PAGE - 1) / PAGE;
    if (!chunk) chunk = T;
    Result r = {.logits = PUSH(o->a, float, T * c->V),
                .expert = PUSH(o->a, int32_t, c->L * T * c->K + 1),
                .expert_weight = PUSH(o->a, float, c->L *T * c->K + 1)};
    if (hidden) r.hidden = PUSH(o->a, float, states *T * c->C);
    void **page = PUSH(o->a, void *, n_pages);
    for (int64_t i = 0; i < n_pages; i++) page[i] = arena_push(o->a, o->plan->kv.page_bytes);
    Mark mark = arena_mark(o->a);
    Want *want = PUSH(o->a, Want, chunk);
    float *x = PUSH(o->a, float, states *chunk * c->C);
    for (int64_t i = 0; i < chunk; i++)
        want[i] = (Want){(int32_t)i, c->E ? WANT_LOGITS | WANT_EXPERTS : WANT_LOGITS};
    for (int64_t at = 0; at < T; at += chunk) {
        int64_t n = MIN(chunk, T - at), choices = at * c->L * c->K;
        Span span = {0, n, at, page, 1};
        Step s = {o->plan,
                  {n, ids + at, &span, 1, want, n, 0},
                  {.logits = r.logits + at * c->V,
                   .expert = r.expert + choices,
                   .expert_weight = r.expert_weight + choices,
                   .every_hidden = hidden ? x : NULL},
                  false};
        team_run(o->team, forward, &s);
        assert_true(s.valid);
        for (int64_t i = 0; hidden && i < states; i++)
            memcpy(r.hidden + (i * T + at) * c->C, x + i * n * c->C,
                   (size_t)(n * c->C) * sizeof *x);
    }
    arena_pop(o->a, mark);
    return r;
}

double largest_difference(const float *x, const float *y, int64_t n) {
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        if (!(d <= most)) most = d; /* NaN counts */
    }
    return most;
}

int main(int argc, char **argv) {
    Err err = {0};
    float_mode_enter();
    if (!kern_init(LEVEL_N, &err)) return fprintf(stderr, "%s\n", err.msg), 1;
    if (argc == 4 && !strcmp(argv[1], "--peak")) return peak_measure(argv[2], argv[3]);
    int failed = test_config() + test_config_gguf() + test_rope() + test_table() + test_gguf()
                 + test_plan() + test_oracles() + test_quantised() + test_types() + test_folders()
                 + test_back() + test_packed() + test_head() + test_shifted() + test_mtp()
                 + test_fingerprint();
    if (full_run()) failed += test_peak() + test_smollm2(); /* some 10 s */
    return failed;
}
