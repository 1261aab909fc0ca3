#!/usr/bin/env python3
"""How often `lisao search` finds the right place in this project's documents.

    bench/search.py [LISAO]        (default: build/lisao)

bench/search.tsv has questions, each with the file and the heading (or any, where none is said) whose passages answer it, judged by
hand. Printed: how often such a passage is the first, among the first 3, among the first 5, and the mean of 1 / its rank (0 beyond 20).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

root = pathlib.Path(__file__).resolve().parent.parent
lisao = sys.argv[1] if len(sys.argv) > 1 else str(root / "build/lisao")


def rank(question, path, heading, data):
    out = subprocess.run([lisao, "search", question, "-n", "20", "--json", "--data", data], check=True, capture_output=True)
    for i, p in enumerate(json.loads(out.stdout), 1):
        if p["path"] == str(root / path) and (p["heading"] + " > ").find(heading + " > " if heading else "") >= 0:
            return i
    return 0


with tempfile.TemporaryDirectory() as data:
    texts = [str(root / t) for t in ("docs", "README.md", "README.zh.md")]
    subprocess.run([lisao, "index", *texts, "--data", data], check=True, stdout=sys.stderr)
    rows = [line.rstrip("\n").split("\t") for line in open(root / "bench/search.tsv", encoding="utf-8")]
    ranks = [rank(*row, data) for row in rows]
for r, row in zip(ranks, rows):
    if r == 0 or r > 5:
        print(f"{r or 'beyond 20':>9}  {row[0]}", file=sys.stderr)
n = len(ranks)
for most in (1, 3, 5):
    print(f"among the first {most}: {sum(0 < r <= most for r in ranks)} of {n}")
print(f"mean of 1 / rank: {sum(1 / r for r in ranks if r) / n:.3f}")
