#!/usr/bin/env python3
"""make.py FOLDER -- writes the quantised models of tests/golden/gguf: random weights, small, every tensor type
and every kind of layer that the program runs under a8. Needs gguf 0.19.0 and numpy 2.4 (`pip install`); with
these versions the files come out byte for byte as they are committed."""

import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import GGUFWriter, quants

V = 320  # ids of the tests' prompts

# Types that gguf can only dequantise: bytes of a block, where f16 d and the f16 scale of minima stand in it.
BLOCKS = {
    Type.IQ4_NL: (32, 18, 0, None),
    Type.Q2_K: (256, 84, 80, 82),
    Type.Q3_K: (256, 110, 108, None),
    Type.Q4_K: (256, 144, 0, 2),
    Type.Q5_K: (256, 176, 0, 2),
    Type.Q6_K: (256, 210, 208, None),
    Type.IQ4_XS: (256, 136, 0, None),
}


def random_blocks(random, kind, shape):
    """Random codes and sub-scales; scales of blocks that make numbers of mean near 0 and of a matrix's deviation."""
    numbers, size, d_at, m_at = BLOCKS[kind]
    rows = random.integers(0, 256, (*shape[:-1], shape[-1] // numbers, size), dtype=np.uint8)

    def with_scales(d, m):
        for at, x in ((d_at, d), (m_at, m)):
            if at is not None:
                rows[..., at : at + 2] = np.broadcast_to(np.float16(x), rows.shape[:-1]).copy()[..., None].view(np.uint8)
        return quants.dequantize(rows.reshape(*shape[:-1], -1), kind)

    m = -with_scales(1, 0).mean() / with_scales(0, 1).mean() if m_at is not None else 0
    d = shape[-1] ** -0.5 / with_scales(1, m).std() * (0.5 + random.random(rows.shape[:-1]))
    with_scales(d, d * m)
    return rows.reshape(*shape[:-1], -1)


class Model:
    """One file; names, keys and layouts as llama.cpp's converter has them."""

    def __init__(self, folder, name, arch, seed):
        self.random = np.random.default_rng(seed)
        self.file = GGUFWriter(Path(folder) / f"{name}.gguf", arch)
        self.file.add_name(f"Lisao's {name}, random weights")
        self.file.add_license("Apache-2.0")

    def matrix(self, name, kind, *shape):
        """Numbers whose product with a normalised row has a standard deviation near 1; normal where they can be."""
        if kind in BLOCKS:
            self.file.add_tensor(name, random_blocks(self.random, kind, shape), raw_dtype=kind)
            return
        x = self.random.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)
        self.file.add_tensor(name, quants.quantize(x, kind), raw_dtype=kind)

    def vector(self, name, n, middle=1.0):
        self.file.add_tensor(name, np.float32(middle) + self.random.standard_normal(n, dtype=np.float32) / 8)

    def keys(self, layers, width, ffn, heads, kv_heads, positions):
        f = self.file
        f.add_block_count(layers)
        f.add_context_length(positions)
        f.add_embedding_length(width)
        f.add_feed_forward_length(ffn)
        f.add_head_count(heads)
        f.add_head_count_kv(kv_heads)
        f.add_layer_norm_rms_eps(1e-5)
        f.add_rope_freq_base(10000.0)
        f.add_vocab_size(V)
        f.add_bos_token_id(0)
        f.add_eos_token_id(1)

    def ends(self, width, embed, output=None):
        self.matrix("token_embd.weight", embed, V, width)
        self.vector("output_norm.weight", width)
        if output is not None:
            self.matrix("output.weight", output, V, width)

    def ffn(self, at, kinds, width, ffn, suffix="", experts=()):
        for name, kind, shape in zip(("gate", "up", "down"), kinds, ((ffn, width), (ffn, width), (width, ffn))):
            self.matrix(f"{at}ffn_{name}{suffix}.weight", kind, *experts, *shape)

    def close(self):
        self.file.write_header_to_file()
        self.file.write_kv_data_to_file()
        self.file.write_tensors_to_file()
        self.file.close()


def llama(folder, name, seed, width, ffn, types, head=16):
    """Two layers, four heads on two KV heads. types: embed, q, k, v, o, gate, up, down, output (None: tied)."""
    embed, q, k, v, o, gate, up, down, output = types
    m = Model(folder, name, "llama", seed)
    m.keys(2, width, ffn, 4, 2, 2048)
    m.file.add_key_length(head)
    m.file.add_value_length(head)
    m.file.add_rope_dimension_count(head)
    m.ends(width, embed, output)
    for i in range(2):
        at = f"blk.{i}."
        m.vector(f"{at}attn_norm.weight", width)
        m.matrix(f"{at}attn_q.weight", q, 4 * head, width)
        m.matrix(f"{at}attn_k.weight", k, 2 * head, width)
        m.matrix(f"{at}attn_v.weight", v, 2 * head, width)
        m.matrix(f"{at}attn_output.weight", o, width, 4 * head)
        m.vector(f"{at}ffn_norm.weight", width)
        m.ffn(at, (gate, up, down), width, ffn)
    m.close()


def deepseek(folder, name, seed, v3, attention, dense, routed, shared, ends):
    """Three layers, the first dense, of latent attention: four heads of 32 + 16 (rope) and values of 32, latent 64.
    V2-Lite: q as one matrix, kv_b whole, softmax. V3: q by way of a latent of 32, k_b and v_b, sigmoid, groups."""
    width, heads, nope, rope, value, latent, expert_ffn = 64, 4, 32, 16, 32, 64, 32
    experts, used, n_shared, groups = (12, 4, 1, 4) if v3 else (8, 3, 2, 1)
    m = Model(folder, name, "deepseek2", seed)
    f = m.file
    m.keys(3, width, 96, heads, 1 if v3 else heads, 2048)
    f.add_leading_dense_block_count(1)
    if v3:
        f.add_q_lora_rank(32)
    f.add_kv_lora_rank(latent)
    f.add_key_length(latent + rope if v3 else nope + rope)
    f.add_value_length(latent if v3 else value)
    if v3:
        f.add_key_length_mla(nope + rope)
        f.add_value_length_mla(value)
    f.add_rope_dimension_count(rope)
    f.add_rope_scaling_yarn_log_mul(0.1 * (1.0 if v3 else 0.707))
    f.add_string("deepseek2.rope.scaling.type", "yarn")
    f.add_rope_scaling_factor(4.0)
    f.add_rope_scaling_orig_ctx_len(512)
    f.add_expert_count(experts)
    f.add_expert_used_count(used)
    f.add_expert_shared_count(n_shared)
    f.add_expert_feed_forward_length(expert_ffn)
    f.add_expert_weights_scale(2.5 if v3 else 1.0)
    f.add_expert_weights_norm(v3)
    f.add_uint32("deepseek2.expert_gating_func", 2 if v3 else 1)
    f.add_expert_group_count(groups)
    f.add_expert_group_used_count(groups // 2 if v3 else 1)
    m.ends(width, *ends)
    for i in range(3):
        at = f"blk.{i}."
        m.vector(f"{at}attn_norm.weight", width)
        if v3:
            m.matrix(f"{at}attn_q_a.weight", attention[0], 32, width)
            m.vector(f"{at}attn_q_a_norm.weight", 32)
            m.matrix(f"{at}attn_q_b.weight", attention[0], heads * (nope + rope), 32)
        else:
            m.matrix(f"{at}attn_q.weight", attention[0], heads * (nope + rope), width)
        m.matrix(f"{at}attn_kv_a_mqa.weight", attention[1], latent + rope, width)
        m.vector(f"{at}attn_kv_a_norm.weight", latent)
        if v3:
            m.matrix(f"{at}attn_k_b.weight", attention[2], heads, latent, nope)
            m.matrix(f"{at}attn_v_b.weight", attention[2], heads, value, latent)
        else:
            m.matrix(f"{at}attn_kv_b.weight", attention[2], heads * (nope + value), latent)
        m.matrix(f"{at}attn_output.weight", attention[3], width, heads * value)
        m.vector(f"{at}ffn_norm.weight", width)
        if i == 0:
            m.ffn(at, dense, width, 96)
            continue
        m.matrix(f"{at}ffn_gate_inp.weight", Type.F32, experts, width)
        if v3:
            m.vector(f"{at}exp_probs_b.bias", experts, 0.0)
        m.ffn(at, routed, width, expert_ffn, "_exps", (experts,))
        m.ffn(at, shared, width, n_shared * expert_ffn, "_shexp")
    m.close()


def qwen(folder, name, seed, arch, biases, kind, experts=0):
    """Two layers, four heads of 32 on two KV heads; Qwen2's biases or Qwen3's norms, Qwen3-MoE's experts."""
    width, ffn, heads, kv_heads, head = 64, 96, 4, 2, 32
    m = Model(folder, name, arch, seed)
    m.keys(2, width, ffn, heads, kv_heads, 2048)
    m.file.add_key_length(head)
    m.file.add_value_length(head)
    if experts:
        m.file.add_expert_count(experts)
        m.file.add_expert_used_count(3)
        m.file.add_expert_feed_forward_length(32)
    m.ends(width, kind, kind)
    for i in range(2):
        at = f"blk.{i}."
        m.vector(f"{at}attn_norm.weight", width)
        for part, n in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            m.matrix(f"{at}attn_{part}.weight", kind, n * head, width)
            if biases:
                m.vector(f"{at}attn_{part}.bias", n * head, 0.0)
            elif part != "v":
                m.vector(f"{at}attn_{part}_norm.weight", head)
        m.matrix(f"{at}attn_output.weight", kind, width, heads * head)
        m.vector(f"{at}ffn_norm.weight", width)
        if experts:
            m.matrix(f"{at}ffn_gate_inp.weight", Type.F32, experts, width)
            m.ffn(at, (kind,) * 3, width, 32, "_exps", (experts,))
        else:
            m.ffn(at, (kind,) * 3, width, ffn)
    m.close()


def main(folder):
    q4, q8, f16, bf16, f32 = Type.Q4_1, Type.Q8_0, Type.F16, Type.BF16, Type.F32
    # The width of the FFN lies beyond 2,048: under f32 and a16 the sums of the down product are cut.
    llama(folder, "llama-q4_1", 1, 32, 2112, (q4,) * 9)
    llama(folder, "llama-q8_0", 2, 64, 96, (q8,) * 8 + (None,))
    llama(folder, "llama-mixed", 3, 64, 96, (q4, q8, q8, f16, q4, q4, q8, bf16, f32))
    deepseek(folder, "deepseek-v2-q4_1", 4, False, (q4,) * 4, (q4,) * 3, (q4,) * 3, (q4,) * 3, (q4, q4))
    deepseek(folder, "deepseek-v3-mixed", 5, True, (q8, q8, q8, q4), (q8, q8, q4), (q4, q4, q8), (q8, bf16, q4), (q4, q4))
    qwen(folder, "qwen2-q4_1", 6, "qwen2", True, q4)
    qwen(folder, "qwen3moe-q8_0", 7, "qwen3moe", False, q8, experts=5)
    q40, q50, q51, nl, mx = Type.Q4_0, Type.Q5_0, Type.Q5_1, Type.IQ4_NL, Type.MXFP4
    llama(folder, "llama-32", 8, 64, 96, (q50, q40, nl, mx, q51, q40, q50, nl, q51))
    k2, k3, k4, k5, k6, xs = Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.IQ4_XS
    llama(folder, "llama-k", 9, 256, 256, (k4, k2, k3, k6, k5, xs, k4, k6, k3), head=64)


main(*sys.argv[1:])
