"""peers.py -- Lisao beside llama.cpp on the same file, machine and minute, interleaved.

    bench/peers.sh [MODEL.gguf]      (makes a virtual environment with llama-cpp-python, built natively, and runs this)

Each round runs both programs in turn: 512 tokens of prefill, then 128 tokens of greedy decode, on the same token ids. The table gives
best and median of each and their ratio. Rows with commit and machine go to stdout as CSV with --csv.
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

PREFILL, DECODE = 512, 128


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


class Peer:
    """llama.cpp through its C interface: one context, flash attention and KV type as it chooses by default."""

    def __init__(self, path, threads):
        self.silent = ll.llama_log_callback(lambda level, text, data: None)
        ll.llama_log_set(self.silent, ctypes.c_void_p(0))
        self.model = ll.llama_model_load_from_file(path.encode(), ll.llama_model_default_params())
        p = ll.llama_context_default_params()
        p.n_ctx, p.n_batch, p.n_ubatch = 2048, 512, 512
        p.n_threads = p.n_threads_batch = threads
        self.ctx = ll.llama_init_from_model(self.model, p)
        self.vocab = ll.llama_n_vocab(ll.llama_model_get_vocab(self.model))

    def decode(self, ids):
        tokens = (ll.llama_token * len(ids))(*ids)
        if ll.llama_decode(self.ctx, ll.llama_batch_get_one(tokens, len(ids))) != 0:
            sys.exit("llama_decode failed")
        ll.llama_synchronize(self.ctx)

    def argmax(self):
        logits = ll.llama_get_logits_ith(self.ctx, -1)
        import numpy as np
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


def ours(binary, model, ids, threads):
    out = subprocess.run([binary, "run", model, "--ids", ",".join(map(str, ids)), "--max-tokens", str(DECODE + 1),
                          "--temperature", "0", "--ignore-end", "--json", "--threads", str(threads)],
                         check=True, capture_output=True, text=True).stdout
    r = json.loads(out)
    n = r["usage"]["completion_tokens"]
    return len(ids) / r["timings"]["prefill_ms"] * 1e3, (n - 1) / r["timings"]["decode_ms"] * 1e3


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--csv", action="store_true")
    a = p.parse_args()
    ids = [(i * 7919 + 13) % 40000 + 100 for i in range(PREFILL)]
    peer = Peer(a.model, a.threads)
    rows = {"lisao": [], "llama.cpp": []}
    for i in range(a.rounds + 1):               # the first round warms both up
        for name, r in (("lisao", ours(a.lisao, a.model, ids, a.threads)), ("llama.cpp", peer.run(ids))):
            if i:
                rows[name].append(r)
    commit = subprocess.run([a.lisao, "--version"], capture_output=True, text=True).stdout.split("\n")[0]
    print(f"{commit}; llama-cpp-python {ll.__version__}; {cpu_name()}, {a.threads} threads, {a.rounds} rounds, tokens/s")
    for k, what in enumerate((f"prefill {PREFILL}", f"decode {DECODE} after it")):
        v = {name: [r[k] for r in rs] for name, rs in rows.items()}
        best = {name: max(x) for name, x in v.items()}
        med = {name: statistics.median(x) for name, x in v.items()}
        pair = statistics.median(x / y for x, y in zip(v["lisao"], v["llama.cpp"]))
        print(f"{what:20s} best {best['lisao']:8.1f} / {best['llama.cpp']:8.1f} = {best['lisao'] / best['llama.cpp']:.2f}x   "
              f"median {med['lisao']:8.1f} / {med['llama.cpp']:8.1f} = {med['lisao'] / med['llama.cpp']:.2f}x   pairwise {pair:.2f}x")
        if a.csv:
            for name, x in v.items():
                print(f"csv,{commit},{cpu_name()},{a.threads},{name},{what},{max(x):.1f},{statistics.median(x):.1f},tokens/s")


if __name__ == "__main__":
    main()
