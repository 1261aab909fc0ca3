/* fill.c -- the AVX-512 level (with VNNI and BF16): which kernels it provides, the self-test of
 * VDPBF16PS, the one instruction whose rounding the contract relies on, and whether the bf16
 * product is made of it. */
#include "kern/avx512/avx512.h"
#include "kern/ref/ref.h"

/* The level below has it. */
rows_a8_256_fn rows_a8_256_avx2;
#define rows_a8_256_avx512 rows_a8_256_avx2

/* One dword of VDPBF16PS as in the contract: the product of the high words is added first, then
 * that of the low words, each by one fma. Runs under FTZ and DAZ, as the instruction does. */
static float dpbf16_model(float acc, uint32_t a, uint32_t b) {
    const __m128 hi = _mm_fmadd_ss(_mm_set_ss(f32_of_bits(a & 0xffff0000u)),
                                   _mm_set_ss(f32_of_bits(b & 0xffff0000u)), _mm_set_ss(acc));
    const __m128 lo =
        _mm_fmadd_ss(_mm_set_ss(f32_of_bits(a << 16)), _mm_set_ss(f32_of_bits(b << 16)), hi);
    return _mm_cvtss_f32(lo);
}

static bool same_f32(float a, float b) {
    return bits_of_f32(a) == bits_of_f32(b) || (a != a && b != b);
}

/* A bf16 pair of one of four kinds: any bits, near 1, around the smallest normal, powers of two
 * (exact ties and cancellation). */
static uint32_t test_pair(uint32_t w, uint32_t kind) {
    switch (kind) {
    case 0: return w;
    case 1: return (w & 0x83ff83ffu) | 0x3c003c00u;
    case 2: return (w & 0x803f803fu) | ((w & 0x40004000u) ? 0x3f803f80u : 0x00000000u);
    default: return (w & 0x87808780u) | 0x38003800u;
    }
}

bool kern_test_avx512(void) {
    enum { CASES = 2048 };
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* nearest, FTZ, DAZ, no traps */
    bool ok = true;
    for (uint64_t i = 0; i < CASES && ok; i++) {
        uint32_t a[16], b[16];
        float acc[16], out[16];
        for (uint32_t j = 0; j < 16; j++) {
            const Philox r = philox(0x5d9bf16, i, j);
            a[j] = test_pair(r.w[0], r.w[3] & 3);
            b[j] = test_pair(r.w[1], (r.w[3] >> 2) & 3);
            acc[j] = f32_of_bits((r.w[3] & 16) ? r.w[2] : (r.w[2] & 0x87ffffffu) | 0x38000000u);
        }
        const __m512 got = _mm512_dpbf16_ps(_mm512_loadu_ps(acc), (__m512bh)_mm512_loadu_si512(a),
                                            (__m512bh)_mm512_loadu_si512(b));
        _mm512_storeu_ps(out, got);
        for (int j = 0; j < 16; j++) ok &= same_f32(out[j], dpbf16_model(acc[j], a[j], b[j]));
    }
    _mm_setcsr(mode);
    return ok;
}

/* ---- VDPBF16PS or fma ------------------------------------------------------------------------ */

/* On Intel CPUs without AMX, VDPBF16PS does half of what fma does (measured: 176 beside 356 GFLOP/s
 * on two cores), on AMD's Zen more. A product of this size, which L2 holds, tells in 20 us. */
enum { TRIAL_N = 32, TRIAL_K = 256, TRIAL_M = 64, TRIAL_ROUNDS = 20 };

typedef struct Trial {
    _Alignas(64) uint16_t x[TRIAL_N * TRIAL_K], w[TRIAL_M * TRIAL_K];
    float y[TRIAL_N * TRIAL_M], want[TRIAL_N * TRIAL_M];
} Trial;

static double trial_run(gemm_bf16_fn *gemm, float *y, const Trial *t) {
    double from = os_now();
    gemm(y, TRIAL_M, t->x, TRIAL_N, t->w, TRIAL_M, TRIAL_K, STORE_SET);
    return os_now() - from;
}

/* The fma product must have ref's bits, and be faster by more than what two runs differ by. */
static Bf16Way trial_way(void) {
    Trial t;
    double dot = 1, fma = 1;
    for (uint32_t i = 0; i < COUNT(t.x); i++) t.x[i] = (uint16_t)test_pair(philox(3, i, 0).w[0], 1);
    for (uint32_t i = 0; i < COUNT(t.w); i++) t.w[i] = (uint16_t)test_pair(philox(3, i, 1).w[0], 1);
    trial_run(gemm_bf16_ref, t.want, &t);
    trial_run(NAME(gemm_bf16_fma), t.y, &t);
    if (memcmp(t.y, t.want, sizeof t.y)) return BF16_DOT;
    for (int i = 0; i < TRIAL_ROUNDS; i++) {
        dot = MIN(dot, trial_run(NAME(gemm_bf16), t.y, &t));
        fma = MIN(fma, trial_run(NAME(gemm_bf16_fma), t.y, &t));
    }
    return fma < 0.95 * dot ? BF16_FMA : BF16_DOT;
}

/* Tried once, when the level is first taken into use. */
static Bf16Way bf16_way(void) {
    static bool tried;
    static Bf16Way way;
    if (tried) return way;
    const unsigned mode = _mm_getcsr();
    _mm_setcsr(0x9fc0); /* nearest, FTZ, DAZ, no traps */
    way = trial_way();
    _mm_setcsr(mode);
    tried = true;
    return way;
}

const char *kern_note_avx512(void) {
    return bf16_way() == BF16_FMA ? "bf16 products by fma, faster than VDPBF16PS on this CPU"
                                  : "bf16 products by VDPBF16PS, not slower than fma on this CPU";
}

void kern_fill_avx512_way(Kern *k, Bf16Way way) {
#define X(field, ret, params) k->field = NAME(field);
    KERN_LIST(X)
#undef X
    if (way == BF16_FMA) k->gemm_bf16 = NAME(gemm_bf16_fma);
    k->pairs_in_order = false;
}

void kern_fill_avx512(Kern *k) { kern_fill_avx512_way(k, bf16_way()); }
