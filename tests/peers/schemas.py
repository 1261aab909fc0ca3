#!/usr/bin/env python3
"""schemas.py -- random JSON Schemas: a model of random numbers answers under each, and the answers are held against PyPI's jsonschema with
its FormatChecker. Told are how many end by themselves, and how many of those are valid.

    tests/peers/schemas.py [bytes|smollm2]     the tokenizer; PEERS_SCHEMAS: how many (10000, of smollm2 a twentieth); PEERS_SEED"""

import json
import os
import random
import sys
import tempfile
from pathlib import Path

from jsonschema import Draft202012Validator, FormatChecker

from common import ROOT, SMOLLM2, ask, check, chosen, finish, lisao, note

N = int(os.environ.get("PEERS_SCHEMAS", 10000))
SEED = int(os.environ.get("PEERS_SEED", 1))
MOST = 2000  # tokens
FORMATS = ["email", "hostname", "ipv4", "ipv6", "uuid", "date", "date-time"]
PATTERNS = [r"^[A-Z]{2}-\d{4}$", r"^(foo|ba[rz]+)?$", "x", r"^[^a-z\"]{1,5}$", r"^\w+@\w+\.(com|org)$", r"^#[0-9a-fA-F]{6}$", r"^(\d{3}-)?\d{4}$", "^é+|ü$"]
NAMES = ["a", "ab", "name", "été", "x y", 'q"', "id", "姓名", "value", "items"]


class Schemas:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def one_of(self, *values):
        return self.random.choice(values)

    def likely(self, p):
        return self.random.random() < p

    def number(self):
        lo = self.random.randrange(-1000, 1000)
        hi = lo + self.random.randrange(1, 3000)
        s = {"type": "number"}
        if self.likely(0.5):
            s[self.one_of("minimum", "exclusiveMinimum")] = self.one_of(lo, lo - 0.5, lo - 0.125)
        if self.likely(0.5):
            s[self.one_of("maximum", "exclusiveMaximum")] = self.one_of(hi, hi + 0.5, hi + 0.01)
        return s

    def integer(self):
        lo = self.random.randrange(-1000, 1000)
        s = {"type": "integer"}
        if self.likely(0.5):
            s[self.one_of("minimum", "exclusiveMinimum")] = lo
        if self.likely(0.5):
            s[self.one_of("maximum", "exclusiveMaximum")] = lo + self.random.randrange(50, 3000)
        if self.likely(0.3):
            s["multipleOf"] = self.random.randrange(1, 30)
        return s

    def string(self):
        how = self.random.randrange(4)
        if how == 0:
            return {"type": "string"}
        if how == 1:
            lo = self.random.randrange(6)
            return {"type": "string", "minLength": lo, "maxLength": lo + self.random.randrange(40)}
        if how == 2:
            return {"type": "string", "format": self.one_of(*FORMATS)}
        return {"type": "string", "pattern": self.one_of(*PATTERNS)}

    def scalar(self):
        return self.one_of(
            self.number,
            self.integer,
            self.string,
            self.string,
            lambda: {"type": self.one_of("null", "boolean")},
            lambda: {"type": self.random.sample(["null", "boolean", "integer", "string"], 2)},
            lambda: {"enum": self.random.sample(["red", "re", 'r"d', 1, 2.5, None, True, ["x"], {"k": "ü"}], self.random.randrange(1, 6))},
            lambda: {"const": self.one_of("k", 0, None, [1, {"a": "b"}])},
        )()

    def object(self, depth):
        names = self.random.sample(NAMES, self.random.randrange(5))
        s = {"type": "object", "properties": {n: self.any(depth + 1) for n in names}}
        s["required"] = [n for n in names if self.likely(0.6)]
        how = self.random.randrange(4)
        if how < 2:
            s["additionalProperties"] = False
        if how == 2 and self.likely(0.5):
            s["additionalProperties"] = self.scalar()
        return s

    def array(self, depth):
        s = {"type": "array", "items": self.any(depth + 1)}
        lo = self.random.randrange(3)
        if self.likely(0.5):
            s["minItems"] = lo
        if self.likely(0.6):
            s["maxItems"] = lo + self.random.randrange(1, 5)
        if self.likely(0.2):
            s["prefixItems"] = [self.scalar(), self.any(depth + 1)]
        return s

    def union(self, depth):
        if self.likely(0.5):
            kinds = [{"type": "object", "properties": {"kind": {"const": k}, "v": self.any(depth + 1)}, "required": ["kind"]} for k in ("a", "b")]
            return {"oneOf": kinds}
        return {"anyOf": [self.any(depth + 1), self.scalar(), {"type": "null"}]}

    def any(self, depth):
        if depth > 3:
            return self.scalar()
        how = self.random.randrange(12)
        if how < 3:
            return self.object(depth)
        if how < 5:
            return self.array(depth)
        if how == 5:
            return self.union(depth)
        if how == 6:
            return {"$ref": "#/$defs/list"}
        if how == 7:
            return {"$ref": "#/$defs/tree"}
        return self.scalar()

    def root(self):
        s = self.one_of(self.object, self.object, self.array, self.any)(0)
        nothing = {"type": "null"}
        s["$defs"] = {
            "list": {"type": "object", "properties": {"v": self.scalar(), "next": {"anyOf": [{"$ref": "#/$defs/list"}, nothing]}}, "required": ["v", "next"]},
            "tree": {"type": "object", "properties": {"l": {"$ref": "#/$defs/tree"}, "v": self.scalar()}, "additionalProperties": False},
        }
        return s


def model(folder, tokenizer):
    """Random numbers in a tiny shape; without a tokenizer each byte is a token."""
    config = json.loads((ROOT / "tests/golden/models/llama-tiny/config.json").read_text())
    config |= {"vocab_size": 49152 if tokenizer else 262, "max_position_embeddings": 4096, "hidden_size": 32, "intermediate_size": 32}
    config |= {"num_hidden_layers": 1, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 32, "eos_token_id": 2, "bos_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    lisao("synth", folder / "config.json", folder / "random.gguf", *(["--tokenizer", tokenizer] if tokenizer else []))
    return folder / "random.gguf"


def wrong(schema, text):
    try:
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        return next(iter(validator.iter_errors(json.loads(text))), None)
    except ValueError as e:
        return e


def answers_check(name, n, tokenizer, settings):
    made = Schemas(SEED)
    schemas = [made.root() for _ in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        lines = [{"prompt": "x", "schema": s, "max_tokens": MOST, "temperature": 1, "seed": i} | settings for i, s in enumerate(schemas)]
        answers = ask(lines, "run", model(Path(folder), tokenizer), "--jsonl", "--raw", "--context", MOST + 64)
    ended = valid = tokens = 0
    for schema, answer in zip(schemas, answers):
        if "error" in answer:
            check(False, f"{json.dumps(schema)}: {answer['error']}")
        elif answer["finish_reason"] == "stop":
            why = wrong(schema, answer["text"])
            ended, valid, tokens = ended + 1, valid + (why is None), tokens + len(answer["ids"])
            if why is not None:
                check(False, f"{json.dumps(schema, ensure_ascii=False)}: {answer['text']!r}: {why}"[:2000])
    share = 100 * ended / n
    note(f"{name}: {n} schemas, seed {SEED}: {ended} answers ended by themselves ({share:.2f} %, {tokens / max(ended, 1):.0f} tokens), {valid} of them valid")
    check(share >= 95, f"{name}: 95 % of answers end by themselves")
    check(valid == ended, f"{name}: all that end are valid")


def main():
    if chosen("bytes"):
        answers_check("bytes", N, None, {})
    # Of 49,152 tokens about 40 end a text: a model that knows nothing would write a thousand tokens in each, so the quote is made as
    # likely as all others of 40 draws.
    if chosen("smollm2") and not SMOLLM2.exists():
        check(False, "smollm2: the default model is not there: ./start fetches it")
    elif chosen("smollm2"):
        quote = int(lisao("tokenize", SMOLLM2, "--text", '"').split()[0])
        answers_check("smollm2", max(1, N // 20), SMOLLM2, {"logit_bias": {str(quote): 7}})
    return finish()


sys.exit(main())
