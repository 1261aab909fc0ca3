#!/usr/bin/env python3
"""expected.py FOLDER -- the logits of the folder's GGUF files by the books, in float64 with numpy on the
dequantised weights; no cache, no blocks, latent attention as it is defined. Writes expected.safetensors: for each
file its logits (40, 320) of the ids i * 31 % 320. Needs gguf 0.19.0, numpy 2.4, safetensors."""

import math
import sys
from pathlib import Path

import numpy as np
from gguf import GGUFReader, quants
from safetensors.numpy import save_file

T = 40


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.keys = {k.split(".", 1)[1]: f.contents() for k, f in reader.fields.items() if "." in k}
        self.halves = self["architecture"].startswith("qwen")
        self.w = {t.name: quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}

    def __getitem__(self, key):
        return self.keys[key]

    def norm(self, x, name, eps=None):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + (eps or self["attention.layer_norm_rms_epsilon"])) * self.w[name]

    def ffn(self, x, at, suffix="", expert=...):
        g, u, d = (self.w[f"{at}ffn_{n}{suffix}.weight"][expert] for n in ("gate", "up", "down"))
        h = x @ g.T
        return (h / (1 + np.exp(-h)) * (x @ u.T)) @ d.T

    def rope(self, x):
        """Pairs (2j, 2j+1), as GGUF orders them, in qwen2 and its like (j, j + dim/2); YaRN (Peng et al. 2023) where the
        file says so."""
        dim = self.keys.get("rope.dimension_count", x.shape[-1])
        j = np.arange(dim // 2)
        freq = self["rope.freq_base"] ** (-2.0 * j / dim)
        if self.keys.get("rope.scaling.type") == "yarn":
            original, base = self["rope.scaling.original_context_length"], self["rope.freq_base"]
            turn = lambda beta: dim * math.log(original / (beta * 2 * math.pi)) / (2 * math.log(base))
            lo, hi = max(math.floor(turn(32)), 0), min(math.ceil(turn(1)), dim - 1)
            ramp = np.clip((j - lo) / (hi - lo), 0, 1)
            freq = freq / self["rope.scaling.factor"] * ramp + freq * (1 - ramp)
        angle = np.arange(T)[:, None, None] * freq
        first, second = (slice(0, dim // 2), slice(dim // 2, dim)) if self.halves else (slice(0, dim, 2), slice(1, dim, 2))
        even, odd = x[..., first], x[..., second]
        y = np.empty_like(x)
        y[..., first] = even * np.cos(angle) - odd * np.sin(angle)
        y[..., second] = even * np.sin(angle) + odd * np.cos(angle)
        return y

    def attend(self, q, k, v, scale):
        """q, k (T, H, D), v (T, H, D'): causal."""
        s = np.einsum("thd,shd->hts", q, k) * scale
        s = np.where(np.tril(np.ones((T, T), bool)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        return np.einsum("hts,shd->thd", p / p.sum(-1, keepdims=True), v).reshape(T, -1)

    def gqa(self, x, at):
        heads, groups = self["attention.head_count"], self["attention.head_count_kv"]
        q, k, v = (
            (x @ self.w[f"{at}attn_{n}.weight"].T + self.w.get(f"{at}attn_{n}.bias", 0)).reshape(T, h, -1)
            for n, h in (("q", heads), ("k", groups), ("v", groups))
        )
        if f"{at}attn_q_norm.weight" in self.w:
            q, k = self.norm(q, f"{at}attn_q_norm.weight"), self.norm(k, f"{at}attn_k_norm.weight")
        k, v = (np.repeat(y, heads // groups, 1) for y in (self.rope(k), v))
        return self.attend(self.rope(q), k, v, q.shape[-1] ** -0.5)

    def mla(self, x, at):
        heads, rope, latent = self["attention.head_count"], self["rope.dimension_count"], self["attention.kv_lora_rank"]
        if f"{at}attn_q.weight" in self.w:
            q = x @ self.w[f"{at}attn_q.weight"].T
        else:
            q = self.norm(x @ self.w[f"{at}attn_q_a.weight"].T, f"{at}attn_q_a_norm.weight", 1e-6)
            q = q @ self.w[f"{at}attn_q_b.weight"].T
        q = q.reshape(T, heads, -1)
        kv = x @ self.w[f"{at}attn_kv_a_mqa.weight"].T
        c = self.norm(kv[:, :latent], f"{at}attn_kv_a_norm.weight", 1e-6)
        if f"{at}attn_kv_b.weight" in self.w:
            b = self.w[f"{at}attn_kv_b.weight"].reshape(heads, -1, latent)
            nope = q.shape[-1] - rope
            to_k, to_v = b[:, :nope], b[:, nope:]
        else:
            to_k, to_v = self.w[f"{at}attn_k_b.weight"].transpose(0, 2, 1), self.w[f"{at}attn_v_b.weight"]
        k, v = np.einsum("tr,hnr->thn", c, to_k), np.einsum("tr,hnr->thn", c, to_v)
        shared = np.repeat(self.rope(kv[:, None, latent:]), heads, 1)
        q = np.concatenate([q[..., :-rope], self.rope(q[..., -rope:])], -1)
        m = self["rope.scaling.yarn_log_multiplier"] * math.log(self["rope.scaling.factor"]) + 1
        return self.attend(q, np.concatenate([k, shared], -1), v, q.shape[-1] ** -0.5 * m * m)

    def moe(self, x, at):
        experts, used = self["expert_count"], self["expert_used_count"]
        groups, groups_used = self.keys.get("expert_group_count", 1), self.keys.get("expert_group_used_count", 1)
        qwen = self["architecture"] == "qwen3moe"  # always normalised, no shared expert
        z = x @ self.w[f"{at}ffn_gate_inp.weight"].T
        sigmoid = self.keys.get("expert_gating_func", 1) == 2
        score = 1 / (1 + np.exp(-z)) if sigmoid else np.exp(z) / np.exp(z).sum(-1, keepdims=True)
        choice = score + self.w[f"{at}exp_probs_b.bias"] if sigmoid else score
        y = np.zeros_like(x) if qwen else self.ffn(x, at, "_shexp")
        for t in range(T):
            by_group = choice[t].reshape(groups, -1)
            best = np.sort(by_group, -1)[:, -2 if sigmoid else -1 :].sum(-1)
            open_ = np.argsort(-best)[:groups_used]
            allowed = np.where(np.isin(np.arange(experts) // (experts // groups), open_), choice[t], -np.inf)
            chosen = np.argsort(-allowed)[:used]
            weight = score[t, chosen] / (score[t, chosen].sum() if qwen or self["expert_weights_norm"] else 1)
            for e, w in zip(chosen, weight * self.keys.get("expert_weights_scale", 1)):
                y[t] += w * self.ffn(x[t], at, "_exps", e)
        return y

    def logits(self):
        embed = self.w["token_embd.weight"]
        x = embed[np.arange(T) * 31 % len(embed)]
        for i in range(self["block_count"]):
            at = f"blk.{i}."
            attention = self.mla if "attention.kv_lora_rank" in self.keys else self.gqa
            x = x + attention(self.norm(x, f"{at}attn_norm.weight"), at) @ self.w[f"{at}attn_output.weight"].T
            h = self.norm(x, f"{at}ffn_norm.weight")
            x = x + (self.moe(h, at) if f"{at}ffn_gate_inp.weight" in self.w else self.ffn(h, at))
        return self.norm(x, "output_norm.weight") @ self.w.get("output.weight", embed).T


def main(folder):
    files = sorted(Path(folder).glob("*.gguf"))
    save_file({f.stem: Model(f).logits().astype(np.float32) for f in files}, Path(folder) / "expected.safetensors")


main(*sys.argv[1:])
