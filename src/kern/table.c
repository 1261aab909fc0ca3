/* table.c -- which level supplies each kernel: kern_init starts from ref and lets each further
 * level replace kernels. A level that this CPU lacks, or whose self-test rounds differently from
 * the contract, is left out, and kern_print says why. */
#include "kern/cpu.h"
#include "kern/table.h"

typedef struct LevelRow {
    const char *name;
    void (*fill)(Kern *k);     /* NULL: not built into this program */
    bool (*test)(void);        /* NULL: it has no instruction whose rounding must be tested */
    const char *(*note)(void); /* NULL, or what it chose for this CPU */
} LevelRow;

#if defined(__x86_64__)
#define X86_ONLY(f) f
#else
#define X86_ONLY(f) NULL
#endif

static const LevelRow level_row[LEVEL_N] = {
    [LEVEL_REF] = {"ref", kern_fill_ref, NULL, NULL},
    [LEVEL_AVX2] = {"avx2", X86_ONLY(kern_fill_avx2), NULL, NULL},
    [LEVEL_AVX512] = {"avx512", X86_ONLY(kern_fill_avx512), X86_ONLY(kern_test_avx512),
                      X86_ONLY(kern_note_avx512)},
    [LEVEL_AMX_EMU] = {"amx-emu", X86_ONLY(kern_fill_amx_emu), NULL, NULL},
    [LEVEL_AMX] = {"amx", X86_ONLY(kern_fill_amx), X86_ONLY(kern_test_amx), NULL},
};

Kern kern;
static Level in_force;
static const char *left_out[LEVEL_N]; /* NULL where the level can be used; set by kern_init */

Level kern_level(void) { return in_force; }
const char *level_name(Level v) { return level_row[v].name; }

bool level_of_name(const char *name, Level *v) {
    for (Level i = LEVEL_REF; i < LEVEL_N; i++)
        if (!strcmp(level_row[i].name, name)) {
            *v = i;
            return true;
        }
    return false;
}

/* The self-test runs under the float mode of kernels, whatever the caller's is. */
static const char *why_not(Level v) {
    if (!level_row[v].fill) return "not built into this program";
    const char *lack = cpu_lacks(v);
    if (lack) return lack;
    uint32_t before = float_mode_enter();
    bool good = !level_row[v].test || level_row[v].test();
    float_mode_leave(before);
    return good ? NULL : "its self-test rounds otherwise than the contract";
}

/* The levels that `top` builds on: all below it, except the software tiles, which are used only by
 * name. */
static bool below(Level v, Level top) { return v == top || (v < top && v != LEVEL_AMX_EMU); }

/* The software tiles are slower than what they stand for, so they are never the best. */
static Level best_level(void) {
    Level best = LEVEL_REF;
    for (Level v = LEVEL_REF; v < LEVEL_N; v++)
        if (!left_out[v] && v != LEVEL_AMX_EMU) best = v;
    return best;
}

bool kern_init(Level max, Err *err) {
    for (Level v = LEVEL_REF; v < LEVEL_N; v++) left_out[v] = why_not(v);
    if (max != LEVEL_N && left_out[max])
        return err_set(err, ERR_UNSUPPORTED,
                       "kernel level %s: %s; leave the level to Lisao or name a lower one",
                       level_name(max), left_out[max]);
    in_force = max == LEVEL_N ? best_level() : max;
    for (Level v = LEVEL_REF; v <= in_force; v++)
        if (below(v, in_force) && !left_out[v]) level_row[v].fill(&kern);
    return true;
}

/* The level that supplied the kernel whose pointer is `at` bytes into the table. */
static Level winner(size_t at) {
    Kern k, was;
    Level won = LEVEL_REF;
    memset(&k, 0, sizeof k);
    for (Level v = LEVEL_REF; v <= in_force; v++) {
        if (!below(v, in_force) || left_out[v]) continue;
        was = k;
        level_row[v].fill(&k);
        if (memcmp((char *)&was + at, (char *)&k + at, sizeof(void (*)(void)))) won = v;
    }
    return won;
}

/* `lisao info`: what the CPU has, which level is used and why not a higher one, and where each
 * kernel comes from. */
void kern_print(Buf *out) {
    char name[64];
    cpu_name(name);
    buf_fmt(out, "CPU          %s, %lld in use\n", name, (long long)os_cpus());
    buf_fmt(out, "level        %s\n", level_name(in_force));
    if (level_row[in_force].note) buf_fmt(out, "             %s\n", level_row[in_force].note());
    for (Level v = LEVEL_REF; v < LEVEL_N; v++) {
        const char *why = left_out[v]          ? left_out[v]
                          : below(v, in_force) ? NULL
                          : v == LEVEL_AMX_EMU ? "only by name"
                                               : "a lower level was asked for";
        if (why) buf_fmt(out, "  without %s: %s\n", level_name(v), why);
    }
    for (Level v = LEVEL_REF; v <= in_force; v++) {
        int64_t n = 0;
#define X(field, ret, params)                                                                      \
    if (winner(offsetof(Kern, field)) == v)                                                        \
        buf_fmt(out, "%s%s", n++ % 8 ? " " : n > 1 ? "\n             " : "kernels      ", #field);
        KERN_LIST(X)
#undef X
        if (n) buf_fmt(out, " (%s)\n", level_name(v));
    }
}
