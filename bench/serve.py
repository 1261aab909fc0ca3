#!/usr/bin/env python3
"""serve.py -- what HTTP costs: streams of the service beside the engine alone, interleaved.

    bench/serve.py [--model MODEL] [--rounds 5] [--streams 32] [--prompt 64] [--tokens 200]

Rate: `lisao bench` continues so many sequences together; the service answers as many streams of the same shape, counted
from the first token of any to the end of all, by one client that only looks for their end. Demanded: at least 97 % of the
engine's. First token: the time from the request to its first event, of a prompt that nobody has seen, alone, less the
time in which `lisao bench` reads such a prompt. Demanded: at most 3 ms. Medians of the rounds; ends with 1 where it is
not so. Nothing else should run meanwhile."""
import argparse
import json
import statistics
import subprocess
import sys
import time

from streams import Process, ids_of, streams, vocabulary


def bench(a, prompt, tokens, rounds):
    return json.loads(subprocess.run([a.lisao, "bench", a.model, "--prompt", str(prompt), "--tokens", str(tokens), "--batch", str(a.streams), "--rounds",
                                      str(rounds), "--threads", str(a.threads), "--json"], check=True, capture_output=True, text=True).stdout)


def engine(a, prompt):
    """Tokens/s of all sequences together, and seconds until a prompt is read. A sequence goes on in a second round: where
    that is measured its length is, in the middle, what those of the service have in theirs."""
    some = a.tokens // 4
    rates = [bench(a, prompt + a.tokens // 2 - 3 * some // 2, some, 1)["batched"]["median"] for _ in range(3)]
    return statistics.median(rates), prompt / bench(a, prompt, 8, 3)["prefill"]["median"]


def service(a, server, vocab):
    """The same through HTTP, and the CPU time that the client took for it as a share of the time."""
    own, began = time.process_time(), time.perf_counter()
    found = streams(server.port, [ids_of(a.prompt, vocab) for _ in range(a.streams)], a.tokens)
    share = (time.process_time() - own) / (time.perf_counter() - began)
    tokens = sum(x.tokens for x in found)
    if tokens != a.streams * a.tokens:
        raise RuntimeError(f"{tokens} tokens came, not {a.streams * a.tokens}")
    rate = (tokens - a.streams) / (max(x.end for x in found) - min(x.first for x in found))
    first = [streams(server.port, [ids_of(a.prompt, vocab)], 2)[0].first for _ in range(5)]
    return rate, statistics.median(first), share


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--model", default="models/lisao-nano/lisao-nano.gguf")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--streams", type=int, default=32)
    p.add_argument("--prompt", type=int, default=64)
    p.add_argument("--tokens", type=int, default=200)
    p.add_argument("--threads", type=int, default=0, help="of the engine; 0: one for each CPU")
    a = p.parse_args()
    vocab, rows = vocabulary(a.lisao, a.model), []
    command = [a.lisao, "serve", a.model, "--port", "PORT", "--context", str(a.prompt + a.tokens), "--parallel", str(a.streams), "--threads",
               str(a.threads), "--log", "none"]
    with Process(command) as server:
        service(a, server, vocab)  # warms up
        for _ in range(a.rounds):
            rows.append((*engine(a, a.prompt), *service(a, server, vocab)))
            print("engine {:.0f} tokens/s, prompt in {:.2f} ms; HTTP {:.0f} tokens/s, first token after {:.2f} ms; the client took {:.1f} % of a CPU"
                  .format(rows[-1][0], 1e3 * rows[-1][1], rows[-1][2], 1e3 * rows[-1][3], 100 * rows[-1][4]), flush=True)
    share = statistics.median(r[2] / r[0] for r in rows)
    more = 1e3 * statistics.median(r[3] - r[1] for r in rows)
    demands = [(share >= 0.97, f"{a.streams} streams through HTTP have {100 * share:.1f} % of the engine's rate (at least 97)"),
               (more <= 3, f"the first token comes {more:.2f} ms later through HTTP (at most 3)")]
    for fine, what in demands:
        print(("ok - " if fine else "not ok - ") + what)
    sys.exit(0 if all(fine for fine, _ in demands) else 1)


if __name__ == "__main__":
    main()
