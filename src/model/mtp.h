/* mtp.h -- part of model.h: layers that predict further tokens (docs/math/mtp.md). */
#pragma once

/* model_open with `mtp` of these layers, which model_open leaves out. */
bool model_open_mtp(Model **m, Arena *a, const Store *s, int64_t mtp, Err *err) CHECKED;
/* How many the file holds: c->mtp, or 0 where the configuration alone names them. */
int64_t model_mtp_held(const Store *s, const Config *c);

/* What these layers keep of a sequence. In training they are among the others of kv_layout_of;
 * otherwise they have pages of their own, so that those of a model do not depend on them. */
KvLayout kv_layout_mtp(Arena *a, const Model *m, const PlanSpec *s);

/* Layer L + i predicts a further token: of a row at position pos, b has the token at pos + 1,
 * hidden (n, C) is Out.hidden of model_forward there, or of model_mtp of i - 1, and logits are of
 * the token at pos + 2; of experts there is one layer. Its keys and values stand in the
 * pages of the spans: p->kv_mtp says where, in training p->kv. */
bool model_mtp(Thread th, Plan *p, int64_t i, const Batch *b, const float *hidden,
               Out *out) CHECKED;
/* Training, the last layer first and before model_back: the gradients of its parameters and of the
 * embedding are added, from dout, that of its Out.hidden; dhidden (n, C) becomes that of `hidden`,
 * which is the forward's. */
void model_mtp_back(Thread th, Plan *p, int64_t i, const Batch *b, const float *hidden,
                    const float *dout, float *dhidden);
