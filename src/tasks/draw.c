/* draw.c -- random numbers of one problem, and the operands and wordings made of them. */
#include "tasks/parts.h"

/* Keeps these draws apart from those of weights and rows, which may have the same seed. */
static const uint64_t TASKS_KEY = 0x7461736b73; /* "tasks" */

/* A problem has a stream of its own for each attempt. 64 bits by a remainder: the bias is below
 * n / 2^64. */
int64_t draw_below(Draws *d, int64_t n) {
    CHECK(n > 0);
    const Philox x =
        philox(d->seed ^ TASKS_KEY, (uint64_t)d->index << 20 | (d->n++ & 0xfffff), d->attempt);
    return (int64_t)(((uint64_t)x.w[0] << 32 | x.w[1]) % (uint64_t)n);
}

int64_t draw_digits(Draws *d, int digits) {
    int64_t low = 1;
    for (int i = 1; i < digits; i++) low *= 10;
    return digits == 1 ? draw_below(d, 10) : low + draw_below(d, 9 * low);
}

void draw_operands(Draws *d, int digits, int64_t *x, int64_t *y) {
    const int other = draw_below(d, 2) ? digits : 1 + (int)draw_below(d, digits);
    const bool swap = draw_below(d, 2);
    const int64_t first = draw_digits(d, digits), second = draw_digits(d, other);
    *x = swap ? second : first;
    *y = swap ? first : second;
}

int64_t draw_wording(Draws *d, int64_t n) {
    const bool first = draw_below(d, 2) || d->canonical;
    return first ? 0 : draw_below(d, n);
}

Str canonical_pair(Arena *a, const char *name, int64_t x, int64_t y) {
    return str_fmt(a, "%s %lld %lld", name, (long long)MIN(x, y), (long long)MAX(x, y));
}
