"""train_peers.py -- whole training steps of Lisao beside PyTorch's CPU build, interleaved in one run.

    bench/train_peers.sh moe-s dense-twin gpt2-size [--rounds 3] [--threads 2] [--modes f32,f32-compiled,bf16,...]

For each shape of bench/recipes every round runs one block of steps of Lisao (bench/step) and then one of each mode of torch, on
batches of the same size: transformers' model of the same config (DeepseekV3 with grouped_mm experts, Llama, GPT-2), mean
cross-entropy, backward, clipping to 1, fused AdamW. Modes: f32 or bf16 (autocast over f32 weights), eager or compiled
(torch.compile; left out where it fails, saying so). The ids are random on both sides. Best and median tokens/s of all steps but
the first two of a block; x: Lisao's in multiples of the row's.

--llmc FOLDER adds llm.c's CPU program, built there by its own Makefile, with gpt2_124M.bin and its two token files in place (random
weights and ids will do): its steps are 4 rows of 64 tokens like those of gpt2-size.

--save FILE keeps what was measured, and a later call with the same FILE adds to it, so that rounds fit into short quiet moments;
--rounds 0 prints the table of them all.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time

FLOATS = ["routed_scaling_factor", "rms_norm_eps", "rope_theta"]  # transformers checks types
MODES = ["f32", "f32-compiled", "bf16", "bf16-compiled"]


def recipe_read(path):
    """The few keys of a recipe that are needed here: `section:` and `  key: value` lines."""
    sections, section = {}, None
    for line in open(path):
        line = line.split("#")[0].rstrip()
        if not line:
            continue
        key, value = (part.strip() for part in line.split(":", 1))
        if not line.startswith(" "):
            section = sections[key] = {}
        else:
            section[key] = value
    return sections


def number(text):
    return text == "true" if text in ("true", "false") else int(text)


def model_new(recipe, gpt2):
    import transformers as tf
    keys = dict(recipe["model"])
    family = keys.pop("family")
    keys = {k: float(v) if k in FLOATS else number(v) for k, v in keys.items()}
    if gpt2:
        config = tf.GPT2Config(vocab_size=keys["vocab_size"], n_positions=keys["max_position_embeddings"], n_embd=keys["hidden_size"],
                               n_layer=keys["num_hidden_layers"], n_head=keys["num_attention_heads"], resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
        return tf.GPT2LMHeadModel(config)
    if family == "llama":
        return tf.LlamaForCausalLM(tf.LlamaConfig(**keys))
    config = tf.DeepseekV3Config(**keys, num_key_value_heads=keys["num_attention_heads"], experts_implementation="grouped_mm")
    return tf.DeepseekV3ForCausalLM(config)


class Torch:
    """One mode of torch, ready to make steps."""

    def __init__(self, recipe, mode, gpt2):
        import torch
        self.torch, self.mode = torch, mode
        self.rows, self.length = int(recipe["batch"]["tokens"]) // int(recipe["batch"]["sequence"]), int(recipe["batch"]["sequence"])
        torch.manual_seed(1)
        self.model = model_new(recipe, gpt2)
        self.model.train()
        self.vocab = self.model.config.vocab_size
        self.optim = torch.optim.AdamW(self.model.parameters(), lr=1e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        self.loss = torch.compile(self.loss_of) if mode.endswith("-compiled") else self.loss_of

    def loss_of(self, ids):
        with self.torch.autocast("cpu", dtype=self.torch.bfloat16, enabled=self.mode.startswith("bf16")):
            return self.model(input_ids=ids, labels=ids, use_cache=False).loss

    def step(self):
        ids = self.torch.randint(0, self.vocab, (self.rows, self.length))
        start = time.perf_counter()
        self.loss(ids).backward()
        self.torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optim.step()
        self.optim.zero_grad(set_to_none=True)
        return self.rows * self.length / (time.perf_counter() - start)


def lisao_block(path, threads, steps):
    """Best and median tokens/s of a block, and what else bench/step prints, as {what: value}."""
    out = subprocess.run(["build/bench/step", path, str(threads), str(steps)], capture_output=True, text=True, check=True).stdout
    return {row[4]: float(row[6]) for row in (line.split(",") for line in out.splitlines()) if len(row) == 8}


def llmc_block(folder, threads, steps):
    """tokens/s of the first `steps` steps of llm.c's program after two, then the program is ended."""
    env = dict(os.environ, OMP_NUM_THREADS=str(threads))
    with subprocess.Popen(["stdbuf", "-oL", "./train_gpt2"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as program:
        speeds = []
        for line in program.stdout:
            took = re.search(r"took ([0-9.]+) ms", line)
            speeds += [4 * 64 / (float(took[1]) / 1000)] if took else []
            if len(speeds) == steps + 2:
                break
        program.kill()
    return speeds[2:]


def measure(shape, args, seen):
    path = f"bench/recipes/{shape}.yaml"
    recipe = recipe_read(path)
    torches = {}
    for round_ in range(args.rounds):
        rows = lisao_block(path, args.threads, 2 * args.steps)
        seen.setdefault(shape, {}).setdefault("Lisao a16", []).extend([rows["best"], rows["median"]])
        if args.llmc and shape == "gpt2-size":
            seen[shape].setdefault("llm.c (GPT-2)", []).extend(llmc_block(args.llmc, args.threads, args.steps))
        for mode in args.modes:
            for gpt2 in [False, True] if shape == "gpt2-size" else [False]:
                name = f"torch {mode}" + (" (GPT-2)" if gpt2 else "")
                if torches.get(name, 1) is None:
                    continue
                try:
                    if name not in torches:
                        torches[name] = Torch(recipe, mode, gpt2)
                        torches[name].step()
                    speeds = [torches[name].step() for _ in range(args.steps)]
                except Exception as e:  # a mode that this build of torch has not got
                    print(f"{shape}: {name} is left out: {type(e).__name__}: {str(e).splitlines()[0][:160]}", file=sys.stderr)
                    torches[name] = None
                    continue
                seen[shape].setdefault(name, []).extend(speeds)
                print(f"{shape} round {round_ + 1}: {name} {max(speeds):.0f}, Lisao {rows['best']:.0f}", file=sys.stderr, flush=True)


def table(seen):
    print("| shape | program | tokens/s best | median | x best | x median |\n|---|---|---|---|---|---|")
    for shape, programs in seen.items():
        ours = programs["Lisao a16"]
        for name, speeds in programs.items():
            best, median = max(speeds), statistics.median(speeds)
            print(f"| {shape} | {name} | {best:.0f} | {median:.0f} | {max(ours) / best:.2f} | {statistics.median(ours) / median:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="+", metavar="SHAPE", help="a name in bench/recipes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3, help="steps of a block")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", type=lambda text: text.split(",") if text else [], default=MODES)
    parser.add_argument("--llmc", metavar="FOLDER")
    parser.add_argument("--save", metavar="FILE")
    args = parser.parse_args()
    seen = json.load(open(args.save)) if args.save and os.path.exists(args.save) else {}
    if args.rounds and args.modes:
        import torch
        torch.set_num_threads(args.threads)
    for shape in args.shapes:
        measure(shape, args, seen)
        if args.save:
            json.dump(seen, open(args.save, "w"))
    table(seen)


main()
