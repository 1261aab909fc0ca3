/* cpu.c -- which levels this CPU has (CPUID), the operating system saves (XCR0) and the kernel
 * grants (AMX). */
#include "kern/cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

typedef struct Regs {
    uint32_t a, b, c, d;
} Regs;

/* All zero where the CPU has no such leaf. */
static Regs cpuid(uint32_t leaf, uint32_t sub) {
    Regs r = {0, 0, 0, 0};
    if (!__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d)) r = (Regs){0, 0, 0, 0};
    return r;
}

static bool has(uint32_t reg, uint32_t bits) { return (reg & bits) == bits; }

/* The register states that the operating system saves: 0x6 YMM, 0xe0 ZMM and masks, 0x60000 tiles.
 */
static bool saves(uint32_t states) {
    uint32_t lo, hi;
    if (!has(cpuid(1, 0).c, 1u << 27)) return false;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return has(lo, states);
}

/* Each of these names the first thing that is missing. Bits as in Intel's manual, volume 2A,
 * CPUID. */

static const char *lacks_avx2(void) {
    Regs r1 = cpuid(1, 0), r7 = cpuid(7, 0);
    if (!has(r1.c, 1u << 12 | 1u << 28 | 1u << 29) || !has(r7.b, 1u << 5 | 1u << 8))
        return "the CPU has not all of AVX2, FMA, F16C, BMI2";
    return saves(0x6) ? NULL : "the operating system does not save the YMM registers";
}

static const char *lacks_avx512(void) {
    Regs r7 = cpuid(7, 0), s1 = cpuid(7, 1);
    if (lacks_avx2()) return lacks_avx2();
    if (!has(r7.b, 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31))
        return "the CPU has not all of AVX-512 F, DQ, BW, VL";
    if (!has(r7.c, 1u << 11) || !has(s1.a, 1u << 5))
        return "the CPU's AVX-512 has no VNNI or no BF16";
    return saves(0xe6) ? NULL : "the operating system does not save the ZMM registers";
}

static const char *lacks_amx(void) {
    if (lacks_avx512()) return lacks_avx512();
    if (!has(cpuid(7, 0).d, 1u << 22 | 1u << 24 | 1u << 25))
        return "the CPU has no AMX (TILE, BF16, INT8)";
    if (!saves(0x60000)) return "the operating system does not save the AMX tiles";
    return os_allow_amx() ? NULL : "the kernel did not grant the use of AMX tiles";
}

const char *cpu_lacks(Level v) {
    switch (v) {
    case LEVEL_AVX2: return lacks_avx2();
    case LEVEL_AVX512:
    case LEVEL_AMX_EMU: return lacks_avx512();
    case LEVEL_AMX: return lacks_amx();
    default: return NULL;
    }
}

void cpu_name(char name[64]) {
    memset(name, 0, 64);
    if (cpuid(0x80000000u, 0).a < 0x80000004u) {
        memcpy(name, "unknown CPU", 12);
        return;
    }
    for (uint32_t i = 0; i < 3; i++) {
        Regs r = cpuid(0x80000002u + i, 0);
        memcpy(name + 16 * i, &r, 16);
    }
}

#else

const char *cpu_lacks(Level v) { return v == LEVEL_REF ? NULL : "the level is for x86-64"; }
void cpu_name(char name[64]) {
    memset(name, 0, 64);
    memcpy(name, "unknown CPU", 12);
}

#endif
