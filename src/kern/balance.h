/* balance.h -- part of the public header kern/kern.h, which includes it: the sequence-wise loss of
 * DeepSeek-V3 (arXiv 2412.19437, eq. 17 to 20), which keeps the experts of a single sequence in
 * balance. */
#pragma once

/* sum over experts of f_e P_e for the n rows of one sequence, score (n, E): P is the mean of the
 * scores divided by their sum, f (E) = E / (K n) times the number of rows that have the expert
 * among their K best scores, whatever bias and groups chose. One thread's work; 1 where all is
 * even. */
double route_balance(float *f, const float *score, int64_t n, const Router *r);
/* dz (N, E) += scale times the gradient of the sum over spans of their rows times that; f is
 * constant. */
void route_balance_back(Thread th, float *dz, const float *score, const Span *span, int64_t n_spans,
                        float scale, const Router *r);
