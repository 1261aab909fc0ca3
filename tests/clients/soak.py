"""Random arrivals, cancels, long and short prompts, at most 64 at a time: nothing leaks, and nothing fails.

In the end no request is left, every page is free or kept of a prompt, the files that are open are those of before, and
the memory is that of after the first fifth of the time. An answer that is no client's wish to leave must be whole.

SOAK sets the seconds (default 60; in full 900), LISAO_MODEL the model."""
import http.client
import json
import os
import random
import threading
import time

from common import NANO, Server, run, say

SECONDS = float(os.environ.get("SOAK", "60"))
STREAMS = 64
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


def request(r):
    """Path, body, and behind how many lines of the answer the client leaves; None: it stays."""
    words = "The river runs to the sea. " * r.choice([1, 1, 1, 2, 5, 20, 35])
    body = {"max_tokens": min(200, int(r.expovariate(1 / 30)) + 1), "stream": r.random() < 0.8, "seed": r.randrange(100),
            "temperature": r.choice([0, 1]), "ignore_eos": r.random() < 0.5, "user": r.choice(["ann", "bob", "eve"])}
    leaves = r.randrange(1, 40) if r.random() < 0.25 else None
    if r.random() < 0.3:
        body.update(prompt=words, n=r.choice([1, 1, 2]))
        return "/v1/completions", body, leaves
    body.update(messages=[{"role": "user", "content": words + str(r.randrange(1000))}], logprobs=r.random() < 0.2)
    if r.random() < 0.1:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    return "/v1/chat/completions", body, leaves


class Load:
    """Clients that ask, each a connection for every request, with pauses of random length."""

    def __init__(self, server):
        self.server, self.stop, self.lock = server, threading.Event(), threading.Lock()
        self.whole = self.left = 0
        self.failed = []
        self.team = [threading.Thread(target=self.work, args=(i,)) for i in range(STREAMS)]
        for t in self.team:
            t.start()

    def one(self, path, body, leaves):
        """Asks; whether the answer came whole, which it need not where the client leaves."""
        c = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=300)
        try:
            heads = {"Content-Type": "application/json", "Authorization": "Bearer " + self.server.key}
            c.request("POST", path, json.dumps(body), heads)
            if leaves is not None and not body["stream"]:
                time.sleep(leaves / 100)
                return False
            r = c.getresponse()
            if r.status != 200:
                raise RuntimeError(f"{r.status} {r.read()[:300]!r}")
            if not body["stream"]:
                if "choices" not in json.loads(r.read()):
                    raise RuntimeError("an answer without choices")
                return True
            for n, line in enumerate(r):
                if leaves is not None and n >= leaves:
                    return False
                if line.startswith(b"data: [DONE]"):
                    return True
            raise RuntimeError("a stream without an end")
        finally:
            c.close()

    def work(self, i):
        r = random.Random(i)
        while not self.stop.wait(r.expovariate(2)):
            path, body, leaves = request(r)
            try:
                whole = self.one(path, body, leaves)
            except Exception as e:
                whole = None
                self.failed.append((path, body, repr(e)))
            with self.lock:
                self.whole += whole is True
                self.left += whole is False

    def end(self):
        self.stop.set()
        for t in self.team:
            t.join()


def settled(server):
    """The counters, once nothing runs any more."""
    for _ in range(600):
        m = server.metrics()
        if m["requests_running"] + m["requests_waiting"] == 0 and m["connections"] <= 1:
            return m
        time.sleep(0.1)
    raise AssertionError(f"a minute after the last request: {m}")


def soak():
    with Server("--context", "1024", "--parallel", "32", "--log", "none", model=NANO) as server:
        memory, files, began = [], server.files(), time.monotonic()
        load = Load(server)
        while time.monotonic() - began < SECONDS:
            time.sleep(min(1, SECONDS / 50))
            memory.append(server.memory())
        load.end()
        m = settled(server)
        warm, last = max(memory[: len(memory) // 5]), max(memory[-len(memory) // 5:])
        say(f"{SECONDS:.0f} s: {load.whole} answers whole, {load.left} left by their clients ({m['requests_cancelled_total']} noticed), "
            f"{len(load.failed)} failed; {m['tokens_total']} tokens, {m['prompt_tokens_cached_total']} of {m['prompt_tokens_total']} of prompts "
            f"found; memory {warm / 1e6:.1f} MB after a fifth of the time, {max(memory) / 1e6:.1f} at most, {last / 1e6:.1f} in the last, "
            f"{server.memory() / 1e6:.1f} in the end; {files} files open before, {server.files()} after; pages: {m['pages']}, of which "
            f"{m['pages_free']} free and {m['pages_cached']} kept of prompts")
        assert not load.failed and m["requests_failed_total"] == 0, load.failed[:3]
        assert m["pages_free"] + m["pages_cached"] == m["pages"], "pages are lost"
        assert server.files() <= files + 1, "files are left open"
        assert load.left == 0 or m["requests_cancelled_total"] > 0
        assert last < 1.05 * warm + 8e6, "memory grows"
    assert server.code == 0, f"the server ended with {server.code}"


if __name__ == "__main__":
    run([soak])
