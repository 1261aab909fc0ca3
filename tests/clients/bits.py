"""The same request gives the same bits: alone, in random company and order, with the prompt found in the cache,
after a restart, with other threads. Every token and log-probability is compared.

Each answer is verified, too; one of which a token, a log-probability or a letter was changed is not.

REQUESTS sets how many (default 200)."""
import base64
import copy
import json
import os
import random
import threading
import urllib.request

from common import KEY, Server, run

N = int(os.environ.get("REQUESTS", "200"))
THINGS = ["rain", "the sea", "a prime number", "gold", "the moon", "tea", "a verb", "rust", "a river", "music"]
SYSTEM = "You answer in one short sentence. " * 12  # a prefix that most requests share


def request(i):
    r = random.Random(i)
    messages = [{"role": "user", "content": f"What is {r.choice(THINGS)}, in {r.randrange(3, 40)} words?"}]
    if i % 4:
        messages.insert(0, {"role": "system", "content": SYSTEM})
    if i % 5 == 0:
        messages += [{"role": "assistant", "content": "Hm."}, {"role": "user", "content": "Well?"}]
    return {"messages": messages, "max_tokens": r.randrange(1, 40), "temperature": r.choice([0, 0.7, 1, 1.5]),
            "top_p": r.choice([1, 0.9]), "frequency_penalty": r.choice([0, 0.5]), "seed": i, "logprobs": True,
            "top_logprobs": 2, "stream": i % 3 == 0}


def post(server, path, body):
    q = urllib.request.Request(server.url + path, json.dumps(body).encode(),
                               {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    with urllib.request.urlopen(q, timeout=300) as r:
        return r.read().decode()


def answer(server, body, verified=None):
    """Finish reason, and of each token its text, log-probability and likeliest others."""
    data = post(server, "/v1/chat/completions", body)
    if not body["stream"]:
        whole = json.loads(data)
        choices = whole["choices"]
    else:
        lines = [e[6:] for e in data.split("\n") if e.startswith("data: ")]
        events = [json.loads(e) for e in lines if e != "[DONE]"]
        choices = [c for e in events for c in e["choices"]]
        text = "".join(c["delta"].get("content") or "" for c in choices)
        logprobs = [t for c in choices if c["logprobs"] for t in c["logprobs"]["content"]]
        whole = {"object": "chat.completion", "lisao": [e["lisao"] for e in events if "lisao" in e][0],
                 "choices": [{"index": 0, "message": {"content": text}, "logprobs": {"content": logprobs},
                              "finish_reason": choices[-1]["finish_reason"]}]}
    if verified is not None:
        verified.append((body, whole))
    tokens = [t for c in choices if c["logprobs"] for t in c["logprobs"]["content"]]
    reason = [c["finish_reason"] for c in choices if c["finish_reason"]]
    assert len(reason) == 1 and tokens, data[:500]
    return reason[0], tokens


def together(server, order, threads):
    found, todo, lock = {}, list(order), threading.Lock()

    def work():
        while True:
            with lock:
                if not todo:
                    return
                i = todo.pop()
            found[i] = answer(server, request(i))
    team = [threading.Thread(target=work) for _ in range(threads)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    return found


def verify(server, body, whole):
    return json.loads(post(server, "/v1/verify", {"request": body, "answer": whole}))


def verify_all(server, answers):
    """All are the same; with one bit or letter changed they are not, and the place is named."""
    tokens = 0
    for i, (body, whole) in enumerate(answers):
        found = verify(server, body, whole)
        assert found["same"] and found["difference"] is None, (i, found)
        assert found["tokens"] == found["same_tokens"] == len(whole["lisao"]["choices"][0]["tokens"]), (i, found)
        tokens += found["tokens"]
        other = copy.deepcopy(whole)
        choice = other["lisao"]["choices"][0]
        at = random.Random(i).randrange(len(choice["tokens"]))
        if i % 3 == 0:
            choice["tokens"][at] ^= 1
            where = f"lisao.choices[0].tokens[{at}]"
        elif i % 3 == 1:
            bits = bytearray(base64.b64decode(choice["logprobs_f32"]))
            bits[4 * at] ^= 1
            choice["logprobs_f32"] = base64.b64encode(bits).decode()
            where = f"lisao.choices[0].logprobs_f32[{at}]"
        else:
            other["choices"][0]["message"]["content"] += "."
            where = "choices[0].message.content"
        found = verify(server, body, other)
        assert not found["same"] and found["difference"]["at"] == where, (i, where, found)
    print(f"# verified: {len(answers)} answers of {tokens} tokens, each also with one change that was found", flush=True)


def same(alone, other, what):
    differ = [i for i in alone if alone[i] != other.get(i)]
    assert not differ, f"{what}: requests {differ[:10]} differ of {len(alone)}"
    print(f"# {what}: {len(alone)} requests, {sum(len(a[1]) for a in alone.values())} tokens, all equal", flush=True)


def bits():
    order = list(range(N))
    with Server("--act", "a16", "--threads", "1") as server:
        verified = []
        alone = {i: answer(server, request(i), verified) for i in order}
    with Server("--act", "a16") as server:
        verify_all(server, verified)
        random.Random(1).shuffle(order)
        same(alone, together(server, order, 24), "24 at once, after a restart, 2 threads")
        random.Random(2).shuffle(order)
        same(alone, together(server, order, 5), "5 at once, prompts in the cache")
    with Server("--act", "a16", "--context", "512", "--parallel", "3") as server:
        same(alone, together(server, order, 9), "9 at once, 3 in the engine, pages short")


if __name__ == "__main__":
    run([bits])
