#!/usr/bin/env python3
"""convert.py -- what `lisao convert` writes, read by gguf-py and run by llama.cpp.

1. Each golden model as a GGUF file: gguf-py finds every tensor of the Hugging Face folder under its name in llama.cpp, the same
   numbers; llama.cpp loads it, and its f32 logits are those of `lisao logits` to their noise.
2. Random models of width 256 in every type: gguf-py dequantises to the numbers that `lisao convert` to a folder gives; the squared
   error of each type is at most 1.05 times that of llama.cpp's own quantiser on the same numbers; llama.cpp runs each.

    tests/peers/convert.py [WORD...]     only models whose name holds the words"""

import ctypes
import glob
import json
import sys
import tempfile
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

from common import ROOT, check, chosen, finish, lisao, note

NOISE = 1e-4  # of f32 logits of the golden models, whose deviation is about 1
TYPES = ["q8_0", "q6_k", "q5_k", "q4_k", "q4_k_m", "q5_1", "q5_0", "q4_1", "q4_0", "bf16", "f16", "f32"]

# ---- the two programs -------------------------------------------------------------------------------------------------


@llama_cpp.llama_log_callback
def log(level, text, data):
    if level >= 4 and len(text) > 1:
        sys.stderr.write(text.decode())


def llama_logits(path, ids, kv=0):
    """kv: the type of its cache, f32 by default."""
    params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        return None
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = kv
    params.flash_attn_type = 0
    context = llama_cpp.llama_init_from_model(model, params)
    batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, i, 1, 1
        batch.seq_id[i][0] = 0
    assert llama_cpp.llama_decode(context, batch) == 0
    n = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    rows = [np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (n,)).copy() for i in range(len(ids))]
    llama_cpp.llama_free(context)
    llama_cpp.llama_model_free(model)
    return np.stack(rows)


def our_logits(path, ids, out):
    lisao("logits", path, "--act", "f32", "--ids", ",".join(map(str, ids)), "-o", out)
    return np.load(out)


def tensors_of_gguf(path):
    return {t.name: quants.dequantize(t.data, t.tensor_type).reshape([int(n) for n in t.shape[::-1]]) for t in gguf.GGUFReader(path).tensors}


def tensors_of_folder(path):
    """Without the package safetensors, which has no bfloat16 for numpy."""
    out = {}
    for file in sorted(Path(path).glob("*.safetensors")):
        if file.name in ("expected.safetensors", "train.safetensors"):
            continue
        data = file.read_bytes()
        n = int.from_bytes(data[:8], "little")
        for name, t in json.loads(data[8 : 8 + n]).items():
            if name == "__metadata__" or 0 in t["shape"]:
                continue
            raw = data[8 + n + t["data_offsets"][0] : 8 + n + t["data_offsets"][1]]
            if t["dtype"] == "BF16":
                x = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                x = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[t["dtype"]]).astype(np.float32)
            out[name] = x.reshape(t["shape"])
    return out


# ---- 1. names, layouts and logits --------------------------------------------------------------------------------------


def interleaved(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(w.shape)


def expected(folder):
    """The Hugging Face folder's tensors as llama.cpp names and lays them out, by gguf-py's own table of names."""
    config = json.loads((folder / "config.json").read_text())
    arch = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "qwen3_moe": "qwen3moe"}.get(config["model_type"], "deepseek2")
    number = next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch)
    layers, heads = config["num_hidden_layers"], config["num_attention_heads"]
    names = gguf.get_tensor_name_map(number, layers)
    out, experts = {}, {}
    for name, x in tensors_of_folder(folder).items():
        parts = name.split(".")
        if len(parts) > 2 and parts[1] == "layers" and int(parts[2]) >= layers:
            continue  # predicts further tokens
        if "experts" in parts and "shared_experts" not in parts:
            key = ".".join(parts[:5] + parts[6:])
            experts.setdefault(key, {})[int(parts[5])] = x
            continue
        if name.endswith("kv_b_proj.weight"):
            kv = x.reshape(heads, -1, x.shape[1])
            nope = config["qk_nope_head_dim"]
            block = f"blk.{parts[2]}."
            out[block + "attn_k_b.weight"] = kv[:, :nope].swapaxes(1, 2)
            out[block + "attn_v_b.weight"] = kv[:, nope:]
            continue
        if arch == "llama" and name.endswith("q_proj.weight"):
            x = interleaved(x, heads)
        if arch == "llama" and name.endswith("k_proj.weight"):
            x = interleaved(x, config.get("num_key_value_heads") or heads)
        if name.endswith("e_score_correction_bias"):
            out[f"blk.{parts[2]}.exp_probs_b.bias"] = x
            continue
        out[names.get_name(name, try_suffixes=(".weight", ".bias"))] = x
    for key, by_number in experts.items():
        x = np.stack([by_number[i] for i in range(len(by_number))])
        out[names.get_name(key, try_suffixes=(".weight",))] = x
    if config.get("tie_word_embeddings"):
        out.pop("output.weight", None)
    return out


def golden(folder, temp):
    path = temp / "model.gguf"
    if "unshared" in folder.name:
        return note(f"{folder.name}: llama.cpp's deepseek2 loads no model without shared experts")
    lisao("convert", folder, path)
    got, want = tensors_of_gguf(path), expected(folder)
    frequencies = got.pop("rope_freqs.weight", None)
    same = got.keys() == want.keys() and all(np.array_equal(got[n], want[n]) for n in want)
    check(same, f"{folder.name}: {len(want)} tensors, as gguf-py names and reads them")
    if not same:
        print("    ", sorted(got.keys() ^ want.keys())[:6], [n for n in want if n in got and not np.array_equal(got[n], want[n])][:6])
    vocabulary = next(iter(want[n] for n in want if n == "token_embd.weight")).shape[0]
    ids = [int(i) for i in np.random.default_rng(0).integers(2, vocabulary, 24)]
    theirs, ours = llama_logits(path, ids), our_logits(folder, ids, temp / "logits.npy")
    if theirs is None:
        return check(False, f"{folder.name}: llama.cpp does not load it")
    if "groups" in folder.name:  # group_limited_greedy takes a group's best expert, llama.cpp its two best, whatever the router
        return note(f"{folder.name}: llama.cpp's logits differ by {np.abs(theirs - ours).max():.1e}, it chooses other groups")
    # llama.cpp rounds activations to bf16 where weights are.
    most = 0.1 if "bf16" in folder.name else NOISE
    error = np.abs(theirs - ours).max()
    best = np.sort(ours, axis=1)
    other = ((best[:, -1] - best[:, -2] > 10 * most) & (ours.argmax(1) != theirs.argmax(1))).sum()  # greedy choices
    check(error < most and not other, f"{folder.name}: llama.cpp's logits, error {error:.1e}" + (" (with rope_freqs)" if frequencies is not None else ""))


# ---- 2. types ----------------------------------------------------------------------------------------------------------

SHAPES = {
    "llama": dict(model_type="llama", num_key_value_heads=2, rope_theta=10000.0),
    "qwen2": dict(model_type="qwen2", num_key_value_heads=2, rope_theta=1e6),
    "qwen3": dict(model_type="qwen3", num_key_value_heads=2, head_dim=64, rope_theta=1e6),
    "qwen3moe": dict(
        model_type="qwen3_moe", num_key_value_heads=2, head_dim=64, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=256,
        norm_topk_prob=True, rope_theta=1e6,
    ),
    "glm4": dict(
        model_type="glm4_moe_lite", q_lora_rank=256, kv_lora_rank=256, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, n_routed_experts=8,
        num_experts_per_tok=3, n_shared_experts=1, moe_intermediate_size=256, first_k_dense_replace=1, routed_scaling_factor=1.8, n_group=1,
        topk_group=1, norm_topk_prob=True, rope_theta=1e6,
    ),
    "deepseek2": dict(
        model_type="deepseek_v2", q_lora_rank=256, kv_lora_rank=256, qk_nope_head_dim=64, qk_rope_head_dim=32, v_head_dim=64, n_routed_experts=8,
        num_experts_per_tok=3, n_shared_experts=2, moe_intermediate_size=256, first_k_dense_replace=1, rope_theta=10000.0,
    ),
}
COMMON = dict(
    hidden_size=256, intermediate_size=512, num_hidden_layers=3, num_attention_heads=4, rms_norm_eps=1e-5, max_position_embeddings=512,
    vocab_size=512, tie_word_embeddings=False, bos_token_id=0, eos_token_id=1,
)


def their_quantiser():
    base = glob.glob(str(Path(llama_cpp.__file__).parent / "lib/libggml-base.so*"))[0]
    call = ctypes.CDLL(base).ggml_quantize_chunk
    call.restype = ctypes.c_size_t
    call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    return call


def quantised(call, x, kind):
    if kind == Type.F16:
        return x.astype(np.float16).astype(np.float32)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    x = np.ascontiguousarray(x, np.float32)
    out = np.zeros(x.size // block * size, np.uint8)
    call(int(kind), x.ctypes.data, out.ctypes.data, 0, x.size // x.shape[-1], x.shape[-1], None)
    return quants.dequantize(out, kind).reshape(x.shape)


def log_softmax(x):
    x = x - x.max(1, keepdims=True)
    return x - np.log(np.exp(x).sum(1, keepdims=True))


def types(arch, temp, errors):
    call = their_quantiser()
    config = temp / "config.json"
    config.write_text(json.dumps(COMMON | SHAPES[arch]))
    exact = temp / "exact.gguf"
    lisao("synth", config, exact, "--seed", 3, "--type", "f32")
    numbers = tensors_of_gguf(exact)
    ids = [int(i) for i in np.random.default_rng(1).integers(2, 500, 48)]
    want = log_softmax(our_logits(exact, ids, temp / "logits.npy").astype(np.float64))
    for name in TYPES:
        path, folder = temp / f"{name}.gguf", temp / f"{arch}-{name}"
        lisao("convert", exact, path, "--type", name)
        lisao("convert", path, folder)
        got, again = tensors_of_gguf(path), expected(folder)
        same = got.keys() == again.keys() and all(np.array_equal(got[n], again[n]) for n in got)
        check(same, f"{arch} {name}: gguf-py dequantises to the numbers that the folder has")
        for t in gguf.GGUFReader(path).tensors:
            if t.tensor_type in (Type.F32, Type.BF16, Type.F16):
                continue
            x = numbers[t.name]
            ours = float(((got[t.name] - x) ** 2).sum())
            theirs = float(((quantised(call, x, t.tensor_type) - x) ** 2).sum())
            sums = errors.setdefault(t.tensor_type.name, [0.0, 0.0, 0.0])
            for i, v in enumerate((ours, theirs, float((x**2).sum()))):
                sums[i] += v
        logits = llama_logits(path, ids)
        if logits is None:
            check(False, f"{arch} {name}: llama.cpp does not load it")
            continue
        theirs = log_softmax(logits.astype(np.float64))
        ours = log_softmax(our_logits(path, ids, temp / "logits.npy").astype(np.float64))
        kl = [float((np.exp(want) * (want - x)).sum(1).mean()) for x in (ours, theirs)]
        check(kl[0] <= 1.1 * kl[1] + 1e-3, f"{arch} {name}: KL to f32 {kl[0]:.5f} nats by lisao --act f32, {kl[1]:.5f} by llama.cpp on the same file")


def main():
    llama_cpp.llama_log_set(log, None)
    llama_cpp.llama_backend_init()
    with tempfile.TemporaryDirectory() as name:
        temp = Path(name)
        for folder in sorted((ROOT / "tests/golden/models").iterdir()):
            if (folder / "config.json").exists() and "dense-mini" not in folder.name and chosen(folder.name):  # llama.cpp has no dense layers there
                golden(folder, temp)
        errors = {}
        for arch in filter(chosen, SHAPES):
            types(arch, temp, errors)
        for name, (ours, theirs, sum2) in errors.items():
            check(ours <= 1.05 * theirs, f"{name}: relative squared error {ours / sum2:.3e}, llama.cpp's quantiser {theirs / sum2:.3e}, ratio {ours / theirs:.3f}")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
