/* main.c -- runs the groups of tests of infer/, and keeps what they share. */
#include "tests.h"

int64_t dice(Dice *d, int64_t n) {
    return (int64_t)(philox(d->seed, d->n++, 77).w[1] % (uint64_t)n);
}
float dice_unit(Dice *d) { return philox_unit(philox(d->seed, d->n++, 77).w[2]); }

float dice_normal(Dice *d) {
    float sum = -6;
    for (int i = 0; i < 12; i++) sum += dice_unit(d);
    return sum;
}

int arena_setup(void **state) {
    *state = arena_open("test", (int64_t)1 << 36);
    return 0;
}

int arena_teardown(void **state) {
    arena_close(*state);
    return 0;
}

int main(int argc, char **argv) {
    Err err = {0};
    log_set(LOG_ERROR);
    float_mode_enter();
    CHECK(kern_init(LEVEL_N, &err));
    if (argc == 3 && !strcmp(argv[1], "--peak")) return peak_measure(argv[2]);
    return (memory_tests() + sampler_tests() + page_tests() + prefix_tests() + engine_tests()
            + speculate_tests() + training_tests())
           != 0;
}
