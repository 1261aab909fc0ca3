#!/usr/bin/env python3
"""families.py -- Lisao beside transformers: models of every family with random weights and odd shapes, their logits under
f32 by `lisao logits` against transformers in float64. Prints for each shape the largest error and the floor, which is how
far transformers itself is from that in float32; more than ten times the floor is a failure, and so are another greedy choice
where the best two are further apart than that, and other logits from the other spelling of the configuration. One shape of each
family is written by `lisao synth` and read by transformers, the others the other way round.

    tests/peers/families.py [WORD...]     only shapes whose name holds the words"""

import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers

from common import LISAO, ROOT, check, chosen, finish, lisao

sys.path.insert(0, str(ROOT / "tests/golden/models"))
import make  # noqa: E402  (it draws the models)
from make import YARN, rope  # noqa: E402

MOST = 10  # times the floor

# Width 96, three heads, ffn 352: nothing is a power of two. Vocabulary 50,257 where that is the point.
ODD = dict(hidden_size=96, intermediate_size=352, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3)
ONE_KV = dict(ODD, num_key_value_heads=1)
ODD_MLA = dict(ODD, q_lora_rank=40, kv_lora_rank=56, qk_nope_head_dim=20, qk_rope_head_dim=12, v_head_dim=28)
EXPERTS = dict(num_experts_per_tok=3, moe_intermediate_size=44)
LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)
WIDE = dict(vocab_size=50257)


def dense(n, layers=3):
    return dict(mlp_layer_types=["dense"] * n + ["sparse"] * (layers - n))


GQA_SHAPES = {
    "three heads, 50,257 words": ODD | WIDE | rope(),
    "one KV head": ONE_KV | rope(1e6),
    "head_dim of its own": ODD | dict(head_dim=20) | rope(1e6),
    "yarn": ONE_KV | rope(1e6, **YARN),
    "tied head": ONE_KV | dict(tie_word_embeddings=True) | rope(),
    "one token": ODD | dict(ids=1) | rope(),
    "300 tokens": ONE_KV | dict(ids=300, max_position_embeddings=512) | rope(),
}
MLA_SHAPES = {
    "three heads, 50,257 words": ODD_MLA | WIDE | rope(),
    "no q rank": ODD_MLA | dict(q_lora_rank=None) | rope(),
    "yarn": ODD_MLA | rope(**YARN, mscale=1.0, mscale_all_dim=1.0),
    "one token": ODD_MLA | dict(ids=1) | rope(),
    "300 tokens": ODD_MLA | dict(ids=300, max_position_embeddings=512) | rope(),
    "no shared expert": ODD_MLA | dict(n_shared_experts=0) | rope(),
}


def with_all(shapes, keys):
    return {name: shape | keys for name, shape in shapes.items()}


def routed(prefix_keys):
    """Experts that do not divide into anything, and as many dense layers as 0 and 2."""
    return {"5 experts top-3": prefix_keys(0), "first 2 dense": prefix_keys(2)}


V2, V3 = with_all(MLA_SHAPES, EXPERTS), with_all(MLA_SHAPES, EXPERTS)
SHAPES = {
    "llama": with_all(GQA_SHAPES, {}) | {"llama3 scaling": ONE_KV | dict(head_dim=16) | rope(5e5, **LLAMA3)},
    "qwen2": GQA_SHAPES,
    "qwen3": {n: dict(head_dim=32) | s for n, s in GQA_SHAPES.items()},
    "qwen3_moe": {n: dict(head_dim=32) | EXPERTS | s for n, s in GQA_SHAPES.items()}
    | routed(lambda n: ODD | EXPERTS | dict(head_dim=20, mlp_only_layers=list(range(n))) | rope(1e6))
    | {"not normalised": ODD | EXPERTS | dict(head_dim=32, norm_topk_prob=False) | rope()},
    "deepseek_v2": V2 | routed(lambda n: ODD_MLA | EXPERTS | dict(n_routed_experts=5, first_k_dense_replace=n) | rope())
    | {"groups": ODD_MLA | EXPERTS | dict(topk_method="group_limited_greedy", n_routed_experts=12, n_group=4, topk_group=2,
                                         routed_scaling_factor=16.0) | rope()},
    "deepseek_v3": V3 | routed(lambda n: ODD_MLA | EXPERTS | dict(n_routed_experts=5, first_k_dense_replace=n) | rope())
    | {"groups": ODD_MLA | EXPERTS | dict(n_routed_experts=12, n_group=4, topk_group=2) | rope()},
    "glm4_moe_lite": with_all(MLA_SHAPES, EXPERTS | dense(1))
    | routed(lambda n: ODD_MLA | EXPERTS | dict(n_routed_experts=5) | dense(n) | rope(1e6)),
}

# Written by `lisao synth` instead.
SYNTH = {"llama": "one KV head", "qwen2": "head_dim of its own", "qwen3": "one KV head", "qwen3_moe": "5 experts top-3", "deepseek_v2": "first 2 dense",
         "deepseek_v3": "groups", "glm4_moe_lite": "5 experts top-3"}


def logits(folder, ids, *options):
    """What `lisao logits` writes of a folder."""
    out = folder / "logits.npy"
    (folder / "ids.json").write_text(json.dumps(ids))
    command = [LISAO, "logits", folder, "--ids-file", folder / "ids.json", "--act", "f32", *options, "-o", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{folder.name}: {done.stderr.strip()}")
    return np.load(out)


def drawn(config, seed, folder):
    """Weights of transformers' making, which it saves."""
    model = make.model_of(config, seed)
    model.save_pretrained(folder)
    return model, []


def synthesised(config, seed, folder):
    """Weights of Lisao's making, which transformers reads."""
    config.to_json_file(folder / "shape.json", use_diff=False)
    out = folder / f"synth-{seed}"
    lisao("synth", folder / "shape.json", out, "--seed", seed, "--type", "f32", "--format", "hf")
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
        out, output_loading_info=True, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")
    for file in out.iterdir():
        file.replace(folder / file.name)
    return model.eval(), [f"{kind}: {sorted(names)[:3]}" for kind, names in said.items() if names]


def greedy_differ(exact, floor, ours):
    """At how many places another token is the likeliest though the best two are further apart than ten times the floor."""
    best = np.sort(exact, axis=1)
    clear = best[:, -1] - best[:, -2] > 10 * floor
    return int((clear & (exact.argmax(1) != ours.argmax(1))).sum())


def compare(family, changes, make_model, folder):
    """The largest error, the floor, and what else is wrong."""
    changes = dict(changes)
    n = changes.pop("ids", 24)
    for seed in range(1, 200):
        config = make.config_of(family, changes)
        model, wrong = make_model(config, seed, folder)
        twin = make.in_double(config, model)
        ids = make.tokens(seed, n, config.vocab_size)
        exact, _, choices = make.run(twin, ids, True)
        if make.gap(twin, choices) > make.GAP / (10 if n > 100 or make_model == synthesised else 1):
            break
    single = make.run(model, ids, False)[0]
    exact = exact.numpy()
    floor = np.abs(exact - single.numpy()).max()
    forms = ("absorbed", "expanded") if hasattr(config, "kv_lora_rank") else (None,)
    results = {f: logits(folder, ids, *(("--mla", f) if f else ())) for f in forms}
    error = max(np.abs(r - exact).max() for r in results.values())
    if not error <= MOST * floor:
        wrong.append(f"more than {MOST} times the floor")
    if any(greedy_differ(exact, floor, r) for r in results.values()):
        wrong.append("other greedy choices")
    written = json.loads((folder / "config.json").read_text())
    older = make.release(written) if "rope_parameters" in written else written
    if older.get("first_k_dense_replace", 1) == 1 or "mlp_layer_types" not in written:
        make.write_json(folder / "config.json", older)
        again = logits(folder, ids, *(("--mla", forms[0]) if forms[0] else ()))
        if again.tobytes() != results[forms[0]].tobytes():
            wrong.append("the older spelling of the configuration gives other logits")
    return error, floor, wrong


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(2)
    cases = [(family, name, changes, drawn) for family, shapes in SHAPES.items() for name, changes in shapes.items()]
    cases += [(family, f"lisao synth, {name}", SHAPES[family][name], synthesised) for family, name in SYNTH.items()]
    for family, name, changes, make_model in cases:
        if not chosen(f"{family}, {name}"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            error, floor, wrong = compare(family, changes, make_model, Path(folder))
        said = "".join(f"; {w}" for w in wrong)
        check(not wrong, f"{family}, {name}: largest error {error:.1e}, floor {floor:.1e}, ratio {error / floor:.2f}{said}")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
