/* support.c -- guarded memory, random numbers, threads, comparing: see kern_test.h. */
#define _GNU_SOURCE
#include "kern_test.h"
#include <math.h>
#include <sys/mman.h>

/* ---- guarded memory -------------------------------------------------------------------------- */

enum { PAGE_BYTES = 4096, MOST = 65536 };
static struct {
    uint8_t *p;
    size_t n;
} block[MOST];
static int64_t blocks;

void *guard_new(int64_t bytes, int64_t align, Side side) {
    size_t inner = (size_t)round_up(MAX(bytes, 1), PAGE_BYTES), all = inner + 2 * PAGE_BYTES;
    uint8_t *p = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && blocks < MOST);
    CHECK(mprotect(p + PAGE_BYTES, inner, PROT_READ | PROT_WRITE) == 0);
    block[blocks].p = p;
    block[blocks++].n = all;
    int64_t slack = ((int64_t)inner - bytes) / align * align;
    return p + PAGE_BYTES + (side == AT_END ? slack : 0);
}

void guard_reset(void) {
    for (int64_t i = 0; i < blocks; i++) munmap(block[i].p, block[i].n);
    blocks = 0;
}

/* ---- numbers --------------------------------------------------------------------------------- */

uint64_t test_seed = 20261122;
static uint64_t drawn;

uint32_t draw(void) {
    static Philox now;
    if (drawn % 4 == 0) now = philox(test_seed, drawn / 4, 0);
    return now.w[drawn++ % 4];
}

int64_t draw_to(int64_t lo, int64_t hi) { return lo + (int64_t)(draw() % (uint32_t)(hi - lo + 1)); }

static float draw_edge(void) {
    static const uint32_t special[] = {0x00000000, 0x80000000, 0x00000001, 0x807fffff, 0x00800000,
                                       0x80800000, 0x3f800000, 0xbf800000, 0x7f7fffff, 0xff7fffff,
                                       0x3f7fffff, 0x3f808000, 0xbf807fff, 0x00400000};
    uint32_t w = draw();
    switch (w >> 29) {
    case 0: return f32_of_bits(special[w % COUNT(special)]);
    case 1: return f32_of_bits((w & 0x807fffffu) | (draw() % 4 + 1) << 23); /* about the smallest */
    case 2: return f32_of_bits((w & 0x807fffffu) | (draw() % 60 + 190) << 23); /* large */
    case 3: return f32_of_bits((w & 0x80000000u) | (draw() % 40 + 107) << 23); /* powers of two */
    default: return f32_of_bits((w & 0x807fffffu) | (draw() % 8 + 123) << 23);
    }
}

float draw_float(Fill f) {
    uint32_t w = draw();
    switch (f) {
    case MILD: return (float)((double)w * 0x1p-31 - 1.0);
    case SPREAD: return f32_of_bits((w & 0x807fffffu) | (draw() % 61 + 97) << 23);
    case EDGE: return draw_edge();
    default:
        return w % 64 == 0 ? INFINITY : w % 64 == 1 ? -INFINITY : w % 64 == 2 ? NAN : draw_edge();
    }
}

void fill_floats(float *x, int64_t n, Fill f) {
    for (int64_t i = 0; i < n; i++) x[i] = draw_float(f);
}

float *new_floats(int64_t n, Fill f) {
    float *x = guard_new(n * 4, 4, draw() % 2 ? AT_START : AT_END);
    fill_floats(x, n, f);
    return x;
}

/* Nearest, ties to even, of 8 bits: scale so that a unit is 1, rint, scale back; all exact in f64.
 */
float round_bf16(float x) {
    int e;
    if (!isfinite(x)) return x;
    if (fabsf(x) < 0x1p-126f) return copysignf(0, x); /* subnormals are zero */
    frexp((double)x, &e);
    return (float)ldexp(rint(ldexp((double)x, 8 - e)), e - 8);
}

/* ---- threads --------------------------------------------------------------------------------- */

const int64_t thread_counts[4] = {1, 2, 3, 5};
static Team *team[6];

void on_threads(int64_t threads, void (*fn)(Thread th, void *arg), void *arg) {
    if (!team[threads]) team[threads] = team_open(threads);
    team_run(team[threads], fn, arg);
}

void teams_close(void) {
    for (int64_t i = 0; i < COUNT(team); i++) {
        if (team[i]) team_close(team[i]);
        team[i] = NULL;
    }
}

/* ---- comparing ------------------------------------------------------------------------------- */

static void say(char out[256], const char *what, va_list args) { vsnprintf(out, 256, what, args); }

void same_floats(const float *got, const float *want, int64_t n, const char *what, ...) {
    for (int64_t i = 0; i < n; i++) {
        uint32_t a = bits_of_f32(got[i]), b = bits_of_f32(want[i]);
        if (a == b || ((a & 0x7fffffffu) > 0x7f800000u && (b & 0x7fffffffu) > 0x7f800000u))
            continue;
        char text[256];
        va_list args;
        va_start(args, what);
        say(text, what, args);
        va_end(args);
        fail_msg("%s: number %lld of %lld is %a (%08x), want %a (%08x), seed %llu", text,
                 (long long)i, (long long)n, (double)got[i], a, (double)want[i], b,
                 (unsigned long long)test_seed);
    }
}

void same_bytes(const void *got, const void *want, int64_t n, const char *what, ...) {
    const uint8_t *a = got, *b = want;
    for (int64_t i = 0; i < n; i++) {
        if (a[i] == b[i]) continue;
        char text[256];
        va_list args;
        va_start(args, what);
        say(text, what, args);
        va_end(args);
        fail_msg("%s: byte %lld of %lld is %02x, want %02x, seed %llu", text, (long long)i,
                 (long long)n, a[i], b[i], (unsigned long long)test_seed);
    }
}

void near_double(double got, double want, double sum, double tol, const char *what, ...) {
    if (fabs(got - want) <= tol * sum) return;
    char text[256];
    va_list args;
    va_start(args, what);
    say(text, what, args);
    va_end(args);
    fail_msg("%s: %.9g, want %.9g (off by %.3g of %.3g allowed), seed %llu", text, got, want,
             fabs(got - want), tol * sum, (unsigned long long)test_seed);
}
