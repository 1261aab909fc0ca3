#!/usr/bin/env python3
"""make.py [--gradients] [FOLDER] -- writes the models of tests/golden/models whose names end in -mini: random weights, a few thousand
numbers each, of the families and shapes that the other models leave out, with the answers of transformers in float64.
Needs torch and transformers 5.24 (`make test-peers` has both); tests/peers/families.py takes its models from here too.
Then their gradients, and those of llama3-tiny; with --gradients these alone, of the models that are there.

The weights are functions of seed and name alone. The seed goes up until no two experts between which a choice falls are
closer than GAP, so that float32 must choose the same."""

import contextlib
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

GAP = 1e-4

# The family's class, and what makes it small. Every model is one of these with some keys changed.
GQA = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1)
MLA = dict(hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=3,
           q_lora_rank=12, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=12)
ROUTED = dict(moe_intermediate_size=12, num_experts_per_tok=3)
FAMILIES = {
    "llama": ("Llama", GQA | dict(head_dim=8)),
    "qwen2": ("Qwen2", GQA),
    "qwen3": ("Qwen3", GQA | dict(head_dim=12)),
    "qwen3_moe": ("Qwen3Moe", GQA | ROUTED | dict(head_dim=12, num_experts=5, norm_topk_prob=True)),
    "deepseek_v2": ("DeepseekV2", MLA | ROUTED | dict(n_routed_experts=6, n_shared_experts=2, first_k_dense_replace=1,
                                                     topk_method="greedy", n_group=1, topk_group=1)),
    "deepseek_v3": ("DeepseekV3", MLA | ROUTED | dict(n_routed_experts=6, n_shared_experts=1, first_k_dense_replace=1,
                                                     n_group=1, topk_group=1)),
    "glm4_moe_lite": ("Glm4MoeLite", MLA | ROUTED | dict(n_routed_experts=5, n_shared_experts=1, rms_norm_eps=1e-5,
                                                         mlp_layer_types=["dense", "sparse"], n_group=1, topk_group=1)),
}
COMMON = dict(vocab_size=72, max_position_embeddings=128, bos_token_id=0, eos_token_id=1, pad_token_id=None)


def rope(theta=1e4, **scaling):
    return dict(rope_parameters=dict(rope_theta=theta, rope_type="default") | scaling)


YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=32.0, beta_slow=1.0)
GOLDEN = {
    "qwen2-mini": ("qwen2", dict(tie_word_embeddings=True) | rope(1e6)),
    "qwen2-yarn-mini": ("qwen2", dict(num_attention_heads=4, num_key_value_heads=2) | rope(1e6, **YARN)),
    "qwen3-mini": ("qwen3", rope(1e6)),
    "qwen3-moe-mini": ("qwen3_moe", rope(1e6)),
    "qwen3-moe-dense-mini": ("qwen3_moe", dict(mlp_only_layers=[0], norm_topk_prob=False) | rope(1e6)),
    "glm4-moe-lite-mini": ("glm4_moe_lite", rope(1e6)),
    "deepseek-v2-groups-mini": ("deepseek_v2", dict(topk_method="group_limited_greedy", n_group=3, topk_group=2,
                                                    routed_scaling_factor=16.0) | rope()),
    "deepseek-v3-unshared-mini": ("deepseek_v3", dict(n_shared_experts=0, n_routed_experts=5, first_k_dense_replace=0)
                                  | rope()),
    "moonlight-mini": ("deepseek_v3", dict(q_lora_rank=None, n_shared_experts=2, routed_scaling_factor=2.446) | rope(5e4)),
}


# ---- models -----------------------------------------------------------------------------------------------------


def config_of(family, changes):
    name, small = FAMILIES[family]
    keys = COMMON | small | changes
    return getattr(transformers, name + "Config")(**keys)


def fill(model, seed):
    """Norms about 1, biases about 0, matrices such that a product with a normed row has a deviation near 1."""
    for name, x in list(model.named_parameters()) + list(model.named_buffers()):
        if "inv_freq" in name:
            continue
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        x.data = torch.from_numpy(random.standard_normal(tuple(x.shape), dtype=np.float32))
        if x.dim() < 2:
            x.data = x.data * 0.1 + (1.0 if name.endswith("norm.weight") else 0.0)
        elif "embed_tokens" not in name:
            x.data *= max(x.shape[-1], 1) ** -0.5
    return model.eval()


def model_of(config, seed):
    with torch.no_grad():
        torch.set_default_dtype(torch.float32)
        config._attn_implementation = "eager"
        config._experts_implementation = "eager"
        return fill(transformers.AutoModelForCausalLM.from_config(config), seed)


@contextlib.contextmanager
def double():
    """In here every cast to float32 of the modelling code is one to float64."""
    kept = torch.float32, torch.float, torch.Tensor.float
    torch.float32 = torch.float = torch.float64
    torch.Tensor.float = torch.Tensor.double
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.float32, torch.float, torch.Tensor.float = kept
        torch.set_default_dtype(torch.float32)


def in_double(config, model):
    """The same model in float64."""
    with double():
        config = type(config)(**{k: v for k, v in config.to_dict().items() if k not in ("dtype", "model_type")})
        config._attn_implementation = "eager"
        config._experts_implementation = "eager"
        twin = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    values = dict(model.state_dict())
    with torch.no_grad():
        for name, x in twin.state_dict().items():
            x.copy_(values[name].double())
    return twin


def run(model, ids, doubled):
    """Logits (T, V); the embedding, what each layer leaves, and its norm (T, C) each; and of each layer with experts what
    its router returns: its logits (T, E), the weights and ids chosen (T, K)."""
    choices, states, hooks = {}, [], []
    def state(module, inputs, output):
        states.append((output[0] if isinstance(output, tuple) else output)[0])
    for part in (model.model.embed_tokens, *model.model.layers, model.model.norm):
        hooks.append(part.register_forward_hook(state))
    for i, layer in enumerate(model.model.layers):
        if hasattr(layer.mlp, "gate"):
            def keep(module, inputs, output, i=i):
                choices[i] = output
            hooks.append(layer.mlp.gate.register_forward_hook(keep))
    with torch.no_grad(), (double() if doubled else contextlib.nullcontext()):
        out = model(torch.tensor([ids]), use_cache=False)
    for h in hooks:
        h.remove()
    return out.logits[0], states, choices


def gap(model, choices):
    """The smallest distance between what is chosen and what is not, of experts and of groups."""
    least = np.inf
    for i, (z, _, index) in choices.items():
        gate = model.model.layers[i].mlp.gate
        bias = getattr(gate, "e_score_correction_bias", None)
        score = z.sigmoid() + bias if bias is not None else z.softmax(-1)
        groups, used = getattr(gate, "num_group", 1) or 1, getattr(gate, "topk_group", 1) or 1
        if groups > 1 and getattr(gate, "topk_method", "") != "greedy":
            g = score.view(score.shape[0], groups, -1)
            value, order = (g.topk(2, -1)[0].sum(-1) if bias is not None else g.max(-1)[0]).sort(-1, descending=True)
            if used < groups:
                least = min(least, (value[:, used - 1] - value[:, used]).min().item())
            score = torch.gather(g, 1, order[:, :used, None].expand(-1, -1, g.shape[-1])).flatten(1)
        k = index.shape[-1]
        best = score.sort(-1, descending=True)[0]
        if k < score.shape[-1]:
            least = min(least, (best[:, k - 1] - best[:, k]).min().item())
    return least


def tokens(seed, n, vocabulary):
    return np.random.default_rng([seed, 7]).integers(0, vocabulary, n).tolist()


# ---- files ------------------------------------------------------------------------------------------------------


def release(config):
    """The spelling of published repositories: rope_theta beside rope_scaling, other names of experts."""
    c = dict(config)
    rope = dict(c.pop("rope_parameters"))
    c["rope_theta"] = rope.pop("rope_theta")
    c["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    c["torch_dtype"] = c.pop("dtype", "float32")
    if c["model_type"] == "qwen3_moe":
        c["num_experts"] = c.pop("num_local_experts", None) or c["num_experts"]
    if "mlp_layer_types" in c:
        c["first_k_dense_replace"] = c.pop("mlp_layer_types").count("dense")
        c["topk_method"] = "noaux_tc"
    return c


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def golden(folder, name):
    family, changes = GOLDEN[name]
    for seed in range(1, 1000):
        config = config_of(family, changes)
        model = model_of(config, seed)
        twin = in_double(config, model)
        ids = [tokens(seed, n, config.vocab_size) for n in (40, 21)]
        exact = [run(twin, x, True) for x in ids]
        if min(gap(twin, e[2]) for e in exact) > GAP:
            break
    single = [run(model, x, False) for x in ids]
    expected, noise = {}, dict(logits=0.0, hidden=0.0)
    for s, (x, y) in enumerate(zip(exact, single)):
        expected[f"ids.{s}"] = np.array(ids[s], np.int32)
        expected[f"logits.{s}"] = x[0].numpy().astype(np.float32)
        noise["logits"] = max(noise["logits"], (x[0] - y[0]).abs().max().item())
    names = ["embed", *map(str, range(config.num_hidden_layers)), "norm"]
    for at, a, b in zip(names, exact[0][1], single[0][1]):
        expected[f"hidden.0.{at}"] = a.numpy().astype(np.float32)
        noise["hidden"] = max(noise["hidden"], (a - b).abs().max().item())
    for i, (_, weight, index) in exact[0][2].items():
        expected[f"router.0.{i}.topk_idx"] = index.numpy().astype(np.int32)
        expected[f"router.0.{i}.topk_weight"] = weight.numpy().astype(np.float32)
    at = Path(folder) / name
    model.save_pretrained(at)
    (at / "generation_config.json").unlink(missing_ok=True)
    write_json(at / "config.release.json", release(json.loads((at / "config.json").read_text())))
    count = sum(p.numel() for p in model.parameters())
    write_json(at / "expected.json", dict(seed=seed, ids=ids, parameters=count, noise_fp32_vs_fp64=noise,
                                          transformers=transformers.__version__, torch=torch.__version__))
    save_file({k: np.ascontiguousarray(v) for k, v in expected.items()}, at / "expected.safetensors")
    size = sum(f.stat().st_size for f in at.iterdir())
    print(f"{name}: seed {seed}, {count} numbers, noise {noise['logits']:.1e}, {size / 1e3:.0f} kB")


# ---- gradients --------------------------------------------------------------------------------------------------

TRAINING_GAP = 2e-5


def of_released_names(model):
    """Gradients by the names of the files, where experts stand one by one and gate and up apart."""
    for name, p in model.named_parameters():
        if not p.numel():
            continue
        g = (p.grad if p.grad is not None else torch.zeros_like(p)).detach()
        if ".mlp.experts." not in name:
            yield name, g
            continue
        at, kind = name.rsplit(".", 1)
        for e in range(g.shape[0]):
            if kind == "gate_up_proj":
                yield f"{at}.{e}.gate_proj.weight", g[e].chunk(2, 0)[0]
                yield f"{at}.{e}.up_proj.weight", g[e].chunk(2, 0)[1]
            else:
                yield f"{at}.{e}.{kind}.weight", g[e]


def loss_back(model, batch, doubled):
    """The mean cross-entropy over two rows, each by itself, and its gradients."""
    model.zero_grad()
    with (double() if doubled else contextlib.nullcontext()):
        z = model(torch.tensor(batch[:, :-1]), use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(z.flatten(0, 1), torch.tensor(batch[:, 1:]).flatten().long())
        loss.backward()
    return loss.item(), dict(of_released_names(model))


def gradients(folder, name):
    """train.safetensors of a model that is there: one batch, its loss, and all gradients."""
    at = Path(folder) / name
    model = transformers.AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32, attn_implementation="eager",
                                                             experts_implementation="eager").eval()
    twin = in_double(model.config, model)
    for seed in range(1, 1000):
        batch = np.array(tokens(seed, 66, model.config.vocab_size)).reshape(2, 33)
        if min(gap(twin, run(twin, row[:-1].tolist(), True)[2]) for row in batch) > TRAINING_GAP:
            break
    loss, exact = loss_back(twin, batch, True)
    _, single = loss_back(model, batch, False)
    noise = max((exact[k] - single[k]).abs().max().item() for k in exact)
    out = {"batch.0": batch.astype(np.int32), "loss": np.array(loss, np.float32)}
    out |= {f"grad.{k}": g.numpy().astype(np.float32) for k, g in exact.items()}
    save_file({k: np.ascontiguousarray(v) for k, v in out.items()}, at / "train.safetensors")
    print(f"{name}: seed {seed}, loss {loss:.4f}, noise of gradients {noise:.1e}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    only_gradients = "--gradients" in sys.argv[1:]
    where = [a for a in sys.argv[1:] if not a.startswith("-")] or [Path(__file__).parent]
    for model_name in GOLDEN:
        if not only_gradients:
            golden(where[0], model_name)
    for model_name in (*GOLDEN, "llama3-tiny"):
        gradients(where[0], model_name)
