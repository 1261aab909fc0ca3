#!/usr/bin/env python3
"""history.py -- what many conversations cost: `lisao serve --history` takes in its own export of 10,000 of them.

    bench/history.py [--model MODEL] [--conversations 10000] [--messages 8]

One server is filled, in bodies of a few hundred KB as the page sends them; another, with an empty store, takes in what the
first one exports, and exports the same. Prints seconds and sizes of both, then of the list, of searches (English and
Chinese words that many have, one has, and none has), of one conversation, of a message more, and of a conversation removed,
each the median of seven."""
import argparse
import json
import os
import random
import statistics
import tempfile
import time
import urllib.request

from streams import KEY, Process

ENGLISH = "the river runs to the sea and a boat is on it while rain falls over hills fields towns roads bridges gardens".split()
CHINESE = "河流入海船在水上雨落山田城路桥园花木春夏秋冬日月星辰风云天地"
BODY = 400 << 10  # bytes of a request


def ask(port, method, path, body=None):
    data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1{path}", data, {"Authorization": "Bearer " + KEY, "Content-Type": "application/json"},
                                     method=method)
    with urllib.request.urlopen(request, timeout=600) as r:
        return r.read()


def said(r, n):
    if r.random() < 0.3:
        return "".join(r.choice(CHINESE) for _ in range(n // 3))
    return " ".join(r.choice(ENGLISH) for _ in range(n // 5))


def made(i, messages):
    """A conversation as the page writes it: questions, thoughts and answers in one branch."""
    r, own = random.Random(i), []
    for k in range(messages):
        m = {"id": f"m{i}-{k}", "conversation": f"c{i}", "parent": f"m{i}-{k - 1}" if k else None, "role": "assistant" if k % 2 else "user",
             "created": 1700000000000 + 1000 * i + k, "text": said(r, 900 if k % 2 else 120), "state": "done"}
        if k % 2:
            m.update(thought=said(r, 600), facts={"tokens": 240, "prompt": 100, "seed": i})
        own.append(m)
    own[0]["text"] += f" only{i}"
    return {"id": f"c{i}", "title": f"Conversation {i}", "pinned": False, "created": own[0]["created"], "updated": own[-1]["created"], "system": "",
            "leaf": own[-1]["id"], "messages": own}


def take_in(port, all_of):
    """Sends conversations in bodies of about BODY bytes; seconds."""
    began, some, size = time.perf_counter(), {"conversations": [], "messages": []}, 0
    for one in all_of:
        some["conversations"].append({name: v for name, v in one.items() if name != "messages"})
        some["messages"] += one["messages"]
        size += len(json.dumps(one, ensure_ascii=False).encode())
        if size > BODY:
            ask(port, "POST", "/history", some)
            some, size = {"conversations": [], "messages": []}, 0
    ask(port, "POST", "/history", some)
    return time.perf_counter() - began


def bytes_under(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def median_ms(work):
    times = []
    for i in range(7):
        began = time.perf_counter()
        work(i)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--model", default="models/lisao-nano/lisao-nano.gguf")
    p.add_argument("--conversations", type=int, default=10000)
    p.add_argument("--messages", type=int, default=8)
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        def server(name):
            return Process([a.lisao, "serve", a.model, "--port", "PORT", "--history", "--data", os.path.join(folder, name), "--log", "none"])

        with server("first") as s:
            seconds = take_in(s.port, (made(i, a.messages) for i in range(a.conversations)))
            print(f"{a.conversations:,} conversations of {a.messages} messages written in {seconds:.1f} s")
            began = time.perf_counter()
            text = ask(s.port, "GET", "/history/export")
            print(f"exported in {time.perf_counter() - began:.1f} s: {len(text) / 1e6:.1f} MB")
        whole = json.loads(text)["conversations"]
        assert len(whole) == a.conversations
        with server("second") as s:
            seconds = take_in(s.port, whole)
            again = ask(s.port, "GET", "/history/export")
            same = json.loads(again)["conversations"] == whole
            print(f"taken in by another server in {seconds:.1f} s ({a.conversations / seconds:.0f} conversations/s); its export is "
                  f"{'the same' if same else 'ANOTHER ONE'}")
            print(f"on the disk {bytes_under(os.path.join(folder, 'second')) / 1e6:.1f} MB; the server holds {s.memory() / 1e6:.1f} MB")
            more = dict(whole[0]["messages"][-1], text="A message more.")
            tried = [("the list", lambda _: ask(s.port, "GET", "/history")),
                     ("search: a word that all have", lambda _: ask(s.port, "POST", "/history/search", {"words": ["river"]})),
                     ("search: a word of one", lambda i: ask(s.port, "POST", "/history/search", {"words": [f"only{4242 % a.conversations + i}"]})),
                     ("search: two Chinese characters", lambda _: ask(s.port, "POST", "/history/search", {"words": ["河流"]})),
                     ("search: a word of none", lambda _: ask(s.port, "POST", "/history/search", {"words": ["zebra"]})),
                     ("one conversation", lambda i: ask(s.port, "GET", f"/history/c{i + 7}")),
                     ("a message more", lambda i: ask(s.port, "POST", "/history", {"conversations": [], "messages": [dict(more, id=f"more{i}")]})),
                     ("one removed", lambda i: ask(s.port, "DELETE", f"/history/c{i + 20}"))]
            for what, work in tried:
                print(f"{what}: {median_ms(work):.1f} ms")
        if not same:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
