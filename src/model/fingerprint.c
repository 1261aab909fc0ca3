/* fingerprint.c -- one name for all that decides a plan's bits: the contract's version, the
 * configuration, every weight, the activation format, the form of MLA, the KV type. Layers that
 * predict further tokens only draft, unless they are trained, and do not count.
 *
 * A parameter's rows are summed up in the type and order that param_rows gives, each row with its
 * number as the seed of its checksum; the rows' checksums are added up modulo 2^64. So the sum
 * knows neither the pieces that the rows came in nor the threads that took them. Weights of a file
 * are summed while they are packed, when they are at hand anyway; masters change, and are summed
 * when the fingerprint is asked for. */
#include "model/config.h"
#include "model/layer.h"

void rows_sum(Param *p, const void *rows, int64_t row, int64_t n) {
    int64_t bytes = param_row_bytes(p);
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += checksum((const uint8_t *)rows + i * bytes, bytes, (uint64_t)(row + i));
    __atomic_fetch_add(&p->sum, sum, __ATOMIC_RELAXED);
}

static void masters_thread(Thread th, void *arg) {
    Model *m = arg;
    for (int64_t i = 0; i < m->n_params; i++) {
        Param *p = &m->param[i];
        Range r = thread_range(th, p->w.n * p->w.rows);
        rows_sum(p, p->master + r.lo * p->w.cols, r.lo, r.hi - r.lo);
    }
}

static void fingerprint_text(Buf *b, const Plan *p) {
    const Model *m = p->model;
    Config c = m->cfg;
    c.recorded_mla = NULL; /* a hint for the default form, which stands below */
    buf_fmt(b, "contract %d act %s mla %s kv %s\n", CONTRACT_VERSION, act_name(p->spec.act),
            c.mla ? mla_forms[p->spec.mla] : "none", dtype_name(p->spec.kv));
    buf_add(b, config_json(b->a, &c));
    if (c.rope.factors)
        buf_fmt(b, "\nrope factors %016llx",
                (unsigned long long)checksum(c.rope.factors, c.rope.dim / 2 * 4, 0));
    for (int64_t i = 0; i < m->n_params; i++) {
        const Param *w = &m->param[i];
        if (w->layer >= c.L && !p->spec.training) continue;
        CHECK(w->summed || w->master);
        buf_fmt(b, "\n%s %s %lld %lld %lld %016llx", w->name, dtype_name(w->w.type),
                (long long)w->w.n, (long long)w->w.rows, (long long)w->w.cols,
                (unsigned long long)w->sum);
    }
}

void plan_fingerprint(Plan *p, Team *team) {
    Model *m = p->model;
    if (m->param[0].master) {
        for (int64_t i = 0; i < m->n_params; i++) m->param[i].sum = 0;
        team_run(team, masters_thread, m);
    }
    Arena *scratch = arena_open("fingerprint", ARENA_NO_LIMIT);
    Buf b = {.a = scratch};
    Sha256 sha;
    fingerprint_text(&b, p);
    sha256_init(&sha);
    sha256_add(&sha, b.p, b.n);
    sha256_hex(&sha, p->fingerprint);
    arena_close(scratch);
}
