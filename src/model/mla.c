/* mla.c -- multi-head latent attention (DeepSeek-V2, arXiv 2405.04434, 2.1): keys and values of
 * all heads come from one latent c of rank R, beside one rope key for all heads.
 *
 *     q = W_UQ norm(W_DQ x)  (or W_Q x);  [c~ | k~] = W_KVa x;  c = norm(c~)
 *     k~ and the ends of q's heads rotated by rope
 *
 * Expanded: head h has K = [W_UK c | k~], V = W_UV c, and attention is GQA's with G = H.
 * Absorbed: W_UK moves to the other side of the score: one head of keys [c | k~] whose first R
 * numbers are its values; q^ = W_UK^T q before, o = W_UV o^ after. The cache holds R + r numbers
 * a position instead of H (n + r + v).
 *
 * Both norms have eps 1e-6 whatever rms_norm_eps says, as in the released code. Sums and
 * roundings: docs/contract.md 5; derivation of the backward: docs/math/mla.md. */
#include "model/layer.h"

static const float EPS = 1e-6f;

typedef struct Dims {
    int64_t N, C, H, n, r, v, R, Q;
} Dims;
static Dims dims_of(const Plan *p, const Batch *b) {
    const Config *c = &p->model->cfg;
    return (Dims){b->n, c->C, c->H, c->d_nope, c->d_rope, c->d_v, c->R, c->Q};
}

static const float *vector(const Param *p) { return p->w.row; }

/* a->q (N, H (n+r)) and a->ck (N, R+r), both after rope. The queries' rope has no barrier of its
 * own where `later` says that one comes before they are read. */
static void queries_and_latent(Thread th, Plan *p, const Layer *w, Dims d, LayerActs *a,
                               const float *xn, bool later) {
    const PlanState *s = p->state;
    bool pairs = p->model->cfg.rope.pairs;
    int64_t ldq = d.H * (d.n + d.r), ldk = d.R + d.r;
    Input in = input_kept(th, p, xn, d.N, d.C, d.C, a->xn_rows, true);
    project_set(th, (float *[]){w->q ? a->q : a->qa, a->kva}, (int64_t[]){w->q ? ldq : d.Q, ldk},
                (const Param *[]){w->q ? w->q : w->q_a, w->kv_a}, 2, &in);

    /* Rows only, so each thread goes on with its own. */
    Thread quiet = thread_nosync(th);
    if (w->q_a)
        rmsnorm_packed(quiet, a->qn, d.Q, a->qr, a->qa, d.Q, vector(w->q_a_norm), d.N, d.Q, EPS,
                       a->qn_rows);
    rmsnorm_packed(quiet, a->ck, ldk, a->cr, a->kva, ldk, vector(w->kv_a_norm), d.N, d.R, EPS,
                   a->ck_rows);
    rows_copy(quiet, a->ck + d.R, ldk, a->kva + d.R, ldk, d.N, d.r);
    rope(th, a->ck + d.R, ldk, 0, d.N, 1, d.r / 2, pairs, false, s->cos, s->sin);
    if (w->q_a) {
        in = input_kept(th, p, a->qn, d.N, d.Q, d.Q, a->qn_rows, true);
        project(th, a->q, ldq, w->q_b, &in, STORE_SET);
    }
    rope(later ? quiet : th, a->q + d.n, ldq, d.n + d.r, d.N, d.H, d.r / 2, pairs, false, s->cos,
         s->sin);
}

/* [K | V] = c W_KVb^T for the batch's own rows; what is cached are keys and values of all heads. */
static void expanded(Thread th, Plan *p, const Batch *b, const Layer *w, const Attend *t, Dims d,
                     LayerActs *a) {
    int64_t dk = d.n + d.r, ldb = d.H * (d.n + d.v);
    Input in = input_kept(th, p, a->ck, d.N, d.R, d.R + d.r, a->ck_rows, true);
    project(th, a->kvb, ldb, w->kv_b, &in, STORE_SET);
    /* kv_b's rows are, head by head, n of the key and v of the value; all heads get the rope key.
     */
    Range rows = thread_range(th, d.N);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t h = 0; h < d.H; h++) {
            const float *from = a->kvb + i * ldb + h * (d.n + d.v);
            float *k = a->k + (i * d.H + h) * dk;
            memcpy(k, from, (size_t)d.n * sizeof *k);
            memcpy(k + d.n, a->ck + i * (d.R + d.r) + d.R, (size_t)d.r * sizeof *k);
            memcpy(a->v + (i * d.H + h) * d.v, from + d.n, (size_t)d.v * sizeof *k);
        }
    thread_sync(th);
    kv_store(thread_nosync(th), &t->k, b->span, b->n_spans, a->k, d.H * dk);
    kv_store(th, &t->v, b->span, b->n_spans, a->v, d.H * d.v);
    attend(th, a->att, d.H * d.v, a->lse, a->q, d.H * dk, t, b->span, b->n_spans,
           p->state->attend_work);
}

/* Each head multiplies every row with its own matrix: heads are experts to which all rows go. */
static void absorbed(Thread th, Plan *p, const Batch *b, int64_t layer, const Attend *t, Dims d,
                     LayerActs *a) {
    const PlanState *s = p->state;
    int64_t dk = d.R + d.r, dq = d.n + d.r;
    Input in = input_gathered(th, p, a->q, NULL, s->by_head, d.H * d.N, d.n, dq);
    project_groups(th, a->qh, d.R, &p->panels->uk[layer], &in, s->heads, d.H, false);
    Range rows = thread_range(th, d.N);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t h = 0; h < d.H; h++) {
            float *to = a->qc + (i * d.H + h) * dk;
            memcpy(to, a->qh + (h * d.N + i) * d.R, (size_t)d.R * sizeof *to);
            memcpy(to + d.R, a->q + (i * d.H + h) * dq + d.n, (size_t)d.r * sizeof *to);
        }
    kv_store(th, &t->k, b->span, b->n_spans, a->ck, dk);
    attend(th, a->oc, d.H * d.R, a->lse, a->qc, d.H * dk, t, b->span, b->n_spans, s->attend_work);
    in = input_gathered(th, p, a->oc, NULL, s->by_head, d.H * d.N, d.R, d.R);
    project_groups(th, a->qh, d.v, &p->panels->uv[layer], &in, s->heads, d.H, false);
    for (int64_t i = rows.lo; i < rows.hi; i++)
        for (int64_t h = 0; h < d.H; h++) {
            float *to = a->att + (i * d.H + h) * d.v;
            memcpy(to, a->qh + (h * d.N + i) * d.v, (size_t)d.v * sizeof *to);
        }
    thread_sync(th);
}

void mla(Thread th, Plan *p, const Batch *b, int64_t layer, LayerActs *a, const float *xn) {
    const Layer *w = &p->model->layer[layer];
    Dims d = dims_of(p, b);
    const Attend t = attend_of(p, layer);
    const bool absorb = p->spec.mla == MLA_ABSORBED;
    queries_and_latent(th, p, w, d, a, xn, absorb);
    if (!absorb)
        expanded(th, p, b, w, &t, d, a);
    else
        absorbed(th, p, b, layer, &t, d, a);
    Input in = input_kept(th, p, a->att, d.N, d.H * d.v, d.H * d.v, a->att_rows, false);
    rows_copy(th, a->mid, d.C, a->x, d.C, d.N, d.C);
    project(th, a->mid, d.C, w->o, &in, STORE_ADD);
}

/* From dk (N, H (n+r)) and dv (N, H v) back to kv_b's product, dkvb (N, H (n+v)), and to the one
 * rope key, which sums up its heads: the last r columns of dkva. */
static void heads_gather(Thread th, Dims d, Back *g) {
    int64_t dk = d.n + d.r, ldb = d.H * (d.n + d.v), lda = d.R + d.r;
    Range rows = thread_range(th, d.N);
    for (int64_t i = rows.lo; i < rows.hi; i++) {
        float *key = g->dkva + i * lda + d.R;
        for (int64_t h = 0; h < d.H; h++) {
            const float *k = g->dk + (i * d.H + h) * dk, *v = g->dv + (i * d.H + h) * d.v;
            float *to = g->dkvb + i * ldb + h * (d.n + d.v);
            memcpy(to, k, (size_t)d.n * sizeof *to);
            memcpy(to + d.n, v, (size_t)d.v * sizeof *to);
            for (int64_t j = 0; j < d.r; j++) key[j] = h ? key[j] + k[d.n + j] : k[d.n + j];
        }
    }
    thread_sync(th);
}

/* The expanded form only: it is the one that is trained. */
void mla_back(Thread th, Plan *p, const Batch *b, int64_t layer, const LayerActs *a, Back *g) {
    const Layer *w = &p->model->layer[layer];
    const PlanState *s = p->state;
    const Dims d = dims_of(p, b);
    const bool pairs = p->model->cfg.rope.pairs;
    int64_t dk = d.n + d.r, ldq = d.H * dk, ldo = d.H * d.v, lda = d.R + d.r;
    const Attend t = attend_of(p, layer);

    project_back(th, p, w->o, g->datt, ldo, STORE_SET, g->dx, d.C, a->att, ldo, a->att_rows, d.N);
    attend_back(th, g->dq, g->dk, g->dv, g->datt, a->att, a->lse, a->q, &t, b->span, b->n_spans,
                g->attend_work);
    heads_gather(th, d, g);
    rope(th, g->dkva + d.R, lda, 0, d.N, 1, d.r / 2, pairs, true, s->cos, s->sin);
    rope(th, g->dq + d.n, ldq, dk, d.N, d.H, d.r / 2, pairs, true, s->cos, s->sin);

    /* The gradient of the latent goes through its norm where it stands. */
    project_back(th, p, w->kv_b, g->dkva, lda, STORE_SET, g->dkvb, d.H * (d.n + d.v), a->ck, lda,
                 a->ck_rows, d.N);
    rmsnorm_back(th, g->dkva, lda, STORE_SET, w->kv_a_norm->grad, g->dkva, lda, a->kva, lda, a->cr,
                 vector(w->kv_a_norm), d.N, d.R);
    if (w->q) {
        project_back(th, p, w->q, g->dn, d.C, STORE_SET, g->dq, ldq, a->xn, d.C, a->xn_rows, d.N);
    } else {
        project_back(th, p, w->q_b, g->dqa, d.Q, STORE_SET, g->dq, ldq, a->qn, d.Q, a->qn_rows,
                     d.N);
        rmsnorm_back(th, g->dqa, d.Q, STORE_SET, w->q_a_norm->grad, g->dqa, d.Q, a->qa, d.Q, a->qr,
                     vector(w->q_a_norm), d.N, d.Q);
        project_back(th, p, w->q_a, g->dn, d.C, STORE_SET, g->dqa, d.Q, a->xn, d.C, a->xn_rows,
                     d.N);
    }
    project_back(th, p, w->kv_a, g->dn, d.C, STORE_ADD, g->dkva, lda, a->xn, d.C, a->xn_rows, d.N);
}
