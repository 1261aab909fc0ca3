"""grpo_peers.py -- a step of GRPO beside TRL's, on the same model, prompts and settings, interleaved on this machine.

    PYTHON=python bench/grpo_peers.py RUN [--rounds 3] [--steps 2] [--prompts 32] [--samples 8] [--max-tokens 320]

RUN is a model trained here that solves some Countdown problems of three numbers sometimes. Lisao exports it as a Hugging Face
folder, and both train it further: so many problems a step with so many answers each at temperature 1, one update, AdamW with the
same rate, no penalty on divergence, token-level loss. TRL (PyPI trl, with transformers' generate) runs in f32 and in bf16; its
grouped experts are transformers' grouped_mm where it has them. A round is one block of steps of each. Tokens are those of the
answers, which differ in number from step to step: what is compared is answer tokens a second of whole steps (writing answers,
scoring, training). Prints best and median, and where the time of each goes.

--save FILE keeps what was measured; a later call with the same FILE adds to it.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from fractions import Fraction

NAME = "countdown:3:canonical"


def value(text):
    """The value of + - * / on whole numbers, by shunting; None for anything else."""
    tokens = re.findall(r"\d+|[-+*/()]", text)
    if "".join(tokens) != text.replace(" ", "") or not tokens:
        return None
    rank = {"+": 1, "-": 1, "*": 2, "/": 2}
    out, ops = [], []

    def apply():
        op, y, x = ops.pop(), out.pop(), out.pop()
        out.append(x + y if op == "+" else x - y if op == "-" else x * y if op == "*" else x / y)
    try:
        for t in tokens:
            if t.isdigit():
                out.append(Fraction(int(t)))
            elif t == "(":
                ops.append(t)
            elif t == ")":
                while ops[-1] != "(":
                    apply()
                ops.pop()
            else:
                while ops and ops[-1] != "(" and rank[ops[-1]] >= rank[t]:
                    apply()
                ops.append(t)
        while ops:
            apply()
        return out[0] if len(out) == 1 else None
    except (IndexError, ZeroDivisionError):
        return None


def right(prompt, completion):
    wanted = [int(x) for x in re.findall(r"\d+", prompt)]
    *numbers, target = wanted[:4]
    answer = completion.split("</think>")[-1].strip()
    used = sorted(int(x) for x in re.findall(r"\d+", answer))
    return float(used == sorted(numbers) and value(answer) == target)


# ---- Lisao ----

def lisao_block(run, args, folder, first):
    """(answer tokens, seconds, seconds of writing) of each step."""
    sets = [f"init_from={run}", "tokenizer=bytes", f"data.train=task:{NAME}", "batch.sequence=512", "batch.tokens=8192",
            f"optim.lr={args.lr}", "optim.schedule=constant", f"optim.steps={args.steps + 1}", "optim.weight_decay=0",
            f"grpo.prompts={args.prompts}", f"grpo.samples={args.samples}", f"grpo.max_tokens={args.max_tokens}", "grpo.rounds=1",
            f"checkpoint.folder={folder}", "checkpoint.every=0", f"seed={first}"]
    recipe = os.path.join(os.path.dirname(folder), "grpo.yaml")
    with open(recipe, "w") as f:
        f.write("objective: grpo\n")
    command = ["build/lisao", "train", recipe, "--threads", str(args.threads)]
    for s in sets:
        command += ["--set", s]
    subprocess.run(command, check=True, capture_output=True)
    rows = [json.loads(line) for line in open(folder + "/metrics.jsonl")]
    return [(r["answer_tokens"], r["seconds"], r["rollout_seconds"]) for r in rows if "reward" in r][1:]


# ---- TRL ----

def problems(n):
    """Canonical prompts of training problems, as `lisao eval --transcripts` writes them."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as f:
        subprocess.run(["build/lisao", "eval", ARGS.run, "--task", NAME, "--n", str(n), "--max-tokens", "1", "--transcripts", f.name],
                       check=True, capture_output=True)
        return [json.loads(line)["prompt"] for line in open(f.name)]


def trl_trainer(folder, args, bf16):
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, experts_implementation=args.experts)
    rows = [{"prompt": [{"role": "user", "content": p}]} for p in problems(4 * args.prompts)]
    counts, times = [], {"write": 0.0}

    def reward(prompts, completions, completion_ids, **kw):
        counts.append(sum(len(c) for c in completion_ids))
        return [right(p[0]["content"], c[0]["content"]) for p, c in zip(prompts, completions)]

    n = args.prompts * args.samples
    config = GRPOConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.micro or n, gradient_accumulation_steps=n // (args.micro or n),
                        num_generations=args.samples, max_completion_length=args.max_tokens, temperature=1.0, top_k=0, top_p=1.0,
                        learning_rate=args.lr, lr_scheduler_type="constant", beta=0.0, loss_type="dapo", scale_rewards=False,
                        max_steps=args.steps + 1, logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=bf16,
                        gradient_checkpointing=False, disable_dropout=True, optim="adamw_torch_fused", dataloader_num_workers=0)
    trainer = GRPOTrainer(model=model, reward_funcs=reward, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    steps, start = [], [0.0]
    inner = trainer._generate

    def generate(*a, **kw):
        at = time.perf_counter()
        out = inner(*a, **kw)
        times["write"] += time.perf_counter() - at
        return out
    trainer._generate = generate

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_step_begin(self, *a, **kw):
            start[0], times["write"] = time.perf_counter(), 0.0

        def on_step_end(self, *a, **kw):
            steps.append((counts[-1], time.perf_counter() - start[0], times["write"]))

    trainer.add_callback(Clock())
    return trainer, steps


def trl_block(folder, args, bf16):
    trainer, steps = trl_trainer(folder, args, bf16)
    trainer.train()
    return steps[1:]


# ---- together ----

def table(seen):
    print("| program | answer tokens/s best | median | x best | x median | share of writing | seconds a step, median |\n|---|---|---|---|---|---|---|")
    speed = {name: [t / s for t, s, _ in rows] for name, rows in seen.items()}
    ours = speed["Lisao"]
    for name, rows in seen.items():
        print(f"| {name} | {max(speed[name]):.0f} | {statistics.median(speed[name]):.0f} | {max(ours) / max(speed[name]):.2f} | "
              f"{statistics.median(ours) / statistics.median(speed[name]):.2f} | {statistics.median(w / s for _, s, w in rows):.0%} | "
              f"{statistics.median(s for _, s, _ in rows):.2f} |")


def main():
    global ARGS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    for name, default in (("rounds", 3), ("steps", 2), ("prompts", 32), ("samples", 8), ("max-tokens", 320), ("threads", 2), ("micro", 0)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--experts", default="grouped_mm", help="of transformers: eager, grouped_mm, batched_mm")
    parser.add_argument("--modes", type=lambda text: text.split(","), default=["f32", "bf16"])
    parser.add_argument("--save", metavar="FILE")
    args = ARGS = parser.parse_args()
    seen = json.load(open(args.save)) if args.save and os.path.exists(args.save) else {}
    with tempfile.TemporaryDirectory() as scratch:
        model = scratch + "/hf"
        subprocess.run(["build/lisao", "export", args.run, "--hf", model, "--type", "f32"], check=True, capture_output=True)
        for round_ in range(args.rounds):
            seen.setdefault("Lisao", []).extend(lisao_block(args.run, args, f"{scratch}/run{round_}", round_ + 1))
            for mode in args.modes:
                seen.setdefault(f"TRL {mode}", []).extend(trl_block(model, args, mode == "bf16"))
            print(f"round {round_ + 1}: " + ", ".join(f"{k} {v[-1]}" for k, v in seen.items()), file=sys.stderr, flush=True)
            if args.save:
                json.dump(seen, open(args.save, "w"))
    table(seen)


main()
