/* quantise.h -- part of kern.h: f32 numbers into the types of files.
 *
 * Pure functions, block by block, each sum in a fixed order: the same bytes on every CPU, on any
 * number of threads and at every level. Scales are chosen for the smallest squared error of their
 * block, what is stored being what the error is measured with. docs/formats.md has the formats. */
#pragma once
#include "base/base.h"

/* Whether numbers can be made into this type. */
bool type_written(DType type);
/* n numbers (whole blocks) as `type`, dtype_bytes(type, n) bytes at `to`. false, and no bytes that
 * mean anything, when a number is infinite, NaN, or larger than the type can hold. */
bool numbers_write(void *to, DType type, const float *x, int64_t n) CHECKED;
/* To nearest even; beyond 65,519.99 infinity. In integers, so that DAZ does not see subnormals. */
uint16_t f16_of_f32(float f);
