#!/usr/bin/env python3
"""overload.py -- what a service does with 100 times the requests that saturate it.

    bench/overload.py [--model MODEL] [--seconds 300] [--times 100] [--prompt 64] [--tokens 600]

First the peak: as many clients as the engine has places, and some, each of which asks again when it is answered. Then
requests of the same shape arrive at `times` that rate, whatever becomes of them, for `seconds`; then the peak once more.
Answers have from half to one and a half of `tokens`, so that they do not end all at once, and are drawn alike each time.
Requests come by connections that are kept. One thread makes them all and measures its own CPU time, which the server
does not have: goodput is tokens of whole answers for each CPU second of the machine that was left. Demanded: goodput at
least 95 % of the peak's, all refused in less than 50 ms, accepted ones answered within the time that the queue takes
(its requests and those in the engine, at the peak's rate) and a quarter, memory flat, and the peak as before. Ends with
1 where something of it is not so. Nothing else should run meanwhile."""
import argparse
import os
import random
import select
import socket
import sys
import time

from streams import Process, at, body, ids_of, vocabulary

CORES = len(os.sched_getaffinity(0))


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fd, self.sent, self.got = self.socket.fileno(), 0.0, b""
        self.tokens = 0


class Generator:
    """Sends requests and takes their answers, in one thread."""

    MOST = 4000  # connections

    def __init__(self, port, requests):
        self.port, self.requests, self.n = port, requests, 0
        self.poll, self.busy, self.idle = select.epoll(), {}, []
        self.clear()

    def clear(self):
        self.answered, self.refused, self.other, self.held_back, self.tokens = [], [], {}, 0, 0

    def send(self):
        if self.idle:
            c = self.idle.pop()
        elif len(self.busy) < self.MOST:
            c = Connection(self.port)
            self.poll.register(c.fd, select.EPOLLIN)
        else:
            self.held_back += 1
            return
        self.n += 1
        c.sent, c.got = time.perf_counter(), b""
        self.busy[c.fd] = c
        request, c.tokens = self.requests[self.n % len(self.requests)]
        c.socket.sendall(request)

    def over(self, c, status, closes):
        took = time.perf_counter() - c.sent
        del self.busy[c.fd]
        if status == b"200":
            self.answered.append(took)
            self.tokens += c.tokens
        elif status in (b"503", b"429"):
            self.refused.append(took)
        else:
            self.other[status] = self.other.get(status, 0) + 1
        if closes:
            c.socket.close()
        else:
            self.idle.append(c)

    def take(self, seconds):
        for fd, _ in self.poll.poll(max(0, seconds), 256):
            c = self.busy.get(fd)
            if not c:  # the server has closed one that was idle
                self.idle = [x for x in self.idle if x.fd != fd or x.socket.close()]
                continue
            got = c.socket.recv(1 << 18)
            c.got += got
            head = c.got.find(b"\r\n\r\n")
            if head >= 0:
                heads = c.got[:head].lower()
                length = int(heads.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
                if len(c.got) >= head + 4 + length:
                    self.over(c, c.got[9:12], b"connection: close" in heads)
                    continue
            if not got:
                self.over(c, b"cut", True)

    def closed(self, clients, seconds):
        """So many clients, each of which asks again once it is answered."""
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            while len(self.busy) < clients:
                self.send()
            self.take(min(0.1, end - now))

    def open(self, rate, seconds, each_second):
        """So many arrivals a second, whatever becomes of them."""
        began = time.perf_counter()
        sent = told = 0
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * rate:
                self.send()
                sent += 1
            self.take(min(0.1, (sent + 1) / rate - now))
            if now >= told:
                told += 1
                each_second()
        return sent

    def rest(self, seconds):
        end = time.perf_counter() + seconds
        while self.busy and time.perf_counter() < end:
            self.take(0.1)


class Window:
    """Time, and the CPU time of the server and of this process, from one moment to another."""

    def __init__(self, server):
        self.server = server
        self.began = time.perf_counter(), server.cpu(), time.process_time()

    def end(self):
        now = time.perf_counter(), self.server.cpu(), time.process_time()
        self.seconds, self.served, self.own = (b - a for a, b in zip(self.began, now))
        return self

    def goodput(self, tokens):
        return tokens / (CORES * self.seconds - self.own)

    def told(self, what, tokens):
        print(f"{what}: {tokens / self.seconds:.0f} tokens/s in {self.seconds:.0f} s; CPU: server {self.served:.1f} s, generator "
              f"{self.own:.1f} s; tokens for each CPU second left to the server {self.goodput(tokens):.1f}, used by it "
              f"{tokens / self.served:.1f}", flush=True)


def peak(g, server, a, what):
    """Requests a second and goodput with all places of the engine taken."""
    g.closed(a.parallel + 8, a.warm)
    g.clear()
    w = Window(server)
    g.closed(a.parallel + 8, a.peak)
    w.end()
    tokens, rate = g.tokens, g.tokens / a.tokens / w.seconds
    w.told(what, tokens)
    print(f"  {rate:.2f} requests/s, {len(g.refused)} refused, others {g.other}")
    g.rest(120)
    return rate, w.goodput(tokens)


def overload(g, server, a, rate):
    memory = []
    g.clear()
    warm = min(a.warm, a.seconds / 4)  # the queue fills
    sent = g.open(rate, warm, lambda: None)
    g.clear()
    w = Window(server)
    sent = g.open(rate, a.seconds, lambda: memory.append(server.memory()))
    w.end()
    tokens = g.tokens
    w.told(f"{a.times:g} times as many", tokens)
    ms = [1e3 * t for t in g.refused]
    print(f"  {sent} sent ({sent / w.seconds:.0f}/s), {len(g.answered)} answered, {len(g.refused)} refused, {g.held_back} held back by the "
          f"generator, others {g.other}")
    print(f"  accepted: p50 {at(0.5, g.answered):.2f}, p99 {at(0.99, g.answered):.2f} s; refused after p50 {at(0.5, ms):.2f}, p99 "
          f"{at(0.99, ms):.2f}, p99.9 {at(0.999, ms):.2f}, longest {max(ms, default=0):.2f} ms")
    print(f"  memory {memory[0] / 1e6:.1f} MB at first, {max(memory) / 1e6:.1f} at most, {memory[-1] / 1e6:.1f} in the end", flush=True)
    return Overload(w.goodput(tokens), at(0.99, g.answered), max(ms, default=0), grown(memory), g.other)


def grown(memory):
    """The most in the last fifth of the time, in multiples of the most in the first."""
    fifth = max(1, len(memory) // 5)
    return max(memory[-fifth:]) / max(memory[:fifth])


class Overload:
    def __init__(self, goodput, p99, refused_ms, memory, other):
        self.goodput, self.p99, self.refused_ms, self.memory, self.other = goodput, p99, refused_ms, memory, other


def demands(rate, good, o, after, a):
    bound = 1.25 * (a.queue + a.parallel) / rate
    return [(o.goodput >= 0.95 * good, f"goodput is {100 * o.goodput / good:.1f} % of the peak's (at least 95)"),
            (o.refused_ms < 50, f"the last was refused after {o.refused_ms:.1f} ms (less than 50)"),
            (o.p99 < bound, f"p99 of the accepted is {o.p99:.1f} s (less than {bound:.1f})"),
            (o.memory < 1.05, f"memory in the last fifth is {o.memory:.3f} times that in the first (less than 1.05)"),
            (not o.other, f"neither answered nor refused: {o.other} (none)"),
            (after >= 0.95 * good, f"afterwards the peak is {100 * after / good:.1f} % of that before (at least 95)")]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--lisao", default="build/lisao")
    p.add_argument("--model", default="models/lisao-nano/lisao-nano.gguf")
    p.add_argument("--seconds", type=float, default=300)
    p.add_argument("--times", type=float, default=100)
    p.add_argument("--peak", type=float, default=60, help="seconds of each measurement of the peak")
    p.add_argument("--warm", type=float, default=15, help="seconds before each measurement")
    p.add_argument("--prompt", type=int, default=64)
    p.add_argument("--tokens", type=int, default=600)
    p.add_argument("--parallel", type=int, default=32)
    p.add_argument("--queue", type=int, default=64)
    p.add_argument("--threads", type=int, default=0, help="of the engine; 0: one for each CPU")
    a = p.parse_args()
    vocab = vocabulary(a.lisao, a.model)
    lengths = [a.tokens // 2 + a.tokens * i // 511 for i in range(512)]
    random.Random(1).shuffle(lengths)
    requests = [(body(ids_of(a.prompt, vocab), n), n) for n in lengths]
    command = [a.lisao, "serve", a.model, "--port", "PORT", "--context", str(a.prompt + max(lengths)), "--parallel", str(a.parallel), "--queue",
               str(a.queue), "--threads", str(a.threads), "--keep-alive", "0", "--log", "none", "--connections", str(Generator.MOST + 100)]
    with Process(command) as server:
        g = Generator(server.port, requests)
        rate, good = peak(g, server, a, "the peak")
        o = overload(g, server, a, a.times * rate)
        g.rest(300)
        _, after = peak(g, server, a, "the peak afterwards")
        said = [line for line in server.get("/metrics").splitlines() if line.startswith(("lisao_requests", "lisao_pages"))]
        print("  " + ", ".join(said).replace("lisao_", ""))
    all_fine = True
    for fine, what in demands(rate, good, o, after, a):
        print(("ok - " if fine else "not ok - ") + what)
        all_fine &= fine
    sys.exit(0 if all_fine else 1)


if __name__ == "__main__":
    main()
