/* dtype.c -- the number types that files and packed weights are made of. */
#include "base/base.h"

/* `weight`: matrices of a model may be of it; the others only describe data. */
static const struct {
    const char *name;
    int64_t block, bytes;
    bool weight;
} TYPES[DTYPE_N] = {
    [DTYPE_F32] = {"F32", 1, 4, true},
    [DTYPE_F16] = {"F16", 1, 2, true},
    [DTYPE_BF16] = {"BF16", 1, 2, true},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, true}, /* f16 scale, f16 minimum, 32 nibbles */
    [DTYPE_Q8_0] = {"Q8_0", 32, 34, true}, /* f16 scale, 32 int8 */
    [DTYPE_F64] = {"F64", 1, 8, false},
    [DTYPE_I8] = {"I8", 1, 1, false},
    [DTYPE_U8] = {"U8", 1, 1, false},
    [DTYPE_I16] = {"I16", 1, 2, false},
    [DTYPE_I32] = {"I32", 1, 4, false},
    [DTYPE_I64] = {"I64", 1, 8, false},
    [DTYPE_BOOL] = {"BOOL", 1, 1, false},
};

const char *dtype_name(DType t) { return TYPES[t].name; }
bool dtype_is_weight(DType t) { return TYPES[t].weight; }
int64_t dtype_block(DType t) { return TYPES[t].block; }

bool dtype_of_name(Str name, DType *t) {
    for (DType i = 0; i < DTYPE_N; i++)
        if (str_eq(name, str_of(TYPES[i].name))) return *t = i, true;
    return false;
}

int64_t dtype_bytes(DType t, int64_t n) {
    CHECK(n >= 0 && n <= INT64_MAX / 8 && n % TYPES[t].block == 0);
    return n / TYPES[t].block * TYPES[t].bytes;
}

/* In integers, so that DAZ does not see the subnormals. 1 + 5 + 10 bits, bias 15 becomes 127. */
float f32_of_f16(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, fraction = h & 0x3ffu;
    if (exponent == 31) return f32_of_bits(sign | 0x7f800000u | fraction << 13);
    if (exponent) return f32_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
    if (!fraction) return f32_of_bits(sign);
    int shift = __builtin_clz(fraction) - 21; /* moves the leading one to bit 10 */
    return f32_of_bits(sign | (uint32_t)(113 - shift) << 23 | (fraction << shift & 0x3ffu) << 13);
}
