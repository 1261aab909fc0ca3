/* rope.c -- frequencies and tables against transformers' in float64 and correctly rounded cosines
 * and sines, to the last bit; the factor on attention scores. */
#include "tests.h"
#include <math.h>

static double number(const json_t *o, const char *key, double absent) {
    const json_t *v = json_object_get(o, key);
    return v ? json_number_value(v) : absent;
}

static RopeConfig config_of(const json_t *table) {
    const json_t *o = json_object_get(table, "config");
    const char *type = json_string_value(json_object_get(o, "rope_type"));
    return (RopeConfig){.theta = number(o, "rope_theta", 0),
                        .dim = (int64_t)number(table, "dim", 0),
                        .scaling = !strcmp(type, "yarn")     ? ROPE_YARN
                                   : !strcmp(type, "llama3") ? ROPE_LLAMA3
                                                             : ROPE_PLAIN,
                        .factor = number(o, "factor", 1),
                        .original = number(o, "original_max_position_embeddings", 0),
                        .beta_fast = number(o, "beta_fast", 32),
                        .beta_slow = number(o, "beta_slow", 1),
                        .mscale = number(o, "mscale", 1),
                        .mscale_all_dim = number(o, "mscale_all_dim", 0),
                        .low_freq = number(o, "low_freq_factor", 1),
                        .high_freq = number(o, "high_freq_factor", 4)};
}

typedef struct Job {
    float *cos, *sin;
    const int64_t *pos;
    int64_t n, half;
    double *f, factor;
} Job;

static void table_make(Thread th, void *arg) {
    Job *j = arg;
    rope_table(th, j->cos, j->sin, j->pos, j->n, j->f, j->half, j->factor);
}

static void table_compare(const char *name, const json_t *table, Team *team) {
    enum { MOST = 64, PLACES = 16 };
    RopeConfig r = config_of(table);
    double f[MOST], factor;
    float c[PLACES * MOST], s[PLACES * MOST];
    int64_t half = r.dim / 2, pos[PLACES];
    rope_inv_freq(f, &factor, &r);
    const json_t *want = json_object_get(table, "inv_freq"),
                 *at = json_object_get(table, "positions");
    assert_true(half <= MOST && (int64_t)json_array_size(want) == half
                && json_array_size(at) <= PLACES);
    for (int64_t j = 0; j < half; j++) {
        double w = json_number_value(json_array_get(want, (size_t)j));
        assert_true(fabs(f[j] - w) <= 1e-15 * w);
        assert_true((float)f[j] == (float)w);
    }
    assert_true(fabs(factor - number(table, "attention_factor", 1)) < 1e-15);
    for (size_t i = 0; i < json_array_size(at); i++)
        pos[i] = (int64_t)json_number_value(json_array_get(at, i));
    Job job = {c, s, pos, (int64_t)json_array_size(at), half, f, factor};
    team_run(team, table_make, &job);
    for (size_t i = 0; i < json_array_size(at); i++)
        for (int64_t j = 0; j < half; j++) {
            const json_t *wc = json_array_get(json_object_get(table, "cos"), i);
            const json_t *ws = json_array_get(json_object_get(table, "sin"), i);
            if (c[(int64_t)i * half + j] != (float)json_number_value(json_array_get(wc, (size_t)j))
                || s[(int64_t)i * half + j]
                       != (float)json_number_value(json_array_get(ws, (size_t)j)))
                fail_msg("%s: position %d, frequency %d", name, (int)pos[i], (int)j);
        }
    Config m = {.mla = true, .D = 1, .rope = r};
    double scale = number(table, "softmax_scale_factor", 1);
    assert_true(fabs((double)attention_scale(&m) - scale) <= 1e-7 * scale);
}

static void tables(void **state) {
    (void)state;
    Arena *a = arena_open("rope", 1 << 24);
    const char *path = need_reference(a, "numbers/rope.json");
    json_t *all = json_of(a, path);
    Team *team = team_open(2);
    const char *name;
    json_t *table;
    int64_t n = 0;
    json_object_foreach(json_object_get(all, "tables"), name, table) {
        table_compare(name, table, team);
        n++;
    }
    assert_int_equal(n, 4);
    team_close(team);
    json_decref(all);
    arena_close(a);
}

int test_rope(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(tables)};
    return cmocka_run_group_tests_name("model rope", tests, NULL, NULL);
}
