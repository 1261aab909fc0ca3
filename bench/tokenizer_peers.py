#!/usr/bin/env python3
"""tokenizer_peers.py TEXT [--vocab N] [--rounds N] [--lisao PROGRAM] -- learning a tokenizer beside Hugging Face `tokenizers`.

Both learn a byte-level BPE of N tokens (default 8192, a digit a token) from the same UTF-8 text, in turn, as processes of
their own, with the words cut in the same way: the peer takes its pre-tokenizer from our tokenizer.json and reads the text by
lines, as its own trainer from files does. Prints for each the seconds (best and median), the peak memory, and the bytes that
a token of the last 4 MB stands for. Wants PyPI's `tokenizers`."""
import argparse, os, statistics, subprocess, sys, tempfile, time

PEER = """
import json, sys
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
ours, text, vocab, out = sys.argv[1:]
shape = json.load(open(ours))
t = Tokenizer.from_file(ours)
cut = t.pre_tokenizer
t = Tokenizer(models.BPE())
t.pre_tokenizer = cut
special = [a["content"] for a in shape["added_tokens"]]
t.train([text], trainers.BpeTrainer(vocab_size=int(vocab), special_tokens=special, show_progress=False,
                                    initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
t.save(out)
"""
COUNT = """
import sys
from tokenizers import Tokenizer
data = open(sys.argv[2], "rb").read()[-(4 << 20):].decode(errors="ignore")
print(len(data.encode()) / len(Tokenizer.from_file(sys.argv[1]).encode(data, add_special_tokens=False).ids))
"""


def timed(command):
    before = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed: {error.decode(errors='replace')[-2000:]}")
    return time.monotonic() - before, usage.ru_maxrss / 1024


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("text")
    p.add_argument("--vocab", type=int, default=8192)
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--lisao", default=os.path.join(os.path.dirname(__file__), "..", "build", "lisao"))
    o = p.parse_args()
    runs = {"lisao": [], "tokenizers": []}
    with tempfile.TemporaryDirectory() as folder:
        ours, peers = f"{folder}/ours/tokenizer.json", f"{folder}/peer.json"
        for _ in range(o.rounds):
            runs["lisao"].append(timed([o.lisao, "tokenizer", "train", o.text, "--vocab", str(o.vocab), "--digits", "1",
                                        "-o", f"{folder}/ours"]))
            runs["tokenizers"].append(timed([sys.executable, "-c", PEER, ours, o.text, str(o.vocab), peers]))
        for name, path in (("lisao", ours), ("tokenizers", peers)):
            seconds = [s for s, _ in runs[name]]
            size = subprocess.run([sys.executable, "-c", COUNT, path, o.text], capture_output=True, text=True, check=True)
            print(f"{name:12s}{min(seconds):8.1f} s best{statistics.median(seconds):8.1f} s median"
                  f"{max(m for _, m in runs[name]):8.0f} MB{float(size.stdout):8.3f} bytes a token")


if __name__ == "__main__":
    main()
