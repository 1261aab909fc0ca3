/* known.c -- open reasoning models that people ask for: their shapes, from the config.json of each
 * release, and from them the memory that they take and the bytes that a token reads. They are
 * estimates, made before anybody downloads a file; `lisao info` counts what an opened model needs.
 */
#include "cli/known.h"

#define GQA(family_, l, c, f, h, g, v)                                                             \
    .family = (family_), .L = (l), .C = (c), .F = (f), .H = (h), .G = (g), .D = 128, .V = (v)
#define MLA(family_, l, c, f, h, q, n, v_, v)                                                      \
    .family = (family_), .L = (l), .C = (c), .F = (f), .H = (h), .mla = true, .Q = (q), .R = 512,  \
    .d_nope = (n), .d_rope = 64, .d_v = (v_), .V = (v)
/* E experts, K of them a token, so many shared, their width; the first layers are dense. */
#define MOE(e, k, s, f, dense)                                                                     \
    .E = (e), .K = (k), .shared = (s), .F_moe = (f), .first_dense = (dense)
#define SIGMOID .router.kind = ROUTER_SIGMOID

static const struct {
    const char *name;
    Config c;
} models[] = {
    {"Qwen3-0.6B", {GQA(FAMILY_QWEN3, 28, 1024, 3072, 16, 8, 151936), .tied = true}},
    {"R1-Distill-Qwen-1.5B", {GQA(FAMILY_QWEN2, 28, 1536, 8960, 12, 2, 151936)}},
    {"Qwen3-4B", {GQA(FAMILY_QWEN3, 36, 2560, 9728, 32, 8, 151936), .tied = true}},
    {"R1-Distill-Qwen-7B", {GQA(FAMILY_QWEN2, 28, 3584, 18944, 28, 4, 152064)}},
    {"R1-Distill-Llama-8B", {GQA(FAMILY_LLAMA, 32, 4096, 14336, 32, 8, 128256)}},
    {"Qwen3-8B, R1-0528-Qwen3-8B", {GQA(FAMILY_QWEN3, 36, 4096, 12288, 32, 8, 151936)}},
    {"R1-Distill-Qwen-14B", {GQA(FAMILY_QWEN2, 48, 5120, 13824, 40, 8, 152064)}},
    {"DeepSeek-V2-Lite",
     {MLA(FAMILY_DEEPSEEK2, 27, 2048, 10944, 16, 0, 128, 128, 102400), MOE(64, 6, 2, 1408, 1)}},
    {"Moonlight-16B-A3B",
     {MLA(FAMILY_DEEPSEEK3, 27, 2048, 11264, 16, 0, 128, 128, 163840), MOE(64, 6, 2, 1408, 1),
      SIGMOID}},
    {"GLM-4.7-Flash",
     {MLA(FAMILY_GLM4_MOE_LITE, 47, 2048, 10240, 20, 768, 192, 256, 154880), MOE(64, 4, 1, 1536, 1),
      SIGMOID}},
    {"Qwen3-30B-A3B",
     {GQA(FAMILY_QWEN3_MOE, 48, 2048, 6144, 32, 4, 151936), MOE(128, 8, 0, 768, 0)}},
    {"R1-Distill-Qwen-32B", {GQA(FAMILY_QWEN2, 64, 5120, 27648, 40, 8, 152064)}},
    {"R1-Distill-Llama-70B", {GQA(FAMILY_LLAMA, 80, 8192, 28672, 64, 8, 128256)}},
    {"Qwen3-235B-A22B",
     {GQA(FAMILY_QWEN3_MOE, 94, 4096, 12288, 64, 4, 151936), MOE(128, 8, 0, 1536, 0)}},
    {"DeepSeek-V2.5",
     {MLA(FAMILY_DEEPSEEK2, 60, 5120, 12288, 128, 1536, 128, 128, 102400),
      MOE(160, 6, 2, 1536, 1)}},
    {"DeepSeek-V3, V3.1, R1",
     {MLA(FAMILY_DEEPSEEK3, 61, 7168, 18432, 128, 1536, 128, 128, 129280), MOE(256, 8, 1, 2048, 3),
      SIGMOID}},
    {"Kimi-K2",
     {MLA(FAMILY_DEEPSEEK3, 61, 7168, 18432, 64, 1536, 128, 128, 163840), MOE(384, 8, 1, 2048, 1),
      SIGMOID}},
};

/* Bits that a weight takes in memory, where Q4_K and Q6_K are laid out in panels. */
static double bits_of(KnownType t) {
    const double q4 = (double)panel_bytes(LAYOUT_Q4_K, PANEL, 256),
                 q6 = (double)panel_bytes(LAYOUT_Q6_K, PANEL, 256),
                 q8 = (double)panel_bytes(LAYOUT_Q8_0, PANEL, 256);
    return 8 * (t == KNOWN_Q8_0 ? q8 : (5 * q4 + q6) / 6) / (PANEL * 256);
}

const char *known_type(KnownType t) { return t == KNOWN_Q8_0 ? "Q8_0" : "Q4_K_M"; }

int64_t known_count(void) { return COUNT(models); }

/* Keys and values are bf16; latent attention keeps one latent and one rotated key instead. Program,
 * activations and work memory come to a twentieth and 0.2 GB. */
Known known_at(int64_t i) {
    const Config *c = &models[i].c;
    Known k = {.name = models[i].name, .size = config_size(c)};
    const int64_t numbers = c->mla ? c->R + c->d_rope : 2 * c->G * c->D;
    k.kv = (double)(2 * numbers * c->L * RUN_CONTEXT);
    for (KnownType t = 0; t < KNOWN_TYPES; t++) {
        const double bytes = bits_of(t) / 8;
        k.memory[t] = 1.05 * (double)k.size.total * bytes + k.kv + 0.2e9;
        k.read[t] = (double)k.size.read * bytes;
    }
    return k;
}
