/* dtype.h -- part of the public header of base/, which includes it: the number types that files and
 * packed weights are made of, and the rounding between them. */
#pragma once

typedef enum DType {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_Q4_0, /* blocks of 32 numbers from here on, */
    DTYPE_Q4_1,
    DTYPE_Q5_0,
    DTYPE_Q5_1,
    DTYPE_Q8_0,
    DTYPE_IQ4_NL,
    DTYPE_MXFP4,
    DTYPE_Q2_K, /* of 256 from here on */
    DTYPE_Q3_K,
    DTYPE_Q4_K,
    DTYPE_Q5_K,
    DTYPE_Q6_K,
    DTYPE_IQ4_XS,
    DTYPE_F64,
    DTYPE_F8_E4M3,
    DTYPE_F8_E5M2,
    DTYPE_I8,
    DTYPE_U8,
    DTYPE_I16,
    DTYPE_U16,
    DTYPE_I32,
    DTYPE_U32,
    DTYPE_I64,
    DTYPE_U64,
    DTYPE_BOOL,
    DTYPE_N
} DType;
const char *dtype_name(DType t); /* "F32", "Q4_1", ... */
bool dtype_of_name(Str name, DType *t);
bool dtype_is_weight(DType t);           /* matrices of a model may be of it */
int64_t dtype_block(DType t);            /* elements a block: 1 but for quantised types */
int64_t dtype_bytes(DType t, int64_t n); /* bytes of n elements; n a multiple of the block */

static inline float f32_of_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}
static inline uint32_t bits_of_f32(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float f32_of_bf16(uint16_t b) { return f32_of_bits((uint32_t)b << 16); }
/* To nearest even. A subnormal is zero (of its sign) first, as DAZ has it; NaN stays a quiet
 * one. */
static inline uint16_t bf16_of_f32(float f) {
    uint32_t u = bits_of_f32(f);
    if ((u & 0x7f800000u) == 0) return (uint16_t)((u >> 16) & 0x8000u);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
float f32_of_f16(uint16_t h);    /* exact, subnormals kept */
float f32_of_e4m3(uint8_t code); /* the same; 0x7f and 0xff are NaN, and there is no infinity */
float f32_of_e5m2(uint8_t code); /* the same; infinities and NaN as in f16 */
