/* main.c -- runs the groups of tests of train/, and keeps what they share. */
#define _GNU_SOURCE
#include "tests.h"

#include <stdlib.h>

char folder[64];

int arena_setup(void **state) {
    strcpy(folder, "/tmp/lisao-train-XXXXXX");
    *state = arena_open("test", (int64_t)1 << 40);
    return mkdtemp(folder) ? 0 : -1;
}

/* A folder with folders in it: os_remove takes one level. */
static bool folder_remove(Arena *a, const char *path) {
    Err err = {0};
    Str *name;
    int64_t n;
    if (!os_list(a, &name, &n, path, &err)) return false;
    for (int64_t i = 0; i < n; i++) {
        const char *inner = str_fmt(a, "%s/%.*s", path, STRF(name[i])).p;
        if (os_is_dir(inner) && !folder_remove(a, inner)) return false;
    }
    return os_remove(path, &err);
}

int arena_teardown(void **state) {
    bool removed = folder_remove(*state, folder);
    arena_close(*state);
    return removed ? 0 : -1;
}

int64_t dice(int64_t n) {
    static uint64_t thrown;
    return (int64_t)(philox(11, thrown++, 0).w[0] % (uint64_t)n);
}

const char *file_write(Arena *a, const char *name, Str bytes) {
    Err err = {0};
    const char *path = str_fmt(a, "%s/%s", folder, name).p;
    OutFile *o = os_create(a, path, &err);
    CHECK(o && os_write(o, bytes.p, bytes.n, &err) && os_commit(o, &err));
    return path;
}

static int64_t word_pick(uint64_t *at, int64_t n) {
    return (int64_t)(philox(23, (*at)++, 0).w[0] % (uint64_t)n);
}

/* Sentences of few words, always the same: something that a tiny model can learn a little of. */
static Str small_text(Arena *a) {
    static const char *const who[] = {"the fox",   "a crane",     "my aunt",
                                      "the river", "an old king", "nobody"};
    static const char *const does[] = {"sees", "follows", "sings to", "forgets", "wakes", "asks"};
    Buf b = {.a = a};
    uint64_t at = 0;
    for (int64_t doc = 0; doc < 200; doc++) {
        for (int64_t i = 0, n = 1 + word_pick(&at, 6); i < n; i++) {
            const char *subject = who[word_pick(&at, 6)], *verb = does[word_pick(&at, 6)];
            buf_fmt(&b, "%s %s %s.\n", subject, verb, who[word_pick(&at, 6)]);
        }
        buf_add(&b, STR("<|endoftext|>\n"));
    }
    return buf_str(&b);
}

static const char llama[] =
    "model: {family: llama, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 4, "
    "num_key_value_heads: 2,\n"
    "  intermediate_size: 48, max_position_embeddings: 256, rms_norm_eps: 1e-6, vocab_size: 272}\n";
static const char deepseek[] = "model: {family: deepseek_v3, hidden_size: 32, num_hidden_layers: "
                               "3, num_attention_heads: 2, intermediate_size: 64,\n"
                               "  max_position_embeddings: 256, rms_norm_eps: 1e-6, vocab_size: "
                               "272, q_lora_rank: 24, kv_lora_rank: 16,\n"
                               "  qk_nope_head_dim: 12, qk_rope_head_dim: 8, v_head_dim: 12, "
                               "n_routed_experts: 8, num_experts_per_tok: 2,\n"
                               "  n_shared_experts: 1, moe_intermediate_size: 16, "
                               "first_k_dense_replace: 1, n_group: 2, topk_group: 1,\n"
                               "  routed_scaling_factor: 2.5, norm_topk_prob: true}\n";

Recipe tiny_recipe(Arena *a, const char *family, const char *const *set, int64_t n_set) {
    Recipe r;
    Err err = {0};
    const char *text = file_write(a, "text", small_text(a)),
               *tok = file_write(a, "tokenizer.json", bytes_tokenizer(a));
    Str yaml =
        str_fmt(a,
                "%stokenizer: %s\ndata: {train: %s, cache: %s/cache}\nbatch: {sequence: 48, "
                "tokens: 192, micro: 96}\n"
                "optim: {lr: 3e-3, warmup: 4, steps: 20}\ncheckpoint: {folder: %s/run, every: 5}\n",
                strcmp(family, "llama") ? deepseek : llama, tok, text, folder, folder);
    if (!recipe_read(&r, a, file_write(a, "recipe.yaml", yaml), set, n_set, &err))
        print_message("%s\n", err.msg);
    CHECK(err.code == ERR_NONE);
    return r;
}

Recipe grpo_recipe(Arena *a, const char *const *set, int64_t n_set) {
    const char *base = str_fmt(a, "%s/base", folder).p,
               *learn[] = {"data.train=task:addition:1:canonical",
                           "data.documents=2000",
                           "tokenizer=bytes",
                           "batch.tokens=384",
                           "batch.micro=192",
                           "optim.optimiser=muon",
                           "optim.muon_steps=5",
                           "optim.lr=1e-2",
                           "optim.steps=100",
                           "model.initializer_range=0.06",
                           "checkpoint.every=0",
                           str_fmt(a, "checkpoint.folder=%s", base).p};
    Recipe r;
    Err err = {0};
    if (!os_exists(base)) {
        r = tiny_recipe(a, "deepseek_v3", learn, COUNT(learn));
        if (!train_run(&r, 2, &err)) print_message("%s\n", err.msg);
    }
    Str yaml =
        str_fmt(a,
                "objective: grpo\ninit_from: %s\ntokenizer: bytes\n"
                "data: {train: task:addition:1:canonical, valid: task:addition:1:canonical}\n"
                "batch: {sequence: 48, tokens: 192}\n"
                "optim: {lr: 1e-3, weight_decay: 0, schedule: constant, steps: 20}\n"
                "grpo: {sequences: 24, prompts: 3, samples: 8, max_tokens: 24, rounds: 8, "
                "valid_problems: 20}\n"
                "checkpoint: {folder: %s/run, every: 4}\n",
                base, folder);
    if (!recipe_read(&r, a, file_write(a, "grpo.yaml", yaml), set, n_set, &err))
        print_message("%s\n", err.msg);
    CHECK(err.code == ERR_NONE);
    return r;
}

Hex file_hash(const char *path) {
    Err err = {0};
    Map m;
    Sha256 h;
    Hex hex;
    CHECK(os_map(&m, path, &err));
    sha256_init(&h);
    sha256_add(&h, m.p, m.n);
    sha256_hex(&h, hex.z);
    os_unmap(&m);
    return hex;
}

Hex model_hash(const Model *m) {
    Sha256 h;
    Hex hex;
    sha256_init(&h);
    for (int64_t i = 0; i < m->n_params; i++)
        sha256_add(&h, m->param[i].master, m->param[i].count * 4);
    sha256_hex(&h, hex.z);
    return hex;
}

int main(int argc, char **argv) {
    Err err = {0};
    log_set(LOG_ERROR);
    float_mode_enter();
    CHECK(kern_init(LEVEL_N, &err));
    if (argc == 4 && !strcmp(argv[1], "--peak")) return peak_measure(argv[2], argv[3]);
    if (argc == 2 && !strcmp(argv[1], "grpo")) return grpo_tests();
    if (argc == 2 && !strcmp(argv[1], "chain")) return chain_tests();
    if (argc == 2 && !strcmp(argv[1], "resume")) return resume_tests();
    if (argc == 2 && !strcmp(argv[1], "soft")) return soft_tests();
    return (families_tests() + recipe_tests() + optim_tests() + muon_tests() + balance_tests()
            + whole_tests() + resume_tests() + rollout_tests() + panels_tests() + sample_tests()
            + peak_tests() + task_tests() + sft_tests() + grpo_tests() + distill_tests()
            + soft_tests() + chain_tests())
           != 0;
}
