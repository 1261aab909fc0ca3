/* level.c -- see level.h. /proc/cpuinfo is the kernel's reading of CPUID, less what it does not
 * save (XCR0): a second opinion beside kern/cpu.c. */
#include "support/level.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define AVX2   " avx2 fma f16c bmi2"
#define AVX512 AVX2 " avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16"

static const struct {
    const char *flags, *missing;
} row[LEVEL_N] = {
    [LEVEL_REF] = {"", "no-ref"},
    [LEVEL_AVX2] = {AVX2, "no-avx2"},
    [LEVEL_AVX512] = {AVX512, "no-avx512"},
    [LEVEL_AMX_EMU] = {AVX512, "no-avx512"},
    [LEVEL_AMX] = {AVX512 " amx_tile amx_bf16 amx_int8", "no-amx"},
};

const char *level_missing(Level v) { return row[v].missing; }

/* The first line "flags : ..." with a blank on both sides of each word; empty where there is
 * none. */
static void cpu_flags(char *line, int size) {
    FILE *f = fopen("/proc/cpuinfo", "r");
    bool found = false;
    while (f && !found && fgets(line, size, f)) found = !strncmp(line, "flags", 5);
    if (f) fclose(f);
    if (!found) line[0] = 0;
    for (char *p = line; *p; p++)
        if (*p == '\n' || *p == '\t') *p = ' ';
}

static bool cpu_has(Level v) {
    char flags[8192], word[32];
    cpu_flags(flags, sizeof flags);
#if defined(__x86_64__)
    if (!flags[0]) fail_msg("/proc/cpuinfo names no flags: which levels must be there?");
    for (const char *p = row[v].flags; *p; p += strcspn(p + 1, " ") + 1) {
        snprintf(word, sizeof word, "%.*s ", (int)strcspn(p + 1, " ") + 1, p);
        if (!strstr(flags, word)) return false;
    }
    return true;
#else
    (void)word;
    return v == LEVEL_REF;
#endif
}

bool level_use(Level v) {
    Err err = {0};
    if (kern_init(v, &err)) return true;
    if (cpu_has(v)) fail_msg("the CPU has %s, but %s", level_name(v), err.msg);
    return false;
}
