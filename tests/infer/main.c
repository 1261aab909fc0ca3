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

Sampling sampling_of(int64_t i) {
    static const Sampling all[] = {
        {.top_p = 1},
        {.temperature = 1, .top_p = 1, .seed = 5},
        {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .seed = 6, .min_p = 0.01f},
        {.temperature = 0.9f,
         .top_p = 1,
         .seed = 7,
         .min_p = 0.002f,
         .repetition_penalty = 1.2f,
         .presence_penalty = 0.3f,
         .frequency_penalty = 0.2f,
         .dry_multiplier = 0.8f,
         .dry_base = 1.75f,
         .dry_allowed_length = 1,
         .dry_penalty_last_n = -1},
        {.top_p = 1, .repetition_penalty = 1.3f, .frequency_penalty = 0.5f},
    };
    return all[i % COUNT(all)];
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
    return (memory_tests() + sampler_tests() + page_tests() + prefix_tests() + disk_tests()
            + engine_tests() + speculate_tests() + mtp_tests() + training_tests())
           != 0;
}
