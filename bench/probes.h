/* probes.h -- what a thread of this CPU does at most, measured on registers only, and what of it a
 * product needs. A probe repeats one instruction on independent operands: `probe_of` the one that
 * does a layout's work, `any_of` one that every vector pipe takes. A mix is what a kernel executes
 * for four rows, one block and one panel (AVX-512: two), without the loads: what the schedulers of
 * this CPU make of it. The operands are zero. */
#pragma once
#include "kern/kern.h"
#include "kern/quant.h"

typedef struct Probe {
    const char *name;
    void (*run)(int64_t n);
    double
        ops; /* of one turn: operations of the product; for any_of and multiplies, instructions */
} Probe;

/* Vector instructions of a quantised product for one panel block: a row, and once for all rows of a
 * tile; `multiply` of these stand in line for the multipliers (src/kern/avx2/quant.c,
 * avx512/quant.c). */
typedef struct Counts {
    double all, multiply, tile_all, tile_multiply;
} Counts;

#if defined(__x86_64__)
enum { CHAIN_N = 15 };
#define EVERY_XMM                                                                                  \
    "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",       \
        "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "cc"
#define PROBE(name, body)                                                                          \
    static void name(int64_t n) {                                                                  \
        __asm__ volatile("vxorps %%xmm14, %%xmm14, %%xmm14\n\t"                                    \
                         "vxorps %%xmm15, %%xmm15, %%xmm15\n"                                      \
                         "1:\n\t" body "dec %0\n\tjnz 1b\n\tvzeroupper"                            \
                         : "+r"(n)                                                                 \
                         :                                                                         \
                         : EVERY_XMM);                                                             \
    }

/* clang-format off */
/* 15 independent chains, enough for any latency. */
#define CHAIN(op, reg, i) op " %%" reg "15, %%" reg "15, %%" reg #i "\n\t"
#define CHAINS(op, reg)                                                                            \
    CHAIN(op, reg, 0) CHAIN(op, reg, 1) CHAIN(op, reg, 2) CHAIN(op, reg, 3) CHAIN(op, reg, 4)      \
    CHAIN(op, reg, 5) CHAIN(op, reg, 6) CHAIN(op, reg, 7) CHAIN(op, reg, 8) CHAIN(op, reg, 9)      \
    CHAIN(op, reg, 10) CHAIN(op, reg, 11) CHAIN(op, reg, 12) CHAIN(op, reg, 13) CHAIN(op, reg, 14)

/* 8 sums, in registers 0..7: 4 rows of 2 halves or of 2 panels. STEP(reg, i) is one product for sum
 * i, END(reg, i) what follows the integer sum. */
#define EACH_SUM(STEP, reg)                                                                        \
    STEP(reg, 0) STEP(reg, 1) STEP(reg, 2) STEP(reg, 3)                                            \
    STEP(reg, 4) STEP(reg, 5) STEP(reg, 6) STEP(reg, 7)
#define EIGHT(STEP, reg)                                                                           \
    EACH_SUM(STEP, reg) EACH_SUM(STEP, reg) EACH_SUM(STEP, reg) EACH_SUM(STEP, reg)                \
    EACH_SUM(STEP, reg) EACH_SUM(STEP, reg) EACH_SUM(STEP, reg) EACH_SUM(STEP, reg)

#define OP3(op, reg, a, b, to) op " %%" reg #a ", %%" reg #b ", %%" reg #to "\n\t"
#define SCALE(reg, i)                                                                              \
    "vcvtdq2ps %%" reg #i ", %%" reg #i "\n\t" OP3("vmulps", reg, 15, 14, 8)                       \
    OP3("vfmadd213ps", reg, 14, 8, i)
#define SCALE_MIN(reg, i) SCALE(reg, i) OP3("vfmadd231ps", reg, 15, 14, i)

#define WORDS(reg, i) OP3("vpmaddubsw", reg, 15, 14, 8) OP3("vpaddw", reg, 8, i, i)
#define WORDS_END(reg, i) OP3("vpmaddwd", reg, 15, i, i) SCALE_MIN(reg, i)
#define BYTES(reg, i)                                                                              \
    OP3("vpxor", reg, 15, 14, 8) OP3("vpmaddubsw", reg, 8, 14, 8)                                  \
    OP3("vpmaddwd", reg, 8, 15, 8) OP3("vpaddd", reg, 8, i, i)
#define DOT(reg, i) OP3("vpdpbusd", reg, 15, 14, i)
/* clang-format on */

PROBE(probe_fma_ymm, CHAINS("vfmadd231ps", "ymm"))
PROBE(probe_maddubs_ymm, CHAINS("vpmaddubsw", "ymm"))
PROBE(probe_add_ymm, CHAINS("vpaddd", "ymm"))
PROBE(probe_fma_zmm, CHAINS("vfmadd231ps", "zmm"))
PROBE(probe_bf16_zmm, CHAINS("vdpbf16ps", "zmm"))
PROBE(probe_int8_zmm, CHAINS("vpdpbusd", "zmm"))
PROBE(probe_add_zmm, CHAINS("vpaddd", "zmm"))

/* TDPBF16PS on four tiles of sums, four times a turn; the thread's configuration comes back. The
 * operands are ones: of tiles that are known to be zero a CPU makes twice the products. */
static void probe_bf16_tiles(int64_t n) {
    _Alignas(64) uint8_t before[64], all[64] = {1}, ones[1024];
    for (int i = 0; i < 8; i++) all[16 + 2 * i] = 64, all[48 + i] = 16;
    for (int i = 0; i < 1024; i++) ones[i] = i % 2 ? 0x3f : 0x80;
    __asm__ volatile("sttilecfg %1\n\tldtilecfg %2\n\tmov $64, %%eax\n\t"
                     "tileloadd (%3, %%rax), %%tmm4\n\ttileloadd (%3, %%rax), %%tmm5\n\t"
                     "tileloadd (%3, %%rax), %%tmm6\n\ttileloadd (%3, %%rax), %%tmm7\n"
                     "1:\n\t.rept 4\n\ttdpbf16ps %%tmm6, %%tmm4, %%tmm0\n\t"
                     "tdpbf16ps %%tmm7, %%tmm4, %%tmm1\n\ttdpbf16ps %%tmm6, %%tmm5, %%tmm2\n\t"
                     "tdpbf16ps %%tmm7, %%tmm5, %%tmm3\n\t.endr\n\tdec %0\n\tjnz 1b\n\ttilerelease"
                     : "+r"(n), "=m"(before)
                     : "m"(all), "r"(ones), "m"(ones)
                     : "rax", "cc");
    if (before[0]) __asm__ volatile("ldtilecfg %0" : : "m"(before));
}
PROBE(mix_q4_1_ymm, EIGHT(WORDS, "ymm") EACH_SUM(WORDS_END, "ymm"))
PROBE(mix_q8_0_ymm, EIGHT(BYTES, "ymm") EACH_SUM(SCALE, "ymm"))
PROBE(mix_q4_1_zmm, EIGHT(DOT, "zmm") EACH_SUM(SCALE_MIN, "zmm"))
PROBE(mix_q8_0_zmm, EIGHT(DOT, "zmm") EACH_SUM(SCALE, "zmm"))
#endif

/* The instruction that a layout's products rest on at this level. */
static inline Probe probe_of(Layout layout) {
#if defined(__x86_64__)
    bool wide = kern_level() >= LEVEL_AVX512, whole = layout_form(layout) >= FORM_INT8;
    if (kern_level() == LEVEL_AMX && layout == LAYOUT_BF16)
        return (Probe){"tdpbf16ps", probe_bf16_tiles, 16 * 16 * 16 * 64};
    if (wide && layout == LAYOUT_BF16)
        return (Probe){"vdpbf16ps zmm", probe_bf16_zmm, CHAIN_N * 64};
    if (wide && whole) return (Probe){"vpdpbusd zmm", probe_int8_zmm, CHAIN_N * 128};
    if (wide) return (Probe){"vfmadd231ps zmm", probe_fma_zmm, CHAIN_N * 32};
    if (whole) return (Probe){"vpmaddubsw ymm", probe_maddubs_ymm, CHAIN_N * 64};
    return (Probe){"vfmadd231ps ymm", probe_fma_ymm, CHAIN_N * 16};
#else
    (void)layout;
    return (Probe){"none", NULL, 0};
#endif
}

/* An instruction that every vector pipe takes. */
static inline Probe any_of(void) {
#if defined(__x86_64__)
    if (kern_level() >= LEVEL_AVX512) return (Probe){"vpaddd zmm", probe_add_zmm, CHAIN_N};
    return (Probe){"vpaddd ymm", probe_add_ymm, CHAIN_N};
#else
    return (Probe){"none", NULL, 0};
#endif
}

static inline Probe mix_of(Layout layout) {
#if defined(__x86_64__)
    bool wide = kern_level() >= LEVEL_AVX512;
    if (layout == LAYOUT_Q4_1)
        return wide ? (Probe){"mix", mix_q4_1_zmm, 8192} : (Probe){"mix", mix_q4_1_ymm, 4096};
    if (layout == LAYOUT_Q8_0)
        return wide ? (Probe){"mix", mix_q8_0_zmm, 8192} : (Probe){"mix", mix_q8_0_ymm, 4096};
#endif
    (void)layout;
    return (Probe){"none", NULL, 0};
}

/* rows: 1 and 2 rows are multiplied by Q8_0 blocks in another way at level avx2. */
static inline Counts counts_of(Layout layout, int64_t rows) {
    bool wide = kern_level() >= LEVEL_AVX512;
    if (layout == LAYOUT_Q4_1) return wide ? (Counts){12, 11, 14, 0} : (Counts){40, 24, 28, 0};
    if (wide) return (Counts){11.5, 10, 1, 0};
    return rows <= 2 ? (Counts){70, 52, 34, 0} : (Counts){70, 36, 84, 18};
}
