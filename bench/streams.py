"""streams.py -- many streams of completions at a time, in one thread, with little CPU time of its own; servers to ask.

Any server that speaks POST /v1/completions with token ids as a prompt will do."""
import json
import os
import random
import re
import selectors
import signal
import socket
import subprocess
import time
import urllib.request
from types import SimpleNamespace

KEY = "key-of-this-measurement"


def body(ids, tokens, **more):
    text = json.dumps({"model": "any", "prompt": ids, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more})
    return (f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer {KEY}\r\n"
            f"Content-Length: {len(text)}\r\n\r\n{text}").encode()


def ids_of(n, vocab, r=random):
    """Random token ids, special ones left out."""
    return [r.randrange(min(300, vocab // 2), vocab) for _ in range(n)]


def streams(port, prompts, tokens):
    """Asks for all prompts at once. Of each the seconds until its first token and its end, and how many tokens came."""
    wanted = [body(p, tokens, stream=True, stream_options={"include_usage": True}) for p in prompts]
    selector, all_of = selectors.DefaultSelector(), []
    for _ in wanted:
        s = socket.create_connection(("127.0.0.1", port))
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        all_of.append(SimpleNamespace(socket=s, first=None, end=None, tail=b"", tokens=0))
        selector.register(s, selectors.EVENT_READ, all_of[-1])
    began = time.perf_counter()
    for x, request in zip(all_of, wanted):
        x.socket.sendall(request)
    left = len(all_of)
    while left:
        for key, _ in selector.select():
            x = key.data
            got = x.socket.recv(65536)
            now = time.perf_counter() - began
            if x.first is None and b"data: {" in x.tail + got:
                x.first = now
            x.tail = (x.tail + got)[-4096:]
            if b"data: [DONE]" in x.tail:
                x.end = now
                x.tokens = int(re.findall(rb'"completion_tokens":\s*(\d+)', x.tail)[-1])
                selector.unregister(x.socket)
                x.socket.close()
                left -= 1
            elif not got:
                raise RuntimeError(f"a stream without an end: {x.tail[-300:]!r}")
    return all_of


class Process:
    """A server on a free port of loopback, from the moment when GET PATH answers to the block's end."""

    def __init__(self, command, ready="/health"):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.command, self.ready = [w.replace("PORT", str(self.port)) for w in command], ready

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        env=dict(os.environ, LISAO_API_KEY=KEY))
        for _ in range(6000):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{self.ready}", timeout=5).close()
                return self
            except OSError:
                if self.process.poll() is not None:
                    raise RuntimeError(f"it ended at once: {' '.join(self.command)}") from None
                time.sleep(0.1)
        raise RuntimeError(f"it does not answer: {' '.join(self.command)}")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def get(self, path):
        q = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": "Bearer " + KEY})
        with urllib.request.urlopen(q, timeout=60) as r:
            return r.read().decode()

    def cpu(self):
        """Seconds of CPU time that it has used."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """Bytes that it holds in memory, those of mapped files left out."""
        with open(f"/proc/{self.process.pid}/statm") as f:
            _, resident, shared = [int(x) for x in f.read().split()[:3]]
        return (resident - shared) * os.sysconf("SC_PAGE_SIZE")


def vocabulary(lisao, model):
    """How many tokens the model has."""
    out = subprocess.run([lisao, "inspect", model, "--json"], check=True, capture_output=True, text=True).stdout
    return int(re.search(r'"[^"]*vocab_size":\s*(\d+)', out).group(1))


def at(share, values):
    """The value below which this share of all lies."""
    s = sorted(values)
    return s[min(len(s) - 1, int(share * len(s)))] if s else float("nan")
