"""Every answer of all routes against /openapi.json, by validators that are not ours (jsonschema, openapi-spec-validator).

An answer is validated as it comes, each event of a stream by itself, and so is each request that was let in. At the
end nothing of the document may be left that never came: no 200 of a route, no kind of answer or event, no member.

The model is lisao-nano, which thinks and calls tools; one with random weights has the experts, one with a row that is no
number the answers that fail under way."""
import datetime
import glob
import http.client
import http.server
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

import jsonschema
import openapi_spec_validator
import referencing
from common import KEY, LISAO, Server, run
from referencing.jsonschema import DRAFT202012

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
NANO = os.path.join(ROOT, "models", "lisao-nano", "lisao-nano.gguf")
ASK = [{"role": "user", "content": "What is 17 + 25?"}]
DAY = {"type": "object", "properties": {"day": {"enum": ["today", "tomorrow"]}}, "required": ["day"],
       "additionalProperties": False}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": DAY}}]
FORM = {"type": "json_schema", "schema": DAY}
BROKEN = 300
THINK = {"type": "enabled", "budget_tokens": 40}


# ---- the document, and what of it has come ---------------------------------------------------------------------------

class Document:
    def __init__(self, text):
        self.original, self.contents = json.loads(text), json.loads(text.replace('"#/', '"urn:api#/'))
        self.seen, self.answers, self.statuses = set(), 0, set()
        resource = referencing.Resource.from_contents(self.contents, default_specification=DRAFT202012)
        self.registry = referencing.Registry().with_resource("urn:api", resource)
        self.schemas = self.contents["components"]["schemas"]

    def validator(self, schema):
        return jsonschema.Draft202012Validator(schema, registry=self.registry, format_checker=jsonschema.FormatChecker())

    def check(self, schema, value, what):
        error = jsonschema.exceptions.best_match(self.validator(schema).iter_errors(value))
        assert not error, f"{what}: {error.message[:600]}\n{str(value)[:600]}"

    def mark(self, schema, value, place):
        """Notes which alternatives, words and members a valid value shows; `parts` lists all that there could be."""
        if "$ref" in schema:
            place = schema["$ref"].rsplit("/", 1)[-1]
            self.seen.add(place)
            schema = self.schemas[place]
        if value in schema.get("enum", []):
            self.seen.add(f"{place}: {value}")
        for one in schema.get("anyOf", []):
            if self.validator(one).is_valid(value):
                self.seen.add(f"{place}: {json.dumps(one)}")
                self.mark(one, value, place)
        if isinstance(value, list):
            for item in value:
                self.mark(schema.get("items", {}), item, place)
        if isinstance(value, dict):
            for key in value.keys() & schema.get("properties", {}).keys():
                self.seen.add(f"{place}.{key}")
                self.mark(schema["properties"][key], value[key], f"{place}.{key}")

    def parts(self, schema, place):
        yield from (f"{place}: {word}" for word in schema.get("enum", []))
        for one in schema.get("anyOf", []):
            yield f"{place}: {json.dumps(one)}"
            yield from self.parts(one, place)
        if "items" in schema:
            yield from self.parts(schema["items"], place)
        for key, item in schema.get("properties", {}).items():
            yield f"{place}.{key}"
            yield from self.parts(item, f"{place}.{key}")

    def all_parts(self):
        for name, schema in self.schemas.items():
            yield name
            yield from self.parts(schema, name)
        for path, method, route in self.routes():
            for kind, one in route["responses"]["200"]["content"].items():
                yield f"{method} {path} 200 {kind}"
                yield from self.parts(one["schema"], f"{method} {path} 200 {kind}")

    def routes(self):
        for path, methods in self.contents["paths"].items():
            for method, route in methods.items():
                yield path, method.upper(), route

    def route(self, method, path):
        """The documented path and route of a request; those without an id in them first."""
        path = re.sub(r"^(/anthropic|/beta|/api)?(/v1)?(?=/)", "", path.split("?")[0])
        for known, its_method, route in sorted(self.routes(), key=lambda r: "{id}" in r[0]):
            if its_method == method and re.fullmatch(re.escape(known).replace(re.escape("{id}"), ".+"), path):
                return known, route
        return None, None

    def answer(self, method, path, status, kind, text):
        """Holds an answer against what is documented of its route, status and media type."""
        self.answers += 1
        self.statuses.add(status)
        known, route = self.route(method, path)
        kind = kind.split(";")[0]
        what = f"{method} {known} {status} {kind}"
        if route and status == 200:
            schema = route["responses"]["200"]["content"][kind]["schema"]
        else:  # an error of no route has the shape of its family all the same
            assert route or status in (404, 405, 414), (path, status)
            shape = route["responses"][f"{status // 100}XX"]["$ref"] if route else ""
            anthropic = path.startswith("/anthropic") or "/messages" in path
            assert not route or path.startswith("/anthropic") or anthropic == shape.endswith("/AnthropicError"), what
            schema = {"$ref": "urn:api#/components/schemas/" + ("AnthropicError" if anthropic else "Error")}
        values = [text] if kind.startswith("text/") else [json.loads(text)] if kind == "application/json" else None
        for value in events(text) if kind == "text/event-stream" else values:
            self.check(schema, value, what)
            self.mark(schema, value, what)
        self.seen.add(what)


def events(text):
    """The JSON of a stream's events; the line `event:` says what their member `type` does."""
    found = []
    for block in text.replace("\r", "").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if re.match("[a-z]+: ", line))
        if lines.get("data", "[DONE]") == "[DONE]":
            continue
        found.append(json.loads(lines["data"]))
        assert "event" not in lines or lines["event"] == found[-1]["type"], block
    return found


document = None


def ask(server, method, path, body=None, want=200, key=KEY, kind="application/json"):
    """One request; its answer is validated, and is returned as JSON, a list of events, or text."""
    address = urllib.parse.urlsplit(server.url).netloc
    c = http.client.HTTPConnection(address, timeout=300)
    data = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
    c.request(method, path, data, {"Content-Type": kind, **({"Authorization": "Bearer " + key} if key else {})})
    r = c.getresponse()
    text, media = r.read().decode(), r.getheader("content-type")
    assert want in (r.status, None), (method, path, r.status, want, text[:500])
    name = r.getheader("request-id")
    assert name.startswith("req_") and r.getheader("x-request-id") == name, path
    assert r.status not in (429, 503, 529) or int(r.getheader("retry-after")) > 0, path
    document.answer(method, path, r.status, media, text)
    if r.status == 200 and isinstance(body, dict) and "requestBody" in document.route(method, path)[1]:
        content = document.route(method, path)[1]["requestBody"]["content"]
        document.check(content["application/json"]["schema"], body, f"the request {method} {path}")
    if not media.startswith("application/json"):
        return events(text) if media.startswith("text/event-stream") else text
    found = json.loads(text)
    if found.get("type") == "error":
        assert found["request_id"] == name, found
    return found


# ---- models ----------------------------------------------------------------------------------------------------------

def synth(folder, name, **more):
    """A mixture of experts with random weights and the tokenizer of lisao-nano."""
    with open(os.path.join(ROOT, "tests/golden/models/deepseek-v3-tiny/config.json")) as f:
        config = dict(json.load(f), vocab_size=1024, max_position_embeddings=32768, bos_token_id=0, eos_token_id=1, **more)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    model = os.path.join(folder, name)
    subprocess.run([LISAO, "synth", os.path.join(folder, "config.json"), model, "--type", "f32", "--tokenizer", NANO],
                   check=True, stdout=subprocess.DEVNULL)
    return model


def broken(folder):
    """Random weights, but nothing can be computed behind the tokens from BROKEN on: those that are more than one byte."""
    model = synth(folder, "broken", tie_word_embeddings=False)
    path = glob.glob(os.path.join(model, "*.safetensors"))[0]
    with open(path, "r+b") as f:
        head = int.from_bytes(f.read(8), "little")
        tensor = json.loads(f.read(head))["model.embed_tokens.weight"]
        row = (tensor["data_offsets"][1] - tensor["data_offsets"][0]) // tensor["shape"][0]
        f.seek(8 + head + tensor["data_offsets"][0] + BROKEN * row)
        f.write(b"\xff" * row * (tensor["shape"][0] - BROKEN))
    return model


# ---- cases -----------------------------------------------------------------------------------------------------------

def document_is_valid(w):
    openapi_spec_validator.validate(document.original)


def plain_routes(w):
    s = w.nano
    for path in ("/models", "/user/balance", "/version", "/props", "/openapi.json", "/health", "/ready", "/metrics", "/"):
        ask(s, "GET", path)
    assert ask(w.two, "GET", "/version")["fingerprint"] is None  # of several models none is loaded until it is asked
    name = ask(s, "GET", "/v1/models")["data"][0]["id"]
    model = ask(s, "GET", f"/v1/models/{name}")
    assert model["id"] == name
    assert datetime.datetime.fromisoformat(model["created_at"]).timestamp() == model["created"]
    ids = ask(s, "POST", "/tokenize", {"content": "The river", "add_special": True})["tokens"]
    assert "The river" in ask(s, "POST", "/detokenize", {"tokens": ids})["text"]
    ask(s, "POST", "/tokenize", {"messages": ASK, "tools": TOOLS})
    ask(s, "POST", "/apply-template", {"messages": ASK, "reasoning_effort": "low"})
    assert ask(s, "POST", "/extract", {"type": "text/html", "data": "PGgxPkhpPC9oMT4="})["text"] == "# Hi\n"
    for form in ("float", "base64"):
        ask(s, "POST", "/v1/embeddings", {"input": ["The river", "A sea"], "encoding_format": form})


def both(s, path, body, **more):
    """The whole answer, and that of a stream."""
    whole = ask(s, "POST", path, dict(body, **more))
    return whole, ask(s, "POST", path, dict(body, stream=True, **more))


def chat(w):
    body = {"messages": ASK, "max_tokens": 120, "temperature": 0}
    whole, stream = both(w.nano, "/v1/chat/completions", body, logprobs=True, top_logprobs=2, thinking=THINK)
    assert whole["choices"][0]["message"]["reasoning_content"] and whole["choices"][0]["logprobs"]["reasoning_content"]
    both(w.nano, "/v1/chat/completions", body, n=2, seed=1, stream_options={"include_usage": True})
    both(w.nano, "/v1/chat/completions", dict(body, max_tokens=2), reasoning_effort="none")
    both(w.nano, "/v1/chat/completions", body, response_format={"type": "json_schema", "json_schema": {"schema": DAY}})
    both(w.nano, "/beta/v1/chat/completions", body, response_format={"type": "json_object"}, stop=["}"])
    whole, stream = both(w.nano, "/v1/chat/completions", body, tools=TOOLS, tool_choice="required", reasoning_effort="none")
    assert whole["choices"][0]["finish_reason"] == "tool_calls", whole
    assert any(c["delta"].get("tool_calls") for e in stream for c in e["choices"])
    called = whole["choices"][0]["message"]
    ask(w.nano, "POST", "/v1/chat/completions", dict(body, messages=ASK + [called, {
        "role": "tool", "tool_call_id": called["tool_calls"][0]["id"], "content": "Rain."}]))


def completions(w):
    body = {"prompt": ["The river", "A sea"], "max_tokens": 6, "temperature": 1}
    both(w.nano, "/v1/completions", body, logprobs=2, echo=True, stream_options={"include_usage": True})
    both(w.nano, "/v1/completions", body, logprobs=0)
    both(w.nano, "/v1/completions", body, n=2, stop=["e"], max_tokens=40)


def messages(w):
    body = {"messages": ASK, "max_tokens": 120, "temperature": 0}
    whole, stream = both(w.nano, "/v1/messages", body, thinking=THINK)
    assert whole["content"][0]["type"] == "thinking", whole
    assert any(e.get("delta", {}).get("type") == "signature_delta" for e in stream)
    off = {"type": "disabled"}
    whole, stream = both(w.nano, "/anthropic/v1/messages", body, stop_sequences=list("0123456789"), thinking=off)
    assert whole["stop_reason"] == "stop_sequence", whole
    both(w.nano, "/v1/messages", dict(body, max_tokens=2))
    both(w.nano, "/v1/messages", body, output_config={"format": FORM})
    whole, stream = both(w.nano, "/v1/messages", body, tools=[{"name": "weather", "input_schema": DAY}],
                         tool_choice={"type": "any"}, thinking=off)
    assert whole["stop_reason"] == "tool_use", whole
    ask(w.nano, "POST", "/v1/messages/count_tokens", {"messages": ASK})


def responses(w):
    body = {"input": "What is 17 + 25?", "max_output_tokens": 120, "temperature": 0}
    whole, stream = both(w.nano, "/v1/responses", body, reasoning={"effort": "low"},
                         include=["reasoning.encrypted_content"], instructions="Be brief.", user="me", metadata={"a": "b"})
    assert whole["output"][0]["encrypted_content"] and whole["reasoning"]["effort"] == "low"
    assert stream[-1]["type"] == "response.completed" and [e["sequence_number"] for e in stream] == list(range(len(stream)))
    for e in stream[0]["response"], whole:
        assert e["text"]["format"] == {"type": "text"} and e["parallel_tool_calls"] is True
    assert both(w.nano, "/v1/responses", dict(body, max_output_tokens=2))[1][-1]["type"] == "response.incomplete"
    form = dict(FORM, name="day")
    assert ask(w.nano, "POST", "/v1/responses", dict(body, text={"format": form}))["text"]["format"] == form
    ask(w.nano, "POST", "/v1/responses", dict(body, text={"format": {"type": "json_object"}}))
    ask(w.nano, "POST", "/v1/responses", dict(body, text={"format": None}, reasoning={"effort": None}))
    tools = [{"type": "function", "name": "weather", "parameters": DAY}, {"type": "web_search"}]
    whole, stream = both(w.nano, "/v1/responses", body, tools=tools, tool_choice="required", parallel_tool_calls=False,
                         reasoning={"effort": "none"})
    assert whole["output"][-1]["type"] == "function_call" and whole["parallel_tool_calls"] is False, whole
    for wrong in ({"tools": 5}, {"metadata": "x"}):  # they would come back
        found = ask(w.nano, "POST", "/v1/responses", dict(body, **wrong), 400)
        assert found["error"]["param"] in wrong, found
    for odd in ({"reasoning": 5}, {"text": 5}, {"tool_choice": 5}, {"tool_choice": "none"}, {"parallel_tool_calls": 5}):
        ask(w.nano, "POST", "/v1/responses", dict(body, max_output_tokens=1, **odd), None)


def verify(w):
    for path, body in (("/v1/chat/completions", {"messages": ASK, "max_tokens": 9, "seed": 1}),
                       ("/v1/completions", {"prompt": "The river", "max_tokens": 9, "seed": 1}),
                       ("/v1/messages", {"messages": ASK, "max_tokens": 9}),
                       ("/v1/responses", {"input": "The river", "max_output_tokens": 9})):
        answer = ask(w.synth, "POST", path, body)
        assert ask(w.synth, "POST", "/v1/verify", {"request": body, "answer": answer})["same"]
        found = ask(w.synth, "POST", "/v1/verify", {"request": body, "answer": answer, "top_logprobs": 2, "experts": True})
        assert found["choices"][0]["tokens"][0]["experts"][0] is None, found
        answer["lisao"]["choices"][0]["tokens"][2] ^= 1
        assert ask(w.synth, "POST", "/v1/verify", {"request": body, "answer": answer})["difference"]


def stream_begin(server, path, body, to_the_end=False):
    """The name of a stream whose client leaves at once, or at its end."""
    c = http.client.HTTPConnection(urllib.parse.urlsplit(server.url).netloc)
    c.request("POST", path, json.dumps(body), {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    r = c.getresponse()
    if to_the_end:
        r.read()
    c.close()
    return r.getheader("x-lisao-stream")


def streams(w):
    """Taken up again, and ended from elsewhere: what of each family then comes."""
    long = {"stream": True, "background": True, "max_tokens": 30000, "temperature": 1}
    for path, body in (("/v1/chat/completions", dict(long, messages=ASK, ignore_eos=True)),
                       ("/v1/completions", dict(long, prompt="The river", ignore_eos=True)),
                       ("/v1/messages", dict(long, messages=ASK)),
                       ("/v1/responses", dict({k: long[k] for k in ("stream", "background")}, input="The river"))):
        name = stream_begin(w.synth, path, body)
        if "responses" in path:
            ended = ask(w.synth, "POST", f"/v1/responses/{name}/cancel", {})
        else:
            ended = ask(w.synth, "DELETE", f"/v1/streams/{name}")
        assert ended["status"] == "running", ended
        last = ask(w.synth, "GET", f"/v1/responses/{name}?stream=true")[-1]
        assert ask(w.synth, "GET", f"/v1/streams/{name}")[-1] == last
        assert "error" in last or last["response"]["error"], last
        assert last.get("type") != "error" or last["request_id"].startswith("req_"), last
        assert ask(w.synth, "DELETE", f"/v1/streams/{name}")["status"] == "cancelled"
    ask(w.synth, "GET", "/v1/streams/none", want=404)
    ask(w.synth, "GET", f"/v1/streams/{name}?after=999999", want=400)
    name = stream_begin(w.synth, "/v1/completions", {"prompt": "The river", "stream": True, "logprobs": 20,
                                                     "ignore_eos": True, "max_tokens": 8000}, to_the_end=True)
    ask(w.synth, "GET", f"/v1/streams/{name}?after=0", want=410)
    assert ask(w.synth, "DELETE", f"/v1/streams/{name}")["status"] == "completed"


def history(w):
    s = w.nano
    ask(s, "POST", "/history", {"conversations": [{"id": "a", "title": "Rivers"}, {"id": "b"}], "messages": [
        {"id": "m", "conversation": "a", "parent": None, "text": "The river", "role": "user"},
        {"id": "n", "conversation": "a", "parent": "m", "text": "The sea"}]})
    assert len(ask(s, "GET", "/history")["data"]) == 2 and len(ask(s, "GET", "/history/a")["data"]) == 2
    assert ask(s, "POST", "/history/search", {"words": ["riv"]})["data"][0]["conversation"] == "a"
    assert len(ask(s, "GET", "/history/export")["conversations"]) == 2
    ask(s, "POST", "/history", {"messages": [{"id": "x", "conversation": "c", "text": "x"}]}, want=400)
    ask(s, "GET", "/history/c", want=404)
    assert ask(s, "DELETE", "/history/a") == ask(s, "DELETE", "/history") == {"removed": 1}


def documents(w):
    s = w.nano
    assert ask(s, "GET", "/documents")["files"] == 1
    body = {"messages": [{"role": "user", "content": "Where does the river run?"}], "search": True, "max_tokens": 4}
    found = ask(s, "POST", "/chat/completions", body)["lisao"]["documents"]
    assert [one["n"] for one in found] == [1]
    assert ask(s, "POST", "/chat/completions", dict(body, stream=True))[0]["lisao"] == {"documents": found}
    assert ask(s, "GET", f"/documents/passages/{found[0]['id']}")["text"] == "The river runs to the sea.\n"
    ask(s, "GET", "/documents/passages/99", want=404)
    ask(w.synth, "GET", "/documents", want=404)
    ask(w.synth, "POST", "/chat/completions", body, want=400)
    assert ask(s, "POST", "/messages", dict(body, stream=True))[0]["message"]["lisao"] == {"documents": found}
    asked = {"input": "Where does the river run?", "search": "documents", "max_output_tokens": 4, "stream": True}
    assert ask(s, "POST", "/responses", asked)[0]["response"]["lisao"] == {"documents": found}


def the_web(w):
    s = w.nano
    assert ask(s, "GET", "/version")["search"] == ["documents", "web"]
    body = {"messages": [{"role": "user", "content": "Where does the river run?"}], "search": "web", "max_tokens": 4}
    answer = ask(s, "POST", "/chat/completions", body)
    assert answer["lisao"]["documents"] == [{"n": 1, "url": "https://a.example/", "title": "Rivers", "text": "To the sea."}]
    assert ask(s, "POST", "/verify", {"request": body, "answer": answer})["same"]
    ask(w.synth, "POST", "/chat/completions", body, want=400)
    # By the model, which must.
    tool = dict(body, search="web_tool", tool_choice="required", max_tokens=400, thinking={"type": "disabled"})
    answer = ask(s, "POST", "/chat/completions", tool)
    assert answer["lisao"]["searches"]["messages"][1]["role"] == "tool", answer
    assert ask(s, "POST", "/verify", {"request": tool, "answer": answer})["same"]
    assert [e for e in ask(s, "POST", "/chat/completions", dict(tool, stream=True)) if "query" in e.get("lisao", {})]
    w.found.clear()
    ask(s, "POST", "/chat/completions", body, want=502)


def runs(w):
    """One that has just begun, and one by reinforcement learning that goes on while it is watched, and begins anew."""
    with tempfile.TemporaryDirectory() as folder:
        def write(run, name, *lines, mode="a"):
            os.makedirs(os.path.dirname(os.path.join(folder, run, name)), exist_ok=True)
            with open(os.path.join(folder, run, name), mode) as f:
                f.writelines(json.dumps(line) + "\n" for line in lines)

        sample = {"step": 9, "prompt": "The", "sample": " river", "ended": True}
        answer = {"step": 9, "prompt": "1+1=", "answer": "2", "right": True, "reward": 1.0}
        last = {"step": 9, "loss": 2.5, "reward": 0.5, "valid_loss": 2, "bits_per_byte": 1, "valid_pass_rate": 0.5, "expert_load": [[1, 2]]}
        write("begun", "metrics.jsonl", {"step": 1})
        write("grows", "metrics.jsonl", last, sample)
        write("grows", "rollouts.jsonl", answer)
        write("grows", "step-000000009/state.json", {"recipe": {"objective": "grpo", "optim.steps": "20"}})
        text = os.path.join(folder, "text.txt")
        with open(text, "w") as f:
            f.write("The river runs to the sea.\n<|endoftext|>\n" * 40)
        small = {"data.train": text, "data.cache": folder + "/cache", "model.num_hidden_layers": 1, "model.hidden_size": 32,
                 "model.intermediate_size": 64, "model.moe_intermediate_size": 16, "batch.sequence": 64, "batch.tokens": 128,
                 "optim.steps": 3, "optim.warmup": 0, "checkpoint.folder": folder + "/plays"}
        subprocess.run([LISAO, "train", os.path.join(ROOT, "recipes", "tiny-en.yaml"), *(x for k, v in small.items() for x in ("--set", f"{k}={v}"))],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Server("--runs", folder, model=NANO) as s:
            begun, grows, plays = ask(s, "GET", "/runs")["data"]
            assert (begun["objective"], grows["objective"], grows["checkpoint"]) == (None, "grpo", 9)
            for one in (begun, grows):
                ask(s, "GET", "/runs/" + one["id"])
                ask(s, "GET", f"/runs/{one['id']}/texts")
            model = ask(s, "POST", f"/runs/{plays['id']}/model", {})
            assert model["id"] == "plays@3" and [m["id"] for m in ask(s, "GET", "/models")["data"]][1:] == ["plays@3"], model
            ask(s, "POST", "/completions", {"model": "plays@3", "prompt": [1, 2, 3], "max_tokens": 4})
            ask(s, "POST", f"/runs/{begun['id']}/model", {}, want=409)
            ask(s, "POST", f"/runs/{grows['id']}/model", {}, want=503)
            ask(s, "GET", "/runs/none", want=404)
            ask(s, "POST", "/runs/none/model", {}, want=404)
            ask(s, "GET", "/runs/feed", want=400)
            path = f"/runs/feed?{grows['id']}=0"
            c = http.client.HTTPConnection(urllib.parse.urlsplit(s.url).netloc, timeout=60)
            c.request("GET", path, headers={"Authorization": "Bearer " + KEY})
            r = c.getresponse()
            got = r.read1()
            write("grows", "rollouts.jsonl", answer)
            while b'"answer"' not in got:
                got += r.read1()
            write("grows", "metrics.jsonl", {"step": 1}, mode="w")
            while b'"again"' not in got:
                got += r.read1()
            s.process.send_signal(signal.SIGTERM)
            text = (got + r.read()).decode()
            document.answer("GET", path, r.status, r.getheader("content-type"), text)
            assert [line["step"] for line in events(text)[0]["lines"]] == [9, 9]


def sessions(w):
    """A link is good once, and what it gives is its key; who may see what keys have used does."""
    made = subprocess.run([LISAO, "keys", "link", "owner", "--data", w.data, "--json"], check=True, capture_output=True, text=True)
    body = {"link": json.loads(made.stdout)["url"].split("#t=")[1]}
    owner = ask(w.keyed, "POST", "/session", body, key=None)["key"]
    assert ask(w.keyed, "POST", "/session", body, 410, key=None)["error"]["code"] == "link_used"
    ask(w.keyed, "POST", "/session", {"link": "x"}, 404, key=None)
    assert ask(w.keyed, "GET", "/session", key=owner) == {"object": "session", "name": "owner", "scopes": ["chat", "admin"]}
    ask(w.keyed, "POST", "/v1/chat/completions", {"messages": ASK, "max_tokens": 1}, key=owner)
    for _ in range(100):
        used = {k["name"]: k["days"] for k in ask(w.keyed, "GET", "/usage?days=2", key=owner)["keys"]}
        if used["owner"]:
            break
        time.sleep(0.1)
    assert sum(d["requests"] for d in used["owner"]) == 1, used
    ask(w.keyed, "GET", "/usage?days=0", want=400, key=owner)
    ask(w.nano, "GET", "/usage", want=404)


def every_route_refuses(w):
    """Each route in its shape: without a key, with one that is for something else, with a body that is wrong."""
    for known, method, route in document.routes():
        path, body = known.replace("{id}", "x"), {} if method == "POST" else None
        if route.get("security") == []:
            continue
        ask(w.nano, method, path, body, 401, key=None)
        ask(w.nano, method, "/anthropic" + path, body, 401, key="wrong")
        if path not in ("/metrics", "/session"):
            ask(w.keyed, method, path, body, 403, key=w.metrics)
        if "requestBody" in route:
            ask(w.nano, method, path, "{", 400)
            ask(w.nano, method, path, "[]", 400)
            ask(w.nano, method, path, "{}", 415, kind="text/plain")
            if path != "/extract":  # which takes more than a client can send before it hears of it: tests/serve/http.c
                ask(w.nano, method, path, " " * (2 << 20), 413)
            if "model" in route["requestBody"]["content"]["application/json"]["schema"]["properties"]:
                ask(w.two, method, path, {"model": "none"}, 404)
    ask(w.keyed, "GET", "/metrics", key=w.metrics)
    ask(w.keyed, "GET", "/metrics", want=403, key=w.once)
    for path in ("/nothing", "/v1/messages/nothing", "/anthropic/nothing"):
        ask(w.nano, "GET", path, want=404)
    for path in ("/v1/chat/completions", "/v1/messages", "/anthropic/health"):
        ask(w.nano, "DELETE", path, want=405)
    ask(w.nano, "GET", "/v1/models/none", want=404)


def values_are_refused(w):
    for path, body in (("/v1/chat/completions", {"messages": ASK, "top_p": 2}), ("/v1/completions", {"prompt": []}),
                       ("/v1/messages", {"messages": ASK}), ("/v1/messages/count_tokens", {"messages": []}),
                       ("/v1/responses", {"input": "x", "previous_response_id": "y"}), ("/verify", {"request": {}}),
                       ("/tokenize", {}), ("/detokenize", {"tokens": [-1]}), ("/apply-template", {}),
                       ("/v1/embeddings", {"input": "a", "dimensions": 8})):
        assert "error" in ask(w.nano, "POST", path, body, 400)
    long = ask(w.nano, "POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "river " * 5000}]}, 400)
    assert long["error"]["code"] == "context_length_exceeded", long


def limits(w):
    """One request a minute: the next is refused in the shape of its family."""
    ask(w.keyed, "POST", "/v1/chat/completions", {"messages": ASK, "max_tokens": 1}, key=w.once)
    ask(w.keyed, "POST", "/v1/chat/completions", {"messages": ASK, "max_tokens": 1}, 429, key=w.once)
    ask(w.keyed, "POST", "/v1/messages", {"messages": ASK, "max_tokens": 1}, 429, key=w.once)


class Raw:
    """A request whose head is sent in two parts."""

    def __init__(self, server, method, path, *fields):
        host, port = urllib.parse.urlsplit(server.url).netloc.split(":")
        self.method, self.path, self.socket = method, path, socket.create_connection((host, int(port)))
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", "Authorization: Bearer " + KEY,
                "Content-Type: application/json", *fields]
        self.socket.sendall("\r\n".join(head).encode())

    def ends(self, want, body=""):
        self.socket.sendall(b"\r\nConnection: close\r\n\r\n" + body.encode())
        r = http.client.HTTPResponse(self.socket, method=self.method)
        r.begin()
        text = r.read().decode()
        self.socket.close()
        assert r.status == want, (self.path[:40], r.status, text[:500])
        document.answer(self.method, self.path, r.status, r.getheader("content-type"), text)


def heads_are_refused(w):
    """What the guard of HTTP refuses by the head alone."""
    for path in ("/v1/models", "/v1/messages"):
        method = "GET" if path == "/v1/models" else "POST"
        Raw(w.nano, method, path + "/" + "x" * 9000).ends(414)
        Raw(w.nano, method, path, "Host: a").ends(400)
        Raw(w.nano, method, path, *(f"x-{i}: x" for i in range(101))).ends(431)
        Raw(w.nano, method, path, "Content-Length: 2", "Expect: x").ends(417)


def late_errors(w):
    """An answer that fails: in its own status, in the midst of a stream, behind blank lines of a 200."""
    talk, request = [{"role": "user", "content": "q"}], {"prompt": "q", "max_tokens": 99, "temperature": 1, "seed": 1}
    bodies = (("/v1/chat/completions", {"messages": talk, "temperature": 1}), ("/v1/completions", request),
              ("/v1/messages", {"messages": talk, "max_tokens": 99, "temperature": 1}),
              ("/v1/responses", {"input": talk, "temperature": 1}),
              ("/v1/embeddings", {"input": [[9]] * 99 + [[9, BROKEN]]}),
              ("/v1/verify", {"request": request, "answer": {"object": "text_completion"}}))
    with Server("--no-sandbox", "--keep-alive", "0", model=w.broken) as s:
        for path, body in bodies:
            ask(s, "POST", path, body, 500)
        for path, body in bodies[:4]:
            ask(s, "POST", path, dict(body, stream=True))
            name = stream_begin(s, path, dict(body, stream=True), to_the_end=True)
            assert ask(s, "DELETE", f"/v1/streams/{name}")["status"] == "failed"
    with Server("--no-sandbox", "--keep-alive", "0.0001", model=w.broken) as s:
        for path, body in bodies * 30:  # a failure may come before the first blank line; nothing_is_left_over asks for the other
            ask(s, "POST", path, body, None)


def going_down(w):
    """A server that ends refuses the requests whose heads are still on their way."""
    with Server("--context", "16384", model=w.random) as s:
        body = json.dumps({"messages": ASK})
        size = f"Content-Length: {len(body)}"
        held = [Raw(s, "GET", "/ready"), Raw(s, "POST", "/v1/chat/completions", size), Raw(s, "POST", "/v1/messages", size),
                Raw(s, "GET", "/v1/models")]
        busy = http.client.HTTPConnection(urllib.parse.urlsplit(s.url).netloc)
        busy.request("POST", "/v1/chat/completions", json.dumps({"messages": ASK, "stream": True, "ignore_eos": True}),
                     {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
        stream = busy.getresponse()
        stream.read(200)
        s.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        for request in held:
            text, status = (body, 529 if "messages" in request.path else 503) if request.method == "POST" else ("", 503)
            request.ends(status, text)
        busy.close()


def nothing_is_left_over(w):
    parts = list(document.all_parts())
    left = [one for one in parts if one not in document.seen]
    print(f"# {document.answers} answers of statuses {sorted(document.statuses)} have shown {len(parts) - len(left)} of "
          f"{len(parts)} routes, types, members and words of the document", flush=True)
    assert not left, "what never came:\n" + "\n".join(left)


class World:
    """The servers that the cases share."""

    def __init__(self, folder):
        self.random, self.broken = synth(folder, "random"), broken(folder)
        data = self.data = os.path.join(folder, "keys")
        self.metrics, self.once, _ = (self.key(data, *o) for o in (
            ("scraper", "--scopes", "metrics"), ("once", "--requests-minute", "1"), ("owner", "--scopes", "chat,admin")))
        self.two = Server(self.random, model=NANO)
        river = os.path.join(folder, "river.txt")
        with open(river, "w") as f:
            f.write("The river runs to the sea.\n")
        subprocess.run([LISAO, "index", river, "--data", os.path.join(folder, "data")], check=True, stdout=subprocess.DEVNULL)
        self.found = {"results": [{"url": "https://a.example/", "title": "Rivers", "content": "To the sea."}]}
        self.nano = Server("--act", "a16", "--history", "--documents", "--data", os.path.join(folder, "data"),
                           "--web-search", self.engine(), model=NANO)
        self.synth = Server("--context", "16384", "--name", "random", model=self.random)
        self.keyed = Server("--data", data, model=NANO, key=None)

    def engine(self):
        """A search engine that always finds the same; its address."""
        class Engine(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                handler.send_response(200)
                handler.end_headers()
                handler.wfile.write(json.dumps(self.found).encode())

            def log_message(handler, *_):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Engine)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    @staticmethod
    def key(data, *options):
        made = subprocess.run([LISAO, "keys", "create", "--data", data, "--json", *options], check=True,
                              capture_output=True, text=True)
        return json.loads(made.stdout)["key"]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        with world.nano, world.synth, world.keyed, world.two:
            address = urllib.parse.urlsplit(world.nano.url).netloc
            client = http.client.HTTPConnection(address)
            client.request("GET", "/openapi.json")
            document = Document(client.getresponse().read().decode())
            run([document_is_valid, plain_routes, chat, completions, messages, responses, verify, streams, history, documents, runs,
                 sessions, the_web, every_route_refuses, values_are_refused, limits, heads_are_refused, late_errors, going_down,
                 nothing_is_left_over], world)
