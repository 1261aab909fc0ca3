#!/usr/bin/env python3
"""templates.py -- generated conversations through every published chat template of the reference data: `lisao tokenize --chat` beside
jinja2 in transformers' environment. The texts must be equal; where jinja2 fails or the template refuses, an error must come.

    tests/peers/templates.py [WORD...]     only templates whose name holds the words; PEERS_CONVERSATIONS: how many for each (400)"""

import datetime
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from transformers.utils.chat_template_utils import _compile_jinja_template

from common import ROOT, SHARED, ask, check, chosen, finish
from strings import Strings

N = int(os.environ.get("PEERS_CONVERSATIONS", 400))
MARKS = ["<think>", "</think>", "<think>\n", "\n</think>\n\n", "<tool_call>", "</tool_call>", "<|im_end|>", "<|im_start|>user\n", "{{ x }}", "{% if %}", "<tool_response>", "[INST]", "<e_eos>",
         "/no_think", "/think", "'''", '"', "\\n", "<b>&amp;</b>", "%s"]
VALUES = [0, 1, -3, 2.5, 1e16, 1e-7, 0.1, True, False, None, "x", "", "é<&>'", [1, "a", None], {"k": {"n": []}}, 123456789012, 1.0]


# What llama.cpp's reading of Jinja knows and jinja2 does not; templates kept in its repository use it, and so Lisao knows it.
MORE = ["No filter named 'from_json' found", "Object of type generator is not JSON serializable"]
NOT_COMPARABLE = object()


class Conversations:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.strings = Strings(seed, MARKS)

    def one_of(self, *values):
        return self.random.choice(values)

    def likely(self, p):
        return self.random.random() < p

    def text(self):
        how = self.random.random()
        if how < 0.1:
            return self.one_of("", " ", "\n", "\n\nx\n\n")
        if how < 0.5:
            return self.one_of("Hello!", "What is 2 + 2?", "It is 4.", "Line\nline\n", "  indented", "日本語です。")
        if how < 0.6:
            return f"<think>{self.strings.one()}</think>{self.strings.one()}"
        return self.strings.one()

    def arguments(self):
        return {self.one_of("city", "n", "ключ", "a b", "x-y"): self.one_of(*VALUES) for _ in range(self.random.randrange(4))}

    def tool(self, i):
        kind = self.one_of("string", "number", "boolean", "array", "object", ["string", "null"])
        extra = self.one_of({}, {"enum": ["a", "é"]}, {"items": {"type": "string"}}, {"default": self.one_of(*VALUES)}, {"properties": {"q": {"type": "integer"}}})
        wanted = {"city": dict(type=kind, description=self.text(), **extra), "n": {"type": "integer"}}
        schema = dict(type="object", properties=wanted, **self.one_of({}, {"required": ["city"]}, {"required": []}))
        function = dict(name=f"tool_{i}", description=self.one_of("Does it.", self.text()), parameters=schema)
        return dict(type="function", function=function)

    def call(self, i):
        arguments = self.arguments()
        if self.likely(0.2):
            arguments = json.dumps(arguments, ensure_ascii=False)
        call = dict(type="function", function=dict(name=f"tool_{self.random.randrange(3)}", arguments=arguments))
        return call | self.one_of({}, {"id": f"call_{i}"}, {"id": "a1b2c3d4e"})

    def answer(self, tools):
        message = dict(role="assistant", content=self.text())
        if self.likely(0.25):
            message["reasoning_content"] = self.text()
        if tools and self.likely(0.5):
            message["tool_calls"] = [self.call(i) for i in range(self.one_of(1, 1, 2, 3))]
            message["content"] = self.one_of("", message["content"], None)
        return message

    def results(self, calls):
        for call in calls:
            result = dict(role="tool", content=self.one_of("22 degrees", '{"a": 1}', self.text()), name=call["function"]["name"])
            yield result | ({"tool_call_id": call["id"]} if "id" in call else {})

    def one(self):
        tools = [self.tool(i) for i in range(self.one_of(0, 0, 1, 2))]
        messages = [dict(role="system", content=self.text())] if self.likely(0.4) else []
        for _ in range(self.one_of(1, 1, 2, 3, 5)):
            if not self.likely(0.03):  # two answers without a question
                messages.append(dict(role="user", content=self.text()))
            answer = self.answer(tools)
            messages.append(answer)
            if "tool_calls" in answer:
                messages += self.results(answer["tool_calls"])
                if self.likely(0.7):
                    messages.append(dict(role="assistant", content=self.text()))
        if self.likely(0.6) and messages[-1]["role"] == "assistant" and len(messages) > 1:
            messages.pop()
        if self.likely(0.02):
            messages.append(dict(role=self.one_of("system", "developer", "function"), content="later"))
        kwargs = {"add_generation_prompt": self.likely(0.7)}
        if self.likely(0.5):
            kwargs["enable_thinking"] = kwargs["thinking"] = self.likely(0.5)
        if self.likely(0.2):
            kwargs["reasoning_effort"] = self.one_of("low", "high")
        return dict(messages=messages, kwargs=kwargs) | ({"tools": tools} if tools else {})


def rendered(template, request):
    """What jinja2 makes of it, or None and why not."""
    given = dict(tools=None, documents=None, bos_token="<s_bos>", eos_token="<e_eos>", pad_token="<e_eos>", strftime_now=datetime.datetime.now(datetime.timezone.utc).strftime)
    try:
        return template.render(**given | {"messages": request["messages"], "tools": request.get("tools")} | request["kwargs"]), None
    except Exception as e:
        if any(known in str(e) for known in MORE):
            return NOT_COMPARABLE, None
        return None, f"{type(e).__name__}: {e}"


def templates():
    for path in sorted((SHARED / "templates").glob("*.jinja")):
        yield path.stem, path.read_text(encoding="utf-8")
    for path in sorted(SHARED.glob("tokenizers/*/tokenizer_config.json")):
        yield f"{path.parent.name} tokenizer_config.json", json.loads(path.read_text(encoding="utf-8"))["chat_template"]


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(ROOT / "recipes/tokenizer-4k.json", folder / "tokenizer.json")
        for name, source in templates():
            if not chosen(name):
                continue
            config = dict(chat_template=source, bos_token="<s_bos>", eos_token="<e_eos>", pad_token="<e_eos>")
            (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")
            made = Conversations(name)
            requests = [made.one() for _ in range(N)]
            theirs = [rendered(_compile_jinja_template(source), r) for r in requests]
            ours = ask(requests, "tokenize", folder, "--chat", "--jsonl")
            wrong = [(r, t, o) for r, t, o in zip(requests, theirs, ours) if t[0] not in (o.get("text"), NOT_COMPARABLE)]
            refused, n = sum(t[0] is None for t in theirs), sum(t[0] is not NOT_COMPARABLE for t in theirs)
            check(n and not wrong, f"{name}: {n - len(wrong)} of {n} conversations equal; jinja2 or the template refuses {refused}")
            for request, (text, why), answer in sorted(wrong, key=lambda w: len(json.dumps(w[0])))[:2]:
                print(f"#   {json.dumps(request)[:1500]}\n#     jinja2 {text!a}\n#            {why}\n#     lisao  {answer.get('text')!a}\n#            {answer.get('error')}")
    return finish()


if __name__ == "__main__":
    sys.exit(main())
