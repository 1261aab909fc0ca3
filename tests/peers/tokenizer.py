#!/usr/bin/env python3
"""tokenizer.py -- ids of random Unicode strings beside Hugging Face `tokenizers`, tiktoken and llama.cpp.

1. Every tokenizer.json there is: the reference data's, the golden ones with every stage, the recipes'.
2. Small tokenizers, trained here by the package itself, for each normaliser, pre-tokenizer, model option and flag of added tokens.
3. tiktoken.model as Kimi has it, beside tiktoken.
4. The names of tokenizer.ggml.pre, the vocabulary files of the reference data, and real tokenizers as `lisao` converts them, beside
   llama.cpp.
5. What `lisao tokenizer train` learns, beside the package's own trainer.

    tests/peers/tokenizer.py [WORD...]     only tokenizers whose name holds the words; PEERS_STRINGS: how many strings (100,000;
                                           a tenth for each of the small ones of 2. and the golden stages, of which there are over a hundred)"""

import base64
import ctypes
import itertools
import json
import lzma
import os
import sys
import tempfile
import unicodedata
from pathlib import Path

import gguf
import llama_cpp
import tiktoken
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from common import ROOT, SHARED, SMOLLM2, ask, check, chosen, finish, lisao
from strings import Strings

N = int(os.environ.get("PEERS_STRINGS", 100000))


def compare(name, file, texts, theirs):
    """Ids of `lisao tokenize FILE` beside theirs, a list or None (not comparable) for each text."""
    ours = [a.get("ids", a.get("error")) for a in ask([{"text": t} for t in texts], "tokenize", file, "--jsonl")]
    wrong = [(t, a, b) for t, a, b in zip(texts, ours, theirs) if b is not None and a != b]
    n = sum(b is not None for b in theirs)
    check(not wrong and 2 * n > len(texts), f"{name}: {n - len(wrong)} of {n} strings equal")
    for text, a, b in sorted(wrong, key=lambda w: len(w[0]))[:3]:
        print(f"#   {ascii(text)}\n#     lisao {a}\n#     peer  {b}")


# ---- 1. tokenizer.json ------------------------------------------------------------------------------------------------


def ids_of(peer, texts):
    """Where flags make its cuts overlap the package panics (then everything is encoded one by one, and such texts are not comparable)."""
    try:
        return [e.ids for e in peer.encode_batch(texts, add_special_tokens=False)]
    except BaseException as e:
        if "Panic" not in type(e).__name__:
            raise
        return [ids_of(peer, [t])[0] for t in texts] if len(texts) > 1 else [None]


def against_hf(name, text, temp, n=N // 10, without=None):
    if not chosen(name):
        return
    file = temp / "tokenizer.json"
    file.write_text(text)
    peer = Tokenizer.from_str(text)
    peer.no_truncation(), peer.no_padding()
    texts = Strings(name, [t["content"] for t in json.loads(text)["added_tokens"]]).many(n)
    if without:
        texts = [t.replace(without, "") for t in texts]
    compare(name, file, texts, ids_of(peer, texts))


def files(temp):
    for path in sorted(SHARED.glob("*/*/tokenizer.json*")) + sorted(SHARED.glob("*/tokenizer.json*")):
        opened = lzma.open if path.suffix == ".xz" else open
        against_hf(path.parent.name if path.parent.name != "hf" else path.parents[1].name, opened(path, "rt", encoding="utf-8").read(), temp, N)
    against_hf("recipe 4k", (ROOT / "recipes/tokenizer-4k.json").read_text(), temp, N)
    golden = ROOT / "tests/golden/tokenizers"
    tiny = json.loads((golden / "tiny.json").read_text(encoding="utf-8"))
    for line in (golden / "stages.jsonl").read_text(encoding="utf-8").strip("\n").split("\n"):
        stage = json.loads(line)
        changed = tiny | {k: v for k, v in stage.items() if k not in ("name", "vectors")}
        against_hf(f"golden {stage['name']}", json.dumps(changed, ensure_ascii=False), temp)


# ---- 2. trained here --------------------------------------------------------------------------------------------------

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BEHAVIORS = ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")


def corpus():
    texts = [p.read_text(encoding="utf-8") for p in sorted(ROOT.glob("*.md"))] + Strings("corpus").many(3000)
    return [t.replace("<0x", "") for t in texts]  # a byte's spelling shall not be merged out of text


def in_bytes(*stages, prefix=False, regex=False):
    return pre_tokenizers.Sequence([*stages, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)])


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def byte_level(normalizer, pre, texts, size=600):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = in_bytes(split(Regex(GPT2)))
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    t.train_from_iterator(texts, trainer)
    t.decoder = decoders.ByteLevel()
    t.normalizer, t.pre_tokenizer = normalizer, pre
    return t


def characters(texts, normalizer, pre, size=600, **options):
    """SentencePiece's kind: characters, bytes for what has no token, <unk> (0) where that is not wanted."""
    t = Tokenizer(models.BPE(unk_token="<unk>"))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    t.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=259 + size, show_progress=False, special_tokens=specials, limit_alphabet=200))
    made = json.loads(t.to_str())
    made["model"] |= options
    made["added_tokens"] = made["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(made))
    t.normalizer, t.pre_tokenizer = normalizer, pre
    return t


def with_added(t, spellings, **flags):
    """All kinds of flags in turn, on spellings that lie in and beside each other."""
    if flags.get("special"):  # what text makes by merging is refused there, since a message could then write it
        spellings = [s for s in spellings if s not in t.get_vocab()]
    kinds = list(itertools.product((False, True), repeat=4))
    for i, spelling in enumerate(spellings):
        l, r, w, n = kinds[(7 * i + 3) % len(kinds)]
        t.add_tokens([AddedToken(spelling, **(dict(lstrip=l, rstrip=r, single_word=w, normalized=n) | flags))])
    return t


ADDED = ["<a>", "<ab>", "ab", "abc", "the", "'s", " x", "é", "e\u0301", "日本", "語", "½", "2", "ﬁ", "<|end|>", "\u3000z", "_q", "…", "ﷺ", "İ", "\n\n"]


def trained(temp):
    n, p = normalizers, pre_tokenizers
    texts = corpus()
    gpt2 = in_bytes(split(Regex(GPT2)))
    normal = {
        "NFC": n.NFC(), "NFKC": n.NFKC(), "Strip": n.Strip(), "Strip left": n.Strip(right=False), "Strip right": n.Strip(left=False),
        "Replace": n.Replace("  ", "\u2581"), "Replace by nothing": n.Replace("e", ""), "Replace overlapping": n.Replace("ll", "l"), "Prepend": n.Prepend("x "),
        "NFKC, Strip, Prepend": n.Sequence([n.NFKC(), n.Strip(), n.Prepend(" ")]), "Prepend, NFC": n.Sequence([n.Prepend("\u0301"), n.NFC()]),
        "Replace, NFC": n.Sequence([n.Replace("a", "e\u0301"), n.NFC()]),
    }
    for name, normalizer in normal.items():
        against_hf(f"normalizer {name}", byte_level(normalizer, gpt2, texts).to_str(), temp)
    cut = {
        "none": None, "ByteLevel": p.ByteLevel(add_prefix_space=False), "ByteLevel with a space": p.ByteLevel(add_prefix_space=True),
        "Digits": in_bytes(p.Digits(False)), "Digits one by one": in_bytes(p.Digits(True), regex=True), "Digits, GPT-2": in_bytes(p.Digits(True), split(Regex(GPT2))),
        "llama3": in_bytes(split(Regex(LLAMA3))), "o200k": in_bytes(split(Regex(O200K))), "llama3 inverted": in_bytes(split(Regex(LLAMA3), "removed", True)),
        "scripts": in_bytes(split(Regex(r"[\p{Han}\p{Hiragana}]+|\p{Latin}+|[^\p{Cyrillic}\p{Common}]"))),
        "Split, prefix": in_bytes(split(Regex(r"\p{N}{1,3}")), prefix=True, regex=True),
    }
    for behavior in BEHAVIORS:
        for invert in (False, True):
            cut[f"Split of a string, {behavior}{', inverted' * invert}"] = in_bytes(split("e", behavior, invert))
            cut[f"Split, {behavior}{', inverted' * invert}"] = in_bytes(split(Regex(r"\s*[\p{P}\p{S}]|\p{Nd}{2}"), behavior, invert))
    for name, pre in cut.items():
        if name != "none":
            against_hf(f"pre_tokenizer {name}", byte_level(None, pre, texts).to_str(), temp)
    spm = n.Sequence([n.Prepend("\u2581"), n.Replace(" ", "\u2581")])
    of_characters = {
        "Llama 2": characters(texts, spm, None, byte_fallback=True, fuse_unk=True), "no bytes, fused": characters(texts, spm, None, fuse_unk=True),
        "no bytes": characters(texts, spm, None), "ignore_merges": characters(texts, spm, None, byte_fallback=True, ignore_merges=True),
        "NFKC": characters(texts, n.Sequence([n.NFKC(), spm]), None, byte_fallback=True),
    }
    for scheme, whole in itertools.product(("always", "first", "never"), (True, False)):
        of_characters[f"Metaspace {scheme}{', split' * whole}"] = characters(texts, None, p.Metaspace(prepend_scheme=scheme, split=whole), byte_fallback=True)
    of_characters["Metaspace, Digits"] = characters(texts, None, p.Sequence([p.Metaspace(), p.Digits(True)]), byte_fallback=True)
    for name, t in of_characters.items():
        against_hf(f"characters {name}", t.to_str(), temp)
    pure = byte_level(None, gpt2, texts)
    for flag in ("lstrip", "rstrip", "single_word", "normalized", "special"):
        flags = dict(lstrip=False, rstrip=False, single_word=False, normalized=False, special=False) | {flag: True}
        against_hf(f"added {flag}", with_added(byte_level(None, gpt2, texts), ADDED, **flags).to_str(), temp)
    for name, normalizer in (("", None), (", NFC", n.NFC()), (", NFKC", n.NFKC()), (", Strip", n.Strip()), (", Replace", n.Replace("b", "ab"))):
        spellings = [s for s in ADDED if name != ", Strip" or s.strip()]  # the package takes memory without end for one that is stripped to nothing
        against_hf(f"added all flags{name}", with_added(byte_level(normalizer, gpt2, texts), spellings).to_str(), temp)
    against_hf("added, ByteLevel with a space", with_added(byte_level(None, cut["ByteLevel with a space"], texts), ADDED).to_str(), temp)
    for scheme in ("always", "first", "never"):
        t = with_added(characters(texts, None, p.Metaspace(prepend_scheme=scheme), byte_fallback=True), ADDED)
        against_hf(f"added, Metaspace {scheme}", t.to_str(), temp, without="\u2581")  # to Lisao it is a blank from the start
    # A token marked "normalized" is found without the prefix of Prepend, unlike there.
    against_hf("added, Llama 2", with_added(characters(texts, spm, None, byte_fallback=True, fuse_unk=True), ADDED, normalized=False).to_str(), temp)
    return pure


# ---- 3. tiktoken.model ------------------------------------------------------------------------------------------------

# What tokenization_kimi.py compiles.
KIMI = "|".join([
    r"[\p{Han}]+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])


def spelled_bytes():
    """Of GPT-2's alphabet: character to byte."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in own]
    return {chr(b): b for b in own} | {chr(256 + i): b for i, b in enumerate(others)}


def kimi(pure, temp):
    name = "tiktoken Kimi"
    if not chosen(name):
        return
    alphabet = spelled_bytes()
    ranks = {}
    for spelling, _ in sorted(pure.get_vocab().items(), key=lambda item: item[1]):
        ranks[bytes(alphabet[c] for c in spelling)] = len(ranks)
    special = {"[BOS]": len(ranks), "<|im_end|>": len(ranks) + 1}
    folder = temp / "kimi"
    folder.mkdir()
    (folder / "tiktoken.model").write_text("".join(f"{base64.b64encode(b).decode()} {r}\n" for b, r in ranks.items()))
    added = {str(i): dict(content=s, lstrip=False, rstrip=False, single_word=False, normalized=False, special=True) for s, i in special.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(dict(added_tokens_decoder=added)))
    peer = tiktoken.Encoding(name="kimi", pat_str=KIMI, mergeable_ranks=ranks, special_tokens=special)
    texts = Strings(name, special).many(N)
    compare(name, folder, texts, [peer.encode(t, allowed_special="all") for t in texts])


# ---- 4. llama.cpp -----------------------------------------------------------------------------------------------------


class LlamaVocab:
    def __init__(self, path):
        params = llama_cpp.llama_model_default_params()
        params.vocab_only = True
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        assert self.model, path
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.room = (ctypes.c_int32 * 65536)()

    def encode(self, text):
        raw = text.encode()
        n = llama_cpp.llama_tokenize(self.vocab, raw, len(raw), self.room, len(self.room), False, True)
        assert n >= 0
        return self.room[:n]

    def close(self):
        llama_cpp.llama_model_free(self.model)


def against_llama(name, path, pre, spellings=()):
    if not chosen(name):
        return
    peer = LlamaVocab(path)
    texts = Strings(name, spellings).many(N)
    compare(name, path, texts, [peer.encode(t) if comparable(pre, t) else None for t in texts])
    peer.close()


def gguf_vocab(path, pure, pre):
    tokens = [t for t, _ in sorted(pure.get_vocab().items(), key=lambda item: item[1])]
    merges = [" ".join(m) for m in json.loads(pure.to_str())["model"]["merges"]]
    w = gguf.GGUFWriter(path, "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(pre)
    w.add_token_list(tokens + ["<|end|>", "<|im_start|>"])
    w.add_token_types([1] * len(tokens) + [3, 3])
    w.add_token_merges(merges)
    w.add_eos_token_id(len(tokens))
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()


def comparable(pre, text):
    """Where llama.cpp does what the models' own files say."""
    if pre in ("qwen2", "deepseek-r1-qwen"):  # it does not normalise
        return unicodedata.is_normalized("NFC", text)
    if pre in ("deepseek-llm", "deepseek-coder"):  # its expressions do not see blanks beyond ASCII as they are
        return all(c.isascii() or not c.isspace() for c in text)
    if pre.startswith("SmolLM2"):  # it has no tokens for some control characters, and their neighbours do not meet there
        return all(unicodedata.category(c) != "Cc" or c in "\t\n\r" for c in text)
    return True


PRES = ["default", "gpt-2", "smollm", "qwen2", "deepseek-r1-qwen", "deepseek-v3", "deepseek-llm", "deepseek-coder", "llama-bpe", "glm4", "chatglm-bpe"]
# Not kimi-k2, which llama.cpp cuts by a program that only resembles Kimi's pattern; tiktoken above is the peer there.


def llama(pure, temp):
    llama_cpp.llama_log_set(quiet, None)
    for pre in PRES:
        path = temp / "pre.gguf"
        gguf_vocab(path, pure, pre)
        against_llama(f"llama.cpp {pre}", path, pre, ["<|end|>", "<|im_start|>"])
    for path in [*sorted((SHARED / "gguf-vocab").glob("*.gguf")), SHARED / "stories260K/stories260K.gguf", SMOLLM2]:
        if path.exists():
            pre = path.stem.removeprefix("ggml-vocab-")
            against_llama(f"llama.cpp {pre} file", path, pre)


def converted(temp):
    """Real tokenizer.json files as `lisao` writes them into GGUF."""
    for path in sorted(SHARED.glob("tokenizers/*/tokenizer.json.xz")):
        name = f"llama.cpp {path.parent.name} as Lisao converts it"
        if not chosen(name):
            continue
        folder = temp / path.parent.name
        folder.mkdir()
        text = lzma.open(path, "rt", encoding="utf-8").read()
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        (folder / "tokenizer_config.json").write_text((path.parent / "tokenizer_config.json").read_text(encoding="utf-8"), encoding="utf-8")
        added = [t["content"] for t in json.loads(text)["added_tokens"]]
        shape = dict(model_type="llama", hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
                     rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=64, tie_word_embeddings=True, vocab_size=Tokenizer.from_str(text).get_vocab_size())
        (folder / "config.json").write_text(json.dumps(shape))
        model = temp / "converted.gguf"
        lisao("synth", folder / "config.json", model, "--tokenizer", folder)
        against_llama(name, model, "qwen2" if "qwen" in name else "", added)


# ---- 5. what `lisao tokenizer train` learns ------------------------------------------------------------------------


def learnt(temp):
    """The merges of Hugging Face's own trainer on the same text, and its ids for random strings."""
    for digits in "3", "1":
        name = f"learnt with {digits} digits"
        if not chosen(name):
            continue
        docs = [p.read_text(encoding="utf-8").strip("\n") for p in sorted((ROOT / "docs").glob("*.md"))] + [(ROOT / "README.zh.md").read_text(encoding="utf-8").strip("\n")]
        text, folder = temp / "learn.txt", temp / f"learnt{digits}"
        text.write_text("\n<|endoftext|>\n".join(docs), encoding="utf-8", newline="")
        lisao("tokenizer", "train", text, "--vocab", "4000", "--digits", digits, "-o", folder)
        ours = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        patterns = [p["pattern"]["Regex"] for p in ours["pre_tokenizer"]["pretokenizers"] if p["type"] == "Split"]
        if digits == "1":
            patterns[0] = r"\p{N}"
        peer = Tokenizer(models.BPE())
        peer.pre_tokenizer = pre_tokenizers.Sequence([*(pre_tokenizers.Split(Regex(p), "isolated") for p in patterns),
                                                      pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        peer.train_from_iterator(docs, trainers.BpeTrainer(vocab_size=4000, special_tokens=[t["content"] for t in ours["added_tokens"]],
                                                           initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
        theirs = [m if isinstance(m, list) else m.split(" ") for m in json.loads(peer.to_str())["model"]["merges"]]
        same = next((i for i, (a, b) in enumerate(zip(ours["model"]["merges"], theirs)) if a != b), len(theirs))
        check(ours["model"]["merges"] == theirs, f"{name}: the first {same} of {len(theirs)} merges equal")
        against_hf(name, (folder / "tokenizer.json").read_text(encoding="utf-8"), temp)


@llama_cpp.llama_log_callback
def quiet(level, text, data):
    if level >= 4 and len(text) > 1:
        sys.stderr.write(text.decode(errors="replace"))


def main():
    with tempfile.TemporaryDirectory() as name:
        temp = Path(name)
        files(temp)
        pure = trained(temp)
        kimi(pure, temp)
        llama(pure, temp)
        converted(temp)
        learnt(temp)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
