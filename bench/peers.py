"""peers.py -- Lisao beside llama.cpp on the same machine and in the same minutes, interleaved.

    bench/peers.sh [MODEL.gguf]      (makes a virtual environment with llama-cpp-python, built natively, and runs this)

Each round runs every row in turn: 512 tokens of prefill, then 128 tokens of greedy decode, on the same token ids. llama.cpp
is measured at its best: on the same file and on one of about its size in the format that it has its fastest kernels for (Q4_0,
made by its own quantiser and kept beside the model), with flash attention and without. The table names the format of the file
and of the activations in each row, and gives best and median of each and what Lisao's first row is in multiples of it.

--save FILE keeps what was measured, and a later call with the same FILE adds to it: so rounds fit into short quiet moments, and
--rounds 0 prints the table of them all.
"""
import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import llama_cpp as ll
import numpy as np

PREFILL, DECODE = 512, 128


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def model_open(path):
    p = ll.llama_model_default_params()
    return ll.llama_model_load_from_file(path.encode(), p)


def format_of(model):
    """The format of the file as llama.cpp names it: "llama 134M Q4_1" is Q4_1."""
    text = ctypes.create_string_buffer(128)
    ll.llama_model_desc(model, text, 128)
    return text.value.decode().split()[-1] if text.value else "?"


def requantised(path, name, ftype):
    """The model in another format, by llama.cpp's own quantiser; made once."""
    to = f"{path.removesuffix('.gguf')}.as-{name}.gguf"
    if not os.path.exists(to):
        p = ll.llama_model_quantize_default_params()
        p.ftype, p.allow_requantize = ftype, True
        if ll.llama_model_quantize(path.encode(), (to + ".part").encode(), ctypes.byref(p)) != 0:
            sys.exit(f"llama.cpp cannot make {to}")
        os.rename(to + ".part", to)
    return to


class Peer:
    """llama.cpp through its C interface: one context; KV in f16, as it chooses by default."""

    def __init__(self, model, threads, flash):
        self.model = model
        p = ll.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch = 2048, 512, 512
        p.n_threads = p.n_threads_batch = threads
        p.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.ctx = ll.llama_init_from_model(self.model, p)
        self.vocab = ll.llama_n_vocab(ll.llama_model_get_vocab(self.model))

    def decode(self, ids):
        tokens = (ll.llama_token * len(ids))(*ids)
        if ll.llama_decode(self.ctx, ll.llama_batch_get_one(tokens, len(ids))) != 0:
            sys.exit("llama_decode failed")
        ll.llama_synchronize(self.ctx)

    def argmax(self):
        logits = ll.llama_get_logits_ith(self.ctx, -1)
        return int(np.ctypeslib.as_array(logits, (self.vocab,)).argmax())

    def run(self, ids):
        ll.llama_memory_clear(ll.llama_get_memory(self.ctx), True)
        t0 = time.perf_counter()
        self.decode(ids)
        t1 = time.perf_counter()
        token = self.argmax()
        spent = 0.0
        for _ in range(DECODE):
            t = time.perf_counter()
            self.decode([token])
            spent += time.perf_counter() - t        # the peer's sampler is not counted
            token = self.argmax()
        return len(ids) / (t1 - t0), DECODE / spent


def ours(binary, model, ids, threads, act):
    out = subprocess.run([binary, "run", model, "--ids", ",".join(map(str, ids)), "--max-tokens", str(DECODE + 1),
                          "--temperature", "0", "--ignore-end", "--json", "--threads", str(threads), "--act", act],
                         check=True, capture_output=True, text=True).stdout
    r = json.loads(out)
    n = r["usage"]["completion_tokens"]
    return len(ids) / r["timings"]["prefill_ms"] * 1e3, (n - 1) / r["timings"]["decode_ms"] * 1e3


def rows_of(a):
    """What is measured: the text of each row and a function for one round of it. Lisao's a8 comes first."""
    quiet = ll.llama_log_callback(lambda level, text, data: None)
    ll.llama_log_set(quiet, ctypes.c_void_p(0))
    files = [model_open(a.model)]
    if not a.same_file:
        files.append(model_open(requantised(a.model, "Q4_0", ll.LLAMA_FTYPE_MOSTLY_Q4_0)))
    known = ll.llama_n_vocab(ll.llama_model_get_vocab(files[0])) - 100
    ids = [(i * 7919 + 13) % min(40000, known) + 100 for i in range(PREFILL)]
    rows = {}
    for threads in a.threads:
        for act, what in (("a8", "int8"), ("a16", "bf16")):
            name = f"{threads} threads | Lisao | {format_of(files[0])} | {what}"
            rows[name] = lambda act=act, n=threads: ours(a.lisao, a.model, ids, n, act)
        for model in files:
            for flash in (False, True):
                peer = Peer(model, threads, flash)
                size = ll.llama_model_size(model) / 1e6
                name = (f"{threads} threads | llama.cpp, flash attention {'on' if flash else 'off'} | "
                        f"{format_of(model)}, {size:.0f} MB | int8")
                rows[name] = lambda peer=peer: peer.run(ids)
    return rows, quiet


def table(results, commit, rounds):
    print(f"{commit}; llama-cpp-python {ll.__version__}; {cpu_name()}; {rounds} rounds, tokens/s, best / median; "
          "x: the median of Lisao's int8 row on as many threads, in multiples of this row's median\n")
    print(f"| threads | program | file | activations | prefill {PREFILL} | x | decode {DECODE} after it | x |")
    print("|---|---|---|---|---|---|---|---|")
    first = {}
    for name, pairs in results.items():
        threads, *rest = (s.strip() for s in name.split("|"))
        cells = []
        for k in range(2):
            v = [p[k] for p in pairs]
            median = statistics.median(v)
            base = first.setdefault((threads, k), median)
            cells += [f"{max(v):.0f} / {median:.0f}", f"{base / median:.2f}"]
        print("| " + " | ".join([threads.split()[0], *rest, *cells]) + " |")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--threads", type=int, nargs="+", default=[1, len(os.sched_getaffinity(0))])
    p.add_argument("--same-file", action="store_true", help="llama.cpp on this file only, not on one of Q4_0 too")
    p.add_argument("--save", help="a file that keeps what was measured, to be added to")
    a = p.parse_args()
    commit = subprocess.run([a.lisao, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    results = {}
    if a.save and os.path.exists(a.save):
        with open(a.save) as f:
            results = json.load(f)
    if a.rounds:
        rows, _keep = rows_of(a)
        for i in range(a.rounds + 1):               # the first round warms all up
            for name, measure in rows.items():
                r = measure()
                if i:
                    results.setdefault(name, []).append(r)
            if a.save and i:
                with open(a.save, "w") as f:
                    json.dump(results, f)
    if not results:
        sys.exit("nothing was measured yet")
    table(results, commit, min(len(v) for v in results.values()))


if __name__ == "__main__":
    main()
