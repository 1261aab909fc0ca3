/* number.h -- private to text/: numbers of JSON between bounds. */
#pragma once
#include "text/net.h"

enum { NUMBER_DIGITS = 18, NUMBER_FRACTION = 15, MULTIPLE_MOST = 128 };

/* A bound as it is written in decimals: at most NUMBER_DIGITS digits before the point. */
typedef struct Bound10 {
    bool there, without; /* without: the bound itself is not allowed */
    bool negative;
    char whole[NUMBER_DIGITS + 1];      /* no zeros in front but "0" */
    char fraction[NUMBER_FRACTION + 1]; /* no zeros behind */
} Bound10;
/* False where it cannot be written so. What lies beyond all numbers that are written is no bound.
 */
bool bound_read(Bound10 *b, double x, bool lowest);

typedef struct NumberSpec {
    Bound10 lo, hi;
    bool whole;       /* no point, no exponent */
    int64_t multiple; /* whole: of this; 1..MULTIPLE_MOST - 1 */
} NumberSpec;
int32_t number_put(Net *n, const NumberSpec *s, int32_t next);
