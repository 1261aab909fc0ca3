"""The same request gives the same bits, whatever the server does beside it and remembers.

Requests of all four routes that answer (short and long prompts, shared beginnings, tools, forms, thoughts on, off and
with a budget, temperatures, penalties, several choices, streams) are recorded alone: one after the other, by one
thread, with nothing remembered of the others, and with guesses (speculation). Then all come again, in another order:
in company, with their prompts in the cache, with other threads, after a restart from prompts on disk, and where pages
are so short that prompts are forgotten and read back. Every token, log-probability and letter is compared. Each
answer is verified, too; one of which a token, a log-probability or a letter was changed is not.

REQUESTS sets how many (default 40; in full 200), BITS_THREADS the threads of the recording (1) and of the replays (2),
LISAO_MODEL the model (one that thinks and calls tools)."""
import base64
import copy
import json
import os
import random
import tempfile
import threading

from common import NANO, Server, events, run, say

N = int(os.environ.get("REQUESTS", "40"))
ALONE, TOGETHER = os.environ.get("BITS_THREADS", "1 2").split()
PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]
QUESTIONS = ["What is 12 + 34?", "What is 51 - 17?", "Use 3, 7 and 25 with + - * / to make 46. Use each number exactly once.",
             "Who are you?", "What is 7 * 8?", "Ann has 3 apples. Bob has 2 more apples than Ann. How many apples does Bob have?"]
SYSTEM = "You answer in one short sentence. " * 8
LONG = "The river runs to the sea, and the sea is wide. " * 12
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "ok": {"type": "boolean"}}, "required": ["n", "ok"],
          "additionalProperties": False}
DAY = {"type": "object", "properties": {"day": {"enum": ["today", "tomorrow"]}}, "required": ["day"]}
# What differs between two answers with the same bits: names, times, seals, how much of the prompt was found, and the seed
# that is drawn where a request has none (then the temperature is 0 here).
NAMES = {"seed", "id", "created", "created_at", "completed_at", "usage", "call_id", "item_id", "signature",
         "encrypted_content", "input_tokens"}
TEXTS = {"content", "text", "reasoning_content", "thinking", "partial_json", "arguments", "delta"}


def conversation(r):
    messages = [{"role": "user", "content": r.choice(QUESTIONS) + (LONG if r.random() < 0.2 else "")}]
    if r.random() < 0.2:
        messages = [{"role": "user", "content": "Hm?"}, {"role": "assistant", "content": "Yes."}] + messages
    return messages


def chat(r, body):
    body["messages"] = conversation(r)
    if r.random() < 0.7:
        body["messages"].insert(0, {"role": "system", "content": SYSTEM})
    body.update(logprobs=True, top_logprobs=3, n=r.choice([1, 1, 1, 2, 3]), frequency_penalty=r.choice([0, 0.5]))
    form = r.randrange(6)
    if form == 0:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    elif form == 1:
        body["tools"] = [{"type": "function", "function": {"name": "weather", "parameters": DAY}}]
        body["tool_choice"] = r.choice(["auto", "required"])
    body.update(r.choice([{}, {"enable_thinking": True}, {"thinking": {"type": "disabled"}},
                          {"thinking": {"type": "enabled", "budget_tokens": 9}}]))


def completions(r, body):
    one = r.choice(QUESTIONS) + r.choice(["", LONG])
    body.update(prompt=r.choice([one, [one, "The sea"]]), logprobs=r.choice([1, 5]), n=r.choice([1, 1, 2]),
                min_p=r.choice([0, 0.05]), top_k=r.choice([0, 20]), echo=r.random() < 0.2)


def messages(r, body):
    body.update(messages=conversation(r), system=SYSTEM)
    del body["seed"]
    body["temperature"] = 0
    if r.random() < 0.3:
        body["tools"] = [{"name": "weather", "input_schema": DAY}]
        body["tool_choice"] = {"type": r.choice(["auto", "any"])}
    body.update(r.choice([{}, {"thinking": {"type": "enabled", "budget_tokens": 12}}, {"thinking": {"type": "disabled"}}]))


def responses(r, body):
    del body["seed"]
    body.update(input=r.choice(QUESTIONS) + r.choice(["", LONG]), instructions=SYSTEM, temperature=0)
    body["max_output_tokens"] = body.pop("max_tokens")
    body.update(r.choice([{}, {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "none"}}]))
    if r.random() < 0.2:
        body["text"] = {"format": {"type": "json_schema", "name": "x", "schema": SCHEMA}}


def request(i):
    """The path and the body of request i."""
    r, kind = random.Random(i), i % 8 % 5 % 4  # half of them chat completions
    body = {"max_tokens": r.randrange(1, 90), "temperature": r.choice([0, 0.7, 1, 1.5]), "top_p": r.choice([1, 0.9]), "seed": i,
            "stream": r.random() < 0.4}
    [chat, completions, messages, responses][kind](r, body)
    return PATHS[kind], body


def alone(path, body, i):
    """The same request of a user of its own: it finds nothing of other prompts."""
    name = f"user {i}"
    return {**body, **({"metadata": {"user_id": name}} if path == "/v1/messages" else {"user": name})}


def nameless(v):
    if isinstance(v, dict):
        return {k: nameless(x) for k, x in v.items() if k not in NAMES and k not in ("user", "metadata")}
    return [nameless(x) for x in v] if isinstance(v, list) else v


def texts(v, at, found):
    """Adds up the texts of a stream's event, by the place where they stand."""
    if isinstance(v, dict):
        for k, x in v.items():
            texts(x, at + (v.get("index", v.get("output_index", 0)), k), found)
    elif isinstance(v, list):
        for x in v:
            texts(x, at, found)
    elif isinstance(v, str) and at[-1] in TEXTS:
        found[at] = found.get(at, "") + v


def lisao_of(event):
    return event.get("lisao") or event.get("response", {}).get("lisao")


def answer(server, path, body):
    """The answer as it came (of a stream its last `lisao`), and what of it must be the same each time."""
    status, data = server.ask(path, body)
    assert status == 200, (status, path, json.dumps(body), data[:500])
    if not body["stream"]:
        whole = json.loads(data)
        return whole, nameless(whole)
    found, all_events = {}, events(data)
    for e in all_events:
        texts({k: v for k, v in e.items() if k not in NAMES}, (), found)
    last = [lisao_of(e) for e in all_events if lisao_of(e)]
    assert len(last) == 1, data[-500:]
    return {"lisao": last[0]}, (nameless(last[0]), found)


def tokens_of(whole):
    return sum(len(c["tokens"]) for c in whole["lisao"]["choices"])


def together(server, order, threads):
    found, todo, lock, failed = {}, list(order), threading.Lock(), []

    def work():
        while True:
            with lock:
                if not todo or failed:
                    return
                i = todo.pop()
            try:
                found[i] = answer(server, *request(i))[1]
            except Exception as e:
                failed.append(e)
    team = [threading.Thread(target=work) for _ in range(threads)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    if failed:
        raise failed[0]
    return found


def verify(server, path, body, whole):
    status, data = server.ask("/v1/verify", {"request": body, "answer": whole, "route": path.removeprefix("/v1")})
    assert status == 200, (path, data, json.dumps(body))
    return json.loads(data)


def changed(i, whole):
    """The answer with one token, one bit of a log-probability, or one letter changed, and where that is."""
    other, r = copy.deepcopy(whole), random.Random(i)
    at = r.randrange(len(other["lisao"]["choices"][0]["tokens"]))
    choice, way = other["lisao"]["choices"][0], i % 3
    said = other.get("choices", [{}])[0]
    if way == 2 and said.get("text") is not None:
        said["text"] += "."
        return other, "choices[0].text"
    if way == 2 and said.get("message", {}).get("content") is not None:
        said["message"]["content"] += "."
        return other, "choices[0].message.content"
    if way == 1:
        bits = bytearray(base64.b64decode(choice["logprobs_f32"]))
        bits[4 * at] ^= 1
        choice["logprobs_f32"] = base64.b64encode(bits).decode()
        return other, f"lisao.choices[0].logprobs_f32[{at}]"
    choice["tokens"][at] ^= 1
    return other, f"lisao.choices[0].tokens[{at}]"


def verify_all(server, recorded):
    """All are the same; with one change they are not, and its place is named."""
    tokens = 0
    for i, (whole, _) in recorded.items():
        path, body = request(i)
        found = verify(server, path, alone(path, body, i), whole)
        assert found["same"] and found["difference"] is None, (i, found)
        assert found["tokens"] == found["same_tokens"] == tokens_of(whole), (i, found)
        tokens += found["tokens"]
        other, where = changed(i, whole)
        found = verify(server, path, alone(path, body, i), other)
        assert not found["same"] and found["difference"]["at"] == where, (i, where, found)
    say(f"verified: {len(recorded)} answers of {tokens} tokens, each also with one change that was found")


class Replay:
    """What is recorded, and its comparison with what comes later."""

    def __init__(self, server):
        self.recorded = {}
        for i in range(N):
            path, body = request(i)
            self.recorded[i] = answer(server, path, alone(path, body, i))
        self.tokens = sum(tokens_of(whole) for whole, _ in self.recorded.values())
        m = server.metrics()
        assert m["tokens_accepted_total"] > 0, "no guess was right: nothing was shown of speculation"
        say(f"recorded alone, {ALONE} threads: {N} requests, {self.tokens} tokens, {m['tokens_drafted_total']} guessed, "
            f"{m['tokens_accepted_total']} of them right, {m['tokens_forced_total']} forced, "
            f"{m['prompt_tokens_cached_total']} of {m['prompt_tokens_total']} prompt tokens found")

    def same(self, server, threads, what):
        """All once more, `threads` at a time; how the server's counters changed."""
        order, before = list(range(N)), server.metrics()
        random.Random(what).shuffle(order)
        found = together(server, order, threads)
        for i in order:
            assert found[i] == self.recorded[i][1], f"{what}: request {i} differs: {request(i)}\n{self.recorded[i][1]}\n{found[i]}"
        after = server.metrics()
        grown = {k: after[k] - before[k] for k in after}
        say(f"{what}: {N} requests, {self.tokens} tokens, all equal; {grown['prompt_tokens_cached_total']} of "
            f"{grown['prompt_tokens_total']} prompt tokens found, {grown['pages_evicted_total']} pages forgotten, "
            f"{grown['pages_loaded_total']} read from disk, {grown['tokens_drafted_total']} tokens guessed")
        return grown


def bits():
    with tempfile.TemporaryDirectory() as folder:
        few = ["--threads", ALONE, "--context", "1024"]
        many = ["--threads", TOGETHER, "--context", "1024"]
        disk = ["--data", folder, "--prompts-on-disk", "200"]
        with Server(*few, model=NANO) as server:
            replay = Replay(server)
        with Server(*many, *disk, model=NANO) as server:
            replay.same(server, 24, "24 at once, after a restart, other threads")
            verify_all(server, replay.recorded)
        with Server(*many, *disk, model=NANO) as server:
            assert replay.same(server, 5, "5 at once, prompts from the disk")["pages_loaded_total"] > 0
            assert replay.same(server, 1, "alone, prompts in the cache")["prompt_tokens_cached_total"] > 0
        with Server(*many, "--parallel", "2", model=NANO) as server:
            assert replay.same(server, 9, "9 at once, 2 in the engine, pages short")["pages_evicted_total"] > 0


if __name__ == "__main__":
    run([bits])
