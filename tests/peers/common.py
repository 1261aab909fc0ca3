"""common.py -- what the parts of `make test-peers` share: their TAP lines, the words that choose among them, and the program."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISAO = os.environ.get("LISAO", str(ROOT / "build/lisao"))
SHARED = Path(os.environ.get("LISAO_SHARED", ROOT.parent / "shared")) / "oracles"
SMOLLM2 = Path(
    os.environ.get("LISAO_MODEL_SMOLLM2")
    or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "lisao/models/SmolLM2-135M-Instruct.Q4_1.gguf"
)
WORDS = sys.argv[1:]
count = {True: 0, False: 0}


def chosen(name):
    """Whether the command line wants this one: its words stand in the name."""
    return all(word in name for word in WORDS)


def check(ok, text):
    count[bool(ok)] += 1
    print(f"{'ok' if ok else 'not ok'} {sum(count.values())} - {text}", flush=True)


def note(text):
    print(f"# {text}", flush=True)


def finish():
    """The last line, and the exit code."""
    print(f"{count[True]} passed, {count[False]} failed")
    return count[False] != 0


def lisao(*args, stdin=None):
    """What the program prints; an error ends the test program, for nothing here is meant to fail."""
    run = subprocess.run([LISAO, *map(str, args)], capture_output=True, input=stdin)
    if run.returncode:
        sys.exit(f"lisao {' '.join(map(str, args))}: {run.stderr.decode()}")
    return run.stdout.decode()


def ask(objects, *args):
    """Lines of JSON to the program and its answers, of which some may be {"error": ...}."""
    lines = "".join(json.dumps(o, ensure_ascii=False) + "\n" for o in objects)
    run = subprocess.run([LISAO, *map(str, args)], capture_output=True, input=lines.encode("utf-8", "surrogatepass"))
    answers = [json.loads(line) for line in run.stdout.decode().split("\n") if line]
    if len(answers) != len(objects):
        sys.exit(f"lisao {' '.join(map(str, args))}: {len(answers)} answers to {len(objects)} lines: {run.stderr.decode()}")
    return answers
