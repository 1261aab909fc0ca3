#!/usr/bin/env python3
"""training.py -- the trainer beside PyTorch, and what it makes in other programs.

1. 200 steps of a small DeepSeek-V3 from weights of transformers' making: transformers' own model under torch's AdamW, its batches made
   anew here from the text, as docs/training.md says. The loss of each step may differ by 1e-3. And with the routers' biases moved by
   the loads, where it may differ by 1e-2: where two experts are as good as equal for one token the two programs may choose
   differently, and a load that is one more or less can turn the sign by which a bias moves.
2. Models that Lisao trained (recipes/tiny-en.yaml and demo.yaml, shortened), exported to a Hugging Face folder and to GGUF: logits of
   transformers and of llama.cpp, ids of Hugging Face's tokenizers and of llama.cpp, bits per byte of transformers.
3. Fine-tuning: the loss and the gradient's norm of a step on conversations, with transformers' rendering of their chat template for the
   tokens, and torch for the numbers. Each turn of an assistant is a sequence of its own there, with all that stands before it.

    tests/peers/training.py [WORD...]     only cases whose name holds the words; PEERS_STEPS: how many of 200 steps; PEERS_STRINGS: how
                                          many strings are encoded (10,000)"""

import json
import math
import os
import sys
import tempfile
import warnings
from pathlib import Path

import llama_cpp
import numpy as np
import torch
import transformers
from torch.nn.functional import cross_entropy

from common import ROOT, ask, check, chosen, finish, lisao
from convert import llama_logits, log
from strings import Strings
from tokenizer import LlamaVocab

sys.path.insert(0, str(ROOT / "tests/golden/models"))
import make  # noqa: E402  (it makes the configurations)

STEPS = int(os.environ.get("PEERS_STEPS", 200))
STRINGS = int(os.environ.get("PEERS_STRINGS", 10000))
LOGITS = 1e-4  # how far f32 logits may be, whose deviation is some units
END = "<|endoftext|>"

# ---- 1. the batches ---------------------------------------------------------------------------------------------------

SEQUENCE, TOKENS, MICRO, SEED = 64, 1024, 512, 5


def paragraphs(most=400_000):
    """Documents of many lengths: the paragraphs of this repository's documents."""
    found = []
    for path in sorted(ROOT.glob("docs/*.md")) + sorted(ROOT.glob("*.md")):
        found += [p.strip("\n") for p in path.read_text(encoding="utf-8").split("\n\n")]
    found = [p for p in found if p and END not in p]
    while sum(map(len, found)) > most:
        found.pop()
    return found


def text_file(path, documents):
    path.write_text("".join(f"{d}\n{END}\n" for d in documents), encoding="utf-8", newline="")
    return path


def philox(key, position, stream):
    """Philox4x32-10."""
    c, k = [position & 0xFFFFFFFF, position >> 32, stream, 0], [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def shuffled(n, seed, stream):
    v = list(range(n))
    for i in range(n - 1, 0, -1):
        x = philox(seed ^ int.from_bytes(b"loader", "big"), i, stream)
        j = (x[0] << 32 | x[1]) % (i + 1)
        v[i], v[j] = v[j], v[i]
    return v


def epoch_rows(pieces, seed, epoch):
    """Best fit, longest first: each piece goes into the fullest row that has room for it, of several the newest; a row with
    SEQUENCE / 16 pieces is full."""
    order = sorted(shuffled(len(pieces), seed, 2 * epoch), key=lambda i: -len(pieces[i][0]))
    rows, room = [], [[] for _ in range(SEQUENCE + 1)]
    for i in order:
        n = len(pieces[i][0])
        left = next((k for k in range(n, SEQUENCE) if room[k]), SEQUENCE)
        if left < SEQUENCE:
            r = room[left].pop()
        else:
            r = len(rows)
            rows.append([])
        rows[r].append(i)
        if left > n and len(rows[r]) < SEQUENCE // 16:
            room[left - n].append(r)
    return [rows[r] for r in shuffled(len(rows), seed, 2 * epoch + 1)]


def batches(documents):
    """The pieces (inputs, targets) of step after step, under the tokenizer `bytes`, whose first six tokens are special."""
    pieces, rows, epoch = [], [], 0
    for d in documents:
        ids = [6 + b for b in d.encode()] + [0]
        pieces += [(ids[i : i + SEQUENCE][: len(ids) - 1 - i], ids[i + 1 : i + 1 + SEQUENCE]) for i in range(0, len(ids) - 1, SEQUENCE)]
    while True:
        while len(rows) < TOKENS // SEQUENCE:
            rows += epoch_rows(pieces, SEED, epoch)
            epoch += 1
        yield [pieces[i] for row in rows[: TOKENS // SEQUENCE] for i in row]
        rows = rows[TOKENS // SEQUENCE :]


# ---- 1. the two trainers ----------------------------------------------------------------------------------------------

SHAPE = dict(
    vocab_size=262, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, q_lora_rank=24,
    kv_lora_rank=32, qk_nope_head_dim=16, qk_rope_head_dim=8, v_head_dim=16, n_routed_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
    first_k_dense_replace=1, routed_scaling_factor=1.0, norm_topk_prob=True, max_position_embeddings=128,
)
# At six times this rate torch is no longer near itself: with the pieces of a step in another order its losses differ by up to 1e-2.
LR, LR_MIN, WARMUP, BETAS, DECAY, CLIP = 5e-4, 5e-5, 20, (0.9, 0.95), 0.1, 1.0


def rate_at(step):
    if step <= WARMUP:
        return LR * step / WARMUP
    return LR_MIN + (LR - LR_MIN) * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP)))


class Routers:
    """What the experts of each layer had to do in a step, seen at the gates, and the biases that follow it by the sign rule."""

    def __init__(self, model):
        self.gates = [layer.mlp.gate for layer in model.model.layers if hasattr(layer.mlp, "gate")]
        self.real = None  # the places of the batch that are no padding
        for gate in self.gates:
            gate.register_forward_hook(self.count)
            gate.load = torch.zeros(SHAPE["n_routed_experts"])

    def count(self, gate, inputs, output):
        with torch.no_grad():
            scores = torch.nn.functional.linear(inputs[0].reshape(-1, SHAPE["hidden_size"]), gate.weight).sigmoid() + gate.e_score_correction_bias
            chosen = scores[self.real].topk(SHAPE["num_experts_per_tok"], sorted=False).indices
            gate.load += torch.bincount(chosen.flatten(), minlength=SHAPE["n_routed_experts"])

    def move(self, rate):
        for gate in self.gates:
            gate.e_score_correction_bias += rate * torch.sign(gate.load.mean() - gate.load)
            gate.load.zero_()


def padded(rows, fill):
    out = torch.full((len(rows), max(map(len, rows))), fill)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.tensor(row)
    return out


def their_run(model, documents, balance):
    """The losses of the steps. Each piece is a sequence of its own; what follows it, padding, no token of it sees."""
    routers, losses = Routers(model), []
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    adam = torch.optim.AdamW([dict(params=matrices, weight_decay=DECAY), dict(params=vectors, weight_decay=0.0)], betas=BETAS, eps=1e-8)
    source = batches(documents)
    for step in range(1, STEPS + 1):
        pieces = next(source)
        x, y = padded([p[0] for p in pieces], 0), padded([p[1] for p in pieces], -100)
        routers.real = (y != -100).flatten()
        logits = model(input_ids=x, use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), y.flatten())
        adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in adam.param_groups:
            group["lr"] = rate_at(step)
        adam.step()
        routers.move(balance)
        losses.append(loss.item())
    return losses


def our_run(temp, start, documents, balance):
    keys = {
        "init_from": start, "tokenizer": "bytes", "data.train": text_file(temp / "text.txt", documents), "data.cache": temp / "cache", "seed": SEED,
        "batch.sequence": SEQUENCE, "batch.tokens": TOKENS, "batch.micro": MICRO, "act": "f32", "optim.lr": LR, "optim.lr_min": LR_MIN, "optim.warmup": WARMUP,
        "optim.steps": STEPS, "optim.weight_decay": DECAY, "optim.clip": CLIP, "balance.rate": balance, "balance.decay": 0, "balance.sequence_loss": 0,
        "checkpoint.folder": temp / "run", "checkpoint.every": 0,
    }
    (temp / "recipe.yaml").write_text("seed: 1\n")
    lisao("train", temp / "recipe.yaml", *(word for k, v in keys.items() for word in ("--set", f"{k}={v}")))
    lines = map(json.loads, (temp / "run/metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


def weights_of(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager")


def same_losses(name, balance, most):
    if not chosen(name):
        return
    documents = paragraphs()
    with tempfile.TemporaryDirectory() as folder:
        temp = Path(folder)
        torch.manual_seed(1)
        config = make.config_of("deepseek_v3", SHAPE | make.rope())
        config._attn_implementation = config._experts_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config).float().train()
        model.save_pretrained(temp / "start")
        theirs, ours = their_run(model, documents, balance), our_run(temp, temp / "start", documents, balance)
        lisao("export", temp / "run", "--hf", temp / "end")
        trained = dict(weights_of(temp / "end").named_parameters())
        far = max((p - trained[n]).abs().max().item() for n, p in model.named_parameters())
    far_loss = [abs(a - b) for a, b in zip(ours, theirs)]
    good = len(ours) == STEPS and all(d <= most for d in far_loss)
    worst = int(np.argmax(far_loss))
    check(good, f"{name}: loss {ours[0]:.4f} to {ours[-1]:.4f}, torch's {theirs[0]:.4f} to {theirs[-1]:.4f}; in {len(ours)} steps the losses differ by at most "
                f"{far_loss[worst]:.1e} (step {worst + 1}), in the first 50 by {max(far_loss[:50]):.1e}; a weight at the end by {far:.1e}")


# ---- 2. what was trained, elsewhere -----------------------------------------------------------------------------------


def difference(a, b):
    """The largest, as a plain number."""
    return float(np.abs(a - b).max())


def our_logits(model, ids, temp):
    (temp / "ids.json").write_text(json.dumps(ids))
    lisao("logits", model, "--ids-file", temp / "ids.json", "--act", "f32", "-o", temp / "logits.npy")
    return np.load(temp / "logits.npy")


def their_logits(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()


def same_ids(name, model, peer, special):
    texts = Strings(name, special).many(STRINGS)
    ours = [answer.get("ids") for answer in ask([{"text": t} for t in texts], "tokenize", model, "--jsonl")]
    wrong = sum(a != b for a, b in zip(ours, peer(texts)))
    check(not wrong, f"{name}: {len(texts) - wrong} of {len(texts)} random strings have Lisao's ids")


def their_bits(model, tokenizer, text, context, stride):
    """`lisao eval`'s windows: every token is scored once, by the first window that has it."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    nll, scored, begin = 0.0, 1, 0
    while scored < len(ids):
        window = ids[begin : begin + context + 1]
        logits = torch.from_numpy(their_logits(model, window[:-1])).double()
        logprob = torch.log_softmax(logits, 1)[torch.arange(len(window) - 1), torch.tensor(window[1:])]
        nll -= logprob[scored - begin - 1 :].sum().item()
        scored, begin = begin + len(window), begin + stride
    return nll / math.log(2) / (len(text.encode()) - len(tokenizer.decode(ids[:1]).encode()))


def exported(name, recipe, held_out, windows, most, *changes):
    """A model trained here for some steps; `held_out` is text that it did not learn, `windows` how much of it, in tokens."""
    if not chosen(name):
        return
    with tempfile.TemporaryDirectory() as folder:
        temp = Path(folder)
        text_file(temp / "text.txt", paragraphs(10_000_000)[:-60])
        sets = [f"checkpoint.folder={temp / 'run'}", f"data.cache={temp / 'cache'}", *(c.replace("TEXT", str(temp / "text.txt")) for c in changes)]
        lisao("train", recipe, *(word for s in sets for word in ("--set", s)))
        lisao("export", temp / "run", "--hf", temp / "hf", "--gguf", temp / "model.gguf")
        model, tokenizer = weights_of(temp / "hf").eval(), transformers.AutoTokenizer.from_pretrained(temp / "hf")
        ids = tokenizer.encode(held_out, add_special_tokens=False)[: sum(windows)]
        errors, largest, at = dict.fromkeys(("transformers", "llama.cpp"), 0.0), 0.0, 0
        for n in windows:
            part, at = ids[at : at + n], at + n
            ours = our_logits(temp / "run", part, temp)
            largest = max(largest, difference(ours, 0))
            errors["transformers"] = max(errors["transformers"], difference(ours, their_logits(model, part)))
            theirs = llama_logits(temp / "model.gguf", part)
            errors["llama.cpp"] = math.inf if theirs is None else max(errors["llama.cpp"], difference(ours, theirs))
        for peer, error in errors.items():
            check(error < LOGITS, f"{name}: logits of {peer} at {len(ids)} places, none above {largest:.1f}: largest difference {error:.1e}")
        special = [t for t in tokenizer.get_added_vocab()]
        same_ids(f"{name}: tokenizers", temp / "run", lambda texts: [e.ids for e in tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)], special)
        vocab = LlamaVocab(temp / "model.gguf")
        same_ids(f"{name}: llama.cpp", temp / "run", lambda texts: [vocab.encode(t) for t in texts], special)
        vocab.close()
        text = tokenizer.decode(ids)
        (temp / "held-out.txt").write_text(text, encoding="utf-8", newline="")
        scores = json.loads(lisao("eval", temp / "run", "--text", temp / "held-out.txt", "--context", most, "--stride", most // 2, "--act", "f32", "--json"))
        ours = (scores[0] if isinstance(scores, list) else scores)["bits_per_byte"]
        theirs = their_bits(model, tokenizer, text, most, most // 2)
        check(abs(ours - theirs) < 1e-3, f"{name}: {ours:.6f} bits per byte, transformers {theirs:.6f}, difference {abs(ours - theirs):.1e}")


# ---- 3. conversations -------------------------------------------------------------------------------------------------

CHATML = "{% for m in messages %}<｜User｜>{{ m.role + '\n' + m.content }}<｜end▁of▁sentence｜>\n{% endfor %}{% if add_generation_prompt %}<｜User｜>assistant\n{% endif %}"
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}]


def conversations():
    """Of one turn and of three, with thoughts and without, and some with a call."""
    words = [p[:80] for p in paragraphs()[:200]]
    for i in range(24):
        talk = [{"role": "system", "content": words[7 * i]}] if i % 4 == 0 else []
        for turn in range(1 + 2 * (i % 2)):
            said = words[7 * i + 2 * turn + 2]
            thought = f"<think>\n{words[3 * i + turn]}\n</think>\n\n" if (i + turn) % 3 == 0 else ""
            talk += [{"role": "user", "content": words[7 * i + 2 * turn + 1]}, {"role": "assistant", "content": thought + said}]
        yield {"messages": talk}


def with_call():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": [2, "3"]}}}
    talk = [{"role": "user", "content": "Add."}, {"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "6"}]
    return {"messages": talk + [{"role": "assistant", "content": "Six."}], "tools": TOOLS}


def seen(message):
    """A message as a template sees it that knows thoughts by themselves."""
    thought, close, rest = message["content"].partition("</think>")
    if not close:
        return message
    return message | {"content": rest.lstrip("\n"), "reasoning_content": thought.removeprefix("<think>").strip("\n")}


def turns(talk, tokenizer):
    """(ids, where the learned ones begin) for each turn of the assistant."""
    messages = [seen(m) for m in talk["messages"]]
    end = tokenizer.convert_tokens_to_ids("<｜end▁of▁sentence｜>")
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            ids = [tokenizer.apply_chat_template(messages[: i + k], tools=talk.get("tools"), add_generation_prompt=not k, return_dict=False) for k in (0, 1)]
            whole = ids[1][: len(ids[1]) - ids[1][::-1].index(end)]
            assert whole[: len(ids[0])] == ids[0]
            yield whole, len(ids[0])


def same_talks(name, template, talks):
    if not chosen(name):
        return
    with tempfile.TemporaryDirectory() as folder:
        temp, start = Path(folder), Path(folder) / "start"
        torch.manual_seed(2)
        text_file(temp / "text.txt", paragraphs(60_000))
        lisao("tokenizer", "train", temp / "text.txt", "--vocab", 600, "-o", start)
        shape = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=8192)
        config = make.config_of("llama", shape | dict(vocab_size=600) | make.rope())
        config._attn_implementation = "eager"
        model = transformers.AutoModelForCausalLM.from_config(config).float().train()
        model.save_pretrained(start)
        if template:
            settings = json.loads((start / "tokenizer_config.json").read_text())
            (start / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": template}))
        tokenizer = transformers.AutoTokenizer.from_pretrained(start)
        (temp / "talks.jsonl").write_text("".join(json.dumps(t) + "\n" for t in talks))
        nll, n = 0.0, 0
        for ids, begin in (turn for talk in talks for turn in turns(talk, tokenizer)):
            logits = model(input_ids=torch.tensor([ids[:-1]]), use_cache=False).logits[0, begin - 1 :]
            nll, n = nll + cross_entropy(logits, torch.tensor(ids[begin:]), reduction="sum"), n + len(ids) - begin
        (nll / n).backward()
        norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in model.parameters()))
        keys = {
            "init_from": start, "data.train": temp / "talks.jsonl", "data.cache": temp / "cache", "batch.sequence": 8192, "batch.tokens": 8192, "act": "f32",
            "optim.lr": LR, "optim.steps": 1, "checkpoint.folder": temp / "run", "checkpoint.every": 0,
        }
        (temp / "recipe.yaml").write_text("objective: sft\n")
        lisao("train", temp / "recipe.yaml", *(word for k, v in keys.items() for word in ("--set", f"{k}={v}")))
        ours = json.loads((temp / "run/metrics.jsonl").read_text().splitlines()[0])
    loss = nll.item() / n
    good = ours["targets"] == n and abs(ours["loss"] - loss) < 1e-5 and abs(ours["grad_norm"] / norm - 1) < 1e-4
    check(good, f"{name}: {len(talks)} conversations, {n} tokens learned, Lisao {ours['targets']}; loss {loss:.6f}, difference {abs(ours['loss'] - loss):.1e}; "
                f"gradient {norm:.5f}, difference {abs(ours['grad_norm'] - norm):.1e}")


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # small products: a second thread mostly waits
    llama_cpp.llama_log_set(log, None)
    llama_cpp.llama_backend_init()
    same_losses("the same losses as torch", 0.0, 1e-3)
    same_losses("the same losses as torch, experts kept in balance", 1e-3, 1e-2)
    held_out = "\n\n".join(paragraphs(10_000_000)[-60:])
    exported("tiny-en", "tiny-en", held_out, [200] * 10, 200, "data.train=TEXT", "optim.steps=40", "optim.warmup=10", "sample.every=0")
    sums = "".join(f"{a}+{7 * a % 1000}={8 * a % 1000} {a}-{a // 3}={a - a // 3}\n" for a in range(100, 1000, 17))
    exported("demo", "demo", sums, [60] * 20, 60, "optim.steps=100", "data.documents=3000")
    talks = list(conversations())
    same_talks("conversations whose thoughts are left out later", None, [*talks, with_call()])
    plain = [{"messages": [m | {"content": m["content"].rpartition("</think>\n\n")[2]} for m in t["messages"]]} for t in talks]
    same_talks("conversations that stay as they were", CHATML, plain)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
