/* dtype.c -- the number types that files and packed weights are made of. */
#include "base/base.h"

/* `weight`: matrices of a model may be of it; the others only describe data. What stands in a block
 * is written in docs/formats.md. */
static const struct {
    const char *name;
    int64_t block, bytes;
    bool weight;
} TYPES[DTYPE_N] = {
    [DTYPE_F32] = {"F32", 1, 4, true},         [DTYPE_F16] = {"F16", 1, 2, true},
    [DTYPE_BF16] = {"BF16", 1, 2, true},       [DTYPE_Q4_0] = {"Q4_0", 32, 18, true},
    [DTYPE_Q4_1] = {"Q4_1", 32, 20, true},     [DTYPE_Q5_0] = {"Q5_0", 32, 22, true},
    [DTYPE_Q5_1] = {"Q5_1", 32, 24, true},     [DTYPE_Q8_0] = {"Q8_0", 32, 34, true},
    [DTYPE_IQ4_NL] = {"IQ4_NL", 32, 18, true}, [DTYPE_MXFP4] = {"MXFP4", 32, 17, true},
    [DTYPE_Q2_K] = {"Q2_K", 256, 84, true},    [DTYPE_Q3_K] = {"Q3_K", 256, 110, true},
    [DTYPE_Q4_K] = {"Q4_K", 256, 144, true},   [DTYPE_Q5_K] = {"Q5_K", 256, 176, true},
    [DTYPE_Q6_K] = {"Q6_K", 256, 210, true},   [DTYPE_IQ4_XS] = {"IQ4_XS", 256, 136, true},
    [DTYPE_F64] = {"F64", 1, 8, true},         [DTYPE_F8_E4M3] = {"F8_E4M3", 1, 1, true},
    [DTYPE_F8_E5M2] = {"F8_E5M2", 1, 1, true}, [DTYPE_I8] = {"I8", 1, 1, false},
    [DTYPE_U8] = {"U8", 1, 1, false},          [DTYPE_I16] = {"I16", 1, 2, false},
    [DTYPE_U16] = {"U16", 1, 2, false},        [DTYPE_I32] = {"I32", 1, 4, false},
    [DTYPE_U32] = {"U32", 1, 4, false},        [DTYPE_I64] = {"I64", 1, 8, false},
    [DTYPE_U64] = {"U64", 1, 8, false},        [DTYPE_BOOL] = {"BOOL", 1, 1, false},
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

/* Sign, 4 bits of exponent with bias 7, 3 of fraction (OCP's E4M3: the largest is 448). */
float f32_of_e4m3(uint8_t code) {
    uint32_t sign = (uint32_t)(code & 0x80u) << 24, exponent = code >> 3 & 15u, rest = code & 7u;
    if ((code & 0x7f) == 0x7f) return f32_of_bits(sign | 0x7fc00000u);
    if (exponent) return f32_of_bits(sign | (exponent + 120) << 23 | rest << 20);
    float x = (float)rest * 0x1p-9f;
    return sign ? -x : x;
}

/* The upper half of an f16. */
float f32_of_e5m2(uint8_t code) { return f32_of_f16((uint16_t)(code << 8)); }
