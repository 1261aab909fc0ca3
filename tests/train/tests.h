/* tests.h -- what the tests of train/ share: a folder, tiny recipes, oracle models. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "support/bytes.h"
#include "support/level.h"
#include "support/need.h"
#include "train/train.h"

/* cmocka's state is an Arena, new for each test; `folder` a new empty folder, removed afterwards.
 */
extern char folder[64];
int arena_setup(void **state);
int arena_teardown(void **state);
#define ARENA_TEST(fn) cmocka_unit_test_setup_teardown(fn, arena_setup, arena_teardown)

/* A number below n; each call another, the same in every run. */
int64_t dice(int64_t n);

/* Writes `name` into the folder; returns its path. */
const char *file_write(Arena *a, const char *name, Str bytes);
/* Reads a recipe from the folder that trains a tiny model on a small text with the byte tokenizer;
 * `family` is llama or deepseek_v3, `set` further settings ("key=value"). Text and tokenizer are
 * written too. */
Recipe tiny_recipe(Arena *a, const char *family, const char *const *set, int64_t n_set);
/* Reinforcement learning of single-digit sums, from a model that solves few of them; it is trained
 * in a second where the folder has none yet. */
Recipe grpo_recipe(Arena *a, const char *const *set, int64_t n_set);
/* SHA-256 of a file, and of all parameters of a model. */
typedef struct Hex {
    char z[65];
} Hex;
Hex file_hash(const char *path);
Hex model_hash(const Model *m);

int recipe_tests(void), optim_tests(void), muon_tests(void), balance_tests(void), whole_tests(void),
    resume_tests(void), rollout_tests(void), panels_tests(void), peak_tests(void),
    sample_tests(void), families_tests(void), task_tests(void), sft_tests(void),
    distill_tests(void), soft_tests(void), grpo_tests(void), chain_tests(void);
/* What the test of peaks runs in a process of its own. */
int peak_measure(const char *recipe, const char *steps);
