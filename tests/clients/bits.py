"""The same request gives the same bits: alone, in random company and order, with the prompt found in the cache,
after a restart, with other threads. Every token and log-probability is compared.

REQUESTS sets how many (default 200)."""
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


def answer(server, body):
    """Finish reason, and of each token its text, log-probability and likeliest others."""
    q = urllib.request.Request(server.url + "/v1/chat/completions", json.dumps(body).encode(),
                               {"Content-Type": "application/json", "Authorization": "Bearer " + KEY})
    with urllib.request.urlopen(q, timeout=300) as r:
        data = r.read().decode()
    if not body["stream"]:
        choices = [json.loads(data)["choices"][0]]
    else:
        events = [e[6:] for e in data.split("\n\n") if e.startswith("data: ") and e != "data: [DONE]"]
        choices = [c for e in events for c in json.loads(e)["choices"]]
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


def same(alone, other, what):
    differ = [i for i in alone if alone[i] != other.get(i)]
    assert not differ, f"{what}: requests {differ[:10]} differ of {len(alone)}"
    print(f"# {what}: {len(alone)} requests, {sum(len(a[1]) for a in alone.values())} tokens, all equal", flush=True)


def bits():
    order = list(range(N))
    with Server("--act", "a16", "--threads", "1") as server:
        alone = {i: answer(server, request(i)) for i in order}
    with Server("--act", "a16") as server:
        random.Random(1).shuffle(order)
        same(alone, together(server, order, 24), "24 at once, after a restart, 2 threads")
        random.Random(2).shuffle(order)
        same(alone, together(server, order, 5), "5 at once, prompts in the cache")
    with Server("--act", "a16", "--context", "512", "--parallel", "3") as server:
        same(alone, together(server, order, 9), "9 at once, 3 in the engine, pages short")


if __name__ == "__main__":
    run([bits])
