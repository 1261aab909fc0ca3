#!/usr/bin/env python3
"""divergence.py -- how far a quantised model is from itself in f32: the mean Kullback-Leibler divergence of its predictions, run by
Lisao and by llama.cpp from the same file, both as they run by default (int8 activations, a KV cache of 16 bits) and with a KV cache
of f32. Lisao's may be 1.1 times llama.cpp's and 0.001 nats more.

Models: SmolLM2, from its Q4_1 file dequantised (no larger one is at hand), on the windows of the reference data; and one of width
256, whose rows K types divide, trained here on the reference text (tests/peers/w256.yaml; some twenty minutes, once: it is kept in the
build folder; PEERS_W256 names another folder that has it).

    tests/peers/divergence.py [WORD...]     only models and types whose name holds the words; PEERS_WINDOWS: how many of 256 tokens (4)"""

import json
import lzma
import os
import sys
import tempfile
from pathlib import Path

import llama_cpp
import numpy as np

from common import LISAO, ROOT, SHARED, SMOLLM2, check, chosen, finish, lisao, note
from convert import llama_logits, log, log_softmax

WINDOWS = int(os.environ.get("PEERS_WINDOWS", 4))
TYPES = ["q8_0", "q6_k", "q5_k", "q5_1", "q5_0", "q4_k_m", "q4_k", "q4_1", "q4_0", "f16", "bf16"]
F32, F16 = 0, 1  # ggml's numbers of types


def predictions(path, windows, temp, *options):
    rows = []
    for ids in windows:
        (temp / "ids.json").write_text(json.dumps(ids))
        lisao("logits", path, "--ids-file", temp / "ids.json", *options, "-o", temp / "logits.npy")
        rows.append(log_softmax(np.load(temp / "logits.npy").astype(np.float64)))
    return rows


def theirs(path, windows, kv):
    return [log_softmax(llama_logits(path, ids, kv).astype(np.float64)) for ids in windows]


def divergence(exact, other):
    return float(np.mean([(np.exp(p) * (p - q)).sum(1).mean() for p, q in zip(exact, other)]))


def model(name, source, windows, temp):
    """Each type of one model; `source` is f32."""
    exact = predictions(source, windows, temp, "--act", "f32")
    for kind in TYPES:
        if not chosen(f"{name} {kind}"):
            continue
        path = temp / "model.gguf"
        lisao("convert", source, path, "--type", kind)
        ours = [divergence(exact, predictions(path, windows, temp, "--kv", kv)) for kv in ("bf16", "f32")]
        peer = [divergence(exact, theirs(path, windows, kv)) for kv in (F16, F32)]
        good = all(a <= 1.1 * b + 1e-3 for a, b in zip(ours, peer))
        check(good, f"{name} {kind}: {ours[0]:.5f} nats, llama.cpp {peer[0]:.5f}; with a KV cache of f32 {ours[1]:.5f} and {peer[1]:.5f}")
        path.unlink()


def smollm2(temp):
    name = "SmolLM2 (Q4_1 dequantised)"
    if not any(chosen(f"{name} {kind}") for kind in TYPES):
        return
    windows = SHARED / "smollm2/ppl.json"
    if not (SMOLLM2.exists() and windows.exists()):
        return note(f"{name}: the model or the reference data are not here")
    source = temp / "f32.gguf"
    lisao("convert", SMOLLM2, source, "--type", "f32")
    model(name, source, [w["ids"] for w in json.loads(windows.read_text())["windows"]][:WINDOWS], temp)


def text_of(temp):
    """Twelve megabytes of English documents of the reference text to train on, and half a megabyte to test on."""
    documents, size = [], 0
    with lzma.open(SHARED.parent / "data/pretrain.txt.xz", "rt", encoding="utf-8") as f:
        for document in f.read(120_000_000).split("<|endoftext|>\n")[:-1]:
            if sum(c < "\u0250" for c in document) > 0.97 * len(document) > 200:
                documents.append(document + "<|endoftext|>\n")
                size += len(document)
            if size > 12e6:
                break
    (temp / "train.txt").write_text("".join(documents[:-60]), encoding="utf-8")
    return "".join(documents[-60:])


def trained(temp):
    name = "width 256, trained"
    if not any(chosen(f"{name} {kind}") for kind in TYPES):
        return
    if not (SHARED.parent / "data/pretrain.txt.xz").exists():
        return note(f"{name}: the reference text is not here")
    held_out = text_of(temp)
    folder = Path(os.environ.get("PEERS_W256", Path(LISAO).resolve().parent / "peers-w256"))
    if not any(folder.rglob("config.json")):
        lisao("train", ROOT / "tests/peers/w256.yaml", "--set", f"data.train={temp / 'train.txt'}", "--set", f"checkpoint.folder={folder}")
    ids = json.loads(lisao("tokenize", folder, "--jsonl", stdin=(json.dumps({"text": held_out}) + "\n").encode()))["ids"]
    source = temp / "f32.gguf"
    lisao("convert", folder, source, "--type", "f32")
    model(name, source, [ids[256 * i : 256 * i + 256] for i in range(2 * WINDOWS)], temp)


def main():
    llama_cpp.llama_log_set(log, None)
    llama_cpp.llama_backend_init()
    for part in (smollm2, trained):
        with tempfile.TemporaryDirectory() as name:
            part(Path(name))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
