/* peak.c -- the budget against the truth: the memory that a process of its own has held at its
 * peak, while it ran SmolLM2, is what its plan printed, within 5 %. The process is this program
 * again, called with a word. */
#define _DEFAULT_SOURCE
#include "tests.h"
#include <stdio.h>
#include <unistd.h>

/* In the process of its own: prints what was planned and what was held. */
int peak_measure(const char *file, const char *act) {
    Opened o;
    int32_t ids[300];
    opened(&o, file, 2);
    PlanSpec s = plan_defaults(o.model);
    if (!strcmp(act, "f32")) s.act = ACT_F32, s.kv = DTYPE_F32;
    s.rows = 128, s.logit_rows = 128, s.spans = 1, s.positions = 300, s.pages = 3;
    s.results = (300 - 128) * o.model->cfg.V * 4; /* `ran` keeps those of all positions */
    planned(&o, s);
    for (int32_t i = 0; i < 300; i++) ids[i] = i * 7919 % (int32_t)o.model->cfg.V;
    ran(&o, ids, 300, 128, false);
    printf("%lld %lld\n", (long long)o.plan->bytes, (long long)os_memory_peak());
    closed(&o);
    return 0;
}

static void peak(void **state) {
    need_own_memory();
    Arena *a = arena_open("peak", 1 << 20);
    const char *file = need_smollm2(a);
    char self[1024] = {0}, line[64];
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    FILE *f = popen(str_fmt(a, "'%s' --peak '%s' %s", self, file, (const char *)*state).p, "r");
    assert_non_null(f);
    long long planned_bytes = 0, held = 0;
    assert_non_null(fgets(line, sizeof line, f));
    assert_int_equal(sscanf(line, "%lld %lld", &planned_bytes, &held), 2);
    assert_int_equal(pclose(f), 0);
    double ratio = (double)held / (double)planned_bytes;
    print_message("# SmolLM2 %s: planned %.1f MB, held %.1f MB\n", (const char *)*state,
                  (double)planned_bytes / 1e6, (double)held / 1e6);
    assert_true(ratio > 0.95 && ratio < 1.05);
    arena_close(a);
}

int test_peak(void) {
    const struct CMUnitTest tests[] = {
        {"peak memory, a8", peak, NULL, NULL, (void *)(uintptr_t) "a8"},
        {"peak memory, f32", peak, NULL, NULL, (void *)(uintptr_t) "f32"},
    };
    return cmocka_run_group_tests_name("model peak", tests, NULL, NULL);
}
