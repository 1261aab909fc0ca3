#!/usr/bin/env python3
"""serve_peers.py -- `lisao serve` beside llama.cpp's server on the same file, interleaved.

    bench/serve_peers.py LLAMA_SERVER MODEL.gguf [--rounds 5] [--tokens 128] [--save FILE]

LLAMA_SERVER is the program llama-server. Each round asks both in turn for 1, 8 and 32 streams of prompts that nobody has
seen, and for 32 streams that share a system prompt of 2,000 tokens, new in each round and read by one request before
them: tokens/s of all together, from the first request to the last token, and the time until the first token (p50, p99
over all rounds). Prompts are token ids, answers greedy and of full length. Both have places for 32 sequences at full
length and as many threads as there are CPUs. Prints a table of medians; `x` is Lisao's rate in multiples of the other's.

--save keeps what was measured, and a later call adds to it: so rounds fit into short quiet moments."""
import argparse
import json
import os
import statistics
import time

from streams import Process, at, ids_of, streams, vocabulary

SHARED = 2000
CASES = [("1 stream", 1, 0), ("8 streams", 8, 0), ("32 streams", 32, 0), (f"32 streams, {SHARED:,} tokens shared", 32, SHARED)]


def measure(port, prompts, shared, tokens):
    if shared:
        streams(port, [shared + prompts[0][:1]], 1)
    began = time.perf_counter()
    found = streams(port, [shared + p for p in prompts], tokens)
    seconds = time.perf_counter() - began
    return {"rate": sum(x.tokens for x in found) / seconds, "first": [x.first for x in found]}


def table(results):
    print("| | server | tokens/s, best / median | x | first token, p50 / p99, s |\n|---|---|---|---|---|")
    for name, _, _ in CASES:
        if name not in results["Lisao"]:
            continue
        base = statistics.median(r["rate"] for r in results["Lisao"][name])
        for server, cases in results.items():
            rates, firsts = [r["rate"] for r in cases[name]], [t for r in cases[name] for t in r["first"]]
            print(f"| {name} | {server} | {max(rates):.0f} / {statistics.median(rates):.0f} | {base / statistics.median(rates):.2f} | "
                  f"{at(0.5, firsts):.3f} / {at(0.99, firsts):.3f} |")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("llama_server")
    p.add_argument("model")
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--prompt", type=int, default=64)
    p.add_argument("--tokens", type=int, default=128)
    p.add_argument("--save")
    p.add_argument("--no-shared", action="store_true", help="leave out the shared system prompt, for which a peer may take minutes")
    a = p.parse_args()
    vocab, threads = vocabulary(a.lisao, a.model), str(len(os.sched_getaffinity(0)))
    context = SHARED + a.prompt + a.tokens + 16
    ours = [a.lisao, "serve", a.model, "--port", "PORT", "--context", str(context), "--parallel", "32", "--threads", threads, "--log", "none"]
    peer = [a.llama_server, "-m", a.model, "--port", "PORT", "-c", str(32 * context), "-np", "32", "-t", threads, "-tb", threads,
            "--api-key", "key-of-this-measurement"]
    results = {"Lisao": {}, "llama-server": {}}
    if a.save and os.path.exists(a.save):
        with open(a.save) as f:
            results = json.load(f)
    with Process(ours) as one, Process(peer) as other:
        for port in (one.port, other.port):  # warms up
            measure(port, [ids_of(a.prompt, vocab) for _ in range(8)], [], a.tokens)
        for _ in range(a.rounds):
            for name, n, shared in CASES[:3] if a.no_shared else CASES:
                prompts, common = [ids_of(a.prompt, vocab) for _ in range(n)], ids_of(shared, vocab)
                for server, port in (("Lisao", one.port), ("llama-server", other.port)):
                    r = measure(port, prompts, common, a.tokens)
                    results[server].setdefault(name, []).append(r)
                    print(f"# {server}, {name}: {r['rate']:.0f} tokens/s", flush=True)
            if a.save:
                with open(a.save, "w") as f:
                    json.dump(results, f)
    table(results)


if __name__ == "__main__":
    main()
